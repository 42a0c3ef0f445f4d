"""COVID-CXNet: the paper's figures, and a heat map in the graph that is Grad-CAM."""

import keras
import numpy as np
import pytest

from covidcx.models.covid_cxnet import covid_cxnet, with_heatmap

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return covid_cxnet((64, 64, 3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).random((3, 64, 64, 3), dtype=np.float32)


def test_layer_and_parameter_count_of_the_paper(model):
    assert len(model.layers) == 431
    assert model.count_params() == 7_047_787


def test_the_head_is_ten_nodes_dropout_and_softmax(model):
    assert [layer.name for layer in model.layers[-4:]] == ["pool", "fc", "dropout", "probabilities"]
    assert model.get_layer("fc").units == 10
    assert model.get_layer("dropout").rate == pytest.approx(0.2)


def test_heat_map_output_equals_gradient_computed_grad_cam_of_every_logit(model, images):
    outputs = with_heatmap(model)(images, training=False)
    features_model = keras.Model(model.input, [model.get_layer("relu").output, model.get_layer("fc").output])
    head = model.get_layer("probabilities")
    with tf.GradientTape(persistent=True) as tape:
        features, hidden = features_model(images, training=False)
        logits = tf.matmul(hidden, head.kernel.value) + head.bias.value
        scores = [tf.reduce_sum(logits[:, index]) for index in range(3)]
    np.testing.assert_allclose(tf.nn.softmax(logits), outputs["probabilities"], atol=1e-6)
    positions, lit = features.shape[1] * features.shape[2], 0
    for index, score in enumerate(scores):
        importance = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        grad_cam = tf.nn.relu(tf.reduce_sum(importance * features, axis=-1)).numpy()
        lit += grad_cam.max() > 0
        np.testing.assert_allclose(outputs["heatmap"][..., index], grad_cam * positions, rtol=1e-3, atol=1e-5)
    assert lit >= 1


def test_heat_map_model_leaves_the_probabilities_alone(model, images):
    expected = model(images, training=False)["probabilities"]
    np.testing.assert_allclose(with_heatmap(model)(images, training=False)["probabilities"], expected, atol=1e-6)


def test_two_classes_give_one_sigmoid_and_imagenet_scaling_moves_the_input():
    model = covid_cxnet((32, 32, 3), classes=2, normalization="imagenet")
    assert model.output["probabilities"].shape == (None, 1)
    assert model.get_layer("probabilities").activation is keras.activations.sigmoid
    scaled = keras.Model(model.input, model.get_layer("imagenet_normalization").output)
    grey = np.full((1, 32, 32, 3), 0.5, np.float32)
    expected = (0.5 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(np.asarray(scaled(grey))[0, 0, 0], expected, rtol=1e-4)
