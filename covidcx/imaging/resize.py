"""Area resampling that NumPy and a TensorFlow graph compute alike to the last grey level.

cv2's INTER_AREA keeps its weights in float32, so two executors that round its result differ by a level now and
then, and equalisation multiplies that level. Here every output pixel is a sum over its footprint in float64, taken
from a summed-area table (Crow 1984): four look-ups a pixel, however many input pixels it covers.
"""

import cv2
import numpy as np

SHARE_TIE = 1e-9
"""How far above one half a share must lie to count as more than half. A share of exactly one half comes out a rounding
error above or below, differently in every executor; the next larger share that a mask can have is further away."""

# Input pixels per table: what fits a processor's cache, keeps the sums short and the memory of large images bounded.
_BLOCK = 2**20


def resize_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample by pixel area when shrinking and by box interpolation when growing.

    Args:
        image: H x W, any real dtype.
        height: output height in pixels.
        width: output width in pixels.

    Returns:
        float64, height x width; each value is the mean of the input over the output pixel's footprint.
    """
    image = np.asarray(image)
    if image.shape == (height, width):
        return image.astype(np.float64)
    if image.dtype == np.bool_:
        image = image.view(np.uint8)
    elif image.dtype != np.float32:
        image = image.astype(np.float64)
    rows, row_part = _edges(image.shape[0], height)
    columns, column_part = _edges(image.shape[1], width)
    step = max(1, int(_BLOCK * height / image.size))
    result = np.empty((height, width))
    for first in range(0, height, step):
        last = min(first + step, height)
        top, bottom = rows[first], min(rows[last] + 1, image.shape[0])
        table = _summed(image[top:bottom])
        sums = _between(table, rows[first : last + 1] - top, row_part[first : last + 1], axis=0)
        sums = _between(sums, columns, column_part, axis=1)
        result[first:last] = np.diff(np.diff(sums, axis=0), axis=1)
    result *= (height / image.shape[0]) * (width / image.shape[1])
    return result


def mostly(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample a mask: True where more than half of the output pixel's footprint is.

    Args:
        mask: bool, H x W.
        height: output height in pixels.
        width: output width in pixels.

    Returns:
        bool, height x width.
    """
    return resize_area(mask, height, width) > 0.5 + SHARE_TIE


def _edges(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole pixels before each edge i * length / size, and the part of the next one, in exact arithmetic."""
    scaled = np.arange(size + 1, dtype=np.int64) * length
    return scaled // size, (scaled % size) / size


def _summed(block: np.ndarray) -> np.ndarray:
    """Return the sums of everything above and left of each corner, (h + 1) x (w + 1); counts of a mask stay whole."""
    depth = cv2.CV_32S if block.dtype == np.uint8 else cv2.CV_64F
    return cv2.integral(np.ascontiguousarray(block), sdepth=depth)


def _between(table: np.ndarray, whole: np.ndarray, part: np.ndarray, axis: int) -> np.ndarray:
    """Read a summed-area table along one axis at edges that may lie within a pixel, where it is linear."""
    lower = table.take(whole, axis).astype(np.float64, copy=False)
    if part.any():
        upper = table.take(np.minimum(whole + 1, table.shape[axis] - 1), axis)
        lower += (upper - lower) * (part if axis else part[:, None])
    return lower


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Quantise 0..1 to 0..255, with a small offset that keeps exact halves of a level off the rounding noise.

    Args:
        image: float, values 0..1 (values outside are clipped).

    Returns:
        uint8, same shape.
    """
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.500001).astype(np.uint8)
