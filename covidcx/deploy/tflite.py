"""A Keras model becomes a TFLite model that every LiteRT runtime executes with its builtin operations."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidcx.deploy.eight_bits import quantised
from covidcx.errors import BundleError, did_you_mean

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")
SIGNATURE = "serving_default"


def to_tflite(model: "keras.Model", quantize: str = "none", calibration: Sequence[np.ndarray] = ()) -> bytes:
    """Convert a Keras functional model.

    The batch is fixed to one image, which lets LiteRT's XNNPACK delegate take the whole graph. Conversion goes
    through a SavedModel: `from_concrete_functions` would silently drop the weights.

    Args:
        model: one input named `image`, float32 N x H x W x C; a dictionary of named outputs.
        quantize: `float16` stores weights in half precision (half the size, computed in float32); `dynamic` stores them
            in 8 bits and computes with 8-bit activations whose range is found at run time; `int8` computes in 8
            bits with ranges found on `calibration`, all but the first layers where those lose too much (see
            `covidcx.deploy.eight_bits`), inputs and outputs stay float32; `none` keeps all as it is.
        calibration: float32, 1 x H x W x C each, 0..1: prepared training images, for `int8`.

    Returns:
        Content of the `.tflite` file, with the signature `serving_default`: input `image`, the model's outputs by name.

    Raises:
        BundleError: the model has other inputs or outputs, or needs operations outside the builtin set.
    """
    import keras
    import tensorflow as tf

    if quantize not in QUANTIZATIONS:
        raise BundleError(f"unknown quantisation {quantize!r}.{did_you_mean(quantize, QUANTIZATIONS)}")
    if quantize == "int8" and not len(calibration):
        raise BundleError("int8 needs prepared training images to find the range of every activation; received none")
    inputs = [tensor.name for tensor in model.inputs]
    if inputs != ["image"] or not isinstance(model.output, dict):
        outputs = sorted(model.output) if isinstance(model.output, dict) else type(model.output).__name__
        raise BundleError(
            f"model {model.name!r} has inputs {inputs} and outputs {outputs}; deployment needs one input named "
            "'image' and a dictionary of named outputs"
        )
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="image")
    with tempfile.TemporaryDirectory(prefix="covidcx-tflite-") as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(SIGNATURE, lambda image: model(image, training=False), input_signature=[spec])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ({"image": image} for image in calibration)
            # Stop after calibration, as TensorFlow's own QuantizationDebugger does.
            converter._experimental_calibrate_only = True
        try:
            content = converter.convert()
            if quantize == "int8":
                content = quantised(content, calibration)
        except Exception as error:  # the converter's own error type is private to TensorFlow
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BundleError(
                f"model {model.name!r} does not convert to TFLite builtin operations: {first}; replace the layer"
            ) from error
    log.info("converted %s to %.1f MB of TFLite (%s)", model.name, len(content) / 1e6, quantize)
    return content


def run_tflite(model: bytes | Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Run a TFLite model once, for checks; the edge runtime keeps its interpreter.

    Args:
        model: content or path of a `.tflite` file.
        image: float32, 1 x H x W x C, 0..1.

    Returns:
        Outputs by name.
    """
    from ai_edge_litert.interpreter import Interpreter

    source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
    return dict(Interpreter(**source).get_signature_runner(SIGNATURE)(image=image))
