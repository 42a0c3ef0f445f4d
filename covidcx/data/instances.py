"""A mask taken apart into its connected pieces, as a detector learns them."""

import cv2
import numpy as np

IGNORE, INSIDE = -1, 1


def split_instances(mask: np.ndarray, most: int, least: float = 0.001) -> np.ndarray:
    """Give each connected piece of a mask a plane of its own, the largest first.

    Pieces beyond `most` and pieces too small to learn are marked as ignored in every plane: they are neither an
    instance nor background.

    Args:
        mask: int8, H x W: 1 inside, 0 outside, -1 ignored.
        most: number of planes.
        least: smallest piece, as a share of the image's pixels.

    Returns:
        int8, H x W x most: in each plane 1 on one piece, 0 elsewhere, -1 ignored. Planes without a piece are zero. A
        mask that is ignored everywhere stays so: -1 in all planes.

    Example:
        >>> mask = np.zeros((8, 8), np.int8)
        >>> mask[1:3, 1:3] = mask[4:8, 5:7] = 1
        >>> split_instances(mask, 2).sum(axis=(0, 1)).tolist()
        [8, 4]
    """
    planes = np.zeros((*mask.shape, most), np.int8)
    planes[mask == IGNORE] = IGNORE
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((mask == INSIDE).astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    # A stable order among equals: a mirrored pair of lungs must not change places with the OpenCV version.
    order = np.argsort(-areas, kind="stable") if count > 1 else []
    kept = [i for i in order if areas[i] >= least * mask.size][:most]
    for plane, i in enumerate(kept):
        planes[pieces == i + 1, plane] = INSIDE
    for i in set(range(count - 1)) - set(kept):
        planes[pieces == i + 1] = IGNORE
    return planes


def join_instances(planes: np.ndarray) -> np.ndarray:
    """Undo `split_instances` as far as it goes.

    Args:
        planes: int8, ... x M.

    Returns:
        int8, ... x 1: 1 in any piece, -1 where ignored, else 0.
    """
    inside, ignored = (planes == INSIDE).any(axis=-1), (planes == IGNORE).any(axis=-1)
    return np.where(inside, INSIDE, np.where(ignored, IGNORE, 0)).astype(np.int8)[..., None]
