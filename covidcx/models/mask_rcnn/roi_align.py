"""ROI align on a feature pyramid, and its inverse: pasting a small mask back into the image."""

from typing import Any

import numpy as np
from keras import ops

# A box of this many cells of a level's grid is pooled from that level: 224 pixels from stride 16 (FPN, eq. 1).
_CELLS = 14.0


def flatten_levels(levels: list) -> Any:
    """Return the levels' cells in one row: N x h x w x C each, to N x L x C."""
    return ops.concatenate([ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in levels], axis=1)


def level_of(boxes: Any, strides: tuple[int, ...]) -> Any:
    """Choose the level each box is pooled from by its size (FPN, eq. 1).

    Args:
        boxes: float, ... x 4, in pixels.
        strides: pixels per cell, doubling from level to level.

    Returns:
        int32, ...: index into `strides`.
    """
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    doublings = ops.log(ops.sqrt(sides[..., 0] * sides[..., 1]) / (_CELLS * strides[0])) / np.log(2.0)
    # The tolerance keeps a box of exactly 14 cells on its own level whatever the rounding of the logarithm.
    return ops.cast(ops.clip(ops.floor(doublings + 1e-5), 0, len(strides) - 1), "int32")


def roi_align(
    cells: Any, boxes: Any, shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], size: int, samples: int = 2
) -> Any:
    """Pool features inside boxes, without rounding (Mask R-CNN, section 3).

    Each of the size x size bins is the mean of samples x samples bilinear samples at regular places. The centre of
    cell i lies at pixel (i + 0.5) * stride; beyond the outermost centres the border's value holds.

    Args:
        cells: float, N x L x C, from `flatten_levels`.
        boxes: float, N x R x 4, in pixels.
        shapes: rows and columns of each level.
        strides: pixels per cell of each level.
        size: bins a side.
        samples: samples a side of a bin.

    Returns:
        N x R x size x size x C.
    """
    channels, rois, side = cells.shape[-1], boxes.shape[1], size * samples
    level = level_of(boxes, strides)
    starts = np.cumsum([0, *(h * w for h, w in shapes[:-1])])

    def of_level(values: Any, dtype: str) -> Any:
        return ops.take(ops.convert_to_tensor(np.asarray(values), dtype), level, axis=0)[..., None]

    place = (ops.arange(side, dtype="float32") + 0.5) / side
    stride = of_level(strides, "float32")
    ends = []
    for low, high, count in (
        (boxes[..., 1:2], boxes[..., 3:4], [h for h, _ in shapes]),
        (boxes[..., 0:1], boxes[..., 2:3], [w for _, w in shapes]),
    ):
        last = of_level(count, "float32") - 1.0
        at = ops.clip((low + place * (high - low)) / stride - 0.5, 0.0, last)
        first = ops.floor(at)
        ends.append((ops.cast(first, "int32"), ops.cast(ops.minimum(first + 1.0, last), "int32"), at - first))
    (top, bottom, down), (left, right, across) = ends
    width = of_level([w for _, w in shapes], "int32")
    images = ops.arange(ops.shape(cells)[0], dtype="int32")[:, None, None]
    start = of_level(starts, "int32") + images * cells.shape[1]
    flat = ops.reshape(cells, (-1, channels))

    def gather(rows: Any, columns: Any) -> Any:
        where = (start + rows * width)[..., :, None] + columns[..., None, :]
        return ops.take(flat, where, axis=0)

    down, across = down[..., :, None, None], across[..., None, :, None]
    upper = gather(top, left) * (1.0 - across) + gather(top, right) * across
    lower = gather(bottom, left) * (1.0 - across) + gather(bottom, right) * across
    sampled = upper * (1.0 - down) + lower * down
    pooled = ops.average_pool(ops.reshape(sampled, (-1, side, side, channels)), samples, samples)
    return ops.reshape(pooled, (-1, rois, size, size, channels))


def crop(planes: Any, boxes: Any, size: int) -> Any:
    """Sample planes inside boxes at size x size regular places, bilinearly.

    Args:
        planes: float, ... x H x W.
        boxes: float, ... x 4, in pixels.
        size: samples a side.

    Returns:
        ... x size x size.
    """
    height, width = planes.shape[-2:]
    place = (ops.arange(size, dtype="float32") + 0.5) / size
    down = _between(boxes[..., 1:2] + place * (boxes[..., 3:4] - boxes[..., 1:2]) - 0.5, height)
    across = _between(boxes[..., 0:1] + place * (boxes[..., 2:3] - boxes[..., 0:1]) - 0.5, width)
    return ops.matmul(ops.matmul(down, planes), ops.swapaxes(across, -1, -2))


def paste(masks: Any, boxes: Any, image_shape: tuple[int, int]) -> Any:
    """Stretch small masks over their boxes, bilinearly; outside a box is zero.

    Args:
        masks: float, ... x S x S.
        boxes: float, ... x 4, in pixels.
        image_shape: height H and width W in pixels.

    Returns:
        ... x H x W.
    """
    size = masks.shape[-1]
    down = _inside(boxes[..., 1:2], boxes[..., 3:4], image_shape[0], size)
    across = _inside(boxes[..., 0:1], boxes[..., 2:3], image_shape[1], size)
    return ops.matmul(ops.matmul(down, masks), ops.swapaxes(across, -1, -2))


def _between(at: Any, count: int) -> Any:
    """Weights of linear interpolation between `count` points at places `at`, ... x P, to ... x P x count."""
    at = ops.clip(at, 0.0, count - 1.0)
    return ops.maximum(1.0 - ops.abs(at[..., None] - ops.arange(count, dtype="float32")), 0.0)


def _inside(low: Any, high: Any, pixels: int, size: int) -> Any:
    centre = ops.arange(pixels, dtype="float32") + 0.5
    share = (centre - low) / ops.maximum(high - low, 1e-3)
    inside = ops.cast(ops.logical_and(share >= 0.0, share < 1.0), "float32")
    return _between(share * size - 0.5, size) * inside[..., None]
