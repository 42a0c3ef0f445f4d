"""Training recipes by name: one file and one line here per experiment."""

from importlib import import_module
from typing import TYPE_CHECKING

from covidcx.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from covidcx.training.recipe import Recipe

__all__ = ["RECIPES", "get", "names"]

RECIPES: dict[str, str] = {
    "lung-unet": "covidcx.training.recipes.lung_unet",
    "frontal-gate": "covidcx.training.recipes.frontal_gate",
    "covid-cxnet": "covidcx.training.recipes.covid_cxnet",
    "covid-cxnet-mobile": "covidcx.training.recipes.covid_cxnet_mobile",
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
