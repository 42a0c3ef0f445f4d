"""Keras functional models, by name, and their weights."""

from covidcx.models.registry import build, builder, names
from covidcx.models.restore import load_weights, restore, save_weights

__all__ = ["build", "builder", "load_weights", "names", "restore", "save_weights"]
