"""The demo: synthetic and real DICOM files become findings on the small install."""

import pytest

from covidcx.cli import main
from covidcx.edge import demo
from covidcx.edge.demo import real_chest, run_demo


def test_demo_finds_something_in_every_phantom_and_names_the_page(tiny, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--bundle", str(tiny), "--patients", "3"]) == 0
    text = capsys.readouterr().out
    page = out / "findings" / "index.html"
    assert str(page) in text and page.is_file() and "synthetic" in text
    assert "phantom-normal-" in text and "phantom-covid-" in text, "the phantom's truth stands beside the answer"


def test_demo_adds_the_real_chest_where_it_is_installed(tiny, tmp_path):
    if real_chest() is None:
        pytest.skip("pydicom-data is not installed")
    summary, notes = run_demo(tmp_path / "demo", tiny, patients=3)
    assert "real-chest-RG1_UNCR.dcm" in [f.source for f in summary.findings]
    assert any("RG1_UNCR.dcm" in note for note in notes)


def test_demo_says_how_to_get_the_real_chest(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "real_chest", lambda: None)
    _, notes = run_demo(tmp_path / "demo", tiny, patients=3)
    assert any("pip install pydicom-data" in note for note in notes)


def test_real_chest_is_none_without_the_package(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert real_chest() is None
