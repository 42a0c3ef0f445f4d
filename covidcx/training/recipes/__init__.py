"""Training recipes by name: one file and one line here per experiment."""

from importlib import import_module
from typing import TYPE_CHECKING

from covidcx.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from covidcx.training.pretraining import Pretraining
    from covidcx.training.recipe import Recipe

__all__ = ["PRETRAININGS", "RECIPES", "get", "get_pretraining", "names", "pretraining_names"]

RECIPES: dict[str, str] = {
    "lung-unet": "covidcx.training.recipes.lung_unet",
    "comit-densenet121": "covidcx.training.recipes.comit_densenet121",
    "comit-mobilenet-v2": "covidcx.training.recipes.comit_mobilenet_v2",
    "comit-resnet18": "covidcx.training.recipes.comit_resnet18",
    "comit-vgg19": "covidcx.training.recipes.comit_vgg19",
    "unet-lung": "covidcx.training.recipes.unet_lung",
    "unet-disease": "covidcx.training.recipes.unet_disease",
    "segnet-lung": "covidcx.training.recipes.segnet_lung",
    "segnet-disease": "covidcx.training.recipes.segnet_disease",
    "mask-rcnn-lung": "covidcx.training.recipes.mask_rcnn_lung",
    "mask-rcnn-disease": "covidcx.training.recipes.mask_rcnn_disease",
    "frontal-gate": "covidcx.training.recipes.frontal_gate",
    "covid-cxnet": "covidcx.training.recipes.covid_cxnet",
    "covid-cxnet-mobile": "covidcx.training.recipes.covid_cxnet_mobile",
    "comit-net": "covidcx.training.recipes.comit_net",
    "comit-net-small": "covidcx.training.recipes.comit_net_small",
    "siim-baseline": "covidcx.training.recipes.siim_baseline",
    "siim-findings": "covidcx.training.recipes.siim_findings",
    "siim-opacity": "covidcx.training.recipes.siim_opacity",
    "siim-multitask": "covidcx.training.recipes.siim_multitask",
    "base-model-v1": "covidcx.training.recipes.base_model_v1",
    "base-model-v2": "covidcx.training.recipes.base_model_v2",
    "imagenet-densenet121": "covidcx.training.recipes.imagenet_densenet121",
    "imagenet-resnet50": "covidcx.training.recipes.imagenet_resnet50",
    "covid-cxnet-v1": "covidcx.training.recipes.covid_cxnet_v1",
    "covid-cxnet-v2": "covidcx.training.recipes.covid_cxnet_v2",
    "covid-cxnet-flat": "covidcx.training.recipes.covid_cxnet_flat",
    "covid-cxnet-hierarchical": "covidcx.training.recipes.covid_cxnet_hierarchical",
    "label-efficiency": "covidcx.training.recipes.label_efficiency",
}

PRETRAININGS: dict[str, str] = {
    "moco-cxr": "covidcx.training.recipes.moco_cxr",
    "moco-cxr-modified": "covidcx.training.recipes.moco_cxr_modified",
    "moco-v2": "covidcx.training.recipes.moco_v2",
    "inpainting": "covidcx.training.recipes.inpainting_cxr",
    "inpainting-centre": "covidcx.training.recipes.inpainting_centre",
}


def names() -> tuple[str, ...]:
    """Return the names of all recipes."""
    return tuple(RECIPES)


def get(name: str) -> "Recipe":
    """Return a recipe by name.

    Args:
        name: one of `names()`.

    Returns:
        The recipe's value.

    Raises:
        RecipeError: the name is unknown.
    """
    if name not in RECIPES:
        raise RecipeError(f"unknown recipe {name!r}.{did_you_mean(name, RECIPES)}")
    return import_module(RECIPES[name]).RECIPE


def pretraining_names() -> tuple[str, ...]:
    """Return the names of all recipes of self-supervised pretraining."""
    return tuple(PRETRAININGS)


def get_pretraining(name: str) -> "Pretraining":
    """Return a recipe of self-supervised pretraining by name.

    Args:
        name: one of `pretraining_names()`.

    Raises:
        RecipeError: the name is unknown.
    """
    if name not in PRETRAININGS:
        raise RecipeError(f"unknown pretraining {name!r}.{did_you_mean(name, PRETRAININGS)}")
    return import_module(PRETRAININGS[name]).RECIPE
