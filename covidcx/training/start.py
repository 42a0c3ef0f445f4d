"""A model's first weights: drawn from the run's seed, or taken over by name from a file."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import keras

from covidcx.errors import WeightsError
from covidcx.models import build
from covidcx.models.applications import fill_imagenet, fill_tfjs_resnet50, network_of
from covidcx.models.encoders import encoder_of
from covidcx.models.restore import FORMAT, by_path, read_weights
from covidcx.models.torch_mobilenet import load_torch_mobilenet
from covidcx.models.vgg16_weights import has_vgg16, imagenet_vgg16
from covidcx.training.recipe import Recipe

log = logging.getLogger(__name__)

IMAGENET, CHEXNET, RANDOM = "imagenet", "chexnet", "random"
"""What `initial_weights` may say instead of a file."""
_FOREIGN_SUFFIXES = (".pth", ".pt", ".tar", ".json")


def seeded_build(spec: dict[str, Any], seed: int) -> keras.Model:
    """Build a model whose initial weights follow from a seed.

    Args:
        spec: `{"name": ..., "kwargs": {...}}`.
        seed: the run's seed.

    Returns:
        The model.
    """
    with seeded(seed):
        return build(spec["name"], **spec["kwargs"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let initial weights of the models built inside follow from a seed."""
    # Keras initialisers without a seed of their own draw one from the module `random`; its state is put back.
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def check_start(recipe: Recipe) -> None:
    """Refuse a start that cannot be had, before images are prepared; a random start must be asked for.

    Raises:
        WeightsError: the file is not there, or CheXNet has no file.
    """
    start = recipe.initial_weights
    if start == CHEXNET:
        raise WeightsError(
            f"recipe {recipe.name!r} starts from CheXNet, whose weights have no lasting address to download from; "
            "pass --set initial_weights=FILE with a published CheXNet (Keras .h5, .pth.tar or torchxrayvision), "
            "initial_weights=imagenet for ImageNet's, or initial_weights=random for none"
        )
    if start not in (None, IMAGENET, RANDOM) and not Path(start).exists():
        raise WeightsError(
            f"initial_weights={start} is no file; give a weights file, {IMAGENET} to download ImageNet's, or {RANDOM}"
        )


def start_from(model: keras.Model, source: str | None, layers: str = "all") -> tuple[str, ...]:
    """Give a model the first weights that a recipe names.

    Args:
        model: the model, freshly built.
        source: `imagenet` for the published weights of its backbone, which are downloaded; `random` or None for the
            seeded ones that it has; else what `transfer` takes.
        layers: see `transfer`.

    Returns:
        What was taken over.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    if source in (None, RANDOM):
        return ()
    return tuple(_fill_published(model, None)) if source == IMAGENET else transfer(model, Path(source), layers)


def transfer(model: keras.Model, path: Path, layers: str = "all") -> tuple[str, ...]:
    """Take over the weights of a file whose name and shape the model shares; the others stay as they are.

    Args:
        model: the model.
        path: weights file written by covidcx, the folder of a bundle or of a finished run, or a published file for
            the model's backbone: CheXNet, torchxrayvision or ImageNet for DenseNet-121, torchvision's MobileNetV2,
            keras.applications' VGG16.
        layers: `all` of the model's layers, or the `encoder`'s alone (`covidcx.models.encoders`).

    Returns:
        Paths of the variables taken over.

    Raises:
        WeightsError: the file cannot be read or shares nothing with the model.
    """
    if path.is_dir():
        found = [path / name for name in ("best.weights.h5", "weights.h5") if (path / name).is_file()]
        if not found:
            raise WeightsError(f"{path} holds neither best.weights.h5 nor weights.h5; give the weights file itself")
        path = found[0]
    if not _own_format(path):
        return tuple(_fill_published(model, path))
    stored, variables = read_weights(path), by_path(model if layers == "all" else encoder_of(model))
    fits = tuple(key for key, v in variables.items() if key in stored and stored[key].shape == tuple(v.shape))
    if not fits:
        raise WeightsError(f"{path} shares no variable with model {model.name!r}; was it written for another one?")
    for key in fits:
        variables[key].assign(stored[key].astype("float32"))
    wrong = sorted(key for key in variables if key in stored and key not in fits)
    if wrong:
        log.warning("%s: of another shape and left from random: %s", path, ", ".join(wrong[:5]))
    rest = sorted(set(variables) - set(fits))
    log.info("initial weights: %d of %d variables from %s%s", len(fits), len(variables), path, _listed(rest))
    return fits


def _own_format(path: Path) -> bool:
    if path.suffix in _FOREIGN_SUFFIXES:
        return False
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("format") == FORMAT
    except OSError:
        # `read_weights` says what is wrong with it.
        return True


def _fill_published(model: keras.Model, path: Path | None) -> list[str]:
    if has_vgg16(model):
        return imagenet_vgg16(model, path)
    backbone, suffix = network_of(model), "" if path is None else path.suffix
    if suffix == ".json":
        return fill_tfjs_resnet50(model, path)
    if backbone == "mobilenet_v2" and suffix in _FOREIGN_SUFFIXES:
        return load_torch_mobilenet(model, path)
    return fill_imagenet(model, backbone or "densenet121", path)


def _listed(rest: list[str]) -> str:
    more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
    return f"; from random: {', '.join(rest[:5])}{more}" if rest else ""
