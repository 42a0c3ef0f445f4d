"""An analysis at the size in which it is drawn."""

import cv2
import numpy as np

from covidcx.edge.runtime import Analysis
from covidcx.imaging.resize import mostly, resize_area

PICTURE_SIDE = 1024
"""Longest side of the drawn pictures; the analysis itself works on the original pixels."""


def scaled(analysis: Analysis) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return pixels, lungs and heat, reduced to `PICTURE_SIDE` where they are larger.

    Args:
        analysis: any.

    Returns:
        float32 or float64 H x W in 0..1, bool H x W or None, float32 H x W or None.
    """
    pixels, lungs, heat = analysis.radiograph.pixels, analysis.lungs, analysis.heat
    scale = min(1.0, PICTURE_SIDE / max(pixels.shape))
    if scale == 1.0:
        return pixels, lungs, heat
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    lungs = None if lungs is None else mostly(lungs, height, width)
    heat = None if heat is None else cv2.resize(heat, (width, height), interpolation=cv2.INTER_AREA)
    return resize_area(pixels, height, width), lungs, heat
