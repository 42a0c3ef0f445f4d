"""Quantised exports: written only where they answer as Keras does, with everything about them inside the file."""

import json
import subprocess
import zipfile

import keras
import numpy as np
import pytest

from covidcx.bundle import Bundle
from covidcx.cli import main
from covidcx.data.phantom import write_phantom
from covidcx.deploy import export_tflite as exporting
from covidcx.deploy.export_tflite import Agreement, compare_classes, compare_masks, export_tflite
from covidcx.deploy.metadata import add_metadata, read_metadata
from covidcx.deploy.tflite import to_tflite
from covidcx.deploy.write import write_bundle
from covidcx.edge.lite import LiteModel
from covidcx.edge.runtime import load
from covidcx.errors import BundleError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI
from covidcx.models import build

LABELS = ("normal", "cap", "covid")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A small classifier with its segmenter, weights at random but with outputs that differ."""
    folder = tmp_path_factory.mktemp("bundles")
    keras.utils.set_random_seed(2)
    unet = {"name": "lung-unet", "kwargs": {"filters": 2, "size": 256}}
    write_bundle(
        folder / "small-lungs", build(unet["name"], **unet["kwargs"]), architecture=unet, name="small-lungs",
        task="segment", labels=("lung",), preprocessing=Preprocessing(size=(256, 256), channels=("original",)),
        licence="MIT",
    )  # fmt: skip
    spec = {"backbone": "mobilenet_v2", "activation": "elu", "input_shape": [64, 64, 3]}
    model = build("covid-cxnet", **spec)
    model.get_layer("fc").set_weights([w * 4 for w in model.get_layer("fc").get_weights()])
    return write_bundle(
        folder / "small", model, architecture={"name": "covid-cxnet", "kwargs": spec}, name="small", task="classify",
        labels=LABELS, preprocessing=Preprocessing(size=(64, 64), roi=LungROI(enhance="none")), licence="MIT",
        segmenter="small-lungs", operating_points={"covid": {"threshold": 0.4, "rule": "by hand"}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(pair, tmp_path_factory):
    return export_tflite(pair, tmp_path_factory.mktemp("plain"), "none", checked=6)


def test_float_export_is_a_bundle_that_predicts(pair, plain, tmp_path):
    for agreement in plain.agreement.values():
        assert agreement.worst < 1e-4 and agreement.images == 6
    opened = Bundle.open(plain.folder)
    assert opened.labels == LABELS and "weights.h5" not in opened.files
    assert opened.training["export"]["from_checksum"] == pair.checksum
    manifest = write_phantom(tmp_path, patients=3, size=128, seed=3)
    # The classifier runs; whether lungs are found by random weights does not matter here.
    model = LiteModel(opened.path("model.tflite"))
    assert set(model.outputs) == {"probabilities", "heatmap"} and manifest.is_file()
    assert load(plain.folder).segmenter.folder == plain.folder.parent / "small-lungs"


def test_the_file_says_what_it_is_without_covidcx(plain):
    path = plain.folder / "model.tflite"
    about = read_metadata(path)
    assert about["labels"] == list(LABELS) and about["operating_points"]["covid"]["threshold"] == 0.4
    assert about["quantize"] == "none" and len(about["from_checksum"]) == 64
    assert "not for diagnostic use" in about["disclaimer"]
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == list(LABELS)
    shown = subprocess.run(["python3", "-m", "zipfile", "-l", str(path)], capture_output=True, text=True, check=True)
    assert "covidcx.json" in shown.stdout


def test_a_file_without_metadata_is_told(tmp_path):
    path = tmp_path / "bare.tflite"
    path.write_bytes(b"TFL3" * 10)
    with pytest.raises(BundleError, match="carries no covidcx metadata"):
        read_metadata(path)
    path.write_bytes(add_metadata(b"TFL3" * 10, {"labels": ["a"]}))
    assert read_metadata(path) == {"labels": ["a"]}


def test_int8_network_is_int8_inside_with_float_ends(pair):
    from ai_edge_litert.interpreter import Interpreter

    from covidcx.models import restore

    rng = np.random.default_rng(0)
    images = [rng.random((1, 64, 64, 3)).astype(np.float32) for _ in range(4)]
    content = to_tflite(restore(pair.model, pair.path("weights.h5")), "int8", images)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    kinds = [np.dtype(detail["dtype"]) for detail in interpreter.get_tensor_details()]
    assert interpreter.get_input_details()[0]["dtype"] == np.float32
    assert kinds.count(np.dtype(np.int8)) > 0.6 * len(kinds)
    assert len(content) < 0.4 * len(to_tflite(restore(pair.model, pair.path("weights.h5"))))


def test_int8_without_images_is_refused(pair):
    from covidcx.models import restore

    with pytest.raises(BundleError, match="needs prepared training images"):
        to_tflite(restore(pair.model, pair.path("weights.h5")), "int8")


def test_a_failing_gate_writes_nothing_and_tells_the_figures(pair, tmp_path, monkeypatch, capsys):
    bad = Agreement(10, 0.4, same_class=0.9, auc=0.8, auc_keras=0.9, spread=0.2)
    monkeypatch.setattr(exporting, "_convert", lambda *_: (b"", bad))
    out = tmp_path / "out"
    assert main(["export", str(pair.folder), "--to", "tflite", "--quantize", "dynamic", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    for figure in ("90.0%", "0.900 to 0.800", "20%"):
        assert figure in error
    assert error.count("\n") == 1 and not out.exists()


def test_a_network_that_stops_on_an_image_is_not_written(pair, tmp_path, monkeypatch, capsys):
    run = LiteModel.__call__

    def stopped(self, image):
        # The bundle's own networks prepare the images; the new one is checked from a folder of its own.
        if self.path.is_relative_to(pair.folder.parent):
            return run(self, image)
        raise RuntimeError("div.cc: Node number 167 (DIV) failed to invoke.")

    monkeypatch.setattr(LiteModel, "__call__", stopped)
    out = tmp_path / "out"
    assert main(["export", str(pair.folder), "--to", "tflite", "--quantize", "dynamic", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "in dynamic stops on an image" in error and "(DIV)" in error and error.count("\n") == 1
    assert not out.exists()


def test_the_original_is_never_overwritten(pair):
    with pytest.raises(BundleError, match="holds the original"):
        export_tflite(pair, pair.folder.parent)


def test_gates_measure_what_they_say(pair):
    rng = np.random.default_rng(0)
    expected = rng.dirichlet([1, 1, 1], 200)
    labels = [LABELS[i] for i in expected.argmax(axis=1)]
    same = compare_classes(pair, expected, expected + 0.0, labels)
    assert (same.worst, same.same_class, same.auc) == (0.0, 1.0, same.auc_keras) and not same.failures("int8")
    collapsed = compare_classes(pair, expected, 1 / 3 + 0.01 * (expected - 1 / 3), labels)
    assert collapsed.auc == pytest.approx(collapsed.auc_keras) and collapsed.spread == pytest.approx(0.01, abs=1e-4)
    assert any("spread" in text for text in collapsed.failures("int8"))
    shuffled = compare_classes(pair, expected, rng.permutation(expected), labels)
    assert len(shuffled.failures("int8")) == 2 and shuffled.failures("none")[0].startswith("probabilities differ")
    broken = compare_classes(pair, expected, np.where(rng.random(expected.shape) < 0.01, 0.0, expected), None)
    assert broken.auc is None
    masks = rng.random((3, 8, 8, 1))
    assert compare_masks(masks, masks).dice == 1.0 and compare_masks(masks, 1 - masks).dice == 0.0
    assert compare_masks(masks, 1 - masks).failures("int8")
    edge = masks + np.where(np.abs(masks - 0.5) > 0.1, 0.02, 0.0)
    assert compare_masks(masks, edge).failures("none") and not compare_masks(masks, edge).failures("float16")


def test_metadata_says_what_it_was_calibrated_on(plain):
    export = json.loads((plain.folder / "bundle.json").read_text())["training"]["export"]
    assert export["checked_on"] == "phantom" and export["calibrated_on"] is None
