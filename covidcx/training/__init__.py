"""A recipe and a manifest become a trained model, or an encoder learnt without labels."""

from typing import Any

__all__ = ["Pretraining", "PretrainingResult", "Recipe", "TrainingResult", "pretrain", "train"]

_HOMES = {
    "Pretraining": "covidcx.training.pretraining",
    "PretrainingResult": "covidcx.training.fit_encoder",
    "pretrain": "covidcx.training.fit_encoder",
    "Recipe": "covidcx.training.recipe",
    "TrainingResult": "covidcx.training.fit",
    "train": "covidcx.training.fit",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the list of recipes must not wait for Keras."""
    if name not in _HOMES:
        raise AttributeError(f"module 'covidcx.training' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
