"""Every registered model keeps the same promises; a new line in the registry is tested by itself."""

import keras
import numpy as np
import pytest

from covidcx.models import build, restore, save_weights
from covidcx.models.losses import DiceCrossEntropy, SetCrossEntropy
from covidcx.models.mask_rcnn import MaskRCNN
from covidcx.models.registry import MODELS

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module", params=sorted(MODELS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    keras.utils.set_random_seed(7)
    built = build(name, **MODELS[name][2])
    # Fresh batch normalisation has mean 0 and variance 1 everywhere; a round trip must move real values.
    rng = np.random.default_rng(7)
    for layer in built.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    return built


@pytest.fixture(scope="module")
def images(model):
    return np.random.default_rng(0).random((2, *model.input_shape[1:]), dtype=np.float32)


@pytest.fixture(scope="module")
def outputs(model, images):
    return {key: np.asarray(value) for key, value in model(images, training=False).items()}


def test_outputs_are_a_dictionary_of_probabilities_with_the_declared_shapes(model, outputs):
    assert isinstance(model.output, dict)
    assert set(outputs) == set(model.output)
    for key, values in outputs.items():
        assert values.shape[1:] == model.output[key].shape[1:]
        assert values.dtype == np.float32
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
        assert values.std() > 0


def test_input_is_one_tensor_called_image(model):
    assert [tensor.name for tensor in model.inputs] == ["image"]


def test_weights_file_restores_the_same_model(name, model, images, outputs, tmp_path):
    save_weights(model, tmp_path / "weights.h5", dtype="float32")
    restored = restore({"name": name, "kwargs": MODELS[name][2]}, tmp_path / "weights.h5")
    for key, values in restored(images, training=False).items():
        np.testing.assert_allclose(values, outputs[key], atol=1e-6)


def test_keras_file_round_trip_keeps_the_numbers(model, images, outputs, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for key, values in loaded(images, training=False).items():
        np.testing.assert_allclose(values, outputs[key], atol=1e-6)


def test_gradient_reaches_every_weight_and_a_missing_label_gives_none(model, images):
    rng, before = np.random.default_rng(1), model.get_weights()
    with tf.GradientTape(persistent=True) as tape:
        predicted = model(images, training=True)
        known, missing = (_loss(model, predicted, rng, without) for without in (False, True))
    model.set_weights(before)  # the training pass moved the batch statistics that other tests compare
    reached = zip(model.trainable_weights, tape.gradient(known, _values(model)), strict=True)
    unreached = [weight.path for weight, gradient in reached if gradient is None or not np.any(gradient)]
    assert unreached == []
    assert float(missing) == 0.0
    assert not any(np.any(gradient) for gradient in tape.gradient(missing, _values(model)) if gradient is not None)


def test_tflite_conversion_uses_builtin_operators_and_keeps_the_numbers(model, images, outputs, tmp_path):
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    # A SavedModel rather than `from_keras_model`, which takes twice as long for DenseNet-121.
    graph, signature = tf.Module(), [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")]
    graph.weights = [weight.value for weight in model.weights]
    graph.run = tf.function(lambda image: model(image, training=False), input_signature=signature)
    tf.saved_model.save(graph, str(tmp_path), signatures={"serving_default": graph.run})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = interpreter_module.Interpreter(model_content=converter.convert())
    runner = interpreter.get_signature_runner("serving_default")
    assert list(runner.get_input_details()) == ["image"]
    got = runner(image=images[:1])
    assert set(got) == set(outputs)
    # A detector's map moves with its boxes, which multiply what rounding leaves by the image's side.
    tolerance = 1e-3 if isinstance(model, MaskRCNN) else 1e-5
    for key, values in got.items():
        np.testing.assert_allclose(values, outputs[key][:1], atol=tolerance)


def _loss(model, predicted, rng, missing):
    """Sum the losses of random labels, all present or all missing."""
    if isinstance(model, MaskRCNN):
        # A detector learns from its first stage's answers and samples boxes by the truth: it brings its own loss.
        planes = {label: _rectangles(model, missing) for label in model.config["labels"]}
        return model.compute_loss(None, planes, predicted)
    return sum(tf.reduce_sum(loss(labels, predicted[key])) for key, loss, labels in _labelled(model, rng, missing))


def _rectangles(model, missing):
    planes = np.zeros((2, *model.input_shape[1:3], 1), np.float32)
    planes[:, 8:40, 8:32] = 1
    return np.full_like(planes, -1) if missing else planes


def _values(model):
    return [weight.value for weight in model.trainable_weights]


def _labelled(model, rng, missing):
    """Yield every output's name, the loss of its kind, and labels, all present or all missing."""
    for key, shape in ((key, tensor.shape) for key, tensor in model.output.items()):
        if len(shape) == 4:
            labels = rng.integers(0, 2, (2, *shape[1:])).astype(np.float32)
            yield key, DiceCrossEntropy(reduction="sum"), np.full_like(labels, -1) if missing else labels
        else:
            labels = np.eye(shape[-1], dtype=np.float32)[rng.integers(0, shape[-1], 2)]
            yield key, SetCrossEntropy(reduction="sum"), np.full_like(labels, np.nan) if missing else labels
