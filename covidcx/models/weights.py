"""Published weights for DenseNet-121: CheXNet and ImageNet, into models that say what input they expect.

CheXNet: Rajpurkar et al. 2017. COVID-CXNet (Haghanifar et al. 2020, section 4.3) starts from it.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from covidcx.errors import WeightsError
from covidcx.models.covid_cxnet import FEATURES
from covidcx.models.densenet_names import HEAD, backbone_layers, backbone_paths
from covidcx.models.keras_h5 import read_keras_h5
from covidcx.models.restore import by_path
from covidcx.models.torch_densenet import Published, read_torch

log = logging.getLogger(__name__)

CHEXNET_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
"""The fourteen findings of ChestX-ray14 in the order of CheXNet's outputs."""

XRV_LABELS = (
    "Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion",
    "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture",
    "Lung Opacity", "Enlarged Cardiomediastinum",
)  # fmt: skip
"""The eighteen outputs of torchxrayvision's DenseNet-121 models, in order."""

SCALINGS = {
    "imagenet": "per channel (x - mean) / deviation of ImageNet",
    "torchxrayvision": "x in 0..1 to -1024..1024",
}
"""What a network's weights expect of an image in 0..1; `chexnet` puts it into the model as a layer."""

IMAGENET_FILE = "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
_IMAGENET_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/densenet/{IMAGENET_FILE}"
_IMAGENET_MD5 = "30ee3e1110167f948a6b9946edeeb738"

_WIDTH = 1024  # channels of DenseNet-121's last feature map
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class ImportedWeights:
    """A model made from a published weights file, with what must be known to use and cite it.

    Attributes:
        model: from float32 N x H x W x 3 in 0..1 to `{"probabilities": N x K}`; the scaling is inside.
        labels: finding of each output, in order.
        sha256: checksum of the file.
        source: `keras-h5`, `torch` or `torchxrayvision`.
        scaling: key of `SCALINGS` that the weights were trained with.
        notes: what was assumed or adapted.
    """

    model: keras.Model
    labels: tuple[str, ...]
    sha256: str
    source: str
    scaling: str
    notes: tuple[str, ...] = ()


def chexnet(
    weights: Path, labels: Sequence[str] | None = None, input_shape: tuple[int, int, int] = (224, 224, 3)
) -> ImportedWeights:
    """Build CheXNet from a published weights file: Keras `.h5`, PyTorch `.pth.tar`, or torchxrayvision.

    Args:
        weights: the file; its form is recognised by its content.
        labels: the order of the outputs as the caller understands it; verified. None takes the published order:
            `CHEXNET_LABELS`, or `XRV_LABELS` for torchxrayvision.
        input_shape: height, width and three channels.

    Returns:
        The model, its labels and the file's record.

    Raises:
        MissingDependencyError: a PyTorch file without PyTorch installed.
        WeightsError: the file is missing, damaged or no DenseNet-121, a shape differs (both are named), the
            classifier has another number of outputs, or the labels stand in another order (both are named).
    """
    path = Path(weights)
    published = _read(path)
    names = _verified_labels(path, published, labels)
    model = _densenet(tuple(input_shape), len(names), published)
    _assign(path, model, {key: published.arrays[key] for key in published.arrays if not key.startswith(HEAD)})
    head = model.get_layer("probabilities")
    head.kernel.assign(published.arrays[f"{HEAD}/kernel"])
    head.bias.assign(published.arrays[f"{HEAD}/bias"])
    return ImportedWeights(model, names, _sha256(path), published.source, published.scaling, published.notes)


def imagenet_backbone(model: keras.Model, path: Path | None = None) -> list[str]:
    """Fill a model's DenseNet-121 with ImageNet weights, never leaving a silent random start.

    Args:
        model: any model with DenseNet-121's layers, such as `covid-cxnet`; its own input scaling is respected.
        path: the file `densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5` of keras.applications (or one with
            top, or a PyTorch checkpoint of torchvision); None downloads it through Keras (and its cache).

    Returns:
        Names of the filled layers.

    Raises:
        WeightsError: the file does not fit, or the download failed.
    """
    path = _download_imagenet() if path is None else Path(path)
    published = _read(path)
    arrays = {key: values for key, values in published.arrays.items() if not key.startswith(HEAD)}
    return _assign(path, model, rescaled(arrays, _scaling_affine(published.scaling), model_affine(model)))


def transfer_backbone(source: keras.Model, target: keras.Model) -> list[str]:
    """Copy DenseNet-121's layers from one model to another, such as from CheXNet to COVID-CXNet.

    Where the two scale their input differently (ImageNet statistics, torchxrayvision's -1024..1024, none), the first
    convolution and its batch normalisation are rewritten so that they see what they were trained on. That is exact
    but for the outermost three pixels, where zero padding means another grey level.

    Args:
        source: model to copy from.
        target: model to copy into; its head is left alone.

    Returns:
        Names of the layers transferred, in order.

    Raises:
        WeightsError: a layer is missing on either side or has another shape (both shapes are named).
    """
    stored = by_path(source)
    missing = [key for key in backbone_paths() if key not in stored]
    if missing:
        raise WeightsError(
            f"model {source.name!r} has no DenseNet-121 to copy from: {len(missing)} variables are missing "
            f"({', '.join(missing[:3])})"
        )
    arrays = {key: np.asarray(ops.convert_to_numpy(stored[key].value), np.float32) for key in backbone_paths()}
    return _assign(source.name, target, rescaled(arrays, model_affine(source), model_affine(target)))


def _read(path: Path) -> Published:
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist; check the path")
    with path.open("rb") as stream:
        start = stream.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        return read_keras_h5(path)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return read_torch(path)
    raise WeightsError(
        f"{path} is neither HDF5 nor a PyTorch checkpoint (it starts with {start!r}); "
        "pass a Keras .h5 or a .pth.tar file"
    )


def _verified_labels(path: Path, published: Published, given: Sequence[str] | None) -> tuple[str, ...]:
    kernel, bias = published.arrays.get(f"{HEAD}/kernel"), published.arrays.get(f"{HEAD}/bias")
    order = published.labels or (XRV_LABELS if published.source == "torchxrayvision" else CHEXNET_LABELS)
    expected = (_WIDTH, len(order))
    if kernel is None or bias is None:
        raise WeightsError(f"{path} holds no classifier, expected one of shape {expected}; use a full CheXNet")
    if kernel.shape != expected or bias.shape != expected[1:]:
        raise WeightsError(
            f"{path} has a classifier of shape {kernel.shape} and bias {bias.shape}, expected {expected} and "
            f"{expected[1:]} for the outputs {', '.join(order)}"
        )
    if given is not None and [_spelling(name) for name in given] != [_spelling(name) for name in order]:
        raise WeightsError(
            f"labels in the order {', '.join(given)} do not match the outputs of {path}, whose order is "
            f"{', '.join(order)}; pass labels=None to take that order"
        )
    return tuple(given) if given is not None else tuple(order)


def _spelling(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").strip().lower()


def _densenet(input_shape: tuple[int, ...], classes: int, published: Published) -> keras.Model:
    image = layers.Input(input_shape, name="image")
    if published.scaling == "torchxrayvision":
        x = layers.Rescaling(2048.0, offset=-1024.0, name="xrv_scaling")(image)
    else:
        variance = [deviation**2 for deviation in _DEVIATION]
        x = layers.Normalization(mean=list(_MEAN), variance=variance, name="imagenet_normalization")(image)
    backbone = keras.applications.DenseNet121(include_top=False, weights=None, input_tensor=x)
    features = backbone.get_layer(FEATURES if published.final_relu else "bn").output
    x = layers.GlobalAveragePooling2D(name="pool")(features)
    x = layers.Dense(classes, activation="sigmoid", dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": x}, name="chexnet")


def _assign(origin: Path | str, model: keras.Model, arrays: dict[str, np.ndarray]) -> list[str]:
    """Fill the backbone's variables, all or none, and return the layers' names."""
    variables = by_path(model)
    paths = backbone_paths()
    for where, keys in (("the file", arrays), (f"model {model.name!r}", variables)):
        missing = [key for key in paths if key not in keys]
        if missing:
            raise WeightsError(
                f"{origin} cannot fill model {model.name!r}: {len(missing)} of DenseNet-121's {len(paths)} variables "
                f"are missing in {where} ({', '.join(missing[:3])})"
            )
    wrong = [
        f"{key} is {arrays[key].shape} in the source and {tuple(variables[key].shape)} in the model"
        for key in paths
        if arrays[key].shape != tuple(variables[key].shape)
    ]
    if wrong:
        raise WeightsError(f"{origin} does not fit model {model.name!r}: {'; '.join(wrong[:3])}; use a DenseNet-121")
    broken = [key for key in paths if not np.isfinite(arrays[key]).all()]
    if broken:
        raise WeightsError(f"{origin} holds NaN or infinite values in {', '.join(broken[:3])}; fetch it again")
    for key in paths:
        variables[key].assign(arrays[key])
    return list(backbone_layers())


Affine = tuple[np.ndarray, np.ndarray]


def _scaling_affine(scaling: str) -> Affine:
    """Return scale and offset (3 each) of the network's input as a function of an image in 0..1."""
    if scaling == "torchxrayvision":
        return np.full(3, 2048.0), np.full(3, -1024.0)
    return 1.0 / np.array(_DEVIATION), -np.array(_MEAN) / np.array(_DEVIATION)


def model_affine(model: keras.Model, stem: str = "conv1_conv") -> Affine:
    """Return scale and offset (3 each) that a model itself applies before its first convolution, named `stem`."""
    scale, offset = np.ones(3), np.zeros(3)
    for layer in model.layers:
        if layer.name == stem:
            break
        step = _layer_affine(layer)
        if step is not None:
            scale, offset = step[0] * scale, step[0] * offset + step[1]
    return scale, offset


def _layer_affine(layer: Any) -> Affine | None:
    if isinstance(layer, layers.Normalization):
        mean, variance = (np.ravel(ops.convert_to_numpy(value)) for value in (layer.mean, layer.variance))
        deviation = np.sqrt(np.broadcast_to(variance, 3).astype(float))
        return 1.0 / deviation, -np.broadcast_to(mean, 3) / deviation
    if isinstance(layer, layers.Rescaling):
        return np.broadcast_to(np.asarray(layer.scale, float), 3), np.broadcast_to(np.asarray(layer.offset, float), 3)
    return None


def rescaled(
    arrays: dict[str, np.ndarray], source: Affine, target: Affine, stem: tuple[str, str] = ("conv1_conv", "conv1_bn")
) -> dict[str, np.ndarray]:
    """Rewrite the stem for another input scaling: source = ratio * target + shift, folded into kernel and mean.

    Args:
        arrays: weights by `layer/kind`.
        source: scale and offset of the input that the weights were trained with.
        target: those of the model they go into.
        stem: names of the first convolution and its batch normalisation.

    Returns:
        The arrays, those of the stem rewritten.
    """
    convolution, normalisation = f"{stem[0]}/kernel", f"{stem[1]}/moving_mean"
    kernel = arrays.get(convolution)
    ratio = source[0] / target[0]
    shift = source[1] - ratio * target[1]
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != 3:
        return arrays  # refused by name and shape later
    if np.allclose(ratio, 1.0, atol=1e-5) and np.allclose(shift, 0.0, atol=1e-5):
        return arrays
    log.info("the target scales its input differently; the first convolution is rewritten for it")
    moved = np.einsum("hwco,c->o", kernel.astype(np.float64), shift)
    return {
        **arrays,
        convolution: (kernel * ratio[None, None, :, None]).astype(np.float32),
        normalisation: (arrays[normalisation] - moved).astype(np.float32),
    }


def _download_imagenet() -> Path:
    try:
        return Path(
            keras.utils.get_file(IMAGENET_FILE, _IMAGENET_URL, cache_subdir="models", file_hash=_IMAGENET_MD5)
        )
    except Exception as error:  # Keras raises a plain Exception where the network fails
        raise WeightsError(
            f"ImageNet weights could not be downloaded ({error}); are you offline? Fetch {_IMAGENET_URL} elsewhere and "
            "pass the file's path"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
