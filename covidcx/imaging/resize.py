"""Area resampling that NumPy and a TensorFlow graph compute alike to the last grey level.

cv2's INTER_AREA keeps its weights in float32, so two executors that round its result differ by a level now and
then, and equalisation multiplies that level. Here every output pixel is a sum over its footprint in float64, taken
from a summed-area table (Crow 1984): four look-ups a pixel, however many input pixels it covers.
"""

from typing import NamedTuple

import cv2
import numpy as np

SHARE_TIE = 1e-9
"""How far above one half a share must lie to count as more than half. A share of exactly one half comes out a rounding
error above or below, differently in every executor; the next larger share that a mask can have is further away."""

# Rounds to the nearest level, and keeps exact halves of one off the rounding noise.
_OFFSET = 0.500001
# Input pixels per table: what fits a processor's cache, keeps the sums short and the memory of large images bounded.
_BLOCK = 2**20
# Rows of a table that are read at a time.
_ROWS = 32
# Up to this many pixels 8 bits can count.
_COUNTED = 255
# Up to this many pixels a table of the whole image is kept (64 MiB); larger images are summed in blocks every time.
_KEPT = 2**23


class SummedImage:
    """An image laid out for area resampling of any part of it, to as many sizes as are needed.

    Attributes:
        shape: height and width.
    """

    def __init__(self, image: np.ndarray) -> None:
        """Sum the image up.

        Args:
            image: H x W, any real dtype; not to be changed afterwards.
        """
        self._image = _summable(image)
        self.shape: tuple[int, int] = self._image.shape
        self._table = _summed(self._image) if self._image.size <= _KEPT else None

    @classmethod
    def of(cls, image: "np.ndarray | SummedImage") -> "SummedImage":
        """Return an image's sums; what is summed up already comes back as it is."""
        return image if isinstance(image, cls) else cls(image)

    def levels(self, height: int, width: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
        """Resample the image, of 0..1, or a part of it and quantise: `to_uint8` of `resize_area`, in fewer passes.

        Args:
            height: output height in pixels.
            width: output width in pixels.
            box: top, bottom, left, right (half open) of the part; the whole image by default.

        Returns:
            uint8, height x width.
        """
        top, bottom, left, right = box or (0, self.shape[0], 0, self.shape[1])
        if self._table is None or (bottom - top, right - left) == (height, width):
            return to_uint8(resize_area(self._image[top:bottom, left:right], height, width))
        rows, columns = _edges(bottom - top, height), _edges(right - left, width)
        strips = _strips(self._table[top : bottom + 1, left : right + 1], rows, columns)
        scale = 255.0 * _scale(rows, columns)
        # OpenCV rounds to the nearest by itself, which is one half of the offset.
        return cv2.addWeighted(strips[:, 1:], scale, strips[:, :-1], -scale, _OFFSET - 0.5, dtype=cv2.CV_8U)


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
    image = _summable(image)
    rows, columns = _edges(image.shape[0], height), _edges(image.shape[1], width)
    step = max(1, int(_BLOCK * height / image.size))
    result = np.empty((height, width))
    for first in range(0, height, step):
        last = min(first + step, height)
        part = _Edges(rows.whole[first : last + 1], rows.part[first : last + 1], rows.length)
        top, bottom = part.whole[0], min(part.whole[-1] + 1, rows.length)
        part = part._replace(whole=part.whole - top, length=bottom - top)
        np.multiply(_sums(_summed(image[top:bottom]), part, columns), _scale(rows, columns), out=result[first:last])
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
    tall, wide = mask.shape[0] // height, mask.shape[1] // width
    if mask.shape == (tall * height, wide * width) and max(tall, wide) <= _COUNTED:
        # Footprints of whole pixels need no sums of the whole mask: they are counted, at half the cost.
        rows = np.add.reduce(mask.view(np.uint8).reshape(height, tall, -1), axis=1, dtype=np.uint8)
        if wide in (2, 4, 8) and tall * wide <= _COUNTED:
            # A footprint's columns lie side by side in one word; times 0x0101..., its highest byte is their sum.
            words = np.ascontiguousarray(rows).view(f"u{wide}")
            counts = words * words.dtype.type(int("01" * wide, 16)) >> words.dtype.type(8 * wide - 8)
        else:
            counts = sum(rows[:, first::wide].astype(np.uint16) for first in range(wide))
        return counts > tall * wide // 2
    return resize_area(mask, height, width) > 0.5 + SHARE_TIE


def count_columns(mask: np.ndarray) -> np.ndarray:
    """Count the True pixels of each column.

    Args:
        mask: bool, H x W.

    Returns:
        int64, W.
    """
    rows = mask.view(np.uint8)
    parts = (rows[first : first + _COUNTED] for first in range(0, len(rows), _COUNTED))
    return sum(np.add.reduce(part, axis=0, dtype=np.uint8).astype(np.int64) for part in parts)


class _Edges(NamedTuple):
    """Where the output pixels of one axis begin and end: whole input pixels before each edge, and part of the next."""

    whole: np.ndarray
    part: np.ndarray
    length: int


def _edges(length: int, size: int) -> _Edges:
    # Exact fractions i * length / size: integer arithmetic keeps both executors on the same side.
    scaled = np.arange(size + 1, dtype=np.int64) * length
    return _Edges(scaled // size, (scaled % size) / size, length)


def _scale(rows: _Edges, columns: _Edges) -> float:
    return ((rows.whole.size - 1) / rows.length) * ((columns.whole.size - 1) / columns.length)


def _summable(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype == np.bool_:
        return image.view(np.uint8)
    return image if image.dtype == np.float32 else image.astype(np.float64)


def _summed(block: np.ndarray) -> np.ndarray:
    """Return the sums of everything above and left of each corner, (h + 1) x (w + 1); counts of a mask stay whole."""
    depth = cv2.CV_32S if block.dtype == np.uint8 else cv2.CV_64F
    return cv2.integral(np.ascontiguousarray(block), sdepth=depth)


def _sums(table: np.ndarray, rows: _Edges, columns: _Edges) -> np.ndarray:
    """Return the sum over each output pixel's footprint."""
    strips = _strips(table, rows, columns)
    return cv2.subtract(strips[:, 1:], strips[:, :-1])


def _strips(table: np.ndarray, rows: _Edges, columns: _Edges) -> np.ndarray:
    """Return the sum over each output row's footprint up to each column's edge."""
    # OpenCV subtracts in half of NumPy's time what lies by rows.
    corners = np.ascontiguousarray(_between(_between(table, rows).T, columns).T)
    return cv2.subtract(corners[1:], corners[:-1])


def _between(table: np.ndarray, edges: _Edges) -> np.ndarray:
    """Read a table's rows at edges that may lie within a pixel, where sums are linear."""
    if not edges.part.any():
        return table[edges.whole[0] : edges.whole[-1] + 1 : max(1, edges.whole[1] - edges.whole[0])]
    pairs = np.stack([edges.whole, np.minimum(edges.whole + 1, edges.length)], axis=1)
    shares = np.stack([1.0 - edges.part, edges.part], axis=1)[:, None]
    found = np.empty((len(pairs), 1, table.shape[1]))
    # A few rows at a time, which stay in the processor's cache from the reading to the product.
    for some in range(0, len(pairs), _ROWS):
        part = slice(some, some + _ROWS)
        np.matmul(shares[part], table[pairs[part]], out=found[part])
    return found[:, 0]


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Quantise 0..1 to 0..255, with a small offset that keeps exact halves of a level off the rounding noise.

    Args:
        image: float, values 0..1 (values outside are clipped).

    Returns:
        uint8, same shape.
    """
    # What is not negative is rounded down by the conversion itself.
    return (np.clip(image, 0.0, 1.0) * 255.0 + _OFFSET).astype(np.uint8)
