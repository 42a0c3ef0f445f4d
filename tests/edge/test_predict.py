"""A batch: whole files only, bad ones recorded, a killed run continued, names that never clash."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_bundles import draw_chest, save_classifier, save_lungs, write_image

from covidcx.edge.predict import collect, predict_files
from covidcx.edge.runtime import Predictor
from covidcx.errors import CovidcxError
from covidcx.finding import DISCLAIMER


@pytest.fixture
def studies(tmp_path) -> Path:
    """A folder as units hand them over: good files, bad files, sub-folders, hidden files."""
    folder = tmp_path / "studies"
    write_image(folder / "b.png", draw_chest(0.9)[0])
    write_image(folder / "a" / "2.png", draw_chest(0.5)[0])
    write_image(folder / "a" / "10", draw_chest(0.6)[0])
    write_image(folder / "no lungs.png", np.full((100, 100), 0.7, np.float32))
    (folder / "text.dcm").write_text("not an image")
    (folder / "empty.png").touch()
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.png").write_bytes(b"x")
    return folder


def _json(out: Path, stem: str) -> dict:
    return json.loads((out / "findings" / f"{stem}.json").read_text())


def _leftovers(out: Path) -> list[Path]:
    return [p for p in out.rglob("*") if p.name.endswith((".part", ".tmp"))]


def test_every_file_gets_a_finding_and_bad_ones_a_reason(studies, tiny, tmp_path):
    summary = predict_files([studies], tiny, tmp_path / "out")
    assert [f.source for f in summary.findings] == ["b.png", "empty.png", "no lungs.png", "text.dcm", "a/10", "a/2.png"]
    assert summary.statuses == {"ok": 3, "refused": 1, "error": 2}
    assert summary.labels == {"covid": 2, "normal": 1}
    by_source = {f.source: f for f in summary.findings}
    assert "no lungs found" in by_source["no lungs.png"].reason
    for name in ("empty.png", "text.dcm"):
        finding = by_source[name]
        assert finding.status == "error" and finding.label is None and "\n" not in finding.reason and finding.reason
    assert not _leftovers(tmp_path / "out")


def test_json_holds_probabilities_class_disclaimer_and_picture(studies, tiny, tmp_path):
    out = tmp_path / "out"
    predict_files([studies], tiny, out)
    value = _json(out, "a__2.png")
    assert value["source"] == "a/2.png" and value["label"] == "normal" and value["disclaimer"] == DISCLAIMER
    assert sum(value["probabilities"].values()) == pytest.approx(1.0)
    picture = cv2.imread(str(out / value["files"]["picture"]))
    assert picture is not None and picture.shape[1] == 160 and picture.shape[0] > 200, "caption below the image"
    colourful = np.ptp(picture.astype(int), axis=2).max()
    assert colourful > 100, "the lung outline is drawn in colour"


def test_table_has_one_row_a_file_with_probabilities(studies, tiny, tmp_path):
    out = tmp_path / "out"
    predict_files([studies], tiny, out)
    with (out / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 and {row["disclaimer"] for row in rows} == {DISCLAIMER}
    good = next(row for row in rows if row["source"] == "b.png")
    assert good["label"] == "covid" and float(good["p_covid"]) > 0.5 and (out / good["picture"]).is_file()
    bad = next(row for row in rows if row["source"] == "text.dcm")
    assert bad["status"] == "error" and bad["p_covid"] == "" and bad["picture"] == "" and bad["reason"]
    assert all((out / row["finding"]).is_file() for row in rows)


def test_large_image_gets_a_smaller_picture_in_its_own_proportions(tiny, tmp_path):
    path = write_image(tmp_path / "large.png", draw_chest(size=(2200, 1500))[0])
    predict_files([path], tiny, tmp_path / "out")
    plain = cv2.imread(str(tmp_path / "out" / "pictures" / "large.png.jpg"))
    assert plain.shape[:2] == (1024, 698)


def _count_runs(monkeypatch) -> list[str]:
    seen = []
    original = Predictor.analyse

    def analyse(self, image, source=None):
        seen.append(source)
        return original(self, image, source)

    monkeypatch.setattr(Predictor, "analyse", analyse)
    return seen


def test_second_run_computes_nothing_again_but_failures(studies, tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = predict_files([studies], tiny, out)
    seen = _count_runs(monkeypatch)
    second = predict_files([studies], tiny, out)
    assert seen == ["empty.png", "text.dcm"] and second.reused == 4
    assert [f.label for f in second.findings] == [f.label for f in first.findings]
    assert [f.warnings for f in second.findings] == [f.warnings for f in first.findings]


def test_changed_file_lost_picture_and_other_bundle_are_computed_again(studies, tiny, tmp_path, monkeypatch, networks):
    out = tmp_path / "out"
    predict_files([studies], tiny, out)
    write_image(studies / "b.png", draw_chest(0.5)[0])
    (out / "pictures" / "a__10.png").unlink()
    (out / "findings" / "a__2.png.json").write_text("{ half")
    seen = _count_runs(monkeypatch)
    summary = predict_files([studies], tiny, out)
    assert seen == ["b.png", "empty.png", "text.dcm", "a/10", "a/2.png"]
    assert {f.source: f.label for f in summary.findings}["b.png"] == "normal"
    save_lungs(tmp_path / "tiny-lungs", networks)
    other = save_classifier(tmp_path / "tiny", networks, temperature=2.0)
    seen.clear()
    predict_files([studies], other, out)
    assert len(seen) == 6


_SLOW = """
import sys, time
from covidcx.edge import predict
from covidcx.edge.runtime import Predictor
fast = Predictor.analyse
def slow(self, image, source=None):
    time.sleep(0.15)
    return fast(self, image, source)
Predictor.analyse = slow
predict.predict_files([sys.argv[1]], sys.argv[2], sys.argv[3])
"""


def test_killed_batch_leaves_only_whole_files_and_is_continued(tiny, tmp_path, repo, monkeypatch):
    folder, out = tmp_path / "many", tmp_path / "out"
    for number in range(24):
        write_image(folder / f"{number:02}.png", draw_chest(0.4 + number / 50)[0])
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(folder), str(tiny), str(out)], cwd=repo)
    deadline = time.monotonic() + 60
    while len(list((out / "findings").glob("*.json"))) < 5 and time.monotonic() < deadline:
        assert process.poll() is None, "the batch ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = sorted(path.stem for path in (out / "findings").glob("*.json"))
    assert 5 <= len(finished) < 24 and not (out / "index.html").exists()
    for stem in finished:
        assert _json(out, stem)["status"] == "ok"
        assert cv2.imread(str(out / "pictures" / f"{stem}.png")) is not None
    # What a kill in the middle of a write leaves behind.
    (out / "findings" / ".05.png.json.abc.part").write_text("{")
    seen = _count_runs(monkeypatch)
    summary = predict_files([folder], tiny, out)
    assert summary.reused == len(finished) and len(seen) == 24 - len(finished)
    assert summary.statuses == {"ok": 24} and not _leftovers(out)
    with summary.table.open() as stream:
        assert len(list(csv.DictReader(stream))) == 24


def test_second_run_into_the_same_folder_at_once_is_refused(studies, tiny, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".covidcx.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CovidcxError, match="another covidcx predict"):
            predict_files([studies], tiny, out)


def test_output_inside_the_input_is_not_taken_for_input(studies, tiny):
    out = studies / "out"
    first = predict_files([studies], tiny, out)
    assert [f.source for f in predict_files([studies], tiny, out).findings] == [f.source for f in first.findings]


def test_unexpected_failure_is_recorded_and_the_rest_goes_on(studies, tiny, tmp_path, monkeypatch):
    original = Predictor.analyse

    def analyse(self, image, source=None):
        if source == "b.png":
            raise ZeroDivisionError("of all things")
        return original(self, image, source)

    monkeypatch.setattr(Predictor, "analyse", analyse)
    findings = predict_files([studies], tiny, tmp_path / "out").findings
    assert findings[0].status == "error" and "unexpected ZeroDivisionError" in findings[0].reason
    assert findings[-1].status == "ok"


def test_failure_to_write_ends_the_batch_and_blames_no_file(studies, tiny, tmp_path):
    out = tmp_path / "out"
    (out / "pictures" / "b.png.jpg").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        predict_files([studies], tiny, out)
    assert not (out / "findings" / "b.png.json").exists()


def test_output_that_is_a_file_is_refused(studies, tiny, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(CovidcxError, match="is a file"):
        predict_files([studies], tiny, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_missing_input_and_empty_folder_are_told(tmp_path, tiny):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(CovidcxError, match=r"no files to analyse in .*nothing"):
        predict_files([tmp_path / "nothing"], tiny, tmp_path / "out")
    with pytest.raises(CovidcxError, match="no such file or folder"):
        predict_files([tmp_path / "absent"], tiny, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_would_clash_get_a_suffix_and_keep_it(tmp_path):
    for name in ("x/1.png", "y/1.png", "y/A b.png", "y/a_b.png", "y/ü.png"):
        write_image(tmp_path / name, np.zeros((2, 2), np.float32))
    listed = collect([tmp_path / "x", tmp_path / "y", tmp_path / "x" / "1.png"])
    assert [entry.source for entry in listed] == ["1.png", "1.png", "A b.png", "a_b.png", "ü.png"]
    stems = [entry.stem for entry in listed]
    assert len({stem.lower() for stem in stems}) == 5
    assert all(stem.isascii() and "/" not in stem and " " not in stem for stem in stems)
    assert stems == [entry.stem for entry in collect([tmp_path / "x", tmp_path / "y"])]


def test_very_long_names_still_fit_a_file_system(tmp_path):
    path = write_image(tmp_path / ("d" * 120) / ("f" * 200), np.zeros((2, 2), np.float32))
    (entry,) = collect([tmp_path])
    assert entry.path == path and len(entry.stem) < 140


def test_pipe_in_a_folder_does_not_hang(studies, tiny, tmp_path):
    os.mkfifo(studies / "pipe.dcm")
    findings = predict_files([studies], tiny, tmp_path / "out").findings
    assert {f.source: f.status for f in findings}["pipe.dcm"] == "error"
