"""The data sets covidcx can read, by name: one file and one line here per data set.

An adapter is a module with a docstring (citation, licence, where a user gets it, the tree expected), `SOURCE: Source`
and `read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading`. Further keywords of its
`read` are its own options, given as text.
"""

import inspect
from importlib import import_module
from pathlib import Path

from covidcx.data.sources.source import Reading, Source
from covidcx.errors import ManifestError, did_you_mean

# name: module
SOURCES: dict[str, str] = {
    "actualmed": "covidcx.data.sources.actualmed",
    "armiro": "covidcx.data.sources.armiro",
    "bimcv": "covidcx.data.sources.bimcv",
    "chexpert": "covidcx.data.sources.chexpert",
    "cohen": "covidcx.data.sources.cohen",
    "covid_qu_ex": "covidcx.data.sources.covid_qu_ex",
    "covid_radiography": "covidcx.data.sources.covid_radiography",
    "covidx": "covidcx.data.sources.covidx",
    "figure1": "covidcx.data.sources.figure1",
    "hannover": "covidcx.data.sources.hannover",
    "jsrt": "covidcx.data.sources.jsrt",
    "kermany": "covidcx.data.sources.kermany",
    "manifest": "covidcx.data.sources.manifest",
    "montgomery": "covidcx.data.sources.montgomery",
    "nih": "covidcx.data.sources.nih",
    "padchest": "covidcx.data.sources.padchest",
    "ricord": "covidcx.data.sources.ricord",
    "rsna": "covidcx.data.sources.rsna",
    "shenzhen": "covidcx.data.sources.shenzhen",
    "siim": "covidcx.data.sources.siim",
    "v7": "covidcx.data.sources.v7",
    "vindr": "covidcx.data.sources.vindr",
}
_COMMON = ("folder", "derived", "all_views")


def names() -> tuple[str, ...]:
    """Return the names of all data sets."""
    return tuple(SOURCES)


def info(name: str) -> Source:
    """Return what is known of a data set.

    Raises:
        ManifestError: the name is unknown.
    """
    return _module(name).SOURCE


def options(name: str) -> tuple[str, ...]:
    """Return the names of a data set's own options."""
    return tuple(key for key in inspect.signature(_module(name).read).parameters if key not in _COMMON)


def read(
    name: str, folder: str | Path, derived: str | Path | None = None, all_views: bool = False, **own: str
) -> Reading:
    """Read a data set.

    Args:
        name: one of `names()`.
        folder: where the data set lies, in the layout in which it is published; nothing is written there.
        derived: folder for masks and pictures made from the source; those are left out where it is None.
        all_views: keep lateral and other views too.
        own: options of this data set, `options(name)`.

    Returns:
        Its images in the manifest schema, its boxes, and what was left out.

    Raises:
        ManifestError: the name or an option is unknown, or the folder does not hold this data set.
    """
    module, known = _module(name), options(name)
    for key in own:
        if key not in known:
            hint = did_you_mean(key, known) if known else " It has no options."
            raise ManifestError(f"data source {name!r} has no option {key!r}.{hint}")
    return module.read(Path(folder), derived=Path(derived) if derived else None, all_views=all_views, **own)


def _module(name: str):
    if name not in SOURCES:
        raise ManifestError(f"unknown data source {name!r}.{did_you_mean(name, SOURCES)}")
    return import_module(SOURCES[name])
