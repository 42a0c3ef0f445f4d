"""How well a heat map sits on lungs and lesions: two numbers that need no reader."""

from collections.abc import Sequence

import cv2
import numpy as np

from covidcx.errors import ExplainError

Box = tuple[float, float, float, float]


def heat_inside(heat: np.ndarray, lungs: np.ndarray) -> float:
    """Return the share of a map's positive heat that lies inside a mask.

    Args:
        heat: float, H x W; negative values count as none.
        lungs: bool, H x W.

    Returns:
        0 to 1; NaN where there is no positive heat. A map that knows nothing gets the mask's share of the image.

    Raises:
        ExplainError: the shapes differ, or the heat is not finite.

    Example:
        >>> heat_inside(np.array([[1.0, 3.0]]), np.array([[False, True]]))
        0.75
    """
    heat, lungs = _positive(heat), np.asarray(lungs, dtype=bool)
    if heat.shape != lungs.shape:
        raise ExplainError(f"heat map {heat.shape} and mask {lungs.shape} differ; bring both to the image's pixels")
    total = float(heat.sum())
    return float(heat[lungs].sum()) / total if total > 0 else float("nan")


def pointing_hit(heat: np.ndarray, target: np.ndarray | Sequence[Box], tolerance: float = 15.0) -> bool:
    """Play the pointing game (Zhang et al. 2018): does the map's maximum fall on the lesion?

    Args:
        heat: float, H x W.
        target: bool H x W mask, or boxes as x, y, width, height, in the heat map's pixels.
        tolerance: distance in pixels at which a near miss still counts.

    Returns:
        Whether it hits. A map without a positive maximum, or with the same value everywhere, points nowhere and
        misses; of several equal maxima the first in reading order counts.

    Raises:
        ExplainError: the target is empty or of another shape, or the tolerance is negative.
    """
    heat = _positive(heat)
    if tolerance < 0:
        raise ExplainError(f"the tolerance is a distance in pixels, received {tolerance}")
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    distance = _distance(int(row), int(column), heat.shape, target)
    return bool(heat.max() > heat.min() and distance <= tolerance)


def _distance(row: int, column: int, shape: tuple[int, ...], target: np.ndarray | Sequence[Box]) -> float:
    """Return the distance from a pixel's centre to the target in pixels."""
    if isinstance(target, np.ndarray) and target.dtype == bool:
        if target.shape != shape:
            raise ExplainError(f"heat map {shape} and mask {target.shape} differ; bring both to the image's pixels")
        if not target.any():
            raise ExplainError("the mask of the lesion is empty; there is nothing to point at")
        away = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return float(away[row, column])
    boxes = np.asarray(target, dtype=float).reshape(-1, 4) if len(target) else np.zeros((0, 4))
    if not len(boxes):
        raise ExplainError("no box was given; there is nothing to point at")
    x, y, width, height = boxes.T
    right, down = column + 0.5, row + 0.5
    sideways = np.maximum(np.maximum(x - right, right - (x + width)), 0.0)
    upright = np.maximum(np.maximum(y - down, down - (y + height)), 0.0)
    return float(np.hypot(sideways, upright).min())


def _positive(heat: np.ndarray) -> np.ndarray:
    heat = np.asarray(heat, dtype=np.float64)
    if heat.ndim != 2 or heat.size == 0:
        raise ExplainError(f"a heat map is H x W, received shape {heat.shape}")
    if not np.isfinite(heat).all():
        raise ExplainError("the heat map holds NaN or infinite values; check the model's weights")
    return np.maximum(heat, 0.0)
