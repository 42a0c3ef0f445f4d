"""Grad-CAM against gradients taken another way."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import ExplainError
from covidcx.explain import grad_cam
from covidcx.explain.gradcam import find_layer
from covidcx.models import save_weights
from covidcx.models.unet import lung_unet

tf = pytest.importorskip("tensorflow")


def small(units=3, activation="softmax"):
    """A network whose middle feature map is also reached around, as DenseNet's are."""
    keras.utils.set_random_seed(5)
    image = layers.Input((16, 16, 3), name="image")
    first = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(image)
    second = layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(first)
    joined = layers.Concatenate(name="joined")([first, second])
    last = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="last")(joined)
    pooled = layers.GlobalAveragePooling2D(name="pool")(last)
    hidden = layers.Dense(10, activation="relu", name="fc")(pooled)
    answer = layers.Dense(units, activation=activation, name="head")(hidden)
    return keras.Model(image, {"probabilities": answer}, name="small")


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 16, 16, 3), dtype=np.float32)


def by_tape(model, images, label, layer):
    """Grad-CAM of the logit through a model with two outputs and GradientTape."""
    head = model.get_layer("head")
    watched = keras.Model(model.input, [model.get_layer(layer).output, head.input])
    with tf.GradientTape() as tape:
        features, hidden = watched(images, training=False)
        logits = tf.matmul(hidden, head.kernel.value) + head.bias.value
        score = tf.reduce_sum(logits[:, label])
    importance = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(importance * features, axis=-1)).numpy()


@pytest.mark.parametrize("layer", ["last", "second", "first", "joined"])
def test_map_of_every_layer_and_class_equals_the_tape(model, images, layer):
    lit = 0.0
    for label in range(3):
        expected = by_tape(model, images, label, layer)
        np.testing.assert_allclose(grad_cam(model, images, label, layer), expected, rtol=1e-4, atol=1e-7)
        lit += expected.sum()
    assert lit > 0


def test_default_layer_is_the_last_feature_map_and_batches_do_not_matter(model, images):
    assert find_layer(model).name == "last"
    whole = grad_cam(model, images, 1)
    assert whole.dtype == np.float32 and whole.shape == (3, 8, 8)
    np.testing.assert_allclose(grad_cam(model, images, 1, batch_size=2), whole, rtol=1e-5, atol=1e-8)
    assert grad_cam(model, images[:0], 1).shape == (0, 8, 8)


def test_a_certain_answer_keeps_its_map(model, images):
    certain = small()
    head = certain.get_layer("head")
    head.kernel.assign(head.kernel.value * 1e4)
    assert np.isin(np.asarray(certain(images)["probabilities"]).round(6), [0.0, 1.0]).all()
    for label in range(3):
        np.testing.assert_allclose(grad_cam(certain, images, label), grad_cam(model, images, label) * 1e4, rtol=1e-3)


def test_a_single_sigmoid_is_explained_for_both_of_its_classes(images):
    model = small(1, "sigmoid")
    positive, negative = grad_cam(model, images, 1), grad_cam(model, images, 0)
    np.testing.assert_allclose(positive, by_tape(model, images, 0, "last"), rtol=1e-4, atol=1e-7)
    assert positive.sum() + negative.sum() > 0
    assert not (positive * negative).any()


def test_a_map_output_is_explained_by_its_mean(images):
    model = lung_unet(filters=2, depth=3, size=16, dropout=0.0)
    grey = images[..., :1]
    layer = model.get_layer("down2_b_relu")
    watched = keras.Model(model.input, [layer.output, model.get_layer("lung").input])
    head = model.get_layer("lung")
    with tf.GradientTape() as tape:
        features, last = watched(grey, training=False)
        logits = tf.nn.conv2d(last, head.kernel.value, 1, "SAME") + head.bias.value
        score = tf.reduce_sum(tf.reduce_mean(logits, axis=(1, 2, 3)))
    importance = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
    expected = tf.nn.relu(tf.reduce_sum(importance * features, axis=-1)).numpy()
    np.testing.assert_allclose(grad_cam(model, grey, 0, "down2_b_relu"), expected, rtol=1e-3, atol=1e-7)
    assert find_layer(model).name == "up0_b_relu"


def test_separate_activation_layers_are_taken_off_too(model, images):
    logits = layers.Dense(3, name="logits")(model.get_layer("fc").output)
    twins = [
        keras.Model(model.input, layer(logits))
        for layer in (layers.Softmax(), layers.Activation("softmax"), layers.Activation("linear"))
    ]
    maps = [grad_cam(twin, images, 2) for twin in twins]
    np.testing.assert_allclose(maps[0], maps[2], rtol=1e-5)
    np.testing.assert_allclose(maps[1], maps[2], rtol=1e-5)


def test_the_model_is_left_as_it_was(model, images):
    before = np.asarray(model(images)["probabilities"])
    grad_cam(model, images, 0, "second")
    with pytest.raises(ExplainError):
        grad_cam(model, images, 9, "second")
    assert "call" not in vars(model.get_layer("second"))
    assert model.get_layer("head").activation is keras.activations.softmax
    np.testing.assert_array_equal(np.asarray(model(images)["probabilities"]), before)
    keras.models.clone_model(model)


def test_wrong_questions_are_answered_with_what_there_is(model, images):
    with pytest.raises(ExplainError, match=r"no layer 'secnd'. Did you mean 'second'\? .* joined, last"):
        grad_cam(model, images, 0, "secnd")
    with pytest.raises(ExplainError, match=r"'fc' has the output shape \(None, 10\)"):
        grad_cam(model, images, 0, "fc")
    with pytest.raises(ExplainError, match="label index 3 is out of range: this output has 3 classes"):
        grad_cam(model, images, 3)
    with pytest.raises(ExplainError, match="Did you mean 'probabilities'"):
        grad_cam(model, images, 0, output="probability")
    with pytest.raises(ExplainError, match=r"takes images of shape \(None, 16, 16, 3\), received \(16, 16, 3\)"):
        grad_cam(model, images[0], 0)


def test_a_layer_off_the_path_of_the_output_is_refused(model, images):
    side = layers.Conv2D(2, 1, name="side")(model.get_layer("last").output)
    both = keras.Model(model.input, {"probabilities": model.output["probabilities"], "side": side})
    with pytest.raises(ExplainError, match="'side' does not reach the output 'probabilities'"):
        grad_cam(both, images, 0, "side")
    np.testing.assert_allclose(grad_cam(both, images, 0), grad_cam(model, images, 0), rtol=1e-5)


def test_another_backend_gives_the_same_map(images, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")
    model = lung_unet(filters=2, depth=3, size=16)
    save_weights(model, tmp_path / "weights.h5", dtype="float32")
    np.save(tmp_path / "images.npy", images[..., :1])
    script = (
        "import sys, numpy as np; from covidcx.models import restore; from covidcx.explain import grad_cam\n"
        "model = restore({'name': 'lung-unet', 'kwargs': {'filters': 2, 'depth': 3, 'size': 16}}, sys.argv[1])\n"
        "np.save(sys.argv[3], grad_cam(model, np.load(sys.argv[2]), 0, 'down1_b_relu'))"
    )
    paths = [str(tmp_path / name) for name in ("weights.h5", "images.npy", "map.npy")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, env={**os.environ, "KERAS_BACKEND": "torch"})
    expected = grad_cam(model, images[..., :1], 0, "down1_b_relu")
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), expected, rtol=1e-3, atol=1e-7)
