"""ImageNet weights of MobileNetV2 from torchvision's published checkpoint into Keras's layers."""

import hashlib
import logging
import pickle
from pathlib import Path

import keras
import numpy as np

from covidcx.errors import MissingDependencyError, WeightsError

log = logging.getLogger(__name__)

_TORCH_EPSILON = 1e-5


def load_torch_mobilenet(model: keras.Model, path: Path) -> list[str]:
    """Fill a model's MobileNetV2 layers from `mobilenet_v2-b0353104.pth` (torchvision, BSD-3-Clause).

    Keras and torchvision list the same convolutions and normalisations in the same order. Two things differ: the
    normalisation's epsilon, which is folded into its scale, and the side on which strided layers pad, which shifts
    the image by up to a pixel at each of five strides; fine-tuning takes care of that.

    Args:
        model: built with `backbone="mobilenet_v2"` and `normalization="imagenet"`.
        path: the checkpoint; read with `weights_only=True`, so nothing in it is executed.

    Returns:
        Names of the filled layers.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        WeightsError: the file does not hold MobileNetV2's layers (both shapes are named).
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("reading a .pth file needs PyTorch; run: pip install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} is no PyTorch checkpoint ({error}); give mobilenet_v2-b0353104.pth") from error
    stored = [key.removesuffix(".weight") for key in state if key.startswith("features.") and key.endswith(".weight")]
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.BatchNormalization)
    wanted = [layer for layer in model.layers if isinstance(layer, kinds)]
    if len(stored) != len(wanted):
        raise WeightsError(
            f"{path} has {len(stored)} convolutions and normalisations, the model {len(wanted)}; "
            "build it with backbone='mobilenet_v2'"
        )
    for layer, key in zip(wanted, stored, strict=True):
        arrays = _arrays(layer, {part: state[f"{key}.{part}"].numpy() for part in _parts(layer)})
        shapes = [value.shape for value in arrays], [tuple(v.shape) for v in layer.weights]
        if shapes[0] != shapes[1]:
            raise WeightsError(f"{path}: {key} has shapes {shapes[0]}, layer {layer.name} takes {shapes[1]}")
        layer.set_weights(arrays)
    log.info("%d layers from %s, sha256 %s", len(wanted), path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:12])
    return [layer.name for layer in wanted]


def _parts(layer: keras.Layer) -> tuple[str, ...]:
    normalises = isinstance(layer, keras.layers.BatchNormalization)
    return ("weight", "bias", "running_mean", "running_var") if normalises else ("weight",)


def _arrays(layer: keras.Layer, stored: dict[str, np.ndarray]) -> list[np.ndarray]:
    if isinstance(layer, keras.layers.BatchNormalization):
        variance = stored["running_var"]
        scale = stored["weight"] * np.sqrt((variance + layer.epsilon) / (variance + _TORCH_EPSILON))
        return [scale, stored["bias"], stored["running_mean"], variance]
    # PyTorch keeps out x in x H x W (depthwise: channels x 1 x H x W), Keras H x W x in x out (H x W x channels x 1).
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [np.transpose(stored["weight"], order)]
