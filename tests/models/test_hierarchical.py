"""Two trained stages as one model: its probabilities, its heat maps, and stages that do not fit."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import RecipeError, WeightsError
from covidcx.explain.gradcam import find_layer, grad_cam
from covidcx.models import covid_cxnet as module
from covidcx.models.covid_cxnet import covid_cxnet
from covidcx.models.hierarchical import covid_cxnet_hierarchical, fill_stages, with_heatmap

tf = pytest.importorskip("tensorflow")

SHAPE = (64, 64, 3)


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch):
    """One convolution and one batch normalisation instead of 120: what is tested here comes behind them."""

    def features(backbone, x, output_stride):
        x = layers.Conv2D(12, 5, strides=output_stride, padding="same", name="Conv1")(x)
        return layers.ReLU(name="out_relu")(layers.BatchNormalization(name="bn_Conv1")(x))

    monkeypatch.setattr(module, "_features", features)


def joined(**settings):
    stages = {}
    for seed, name in enumerate(("pneumonia", "covid")):
        keras.utils.set_random_seed(seed)
        stages[name] = covid_cxnet(SHAPE, 2, activation="elu", **settings)
        # Weights that make both decisions, rather than one half everywhere.
        stages[name].get_layer("probabilities").kernel.assign(
            8 * np.random.default_rng(seed).normal(size=(10, 1)).astype(np.float32)
        )
    model = covid_cxnet_hierarchical(SHAPE, activation="elu", **settings)
    fill_stages(model, stages)
    return model, stages


@pytest.fixture
def images():
    return np.random.default_rng(3).random((6, *SHAPE), dtype=np.float32)


@pytest.mark.parametrize("lung_pooling", [False, True])
def test_probabilities_are_those_of_two_decisions_in_a_row(images, lung_pooling):
    model, stages = joined(lung_pooling=lung_pooling, normalization="imagenet")
    p, q = (np.asarray(stages[name](images, training=False)["probabilities"])[:, 0] for name in ("pneumonia", "covid"))
    assert np.ptp(p) > 0.02 and np.ptp(q) > 0.02
    expected = np.stack([1 - p, p * (1 - q), p * q], axis=1)
    found = np.asarray(model(images, training=False)["probabilities"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("lung_pooling", [False, True])
def test_heat_map_of_a_class_sums_the_stages_that_decide_it(images, lung_pooling):
    model, stages = joined(lung_pooling=lung_pooling)
    assert find_layer(model, None, "probabilities").name == ("lung_features" if lung_pooling else "stage_features")
    maps = [grad_cam(model, images, label, None, "probabilities") for label in range(3)]
    outputs = with_heatmap(model)(images, training=False)
    for label, one in enumerate(maps):
        other = np.asarray(outputs["heatmap"][..., label]) / one.shape[1] / one.shape[2]
        scale = one.sum() / other.sum() if lung_pooling else 1.0  # up to the lungs' share, see covid_cxnet
        np.testing.assert_allclose(other * scale, one, rtol=1e-3, atol=1e-6)
        assert one.max() > 0
    # Normal is decided by the first stage alone: its map is that stage's own.
    own = grad_cam(stages["pneumonia"], images, 0, None, "probabilities")
    np.testing.assert_allclose(maps[0], own, rtol=1e-4, atol=1e-6)


def test_a_certain_answer_keeps_its_heat_map(images):
    model, _ = joined()
    for stage, bias in (("pneumonia", 60.0), ("covid", -60.0)):
        model.get_layer(f"{stage}_probabilities").bias.assign([bias])
    assert np.asarray(model(images, training=False)["probabilities"])[:, 1].min() == 1.0
    assert grad_cam(model, images, 1, None, "probabilities").max() > 0


def test_stages_that_do_not_fit_are_refused():
    model, stages = joined()
    with pytest.raises(WeightsError, match=r"stages are pneumonia, covid, received covid"):
        fill_stages(model, {"covid": stages["covid"]})
    with pytest.raises(WeightsError, match=r"3 variables differ \(pneumonia_fc/kernel"):
        fill_stages(model, {**stages, "pneumonia": covid_cxnet(SHAPE, 2, hidden=4)})
    with pytest.raises(RecipeError, match="three classes apart, received 2"):
        covid_cxnet_hierarchical(SHAPE, 2)
