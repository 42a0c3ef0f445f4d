"""What the two tuberculosis sets of the US National Library of Medicine share: folders, names that carry the label."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from covidcx.data.sources.source import Source
from covidcx.data.sources.tables import NO_FILE, Rows, nothing_usable
from covidcx.progress import track

BAD_MASK = "with a lung mask that cannot be decoded (kept without it)"


def base_of(folder: Path, source: Source, inner: str) -> Path:
    """Return the folder that holds `CXR_png`: `folder`, or the published folder `inner` in it.

    Raises:
        ManifestError: neither does.
    """
    base = folder if (folder / "CXR_png").is_dir() else folder / inner
    if not (base / "CXR_png").is_dir():
        raise nothing_usable(folder, source, "CXR_png is not there")
    return base


def pictures(
    rows: Rows, base: Path, readings: Iterable[str], name: re.Pattern[str], bad_name: str, doing: str
) -> Iterator[tuple[Path, str, str]]:
    """Walk over the pictures; what has another name, or a reading and no picture, is skipped with its reason.

    Args:
        rows: notes what is skipped.
        base: from `base_of`.
        readings: names of the readings, without their ending.
        name: of a picture, without its ending; its first group is 0 for normal and 1 for tuberculosis.
        bad_name: reason for skipping another name.
        doing: shown beside the progress bar.

    Yields:
        The picture, its label and its finding.
    """
    images = {image.stem: image for image in sorted((base / "CXR_png").glob("*.png"))}
    for stem in track(sorted({*images, *readings}), doing):
        named = name.fullmatch(stem)
        if not named:
            rows.skip(stem, bad_name)
        elif stem not in images:
            rows.skip(stem, NO_FILE)
        else:
            yield images[stem], *(("normal", "normal") if named[1] == "0" else ("other", "tuberculosis"))
