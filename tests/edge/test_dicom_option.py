"""`--dicom`: objects beside the findings, a warning where there can be none, and a rerun that adds nothing."""

import json
from pathlib import Path

import pydicom
import pytest
from tiny_bundles import draw_chest, write_image

from covidcx.cli import main
from covidcx.data.phantom import write_phantom
from covidcx.edge.predict import predict_files
from covidcx.edge.watch import watch

pytest.importorskip("highdicom", reason="DICOM objects need the extra dicom")


@pytest.fixture
def study(tmp_path) -> Path:
    folder = tmp_path / "study"
    manifest = write_phantom(tmp_path / "phantom", patients=3, format="dicom", size=256, seed=4)
    files = sorted(manifest.parent.rglob("*.dcm"))
    folder.mkdir()
    files[0].rename(folder / "chest.dcm")
    write_image(folder / "picture.png", draw_chest(0.6)[0])
    return folder


def test_objects_lie_beside_the_findings_and_are_not_made_twice(study, tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["edge", "predict", str(study), "--bundle", str(tiny), "--out", str(out), "--dicom"]) == 0
    found = {p.stem: json.loads(p.read_text()) for p in (out / "findings").glob("*.json")}
    chest, picture = found["chest.dcm"], found["picture.png"]
    if chest["status"] == "ok":
        assert {Path(name).name.split(".")[-2] for name in chest["files"]["dicom"]} >= {"sc", "sr"}
        source = pydicom.dcmread(study / "chest.dcm")
        for name in chest["files"]["dicom"]:
            made = pydicom.dcmread(out / name)
            assert made.StudyInstanceUID == source.StudyInstanceUID
            assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert picture["files"]["dicom"] == [] and "no DICOM objects" in " ".join(picture["warnings"])
    assert predict_files([study], tiny, out, dicom=True).reused == 2
    for file in (out / "dicom").glob("*.sr.dcm"):
        file.unlink()
        assert predict_files([study], tiny, out, dicom=True).reused == 1 and file.is_file()


def test_without_the_option_none_are_made(study, tiny, tmp_path):
    out = tmp_path / "out"
    predict_files([study], tiny, out)
    assert not (out / "dicom").exists()
    assert json.loads((out / "findings" / "picture.png.json").read_text())["files"]["dicom"] is None


def test_a_watched_folder_writes_them_too(study, tiny, tmp_path):
    out = tmp_path / "out"
    counts = watch(study, out, tiny, settle=0.0, interval=0.01, once=True, dicom=True)
    assert counts.ok + counts.refused == 2
    written = [json.loads(p.read_text()) for p in (out / "findings").glob("*.json")]
    assert all((out / name).is_file() for value in written for name in value["files"].get("dicom") or ())
