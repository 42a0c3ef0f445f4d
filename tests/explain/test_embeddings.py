"""Embeddings of any layer, t-SNE and feature maps on a network whose answer is known."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import ExplainError
from covidcx.explain import embeddings, feature_maps, separation, tsne
from covidcx.explain.feature_maps import contrast, tile


@pytest.fixture(scope="module")
def model():
    image = layers.Input((8, 8, 1), name="image")
    features = layers.Conv2D(2, 1, use_bias=False, name="features")(image)
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    probabilities = layers.Dense(2, activation="softmax", name="probabilities")(pooled)
    built = keras.Model(image, {"probabilities": probabilities})
    built.get_layer("features").set_weights([np.array([1.0, -2.0]).reshape(1, 1, 1, 2)])
    return built


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, 8, 8, 1), np.float32)


def test_a_feature_map_is_averaged_and_a_vector_is_taken_as_it_is(model, images):
    mean = images.mean(axis=(1, 2))
    expected = np.concatenate([mean, -2 * mean], axis=1)
    for layer in (None, "features", "pool"):
        np.testing.assert_allclose(embeddings(model, images, layer, batch_size=2), expected, rtol=1e-5)
    eight_bits = np.round(images * 255).astype(np.uint8)
    np.testing.assert_allclose(embeddings(model, eight_bits), expected, atol=0.01)
    assert embeddings(model, images[:0]).shape == (0, 2)
    with pytest.raises(ExplainError, match="Did you mean 'features'"):
        embeddings(model, images, "feature")


def test_tsne_keeps_two_groups_apart_and_is_repeatable():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (20, 60)), rng.normal(6, 1, (20, 60))])
    labels = np.repeat(["a", "b"], 20)
    flat = tsne(points, seed=1)
    assert flat.shape == (40, 2) and separation(flat, labels) > 0.5
    np.testing.assert_array_equal(flat, tsne(points, seed=1))
    assert abs(separation(flat, rng.permutation(labels))) < 0.2
    assert np.isnan(separation(flat, np.repeat("a", 40)))
    with pytest.raises(ExplainError, match="4 points"):
        tsne(points[:3])
    with pytest.raises(ExplainError, match="NaN"):
        tsne(np.full((5, 2), np.nan))


def test_feature_maps_show_the_channel_that_answers_to_the_region(model):
    image, region = np.zeros((8, 8, 1), np.float32), np.zeros((16, 16), bool)
    image[2:4, 2:4], region[4:8, 4:8] = 1.0, True
    maps = feature_maps(model, image)
    np.testing.assert_allclose(maps, np.concatenate([image, -2 * image], axis=-1))
    found = contrast(maps, region)
    assert found[0] > 3 and found[1] == pytest.approx(-found[0])
    sheet = tile(maps, columns=2, side=16)
    assert sheet.shape == (16, 34) and sheet.min() == 0 and sheet.max() == 255
    with pytest.raises(ExplainError, match="without an inside or an outside"):
        contrast(maps, np.ones((16, 16), bool))
    with pytest.raises(ExplainError, match="one image"):
        feature_maps(model, image[None])
