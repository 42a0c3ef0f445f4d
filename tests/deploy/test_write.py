"""Writing bundles: complete, checked against Keras, never half replaced."""

import keras
import numpy as np
import pytest

from covidcx.bundle import Bundle
from covidcx.deploy import write
from covidcx.deploy.tflite import run_tflite, to_tflite
from covidcx.edge.lite import LiteModel
from covidcx.errors import BundleError, WeightsError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI
from covidcx.models import build
from covidcx.models.restore import restore

SPEC = Preprocessing(size=(64, 64), channels=("clahe",))
UNET = {"name": "lung-unet", "kwargs": {"filters": 4, "size": 64}}
_CONVERTED = pytest.StashKey[dict]()
CXNET = {"name": "covid-cxnet", "kwargs": {"input_shape": [64, 64, 3]}}


@pytest.fixture(scope="module")
def unet():
    keras.utils.set_random_seed(1)
    return build(UNET["name"], **UNET["kwargs"])


@pytest.fixture
def converted_before(unet, monkeypatch, request):
    """Take the conversion of `unet` as done; it is the slow part and not what the test is about."""
    cache = request.config.stash.setdefault(_CONVERTED, {})
    content = cache.get("unet") or cache.setdefault("unet", to_tflite(unet))
    monkeypatch.setattr(write, "to_tflite", lambda model, quantize: content)


def _write(folder, model, **changes) -> Bundle:
    fields = {
        "architecture": UNET,
        "name": folder.name,
        "task": "segment",
        "labels": ("lung",),
        "preprocessing": SPEC,
        "licence": "MIT",
    }
    return write.write_bundle(folder, model, **{**fields, **changes})


@pytest.fixture(scope="module")
def cxnet_bundle(tmp_path_factory) -> tuple[keras.Model, Bundle]:
    """COVID-CXNet at 64 pixels with random weights; converting DenseNet-121 takes a while, so it is done once."""
    keras.utils.set_random_seed(3)
    model = build(CXNET["name"], **CXNET["kwargs"])
    # Random weights leave the head near 1/3 each and half of its hidden nodes dead; make the outputs differ.
    fc, head = model.get_layer("fc"), model.get_layer("probabilities")
    fc.set_weights([fc.get_weights()[0], np.full(fc.units, 0.2)])
    head.set_weights([head.get_weights()[0] * 3, np.array([0.0, -0.5, 0.5])])
    bundle = _write(
        tmp_path_factory.mktemp("saved_models") / "covid-cxnet",
        model,
        architecture=CXNET,
        task="classify",
        labels=("normal", "cap", "covid"),
        preprocessing=Preprocessing(size=(64, 64), roi=LungROI()),
        segmenter="lung-unet",
        temperature=2.0,
        operating_points={"covid": {"threshold": 0.4, "rule": "test"}},
        training={"seed": 3},
        metrics={"auc": 0.5},
        data_licences=["CC BY 4.0"],
        card="# Card\n",
    )
    return model, bundle


def test_classifier_bundle_is_complete_and_carries_its_fields(cxnet_bundle):
    _, bundle = cxnet_bundle
    assert set(bundle.files) == {"weights.h5", "model.tflite", "MODEL_CARD.md"}
    assert bundle.temperature == 2.0 and bundle.operating_points["covid"]["threshold"] == 0.4
    assert bundle.training == {"seed": 3} and bundle.metrics == {"auc": 0.5} and bundle.data_licences == ("CC BY 4.0",)
    sizes = {name: bundle.path(name).stat().st_size for name in bundle.files}
    assert sizes["weights.h5"] < 15e6 < sizes["model.tflite"], "weights in float16, TFLite in float32"
    assert not list(bundle.folder.parent.glob(".*")), "staging folders stayed behind"


def test_tflite_gives_uncalibrated_probabilities_and_a_heat_map_per_class(cxnet_bundle):
    model, bundle = cxnet_bundle
    network = LiteModel(bundle.path("model.tflite"))
    image = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    found, expected = network(image), np.asarray(model(image, training=False)["probabilities"])
    assert np.ptp(expected) > 0.05
    assert found["probabilities"] == pytest.approx(expected, abs=1e-2), "the temperature must not be in the graph"
    assert found["heatmap"].shape == (1, 2, 2, 3) and found["heatmap"].min() >= 0 and found["heatmap"].max() > 0


def test_weights_file_restores_the_same_model(cxnet_bundle):
    model, bundle = cxnet_bundle
    again = restore(bundle.model, bundle.path("weights.h5"))
    image = np.random.default_rng(1).random((2, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(model(image, training=False)["probabilities"])
    assert np.asarray(again(image, training=False)["probabilities"]) == pytest.approx(expected, abs=1e-2)


def test_segmenter_bundle_is_written_without_float16_when_asked(unet, tmp_path):
    bundle = _write(tmp_path / "lung-unet", unet, quantize="none")
    image = np.random.default_rng(0).random((1, 64, 64, 1)).astype(np.float32)
    found = run_tflite(bundle.path("model.tflite"), image)["lung"]
    assert np.abs(found - np.asarray(unet(image, training=False)["lung"])).max() < 1e-4


def test_bundle_that_computes_something_else_is_refused_with_figures(unet, tmp_path, converted_before):
    before = _write(tmp_path / "lung-unet", unet).checksum
    # The conversion still gives the first model: as if the converter had dropped the new weights.
    changed = build(UNET["name"], **UNET["kwargs"])
    changed.set_weights(unet.get_weights())
    changed.get_layer("lung").set_weights([changed.get_layer("lung").get_weights()[0], np.array([2.0])])
    with pytest.raises(BundleError, match=r"model\.tflite differs from the Keras model by 0\.\d+ in 'lung', 0\.0001"):
        _write(tmp_path / "lung-unet", changed)
    assert Bundle.open(tmp_path / "lung-unet").checksum == before, "the old bundle must survive a refused one"
    assert [path.name for path in tmp_path.iterdir()] == ["lung-unet"]


def test_architecture_that_is_not_the_models_is_refused(unet, tmp_path):
    with pytest.raises(WeightsError, match="does not fit"):
        _write(tmp_path / "x", unet, architecture={"name": "lung-unet", "kwargs": {"filters": 8, "size": 64}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": Preprocessing(size=(32, 32), channels=("clahe",))}, r"\(64, 64, 1\).*\(32, 32, 1\)"),
        ({"preprocessing": Preprocessing(size=(64, 64))}, r"\(64, 64, 3\)"),
        ({"labels": ("left", "right")}, "1 channels for the 2 labels"),
        ({"task": "classify"}, "'probabilities'"),
        ({"task": "guess"}, "'guess'"),
    ],
)
def test_model_labels_and_preprocessing_must_fit(unet, tmp_path, changes, message):
    with pytest.raises(BundleError, match=message):
        _write(tmp_path / "x", unet, **changes)
    assert not list(tmp_path.iterdir())


def test_replacing_a_bundle_leaves_no_old_files(unet, tmp_path, converted_before):
    first = _write(tmp_path / "lung-unet", unet, card="old", metrics={"dice": 0.1})
    second = _write(tmp_path / "lung-unet", unet, metrics={"dice": 0.2})
    assert first.checksum != second.checksum and second.metrics == {"dice": 0.2}
    assert not (tmp_path / "lung-unet" / "MODEL_CARD.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lung-unet"]
