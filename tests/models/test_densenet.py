"""Our DenseNet is keras.applications' DenseNet-121; the multi-task network is built on it."""

import keras
import numpy as np
import pytest

from covidcx.errors import RecipeError
from covidcx.models import build
from covidcx.models.densenet import densenet_features
from covidcx.models.densenet_names import backbone_paths
from covidcx.models.restore import by_path


@pytest.fixture(scope="module")
def networks():
    image = keras.Input((64, 64, 3))
    ours = keras.Model(image, densenet_features(image))
    published = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    variables = by_path(ours)
    assert set(variables) == set(by_path(published)) == set(backbone_paths())
    for path, variable in by_path(published).items():
        values = rng.uniform(0.5, 1.5, variable.shape) if "variance" in path or "gamma" in path else (
            rng.normal(0, 0.05, variable.shape)
        )  # fmt: skip
        variable.assign(values)
        variables[path].assign(values)
    return ours, published


def test_the_default_is_densenet121_weight_for_weight(networks):
    ours, published = networks
    images = np.random.default_rng(1).random((1, 64, 64, 3), np.float32)
    found, expected = ours(images, training=False), published(images, training=False)
    np.testing.assert_allclose(found[32], expected, atol=1e-5, rtol=1e-4)
    assert {stride: tuple(values.shape[1:]) for stride, values in found.items()} == {
        2: (32, 32, 64), 4: (16, 16, 256), 8: (8, 8, 512), 16: (4, 4, 1024), 32: (2, 2, 1024),
    }  # fmt: skip


def test_the_decoder_joins_the_encoders_map_of_every_stride():
    model = build("multitask-unet", input_shape=(64, 64, 3), blocks=(1, 1, 1, 1), growth=4, filters=(8, 8, 8, 4, 4))
    maps = {16: "pool4_relu", 8: "pool3_relu", 4: "pool2_relu", 2: "conv1_relu"}
    for stride, name in maps.items():
        joined = model.get_layer(f"decoder{stride}_concat").input[1]
        assert joined is model.get_layer(name).output and joined.shape[1] == 64 // stride


@pytest.mark.parametrize(("arguments", "message"), [
    ({"input_shape": (50, 64, 3)}, "multiples of 32"), ({"blocks": (1, 2)}, "four blocks"),
])  # fmt: skip
def test_a_size_or_a_depth_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        build("multitask-unet", **arguments)


def test_a_baseline_answers_with_probabilities():
    """ResNet-50; MobileNet and EfficientNet are built where their ImageNet weights are tested."""
    model = build("cnn-baseline", input_shape=(32, 32, 3), backbone="resnet50")
    answer = np.asarray(model(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))["probabilities"])
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("backbone", "count"), [("mobilenet_v2", 2_257_984), ("vgg19", 20_024_384)])
def test_the_comparisons_of_comit_net_have_two_sigmoids_behind_fully_connected_layers(backbone, count):
    model = build("cnn-baseline", input_shape=(32, 32, 3), backbone=backbone, hidden=(16, 8), classes=2,
                  activation="sigmoid", output="infection")  # fmt: skip
    pooled = model.get_layer("pool").output.shape[-1]
    assert model.count_params() == count + pooled * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2
    answer = np.asarray(model(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))["infection"])
    assert answer.shape == (2, 2) and (answer > 0).all() and (answer < 1).all()


def test_an_unknown_backbone_gets_a_hint():
    with pytest.raises(RecipeError, match="Did you mean 'resnet50'"):
        build("cnn-baseline", backbone="resnet")
