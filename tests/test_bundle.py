"""Bundles: found, verified, refused when altered; calibration and class decision."""

import json
from pathlib import Path

import numpy as np
import pytest

from covidcx.bundle import (
    FORMAT,
    Bundle,
    _own_checksum,
    calibrate,
    decide,
    names,
    search_folders,
    update_bundle,
    write_bundle_json,
)
from covidcx.errors import BundleError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI

LABELS = ("normal", "cap", "covid")


def _fields(**changes):
    fields = {
        "name": "tiny",
        "task": "classify",
        "labels": list(LABELS),
        "preprocessing": Preprocessing(size=(64, 64), roi=LungROI(blank=True)),
        "model": {"name": "covid-cxnet", "kwargs": {"input_shape": [64, 64, 3]}},
        "operating_points": {"covid": {"threshold": 0.4, "rule": "sensitivity 0.9 on val"}},
        "temperature": 1.3,
        "segmenter": "lung-unet",
        "licence": "MIT",
        "data_licences": ["CC BY 4.0"],
    }
    return {**fields, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "saved_models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(bytes(range(256)) * 20)
    (folder / "MODEL_CARD.md").write_text("A card.\n")
    write_bundle_json(folder, **_fields())
    return folder


def _rewrite(folder: Path, **changes) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_written_bundle_reads_back_with_every_field(folder):
    bundle = Bundle.open(folder)
    assert bundle.name == "tiny" and bundle.labels == LABELS and bundle.temperature == 1.3
    assert bundle.preprocessing == _fields()["preprocessing"]
    assert bundle.operating_points["covid"]["threshold"] == 0.4
    assert set(bundle.files) == {"model.tflite", "MODEL_CARD.md"}
    assert bundle.path("model.tflite") == folder / "model.tflite"
    assert "not for diagnostic use" in bundle.disclaimer
    assert Bundle.open(str(folder / "bundle.json")).checksum == bundle.checksum


def test_unknown_file_of_a_bundle_gets_a_hint(folder):
    with pytest.raises(BundleError, match=r"no file 'model.tflit'.*'model.tflite'"):
        Bundle.open(folder).path("model.tflit")


@pytest.mark.parametrize("position", [0, 2000, -1])
def test_one_changed_byte_in_a_file_is_refused_with_both_checksums(folder, position):
    path = folder / "model.tflite"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.tflite.*checksum [0-9a-f]{12} expected, [0-9a-f]{12} found.*fetch"):
        Bundle.open(folder)


def test_every_changed_digit_in_bundle_json_is_refused(folder):
    path = folder / "bundle.json"
    text = path.read_text()
    for old, new in (("0.4", "0.9"), ("1.3", "1.4"), ("sensitivity", "sensibility"), ('"cap"', '"cup"')):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BundleError, match=r"bundle\.json was altered"):
            Bundle.open(folder)


def test_missing_file_is_named(folder):
    (folder / "model.tflite").unlink()
    with pytest.raises(BundleError, match=r"model\.tflite is missing"):
        Bundle.open(folder)


def test_newer_format_is_refused_with_advice_to_upgrade(folder):
    _rewrite(folder, format=FORMAT + 1)
    with pytest.raises(BundleError, match=rf"format {FORMAT + 1}.*up to {FORMAT}.*upgrade"):
        Bundle.open(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"", b"\xff\xfe\x00", b'{"format": "one"}'])
def test_broken_bundle_json_is_a_bundle_error(folder, content):
    (folder / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json.*fetch the bundle again"):
        Bundle.open(folder)


@pytest.mark.parametrize("field", ["labels", "files", "preprocessing", "temperature", "segmenter", "licence"])
def test_missing_field_is_named(folder, field):
    path = folder / "bundle.json"
    value = json.loads(path.read_text())
    del value[field]
    path.write_text(json.dumps(value))
    with pytest.raises(BundleError, match=f"field '{field}' is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "guess"}, "task is 'guess'"),
        ({"labels": ["a", "a"]}, "distinct"),
        ({"labels": [["a"], "b"]}, "distinct"),
        ({"temperature": 0}, "temperature"),
        ({"operating_points": {"flu": {"threshold": 0.5}}}, "unknown label 'flu'"),
        ({"operating_points": {"covid": {"threshold": 1.5}}}, "threshold"),
        ({"operating_points": {"covid": 0.5}}, "threshold"),
        ({"segmenter": None}, "segmenter"),
        ({"model": {"name": "covid-cxnet"}}, "kwargs"),
        ({"licence": None}, "licence"),
        ({"metrics": {"auc": float("nan")}}, "JSON"),
        ({"flavour": "sweet"}, "unknown bundle field 'flavour'"),
    ],
)
def test_unusable_fields_are_refused_on_writing(folder, changes, message):
    before = (folder / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match=message):
        write_bundle_json(folder, **_fields(**changes))
    assert (folder / "bundle.json").read_bytes() == before
    assert not list(folder.glob(".*")), "a refused write left a temporary file"


def test_unusable_preprocessing_is_a_bundle_error(folder):
    spec = _fields()["preprocessing"].to_dict()
    write_bundle_json(folder, **_fields(preprocessing={**spec, "roi": {"depth": 3}}))
    with pytest.raises(BundleError, match="preprocessing"):
        Bundle.open(folder)


def test_file_outside_the_folder_is_never_opened(folder):
    (folder.parent / "secret").write_text("x")
    path = folder / "bundle.json"
    from covidcx.bundle import _own_checksum

    value = json.loads(path.read_text())
    value["files"]["../secret"] = "0" * 64
    value["checksum"] = _own_checksum(value)
    path.write_text(json.dumps(value))
    with pytest.raises(BundleError, match="outside its folder"):
        Bundle.open(folder)


def test_names_are_found_in_search_order(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert Bundle.open("tiny").folder == Path("saved_models/tiny")
    first = tmp_path / "first" / "tiny"
    first.mkdir(parents=True)
    write_bundle_json(first, **_fields(licence="other"))
    monkeypatch.setenv("COVIDCX_BUNDLES", str(tmp_path / "first"))
    assert search_folders()[0] == tmp_path / "first"
    assert Bundle.open("tiny").licence == "other"
    assert "tiny" in names()


def test_unknown_name_suggests_the_nearest(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"unknown bundle 'tinny'. Did you mean 'tiny'\?"):
        Bundle.open("tinny")
    with pytest.raises(BundleError, match="is no folder"):
        Bundle.open("some/where")
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        Bundle.open(tmp_path)


def test_segmenter_is_looked_for_beside_the_bundle_and_must_segment(folder):
    bundle = Bundle.open(folder)
    beside = folder.parent / "lung-unet"
    beside.mkdir()
    segment = {"name": "lung-unet", "task": "segment", "labels": ["lung"], "operating_points": {}, "segmenter": None}
    write_bundle_json(beside, **_fields(**segment))
    assert bundle.open_segmenter().folder == beside
    assert Bundle.open(beside).open_segmenter() is None
    write_bundle_json(beside, **_fields(name="lung-unet"))
    with pytest.raises(BundleError, match="task 'classify'"):
        bundle.open_segmenter()


def test_gate_is_looked_for_beside_the_bundle_and_must_be_one(folder):
    beside = folder.parent / "tiny-gate"
    beside.mkdir()
    point = {"frontal": {"threshold": 0.5}}
    spec = Preprocessing(size=(64, 64), channels=("original",))
    gate = {"name": "tiny-gate", "labels": ["frontal", "no_chest"], "operating_points": point, "preprocessing": spec}
    write_bundle_json(beside, **_fields(**gate, segmenter=None))
    write_bundle_json(folder, **_fields(gate="tiny-gate"))
    assert Bundle.open(folder).gate == "tiny-gate"
    assert Bundle.open(folder).open_gate().folder == beside
    assert Bundle.open(beside).open_gate() is None
    for changes in ({"operating_points": {}}, {"preprocessing": Preprocessing(size=(64, 64), roi=LungROI()),
                                               "segmenter": "lung-unet"}):  # fmt: skip
        write_bundle_json(beside, **_fields(**{**gate, "segmenter": None, **changes}))
        with pytest.raises(BundleError, match="'tiny-gate' as its gate"):
            Bundle.open(folder).open_gate()


def test_bundle_written_before_there_were_gates_has_none(folder):
    path = folder / "bundle.json"
    value = json.loads(path.read_text())
    del value["gate"]
    value["checksum"] = _own_checksum(value)
    path.write_text(json.dumps(value))
    assert Bundle.open(folder).gate is None
    update_bundle(folder, gate="frontal-gate")
    assert Bundle.open(folder).gate == "frontal-gate"


def test_update_replaces_a_card_and_metrics_but_not_an_altered_bundle(folder):
    before = Bundle.open(folder)
    update_bundle(folder, {"MODEL_CARD.md": b"A better card.\n"}, metrics={"auc": 0.98})
    after = Bundle.open(folder)
    assert after.metrics == {"auc": 0.98} and after.operating_points == before.operating_points
    assert (folder / "MODEL_CARD.md").read_text() == "A better card.\n" and after.checksum != before.checksum
    (folder / "model.tflite").write_bytes(b"altered")
    with pytest.raises(BundleError, match="altered"):
        update_bundle(folder, metrics={})


def test_temperature_one_changes_nothing_and_two_takes_square_roots():
    p = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    assert calibrate(p, 1.0) == pytest.approx(p, abs=1e-12)
    roots = np.sqrt(p[0])
    assert calibrate(p, 2.0)[0] == pytest.approx(roots / roots.sum())
    assert calibrate(p, 2.0).sum(axis=1) == pytest.approx([1.0, 1.0])


def test_sigmoid_column_becomes_two_classes_and_scales_as_its_logit():
    p = 0.9
    expected = 1 / (1 + np.exp(-np.log(p / (1 - p)) / 3))
    assert calibrate(np.array([[p]]), 3.0) == pytest.approx(np.array([[1 - expected, expected]]))


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([[np.nan, 1.0]]), np.zeros((1, 2, 3))])
def test_probabilities_that_are_none_are_refused(bad):
    with pytest.raises(BundleError, match="probabilities"):
        calibrate(bad, 1.0)


def test_threshold_is_inclusive_and_the_rest_falls_to_the_best_other_label():
    p = np.array([[0.5, 0.1, 0.4], [0.5, 0.11, 0.39], [0.2, 0.21, 0.39], [0.1, 0.2, 0.7]])
    points = {"covid": {"threshold": 0.4}}
    assert decide(p, LABELS, points) == ["covid", "normal", "cap", "covid"]


def test_below_its_threshold_a_label_is_not_called_even_when_most_probable():
    assert decide(np.array([[0.1, 0.2, 0.7]]), LABELS, {"covid": {"threshold": 0.8}}) == ["cap"]


def test_without_operating_points_the_most_probable_is_called():
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert decide(p, LABELS, {}) == ["cap", "normal"]
    every = {label: {"threshold": 1.0} for label in LABELS}
    assert decide(p, LABELS, every) == ["cap", "normal"]


def test_decide_refuses_unknown_labels_and_wrong_widths():
    with pytest.raises(BundleError, match="'flu'"):
        decide(np.ones((1, 3)) / 3, LABELS, {"flu": {"threshold": 0.1}})
    with pytest.raises(BundleError, match="N x 3"):
        decide(np.ones((1, 2)) / 2, LABELS, {})
