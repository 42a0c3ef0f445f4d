"""The recipes of COVID-CXNet with a network of two layers in place of each, so that a test can train them all."""

from dataclasses import replace

import tiny_runs

from covidcx.training import recipes
from covidcx.training.recipe import ModelSettings

_GET = recipes.get
assert tiny_runs.SIDE  # registers the model `tiny`


def get(name: str):
    """Return the registered recipe, smaller; what else it says (rows, lungs, channels, labels) stays."""
    recipe = _GET(name)
    if recipe.task != "classify":
        return recipe
    return replace(recipe, model=ModelSettings("tiny"), stages={})
