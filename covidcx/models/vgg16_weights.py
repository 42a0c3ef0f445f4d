"""ImageNet's VGG16 into COMiT-Net's encoder, whose convolutions are followed by batch normalisation (section 3.3)."""

import logging
from pathlib import Path

import keras
import numpy as np

from covidcx.errors import WeightsError
from covidcx.models.comit_net import BLOCKS
from covidcx.models.restore import by_path

log = logging.getLogger(__name__)

FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE}"
_MD5 = "6d6bbae143d832006294945121d1f1fc"
# What keras.applications subtracts, in the order blue, green, red, from grey levels 0..255.
_MEAN_BGR = (103.939, 116.779, 123.68)


def vgg16_layers() -> tuple[str, ...]:
    """Return the names of VGG16's convolutions, `block1_conv1` to `block5_conv3`, in order."""
    return tuple(f"block{b}_conv{c}" for b, (_, count) in enumerate(BLOCKS, 1) for c in range(1, count + 1))


def has_vgg16(model: keras.Model) -> bool:
    """Whether a model's encoder has VGG16's layers."""
    return {layer.name for layer in model.layers} >= set(vgg16_layers())


def imagenet_vgg16(model: keras.Model, path: Path | None = None) -> list[str]:
    """Fill a VGG16 encoder with ImageNet's weights, so that it computes what VGG16 computes.

    The batch normalisations start as the identity but for VGG16's biases, which become their offsets. What
    keras.applications does to an image (blue first, 0..255, mean subtracted) goes into the first convolution; that is
    exact but for the outermost pixel, where zero padding means black instead of the mean.

    Args:
        model: `comit-net` of width 1, taking float32 images 0..1.
        path: the file `vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5` of keras.applications, or the one with top;
            None downloads it through Keras (and its cache).

    Returns:
        Names of the filled convolutions.

    Raises:
        WeightsError: the file is missing, damaged or no VGG16, it does not fit the model, or the download failed.
    """
    path = _download() if path is None else Path(path)
    arrays, variables = _read(path), by_path(model)
    kernel, bias = arrays["block1_conv1"]
    bias = bias - np.einsum("hwco,c->o", kernel, np.asarray(_MEAN_BGR, np.float32))
    arrays["block1_conv1"] = (kernel[:, :, ::-1] * np.float32(255), bias)
    for name, (kernel, bias) in arrays.items():
        wanted, offset = (tuple(variables[f"{name}{part}"].shape) for part in ("/kernel", "_bn/beta"))
        if kernel.shape != wanted or bias.shape != offset:
            raise WeightsError(
                f"{path} does not fit model {model.name!r}: {name} is {kernel.shape} there and {wanted} here; ImageNet "
                "weights need width 1 and three channels, other networks initial_weights=random"
            )
    for name, (kernel, bias) in arrays.items():
        norm = model.get_layer(f"{name}_bn")
        variables[f"{name}/kernel"].assign(kernel)
        norm.beta.assign(bias)
        norm.gamma.assign(np.full(bias.shape, np.sqrt(1 + norm.epsilon), np.float32))
        norm.moving_mean.assign(np.zeros(bias.shape, np.float32))
        norm.moving_variance.assign(np.ones(bias.shape, np.float32))
    log.info("initial weights: VGG16's %d convolutions from %s", len(arrays), path)
    return list(arrays)


def _read(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read kernel and bias by layer; Keras spelled the datasets' names differently over the years."""
    import h5py

    found: dict[str, list[np.ndarray]] = {name: [] for name in vgg16_layers()}

    def collect(name: str, item: object) -> None:
        layer = next((part for part in reversed(name.split("/")[:-1]) if part in found), None)
        if isinstance(item, h5py.Dataset) and layer is not None:
            found[layer].append(item[()].astype(np.float32))

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(collect)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read as an HDF5 file ({error}); fetch {_URL} again") from error
    missing = [name for name, arrays in found.items() if sorted(a.ndim for a in arrays) != [1, 4]]
    if missing:
        raise WeightsError(
            f"{path} is no VGG16 of keras.applications: kernel and bias of {', '.join(missing[:3])} are not there; "
            f"give {FILE}"
        )
    broken = [name for name, arrays in found.items() if not all(np.isfinite(a).all() for a in arrays)]
    if broken:
        raise WeightsError(f"{path} holds NaN or infinite values in {', '.join(broken[:3])}; fetch it again")
    return {name: tuple(sorted(arrays, key=lambda a: -a.ndim)) for name, arrays in found.items()}


def _download() -> Path:
    try:
        return Path(keras.utils.get_file(FILE, _URL, cache_subdir="models", file_hash=_MD5))
    except Exception as error:  # Keras raises a plain Exception where the network fails
        raise WeightsError(
            f"VGG16's ImageNet weights could not be downloaded ({error}); are you offline? Fetch {_URL} elsewhere and "
            "pass the file with --set initial_weights=FILE, or start from --set initial_weights=random"
        ) from error
