"""Five changed copies of an image: COMiT-Net's augmentation of its few COVID-19 radiographs (section 3.1)."""

import cv2
import numpy as np

COPIES = ((0.0, 0, 0), (10.0, 0, 0), (-10.0, 0, 0), (0.0, 1, 0), (0.0, 0, 1), (0.0, 1, 1))
"""Degrees anti-clockwise, shift along x, shift along y in units of `SHIFT`: the image itself, then its five copies."""
SHIFT = 10 / 224
"""Share of the side: 10 pixels at 224."""


def change(image: np.ndarray, masks: np.ndarray, copy: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a copy of an image and its masks.

    Args:
        image: uint8, H x W x C.
        masks: int8, H x W x M: 1 inside, 0 outside, -1 ignored.
        copy: index into `COPIES`; 0 changes nothing.

    Returns:
        The changed image and masks; what moves in from outside is black, and outside every mask.
    """
    if not copy:
        return image, masks
    angle, right, down = COPIES[copy]
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[:, 2] += round(right * SHIFT * width), round(down * SHIFT * height)
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR).reshape(image.shape)
    # OpenCV does not move 8-bit signed images.
    changed = [cv2.warpAffine(masks[..., m].astype(np.int16), matrix, (width, height), flags=cv2.INTER_NEAREST)
               for m in range(masks.shape[-1])]  # fmt: skip
    return moved, np.stack(changed, axis=-1).astype(masks.dtype) if changed else masks
