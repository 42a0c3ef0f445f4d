"""Tables of studies, and the prepared arrays and pipelines made of them."""

from typing import Any

_HOMES = {
    "Manifest": "covidcx.data.manifest",
    "PreparedCache": "covidcx.data.cache",
    "PreparedMasks": "covidcx.data.cache",
    "PreparedSet": "covidcx.data.cache",
    "Problem": "covidcx.data.manifest",
    "box_problems": "covidcx.data.manifest",
    "class_weights": "covidcx.data.pipeline",
    "evaluation_dataset": "covidcx.data.pipeline",
    "find_duplicates": "covidcx.data.duplicates",
    "folds": "covidcx.data.splits",
    "masks_from": "covidcx.data.cache",
    "prepare_manifest": "covidcx.data.cache",
    "prepare_masks": "covidcx.data.cache",
    "read_boxes": "covidcx.data.manifest",
    "split_by_patient": "covidcx.data.splits",
    "split_hash": "covidcx.data.splits",
    "training_dataset": "covidcx.data.pipeline",
    "write_phantom": "covidcx.data.phantom",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the phantom must run without pandas, the tables without TensorFlow."""
    if name not in _HOMES:
        raise AttributeError(f"module 'covidcx.data' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
