"""The data sets covidcx can read, by name: one file and one line here per data set.

An adapter is a module with `LICENCE` (a line for model cards) and `read(folder: Path) -> Manifest`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from covidcx.errors import ManifestError, did_you_mean

if TYPE_CHECKING:
    from covidcx.data.manifest import Manifest

# name: module
SOURCES: dict[str, str] = {
    "manifest": "covidcx.data.sources.manifest",
}


def names() -> tuple[str, ...]:
    """Return the names of all data sets."""
    return tuple(SOURCES)


def read(name: str, folder: str | Path) -> "Manifest":
    """Read a data set.

    Args:
        name: one of `names()`.
        folder: where the data set lies.

    Returns:
        Its images in the manifest schema.

    Raises:
        ManifestError: the name is unknown, or the folder does not hold this data set.
    """
    if name not in SOURCES:
        raise ManifestError(f"unknown data source {name!r}.{did_you_mean(name, SOURCES)}")
    return import_module(SOURCES[name]).read(Path(folder))
