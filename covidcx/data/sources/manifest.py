"""A folder that already holds a `manifest.csv` in the house's own schema, such as the phantom or the shared set."""

from pathlib import Path

from covidcx.data.manifest import Manifest

LICENCE = "per image, column `licence`"


def read(folder: Path) -> Manifest:
    """Read the folder's `manifest.csv`.

    Raises:
        ManifestError: there is none, or it lacks a required column.
    """
    return Manifest.read(folder)
