"""A heat map must not survive random weights."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import ExplainError
from covidcx.explain import agreement, grad_cam, lime_map, randomisation_agreement, randomised
from covidcx.explain.explain import METHODS

EXPLAINERS = {
    "gradcam": lambda model, image: grad_cam(model, image[None], 1)[0],
    "lime": lambda model, image: lime_map(
        lambda images: np.asarray(model(images)["probabilities"]), image, 1, superpixels=16, samples=60
    ),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    image = layers.Input((16, 16, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv")(image)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Dense(6, activation="relu", name="fc")(layers.GlobalAveragePooling2D()(x))
    built = keras.Model(image, {"probabilities": layers.Dense(3, activation="softmax", name="head")(x)}, name="tiny")
    built.get_layer("bn").moving_mean.assign(np.arange(8) / 100)
    return built


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, 16, 16, 1), dtype=np.float32)


def test_the_map_changes_with_the_weights(model, images):
    maps = np.stack([grad_cam(model, images, label) for label in range(3)])
    shuffled = randomised(model, seed=1)
    random = np.stack([grad_cam(shuffled, images, label) for label in range(3)])
    assert maps.any() and random.any()
    assert abs(np.corrcoef(maps.ravel(), random.ravel())[0, 1]) < 0.9


def test_kernels_keep_their_values_and_all_else_stays(model):
    before = model.get_weights()
    shuffled = randomised(model, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    for variable, old, new in zip(model.weights, before, shuffled.get_weights(), strict=True):
        assert np.array_equal(np.sort(old.ravel()), np.sort(new.ravel()))
        assert np.array_equal(old, new) == (old.ndim < 2), variable.path


def test_seed_decides_and_layers_can_be_chosen(model):
    first, again, other = (randomised(model, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    head = randomised(model, seed=1, layers=["head"])
    changed = [
        variable.path
        for variable, new in zip(model.weights, head.get_weights(), strict=True)
        if not np.array_equal(np.asarray(variable.value), new)
    ]
    assert changed == ["head/kernel"]
    with pytest.raises(ExplainError, match="Did you mean 'head'"):
        randomised(model, seed=1, layers=["haed"])


def test_every_explainer_is_checked():
    assert set(EXPLAINERS) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_no_explainers_map_survives_random_weights(model, images, method):
    if method == "lime":
        pytest.importorskip("lime")
    found = [randomisation_agreement(model, lambda m, i=i: EXPLAINERS[method](m, i), seeds=(1, 2)) for i in images[:2]]
    assert np.nanmean(found) < 0.7


def test_a_map_that_ignores_the_model_is_found_out(model, images):
    edges = np.abs(np.gradient(images[0, ..., 0])[0])
    assert randomisation_agreement(model, lambda _: edges) == pytest.approx(1.0)
    assert np.isnan(randomisation_agreement(model, lambda _: np.zeros((4, 4))))


def test_agreement_is_a_rank_correlation():
    values = np.arange(12.0).reshape(3, 4)
    assert agreement(values, np.exp(values)) == pytest.approx(1.0)
    assert agreement(values, -values) == pytest.approx(-1.0)
    assert np.isnan(agreement(values, np.ones((3, 4))))
    with pytest.raises(ExplainError, match=r"\(3, 4\).*\(2, 2\)"):
        agreement(values, np.ones((2, 2)))
