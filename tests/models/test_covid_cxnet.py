"""COVID-CXNet: the paper's figures, and a heat map in the graph that is Grad-CAM."""

import keras
import numpy as np
import pytest

from covidcx.errors import RecipeError
from covidcx.models.covid_cxnet import covid_cxnet, heatmap_layer, with_heatmap

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


def grad_cam_by_gradient(model, images, layer):
    features_model = keras.Model(model.input, [model.get_layer(layer).output, model.get_layer("fc").output])
    head = model.get_layer("probabilities")
    with tf.GradientTape(persistent=True) as tape:
        features, hidden = features_model(images, training=False)
        logits = tf.matmul(hidden, head.kernel.value) + head.bias.value
        scores = [tf.reduce_sum(logits[:, index]) for index in range(3)]
    maps = []
    for score in scores:
        importance = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        maps.append(tf.nn.relu(tf.reduce_sum(importance * features, axis=-1)).numpy())
    return tf.nn.softmax(logits).numpy(), np.stack(maps, axis=-1)


def test_heat_map_output_equals_gradient_computed_grad_cam_of_every_logit(model, images):
    outputs = with_heatmap(model)(images, training=False)
    probabilities, maps = grad_cam_by_gradient(model, images, "relu")
    np.testing.assert_allclose(probabilities, outputs["probabilities"], atol=1e-6)
    np.testing.assert_allclose(outputs["heatmap"], maps * maps.shape[1] * maps.shape[2], rtol=1e-3, atol=1e-5)
    assert maps.max() > 0


@pytest.fixture(scope="module")
def lung_model():
    keras.utils.set_random_seed(5)
    return covid_cxnet((64, 96, 3), backbone="mobilenet_v2", lung_pooling=True, activation="elu")


@pytest.fixture(scope="module")
def blanked():
    images = np.random.default_rng(5).uniform(0.1, 1, (2, 64, 96, 3)).astype(np.float32)
    images[:, :, 40:] = 0
    return images


def test_elu_lung_pooled_heat_map_is_grad_cam_up_to_the_lungs_share(lung_model, blanked):
    assert heatmap_layer(lung_model) == "lung_features"
    outputs = with_heatmap(lung_model)(blanked, training=False)
    probabilities, maps = grad_cam_by_gradient(lung_model, blanked, "lung_features")
    np.testing.assert_allclose(probabilities, outputs["probabilities"], atol=1e-6)
    found = outputs["heatmap"].numpy()
    assert maps.max() > 0
    for one, other in zip(found, maps, strict=True):
        scale = one.sum() / other.sum()
        np.testing.assert_allclose(one, other * scale, rtol=1e-3, atol=1e-5)


def test_lung_pooling_ignores_cells_that_preprocessing_blanked(lung_model, blanked):
    heat = with_heatmap(lung_model)(blanked, training=False)["heatmap"].numpy()
    assert heat.shape == (2, 2, 3, 3)
    assert (heat[:, :, 2] == 0).all()
    features = keras.Model(lung_model.input, lung_model.get_layer("lung_features").output)(blanked).numpy()
    assert (features[:, :, 2] == 0).all() and features[:, :, :2].any()


def test_lung_pooling_of_an_image_without_blanks_is_the_ordinary_average():
    images = np.random.default_rng(6).uniform(0.1, 1, (1, 64, 64, 3)).astype(np.float32)
    keras.utils.set_random_seed(6)
    pooled = covid_cxnet((64, 64, 3), backbone="mobilenet_v2", lung_pooling=True)
    plain = covid_cxnet((64, 64, 3), backbone="mobilenet_v2")
    plain.set_weights(pooled.get_weights())
    np.testing.assert_allclose(
        pooled(images)["probabilities"], plain(images)["probabilities"], rtol=1e-4, atol=1e-6
    )


def test_settings_that_do_not_exist_or_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match="Did you mean 'mobilenet_v2'"):
        covid_cxnet((64, 64, 3), backbone="mobilenetv2")
    with pytest.raises(RecipeError, match="unknown activation 'gelu'"):
        covid_cxnet((64, 64, 3), activation="gelu")
    with pytest.raises(RecipeError, match="multiples of 32, received 72 x 64"):
        covid_cxnet((72, 64, 3), lung_pooling=True)


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
