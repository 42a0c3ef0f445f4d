"""The runtime of a portable X-ray unit: a bundle and a DICOM file in, findings out. Neither TensorFlow nor Keras.

Public names: `load`, `Predictor`, `Analysis`, `predict_files`, `Summary`.
"""

from typing import Any

__all__ = ["Analysis", "Predictor", "Summary", "load", "predict_files"]

_HOMES = {
    "Analysis": "covidcx.edge.runtime",
    "Predictor": "covidcx.edge.runtime",
    "load": "covidcx.edge.runtime",
    "Summary": "covidcx.edge.predict",
    "predict_files": "covidcx.edge.predict",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that the command line's help stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'covidcx.edge' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
