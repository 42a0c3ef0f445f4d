"""Which radiographs a figure shows, and what is known about them."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidcx.bundle import Bundle
from covidcx.errors import CovidcxError, ExplainError, ImageError, MissingDataError
from covidcx.explain.truth import Box, read_truth
from covidcx.imaging import Radiograph, read, segment_lungs
from covidcx.imaging.overlay import write_png
from covidcx.papers.item import Context

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SEGMENTER = "lung-unet"


@dataclass(frozen=True, eq=False)
class Study:
    """One radiograph with its lungs.

    Attributes:
        row: of the manifest.
        radiograph: upright.
        lungs: bool, H x W.
        ignored: bool, H x W: neither inside nor outside the lungs.
        lungs_from: `manifest` or the segmenter's name.
        target: bool H x W disease mask, or boxes as x, y, width, height, or None.
    """

    row: "pd.Series"
    radiograph: Radiograph
    lungs: np.ndarray
    ignored: np.ndarray
    lungs_from: str
    target: np.ndarray | Sequence[Box] | None = None

    @property
    def pixels(self) -> np.ndarray:
        """float32, H x W, 0..1."""
        return self.radiograph.pixels

    @property
    def lesion(self) -> np.ndarray | None:
        """The disease mask: bool, H x W, or None."""
        return self.target if isinstance(self.target, np.ndarray) else None


def studies(context: Context, frame: "pd.DataFrame") -> Iterator[Study]:
    """Read radiographs and find their lungs: the manifest's mask, else the shipped segmenter's.

    Args:
        context: of the item.
        frame: rows of its manifest.

    Returns:
        One study per row whose files can be read, each when it is its turn; the others are logged and left out.

    Raises:
        MissingDataError: there is neither a mask nor a segmenter.
    """
    truth = read_truth(context.manifest_path)
    for position in range(len(frame)):
        row = frame.iloc[position]
        path = context.manifest.file(row["image"])
        try:
            radiograph = read(path)
            known = truth.of(path, radiograph.shape, radiograph.turn)
        except (ImageError, ExplainError) as error:
            log.warning("%s is left out: %s", row["image"], error)
            continue
        lungs, ignored, origin = known.lungs, known.ignored, "manifest"
        if lungs is None:
            lungs, origin = _segmented(context, path, radiograph), SEGMENTER
            ignored = np.zeros_like(lungs)
        yield Study(row, radiograph, lungs, ignored, origin, known.target)


def _segmented(context: Context, path: Path, radiograph: Radiograph) -> np.ndarray:
    """Segment the lungs, or find them segmented: every model of a table is measured against the same ones."""
    folder = context.work / ".measured" / f"{SEGMENTER}-{_bundle().checksum[:12]}"
    file = folder / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.png"
    stored = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.is_file() else None
    if stored is not None and stored.shape == radiograph.shape:
        return stored > 0
    lungs = segmenter()(radiograph.pixels)
    write_png(file, lungs.astype(np.uint8) * 255)
    return lungs


@cache
def _bundle() -> Bundle:
    try:
        return Bundle.open(SEGMENTER)
    except CovidcxError as error:
        raise MissingDataError(f"images without a lung_mask need the bundle {SEGMENTER!r} ({error})") from error


@cache
def segmenter() -> Callable[[np.ndarray], np.ndarray]:
    """Return the shipped lung segmenter: float32 H x W to bool H x W.

    Raises:
        MissingDataError: its bundle is not there.
    """
    from covidcx.evaluation.masks import enhancement
    from covidcx.evaluation.predictions import keras_engine

    engine, enhance = keras_engine(_bundle()), enhancement(_bundle())
    return lambda pixels: segment_lungs(pixels, engine, enhance)
