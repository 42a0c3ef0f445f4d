"""Heads of multi-task training by name: one file and one line here per head."""

from importlib import import_module
from typing import TYPE_CHECKING

from covidcx.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from covidcx.training.heads.head import Head

__all__ = ["HEADS", "get", "names"]

HEADS: dict[str, str] = {
    "lung": "covidcx.training.heads.lung",
    "lung-instances": "covidcx.training.heads.lung_instances",
    "disease": "covidcx.training.heads.disease",
    "disease-instances": "covidcx.training.heads.disease_instances",
    "healthy": "covidcx.training.heads.healthy",
    "infection": "covidcx.training.heads.infection",
    "appearance": "covidcx.training.heads.appearance",
    "opacity": "covidcx.training.heads.opacity",
    "presence": "covidcx.training.heads.presence",
    "findings": "covidcx.training.heads.findings",
    "observations": "covidcx.training.heads.observations",
}


def names() -> tuple[str, ...]:
    """Return the names of all heads."""
    return tuple(HEADS)


def get(name: str) -> "Head":
    """Return a head by name.

    Args:
        name: one of `names()`.

    Returns:
        The head's value.

    Raises:
        RecipeError: the name is unknown.
    """
    if name not in HEADS:
        raise RecipeError(f"unknown head {name!r}.{did_you_mean(name, HEADS)}")
    return import_module(HEADS[name]).HEAD
