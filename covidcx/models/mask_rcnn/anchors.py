"""Anchors: the boxes the region proposal network starts from, fixed by the input's size."""

from collections.abc import Sequence

import numpy as np

STRIDES = (4, 8, 16, 32, 64)
"""Input pixels per cell of the pyramid's levels P2 to P6."""
RATIOS = (0.5, 1.0, 2.0)
"""Height over width (Faster R-CNN, section 3.1.1)."""


def level_shapes(image_shape: tuple[int, int], strides: Sequence[int] = STRIDES) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of each level, rounded up."""
    return tuple((-(-image_shape[0] // s), -(-image_shape[1] // s)) for s in strides)


def anchors(
    image_shape: tuple[int, int],
    strides: Sequence[int] = STRIDES,
    scale: float = 4.0,
    ratios: Sequence[float] = RATIOS,
) -> np.ndarray:
    """Lay out the anchors of all levels.

    Args:
        image_shape: height and width of the input in pixels.
        strides: input pixels per cell of each level.
        scale: side of a square anchor in cells of its level. FPN takes 8 for photographs of about 800 pixels; 4 puts
            anchors of 16 to 256 pixels on a radiograph of 224.
        ratios: height over width; all anchors of a level have the same area.

    Returns:
        float32, A x 4 (left, top, right, bottom), by level, row, column and ratio; they may reach over the border.

    Source: FPN (Lin et al. 2017), section 4.1: one scale a level, three aspect ratios.
    """
    found = []
    for (rows, columns), stride in zip(level_shapes(image_shape, strides), strides, strict=True):
        root = np.sqrt(np.asarray(ratios, np.float64))
        half = np.stack([scale * stride / root, scale * stride * root], axis=-1) / 2
        y, x = np.meshgrid((np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij")
        centre = np.stack([x, y], axis=-1)[:, :, None]
        found.append(np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)
