"""Mask files: grey levels in the rows and columns of an image file, turned upright as that image was."""

from pathlib import Path

import cv2
import numpy as np

from covidcx.errors import UnreadableImageError
from covidcx.imaging.orientation import UPRIGHT, Turn


def read_levels(path: Path, shape: tuple[int, int] | None = None, turn: Turn = UPRIGHT) -> np.ndarray:
    """Read the grey levels of a mask file.

    Args:
        path: 8-bit PNG file; an orientation it may carry itself is passed over.
        shape: height and width of its upright image, which the turned mask must have; None takes any.
        turn: what brought the image upright (`Radiograph.turn`).

    Returns:
        uint8, H x W, upright.

    Raises:
        UnreadableImageError: no such file, no picture, or not of the image's size.
    """
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    levels = cv2.imread(str(path), flags) if path.is_file() else None
    if levels is None:
        raise UnreadableImageError(f"the mask {path} is missing or cannot be read; give an 8-bit PNG file")
    levels = turn.apply(levels)
    if shape is not None and levels.shape != tuple(shape):
        turned = "" if turn == UPRIGHT else ", both turned upright"
        raise UnreadableImageError(
            f"the mask {path} is {levels.shape} and its image {tuple(shape)} (rows, columns{turned}); "
            "a mask has its image's size"
        )
    return np.ascontiguousarray(levels)
