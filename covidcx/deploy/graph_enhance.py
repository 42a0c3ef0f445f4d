"""Contrast enhancement as TensorFlow graph operations: the twins of `covidcx.imaging.enhance`.

Every function takes and returns uint8, H x W with a static shape, and gives the grey levels that NumPy and OpenCV
give. Grey-level tables are computed in int64 and float64, as there; only HE and CLAHE round in float32, as OpenCV does.
"""

import numpy as np
import tensorflow as tf

from covidcx.errors import ImageError
from covidcx.imaging.enhance import BEASF_VARIANTS, LEVELS, TIE


def equalize_graph(image: tf.Tensor) -> tf.Tensor:
    """Histogram equalisation, the twin of `enhance.equalize`.

    Args:
        image: uint8, H x W.

    Returns:
        uint8, H x W.
    """
    counts = histogram_graph(image)
    first = tf.argmax(counts > 0)
    total = tf.reduce_sum(counts)
    rest = total - counts[first]
    # OpenCV leaves the darkest level out of the sum, which brings it to 0, and rounds halves to even in float32.
    above = tf.cast(tf.cumsum(counts) - counts[first], tf.float32)
    scale = np.float32(LEVELS - 1) / tf.cast(tf.maximum(rest, 1), tf.float32)
    table = tf.round(tf.clip_by_value(above * scale, 0.0, float(LEVELS - 1)))
    return _look_up(tf.where(rest > 0, tf.cast(table, tf.int64), _levels()), image)


def equalize_adaptive_graph(image: tf.Tensor, radius: int = 40) -> tf.Tensor:
    """Adaptive histogram equalisation in a disk, the twin of `enhance.equalize_adaptive`.

    Args:
        image: uint8, H x W.
        radius: disk radius in pixels.

    Returns:
        uint8, H x W.
    """
    height, width = image.shape
    reach = np.arange(-radius, radius + 1)
    half = np.floor(np.sqrt(radius**2 - reach**2 + 0.5)).astype(np.int32)
    # Only offsets that can meet a pixel of the image; the padding lies outside and never counts.
    offsets = [
        (dy + radius, dx + radius)
        for dy, side in zip(reach.tolist(), half.tolist(), strict=True)
        for dx in range(-side, side + 1)
        if abs(dy) < height and abs(dx) < width
    ]
    corners = tf.constant(np.array(offsets, np.int32))
    padded = tf.pad(image, [[radius, radius], [radius, radius]], constant_values=LEVELS - 1)

    def count(index: tf.Tensor, rank: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        other = tf.slice(padded, corners[index], [height, width])
        return index + 1, rank + tf.cast(other <= image, tf.int32)

    _, rank = tf.while_loop(
        lambda index, _: index < len(offsets),
        count,
        (tf.constant(0), tf.zeros([height, width], tf.int32)),
        parallel_iterations=1,
    )
    size = tf.constant(_rows_in_reach(height, reach), tf.float32) @ tf.constant(_run_lengths(width, half), tf.float32)
    level = rank * (LEVELS - 1) // tf.cast(size, tf.int32)
    # A white centre also counts the white padding; its rank is the whole disk whatever lies there.
    return tf.cast(tf.minimum(level, LEVELS - 1), tf.uint8)


def _rows_in_reach(height: int, reach: np.ndarray) -> np.ndarray:
    """1 where row + offset is a row of the image: rows x offsets."""
    row = np.arange(height)[:, None] + reach[None, :]
    return (row >= 0) & (row < height)


def _run_lengths(width: int, half: np.ndarray) -> np.ndarray:
    """How many pixels of a disk's row of this half width lie in the image: offsets x columns."""
    column = np.arange(width)[None, :]
    return np.minimum(column + half[:, None], width - 1) - np.maximum(column - half[:, None], 0) + 1


def equalize_clahe_graph(image: tf.Tensor, clip: float = 2.0, tiles: tuple[int, int] = (8, 8)) -> tf.Tensor:
    """CLAHE with OpenCV's clipping, redistribution and rounding, the twin of `enhance.equalize_clahe`.

    Args:
        image: uint8, H x W, both divisible by the tiles.
        clip: contrast limit, in multiples of a flat histogram's bin.
        tiles: number of tiles in rows and columns.

    Returns:
        uint8, H x W.

    Raises:
        ImageError: the tiles do not divide the image.
    """
    height, width = image.shape
    if height % tiles[0] or width % tiles[1]:
        raise ImageError(
            f"CLAHE tiles {tiles} must divide the image's height and width, received {height} x {width}; "
            "resize the image or choose other tiles"
        )
    values = tf.cast(image, tf.int32)
    area = (height // tiles[0]) * (width // tiles[1])
    row = np.arange(height, dtype=np.int32) // (height // tiles[0]) * tiles[1]
    column = np.arange(width, dtype=np.int32) // (width // tiles[1])
    tile = row[:, None] + column[None, :]
    bins = tiles[0] * tiles[1] * LEVELS
    counts = tf.math.bincount(tf.reshape(tile * LEVELS + values, [-1]), minlength=bins, maxlength=bins)
    counts = tf.reshape(counts, [-1, LEVELS])
    if clip > 0:
        counts = _redistribute(counts, max(int(clip * area / LEVELS), 1))
    scale = np.float32(LEVELS - 1) / np.float32(area)
    table = tf.reshape(tf.round(tf.cast(tf.cumsum(counts, axis=1), tf.float32) * scale), [-1])
    top, bottom, down = _neighbours(height, tiles[0])
    left, right, across = _neighbours(width, tiles[1])

    def mapped(tile_row: np.ndarray, tile_column: np.ndarray) -> tf.Tensor:
        corner = (tile_row[:, None] * tiles[1] + tile_column[None, :]) * LEVELS
        return tf.gather(table, corner + values)

    one, across, down = np.float32(1), across[None, :], down[:, None]
    upper = mapped(top, left) * (one - across) + mapped(top, right) * across
    lower = mapped(bottom, left) * (one - across) + mapped(bottom, right) * across
    return tf.cast(tf.round(upper * (one - down) + lower * down), tf.uint8)


def _redistribute(counts: tf.Tensor, limit: int) -> tf.Tensor:
    """Clip tile histograms and spread what was cut off: an even share, then one a bin in regular steps."""
    kept = tf.minimum(counts, limit)
    excess = tf.reduce_sum(counts - kept, axis=1, keepdims=True)
    residual = excess % LEVELS
    step = tf.maximum(LEVELS // tf.maximum(residual, 1), 1)
    level = tf.range(LEVELS, dtype=counts.dtype)[None, :]
    extra = tf.logical_and(level % step == 0, level // step < residual)
    return kept + excess // LEVELS + tf.cast(extra, counts.dtype)


def _neighbours(length: int, tiles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tiles before and after every pixel and the weight of the latter, in OpenCV's float32."""
    inverse = np.float32(1) / np.float32(length // tiles)
    position = np.arange(length, dtype=np.float32) * inverse - np.float32(0.5)
    before = np.floor(position)
    weight = position - before
    before = before.astype(np.int32)
    return np.maximum(before, 0), np.minimum(before + 1, tiles - 1), weight


def equalize_beasf_graph(image: tf.Tensor, gamma: float = 1.5, variant: str = "covid_cxnet") -> tf.Tensor:
    """Bi-histogram equalisation with adaptive sigmoids, the twin of `enhance.equalize_beasf`.

    Args:
        image: uint8, H x W.
        gamma: slope of the sigmoids.
        variant: one of `enhance.BEASF_VARIANTS`.

    Returns:
        uint8, H x W.

    Raises:
        ImageError: the variant is unknown.
    """
    if variant not in BEASF_VARIANTS:
        raise ImageError(f"unknown BEASF variant {variant!r}; use one of {', '.join(BEASF_VARIANTS)}")
    levels = _levels()
    counts = histogram_graph(image)
    mean = tf.reduce_sum(counts * levels) // tf.reduce_sum(counts)
    low, high = tf.argmax(counts > 0), LEVELS - 1 - tf.argmax(counts[::-1] > 0)
    flat = (low == high) | (mean == 0) | (mean == LEVELS - 1)
    if variant == "covid_cxnet":
        bins = (levels - low) * LEVELS // tf.maximum(high - low, 1)
        counts = tf.math.unsorted_segment_sum(counts, tf.clip_by_value(bins, 0, LEVELS - 1), LEVELS)
    lower = _sigmoid_half(counts, tf.constant(0, tf.int64), mean, gamma)
    upper = _sigmoid_half(counts, mean, tf.constant(LEVELS - 1, tf.int64), gamma)
    curve = tf.where(levels < mean, lower, upper)
    table = tf.floor(tf.where(flat, tf.cast(levels, tf.float64), curve) + (0.5 + TIE))
    return _look_up(tf.cast(table, tf.int64), image)


def _sigmoid_half(counts: tf.Tensor, start: tf.Tensor, stop: tf.Tensor, gamma: float) -> tf.Tensor:
    """Stretched sigmoid of one half, float64 of 256 entries; only start..stop are meant."""
    levels = _levels()
    inside = tf.logical_and(levels >= start, levels <= stop)
    cumulative = tf.cumsum(tf.where(inside, counts, 0))
    median = tf.argmax(cumulative * 2 > cumulative[-1])
    span = tf.cast(tf.maximum(stop - start, 1), tf.float64)
    curve = 1.0 / (1.0 + tf.exp(-gamma * 5.0 * tf.cast(levels - median, tf.float64) / span))
    first, last = curve[start], curve[stop]
    return tf.cast(start, tf.float64) + span * (curve - first) / (last - first)


def winsorise_graph(image: tf.Tensor, upper: float, lower: float, mask: tf.Tensor) -> tf.Tensor:
    """Clip grey levels at percentiles and stretch the rest, the twin of `enhance.winsorise`.

    Args:
        image: uint8, H x W.
        upper: percentile above which levels are clipped.
        lower: percentile below which levels are clipped.
        mask: bool, H x W, with at least one True: where the percentiles are taken.

    Returns:
        uint8, H x W.
    """
    cumulative = tf.cast(tf.cumsum(histogram_graph(image, mask)), tf.float64)
    total = cumulative[-1]
    low = _first_not_below(cumulative, (lower / 100 * total + TIE)[None])[0]
    high = _first_not_below(cumulative, (upper / 100 * total - TIE)[None])[0]
    levels, span = _levels(), tf.maximum(high - low, 1)
    table = ((tf.clip_by_value(levels, low, tf.maximum(low, high)) - low) * (2 * (LEVELS - 1)) + span) // (2 * span)
    return _look_up(tf.where(high > low, table, levels), image)


def match_histogram_graph(image: tf.Tensor, reference: tuple[float, ...], mask: tf.Tensor) -> tf.Tensor:
    """Give an image a reference's grey-level distribution, the twin of `enhance.match_histogram`.

    Args:
        image: uint8, H x W.
        reference: 256 cumulative shares.
        mask: bool, H x W, with at least one True: which pixels are matched in distribution.

    Returns:
        uint8, H x W.
    """
    cumulative = tf.cast(tf.cumsum(histogram_graph(image, mask)), tf.float64)
    shares = cumulative / cumulative[-1] - TIE
    table = _first_not_below(tf.constant(reference, tf.float64), shares)
    return _look_up(tf.minimum(table, LEVELS - 1), image)


def median_level_graph(image: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the masked pixels' median grey level, uint8 scalar; 0 where the mask is empty."""
    cumulative = tf.cumsum(histogram_graph(image, mask))
    return tf.cast(tf.argmax(cumulative * 2 >= cumulative[-1]), tf.uint8)


def histogram_graph(image: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Count grey levels, int64 of 256 entries, of the masked pixels or of all."""
    values = tf.cast(image, tf.int32)
    if mask is not None:
        # Levels from 256 on are dropped by the count.
        values = tf.where(mask, values, LEVELS)
    counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=LEVELS, maxlength=LEVELS)
    return tf.cast(counts, tf.int64)


def _levels() -> tf.Tensor:
    return tf.range(LEVELS, dtype=tf.int64)


def _first_not_below(rising: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.searchsorted(rising, values, side="left"), tf.int64)


def _look_up(table: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.cast(table, tf.uint8), tf.cast(image, tf.int32))
