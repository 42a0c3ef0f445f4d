"""The models covidcx can build, by name: one file and one line here per architecture."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from covidcx.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    import keras

# name: (module, builder, keyword arguments of a small variant for the shared conformance test)
MODELS: dict[str, tuple[str, str, dict]] = {
    "lung-unet": ("covidcx.models.unet", "lung_unet", {"filters": 4, "size": 64}),
    "frontal-gate": ("covidcx.models.frontal_gate", "frontal_gate", {"input_shape": (64, 64, 1), "width": 0.25}),
    "segnet": ("covidcx.models.segnet", "segnet", {"input_shape": (64, 64, 1), "width": 0.0625}),
    "mask-rcnn": (
        "covidcx.models.mask_rcnn",
        "mask_rcnn",
        {"input_shape": (64, 64, 1), "labels": ("lung", "disease"), "width": 0.125, "filters": 64, "units": 128,
         "detections": 4, "proposals": 8, "candidates": 16, "anchor_samples": 2048, "roi_samples": 8},
    ),
    "base-model": ("covidcx.models.base_model", "base_model", {"input_shape": (80, 80, 3), "classes": 3}),
    "covid-cxnet": ("covidcx.models.covid_cxnet", "covid_cxnet", {"input_shape": (64, 64, 3)}),
    "covid-cxnet-hierarchical": (
        "covidcx.models.hierarchical",
        "covid_cxnet_hierarchical",
        {"input_shape": (64, 64, 3), "backbone": "mobilenet_v2"},
    ),
    "cnn-baseline": ("covidcx.models.cnn_baseline", "cnn_baseline", {
        "input_shape": (64, 64, 3), "blocks": (1, 2, 1, 1), "growth": 8,
    }),
    "multitask-unet": ("covidcx.models.multitask_unet", "multitask_unet", {
        "input_shape": (64, 64, 3), "blocks": (1, 2, 1, 1), "growth": 8, "filters": (16, 8, 8, 4, 4),
    }),
    "inpainting": ("covidcx.models.inpainting", "inpainting", {
        "input_shape": (64, 64, 3), "blocks": (1, 2, 1, 1), "growth": 8, "filters": (16, 8, 8, 4, 4),
    }),
    "comit-net": ("covidcx.models.comit_net", "comit_net", {"input_shape": (64, 64, 3), "width": 0.0625}),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(MODELS)


def build(name: str, **kwargs) -> "keras.Model":
    """Build a model by name.

    Args:
        name: one of `names()`.
        **kwargs: the builder's own arguments.

    Returns:
        A functional Keras model whose outputs are a dictionary.

    Raises:
        RecipeError: the name is unknown.

    Example:
        >>> sorted(build("lung-unet", filters=4, size=64).output)
        ['lung']
    """
    return builder(name)(**kwargs)


def builder(name: str) -> "Callable[..., keras.Model]":
    """Return a model's builder function.

    Raises:
        RecipeError: the name is unknown.
    """
    if name not in MODELS:
        raise RecipeError(f"unknown model {name!r}.{did_you_mean(name, MODELS)}")
    module, function, _ = MODELS[name]
    return getattr(import_module(module), function)
