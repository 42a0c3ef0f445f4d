"""What a `.tflite` file says about itself: a small archive behind the network, as TFLite Metadata packs its files.

LiteRT reads the network from the file's start and ignores what follows; any ZIP tool lists and opens the rest
(`unzip -p model.tflite covidcx.json`), without TensorFlow and without covidcx.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from covidcx.errors import BundleError

ABOUT_FILE, LABELS_FILE = "covidcx.json", "labels.txt"
# ZIP files carry times; a fixed one makes equal content equal bytes.
_WHEN = (2020, 1, 1, 0, 0, 0)


def add_metadata(model: bytes, about: dict[str, Any]) -> bytes:
    """Append metadata to a TFLite model.

    Args:
        model: content of a `.tflite` file.
        about: JSON-ready; `labels` is a list in the order of the outputs.

    Returns:
        Content of a `.tflite` file that carries `covidcx.json` and `labels.txt`.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (
            (ABOUT_FILE, json.dumps(about, indent=2, sort_keys=True) + "\n"),
            (LABELS_FILE, "".join(f"{label}\n" for label in about["labels"])),
        ):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), text)
    return model + buffer.getvalue()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read what a `.tflite` file says about itself.

    Args:
        path: the file.

    Returns:
        The dictionary given to `add_metadata`.

    Raises:
        BundleError: the file carries no covidcx metadata.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(ABOUT_FILE))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path} carries no covidcx metadata ({error}); files written by `covidcx export --to tflite` do"
        ) from error
