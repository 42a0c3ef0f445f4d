"""The base model: the paper's layers, a parameter count that the text allows, and Grad-CAM in the graph."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import RecipeError
from covidcx.explain.gradcam import find_layer, grad_cam
from covidcx.models.base_model import base_model, with_heatmap

pytest.importorskip("tensorflow")


def test_layers_are_those_of_section_4_1_and_their_weights_are_counted():
    model = base_model((320, 320, 3))
    kinds = [type(layer) for layer in model.layers[1:]]
    assert kinds == [layers.Conv2D] * 5 + [layers.Flatten] + [layers.Dense] * 3
    assert {(layer.filters, layer.kernel_size, layer.activation.__name__) for layer in model.layers[1:6]} == {
        (32, (3, 3), "relu")
    }
    assert [layer.units for layer in model.layers[-3:]] == [10, 10, 1]
    assert model.count_params() == 63_939
    assert base_model((128, 128, 3)).count_params() == 40_899
    # Without strides the flattened map alone costs 310 x 310 x 32 x 10 weights, as the docstring says.
    assert base_model((320, 320, 3), stride=1).get_layer("fc1").kernel.shape == (310 * 310 * 32, 10)


@pytest.mark.parametrize("classes", [2, 3])
def test_heat_map_output_equals_gradient_computed_grad_cam(classes):
    keras.utils.set_random_seed(1)
    model = base_model((128, 96, 3), classes)
    for name in ("fc1", "fc2"):
        model.get_layer(name).bias.assign(np.random.default_rng(2).normal(0, 0.1, 10))
    images = np.random.default_rng(1).random((3, 128, 96, 3), dtype=np.float32)
    outputs = with_heatmap(model)(images, training=False)
    np.testing.assert_allclose(outputs["probabilities"], model(images, training=False)["probabilities"], atol=1e-6)
    assert find_layer(model, None, "probabilities").name == "conv5"
    for column in range(outputs["heatmap"].shape[-1]):
        expected = grad_cam(model, images, 1 if classes == 2 else column, None, "probabilities")
        np.testing.assert_allclose(outputs["heatmap"][..., column], expected, rtol=1e-3, atol=1e-7)
    assert np.asarray(outputs["heatmap"]).max() > 0


def test_an_image_too_small_for_five_convolutions_is_refused():
    with pytest.raises(RecipeError, match="larger images than 32 x 32"):
        base_model((32, 32, 3))
