"""Conversion to TFLite: same numbers, named outputs, builtin operations."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.deploy.tflite import QUANTIZATIONS, run_tflite, to_tflite
from covidcx.errors import BundleError
from covidcx.models import build


@pytest.fixture(scope="module")
def unet():
    keras.utils.set_random_seed(0)
    return build("lung-unet", filters=4, size=64)


@pytest.fixture(scope="module")
def converted(unet):
    """TFLite content by quantisation."""
    return {quantize: to_tflite(unet, quantize) for quantize in ("none", "float16", "dynamic")}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((1, 64, 64, 1)).astype(np.float32)


@pytest.mark.parametrize(("quantize", "tolerance"), [("none", 1e-5), ("float16", 2e-3), ("dynamic", 5e-2)])
def test_converted_model_computes_what_keras_computes(unet, converted, image, quantize, tolerance):
    found = run_tflite(converted[quantize], image)
    expected = np.asarray(unet(image, training=False)["lung"])
    assert np.ptp(expected) > 0.01, "a constant output would prove nothing"
    assert set(found) == {"lung"} and found["lung"].shape == (1, 64, 64, 1)
    assert np.abs(found["lung"] - expected).max() < tolerance


def test_every_format_is_known():
    assert QUANTIZATIONS == ("none", "float16", "dynamic", "int8")


def test_float16_halves_the_file(converted):
    assert len(converted["float16"]) < 0.6 * len(converted["none"])


def test_outputs_keep_their_names_whatever_their_order(tmp_path):
    image = layers.Input((8, 8, 1), name="image")
    pooled = layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, {"zebra": layers.Rescaling(2.0)(pooled), "ape": layers.Rescaling(-1.0)(image)})
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(model))
    found = run_tflite(path, np.full((1, 8, 8, 1), 0.25, np.float32))
    assert found["zebra"] == pytest.approx(np.array([[0.5]])) and found["ape"].shape == (1, 8, 8, 1)
    assert found["ape"] == pytest.approx(-0.25)


def test_only_builtin_operations_are_used(converted):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=converted["float16"])
    names = {details["op_name"] for details in interpreter._get_ops_details()}
    assert names and not any(name.startswith(("Flex", "CUSTOM")) for name in names)


def test_layer_without_a_builtin_operation_is_refused():
    image = layers.Input((8, 8, 1), name="image")
    model = keras.Model(image, {"x": layers.Lambda(lambda x: keras.ops.erfinv(x * 0.5))(image)}, name="odd")
    with pytest.raises(BundleError, match=r"'odd' does not convert to TFLite builtin operations"):
        to_tflite(model)


def test_unnamed_outputs_and_other_inputs_are_refused():
    image = layers.Input((8, 8, 1), name="image")
    with pytest.raises(BundleError, match="dictionary of named outputs"):
        to_tflite(keras.Model(image, layers.Rescaling(2.0)(image)))
    other = layers.Input((8, 8, 1), name="x")
    with pytest.raises(BundleError, match=r"inputs \['x'\]"):
        to_tflite(keras.Model(other, {"y": layers.Rescaling(2.0)(other)}))


def test_unknown_quantisation_is_refused(unet):
    with pytest.raises(BundleError, match=r"'int7'.*float16"):
        to_tflite(unet, "int7")
