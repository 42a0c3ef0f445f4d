"""covidcx: chest X-ray screening for research, from a file to a finding."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["Finding", "Radiograph", "load", "read"]

_HOMES = {
    "Finding": "covidcx.finding",
    "Radiograph": "covidcx.imaging.radiograph",
    "read": "covidcx.imaging.read",
    "load": "covidcx.edge.runtime",
}


def __getattr__(name: str) -> Any:
    """Import the few public names on first use, so that `import covidcx` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'covidcx' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
