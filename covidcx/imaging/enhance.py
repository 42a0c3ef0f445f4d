"""Contrast enhancement of 8-bit radiographs: HE, AHE, CLAHE, BEASF, winsorising, histogram matching.

Every function takes and returns uint8, H x W. Where a `mask` is taken, statistics come from the masked pixels
only and the resulting grey-level table is applied to all.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from covidcx.errors import ImageError

LEVELS = 256
BEASF_VARIANTS = ("arriaga_garcia", "covid_cxnet")
# Lifts exact ties over the rounding noise of two executors (NumPy, TensorFlow); far below one grey level.
TIE = 1e-6
# Within these slopes BEASF's curve neither overflows nor drowns in rounding noise that two executors do not share.
GAMMA = (1e-6, 100.0)


def equalize(image: np.ndarray) -> np.ndarray:
    """Histogram equalisation (HE), as OpenCV defines it.

    Args:
        image: uint8, H x W.

    Returns:
        uint8, H x W.
    """
    return cv2.equalizeHist(_require_uint8(image))


def equalize_adaptive(image: np.ndarray, radius: int = 40) -> np.ndarray:
    """Adaptive histogram equalisation (AHE): each pixel becomes its rank in a disk around it.

    Equals `skimage.filters.rank.equalize` with a disk, without needing scikit-image on a portable unit. The cost is
    one comparison of two 8-bit images per disk offset: meant for images of the segmenter's size, not for full ones.

    Args:
        image: uint8, H x W.
        radius: disk radius in pixels; COVID-CXNet uses 40.

    Returns:
        uint8, H x W: floor(255 x share of the disk that is not brighter than its centre).
    """
    image = _require_uint8(image)
    height, width = image.shape
    padded = np.pad(image, radius, constant_values=LEVELS - 1)
    rank = np.zeros(image.shape, np.int32)
    part = np.zeros(image.shape, np.uint8)
    hit = np.empty(image.shape, bool)
    for count, (dy, dx) in enumerate(disk_offsets(radius), 1):
        other = padded[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        part += np.less_equal(other, image, out=hit).view(np.uint8)
        if count % 255 == 0:
            # Counting in 8 bits is several times faster; emptied before a count can overflow.
            rank += part
            part[:] = 0
    rank += part
    # A white centre also counts the white padding, which leaves it where it belongs: its rank is the whole disk.
    return np.minimum(rank * (LEVELS - 1) // _disk_sizes(image.shape, radius), LEVELS - 1).astype(np.uint8)


def disk_offsets(radius: int) -> list[tuple[int, int]]:
    """List the (row, column) offsets of a disk, centre included."""
    span = range(-radius, radius + 1)
    return [(dy, dx) for dy in span for dx in span if dy * dy + dx * dx <= radius * radius]


def _disk_sizes(shape: tuple[int, int], radius: int) -> np.ndarray:
    """How many pixels of the image the disk around each pixel holds: int64, H x W."""
    reach = np.arange(-radius, radius + 1)
    half = np.array([math.isqrt(radius * radius - dy * dy) for dy in reach.tolist()])[:, None]
    row, column = np.arange(shape[0])[:, None] + reach, np.arange(shape[1])
    inside = (row >= 0) & (row < shape[0])
    runs = np.minimum(column + half, shape[1] - 1) - np.maximum(column - half, 0) + 1
    return inside.astype(np.int64) @ runs


def equalize_clahe(image: np.ndarray, clip: float = 2.0, tiles: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Contrast limited adaptive histogram equalisation (CLAHE, Pizer et al. 1987), by OpenCV.

    Args:
        image: uint8, H x W.
        clip: contrast limit, in multiples of a flat histogram's bin.
        tiles: number of tiles in rows and columns.

    Returns:
        uint8, H x W.
    """
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles[1], tiles[0])).apply(_require_uint8(image))


def equalize_beasf(image: np.ndarray, gamma: float = 1.5, variant: str = "covid_cxnet") -> np.ndarray:
    """Bi-histogram equalisation with adaptive sigmoid functions (BEASF, Arriaga-Garcia et al. 2014).

    The histogram is parted at the image's mean. Each half gets a sigmoid centred on its own median, stretched to
    the half's range, as a smooth stand-in for its cumulative histogram.

    Args:
        image: uint8, H x W.
        gamma: slope of the sigmoids, within `GAMMA`; COVID-CXNet uses 1.5.
        variant: `arriaga_garcia` bins the histogram over 0..255; `covid_cxnet` over the image's own range, which is
            what the COVID-CXNet authors ran and moves the medians.

    Returns:
        uint8, H x W; an image of one grey level comes back unchanged.
    """
    image = _require_uint8(image)
    return cv2.LUT(image, beasf_table(image, gamma, variant))


def beasf_table(image: np.ndarray, gamma: float, variant: str) -> np.ndarray:
    """Return BEASF's grey-level table, uint8 of 256 entries, for an image."""
    if variant not in BEASF_VARIANTS:
        raise ImageError(f"unknown BEASF variant {variant!r}; use one of {', '.join(BEASF_VARIANTS)}")
    if not GAMMA[0] <= gamma <= GAMMA[1]:
        raise ImageError(f"BEASF gamma lies within {GAMMA[0]:g}..{GAMMA[1]:g}, received {gamma}")
    levels = np.arange(LEVELS)
    counts = histogram(image)
    mean = int((counts * levels).sum()) // image.size
    present = np.flatnonzero(counts)
    low, high = int(present[0]), int(present[-1])
    if low == high or mean == 0 or mean == LEVELS - 1:
        return levels.astype(np.uint8)
    if variant == "covid_cxnet":
        bins = np.minimum((levels - low) * LEVELS // (high - low), LEVELS - 1)
        counts = np.bincount(bins[low : high + 1], weights=counts[low : high + 1], minlength=LEVELS)
    table = np.empty(LEVELS)
    table[: mean + 1] = _sigmoid_half(counts[: mean + 1], 0, mean, gamma)
    table[mean:] = _sigmoid_half(counts[mean:], mean, LEVELS - 1, gamma)
    return np.floor(table + 0.5 + TIE).astype(np.uint8)


def _sigmoid_half(counts: np.ndarray, start: int, stop: int, gamma: float) -> np.ndarray:
    cumulative = np.cumsum(counts)
    median = start + int(np.searchsorted(cumulative * 2, cumulative[-1], side="right"))
    median = min(median, stop)
    tones = np.arange(start, stop + 1)
    curve = 1.0 / (1.0 + np.exp(-gamma * 5.0 * (tones - median) / (stop - start)))
    # Stretched to the whole half so that the two halves meet at the mean and no grey level is lost at the ends.
    return start + (stop - start) * (curve - curve[0]) / (curve[-1] - curve[0])


def winsorise(
    image: np.ndarray, upper: float = 92.5, lower: float = 0.0, mask: np.ndarray | None = None
) -> np.ndarray:
    """Clip grey levels at percentiles and stretch what is left to 0..255.

    Args:
        image: uint8, H x W.
        upper: percentile above which levels are clipped; the SIIM paper uses 92.5.
        lower: percentile below which levels are clipped.
        mask: bool, H x W: where the percentiles are taken; the whole image by default.

    Returns:
        uint8, H x W; unchanged where both percentiles fall on one grey level.
    """
    image = _require_uint8(image)
    cumulative = np.cumsum(histogram(image, mask))
    low = int(np.searchsorted(cumulative, lower / 100 * cumulative[-1] + TIE))
    high = int(np.searchsorted(cumulative, upper / 100 * cumulative[-1] - TIE))
    if high <= low:
        return image
    table = (np.clip(np.arange(LEVELS), low, high) - low) * (LEVELS - 1) * 2 + (high - low)
    return cv2.LUT(image, (table // (2 * (high - low))).astype(np.uint8))


def match_histogram(image: np.ndarray, reference: Sequence[float], mask: np.ndarray | None = None) -> np.ndarray:
    """Give an image the grey-level distribution of a reference.

    Args:
        image: uint8, H x W.
        reference: 256 cumulative shares (the reference's cumulative histogram, ending at 1).
        mask: bool, H x W: which pixels are matched in distribution; all by default.

    Returns:
        uint8, H x W.
    """
    image = _require_uint8(image)
    cumulative = np.cumsum(histogram(image, mask))
    table = np.searchsorted(np.asarray(reference), cumulative / cumulative[-1] - TIE)
    return cv2.LUT(image, np.minimum(table, LEVELS - 1).astype(np.uint8))


def cumulative_histogram(image: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, ...]:
    """Return an image's 256 cumulative shares: a reference for `match_histogram`."""
    cumulative = np.cumsum(histogram(_require_uint8(image), mask))
    return tuple(np.round(cumulative / cumulative[-1], 6).tolist())


def histogram(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Count an image's grey levels.

    Args:
        image: uint8, H x W.
        mask: bool, H x W: where they are counted; everywhere by default, and where it is empty.

    Returns:
        int64, 256.
    """
    where = None if mask is None or not mask.any() else mask.view(np.uint8)
    # Several times faster than np.bincount, which turns levels into 64-bit numbers first.
    return cv2.calcHist([image], [0], where, [LEVELS], [0, LEVELS]).ravel().astype(np.int64)


def _require_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ImageError(
            f"enhancement takes an 8-bit H x W image, received {image.dtype} of shape {image.shape}; "
            "use covidcx.imaging.to_uint8 on a 0..1 image"
        )
    return np.ascontiguousarray(image)
