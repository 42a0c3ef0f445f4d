"""What the search for duplicates keeps of a radiograph: local contrast, and keypoints described upright.

Local contrast (each pixel against the mean and spread around it) takes away exposure, window, gamma and, nearly,
equalisation. Keypoints take away cropping and marks. Descriptors are computed upright, so that mirroring an image
only permutes their bins: a mirrored image needs no second description.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.imaging.resize import to_uint8

# Images are brought to SIDE**2 pixels, whatever their shape: a crop then changes the scale least.
SIDE = 288
THUMBNAIL = 32
ORIENTATIONS = ("same", "mirrored", "upside down", "turned by 180 degrees")

# Larger images are reduced to this side before anything else is done.
_LARGE = 768
_GRID = 8
_PER_CELL = 6
_CONTRAST = 0.015
_SURROUND = SIDE / 20
# Spread (in grey levels) that is added to every other, so that noise is not made contrast of.
_FLOOR = 4.0
# Spread under which there is nothing but noise to be seen.
_TEXTURE = 2.5
_MARGIN_SPREAD = 6.0
_MARGIN_AT_MOST = 0.3
# Rows, columns and directions of a 4 x 4 x 8 SIFT descriptor after mirroring left-right and upside down.
_BINS = np.arange(128).reshape(4, 4, 8)
_LEFT_RIGHT = _BINS[:, ::-1][..., (4 - np.arange(8)) % 8].reshape(-1)
_UP_DOWN = _BINS[::-1][..., -np.arange(8) % 8].reshape(-1)
PERMUTATIONS = (_BINS.reshape(-1), _LEFT_RIGHT, _UP_DOWN, _LEFT_RIGHT[_UP_DOWN])


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A radiograph as the search for duplicates sees it.

    Attributes:
        contrast: uint8, H x W of about `SIDE**2` pixels; local contrast, 128 where a pixel equals its surround.
        texture: bool, H x W: where the image shows more than noise.
        points: float32, N x 2: keypoints, x and y in pixels of `contrast`.
        descriptors: uint8, N x 128: RootSIFT in units of 1 / 255.
        thumbnail: uint8, `THUMBNAIL` x `THUMBNAIL`: the whole image as it was, margins and all.
        shape: height and width of the image as it was.
    """

    contrast: np.ndarray
    texture: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray
    thumbnail: np.ndarray
    shape: tuple[int, int]


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Describe a radiograph.

    Args:
        pixels: float, H x W, 0..1.

    Returns:
        Its fingerprint; without keypoints where the image is blank.

    Source: SIFT, Lowe 2004; RootSIFT, Arandjelovic and Zisserman 2012; local contrast normalisation as in
        Jarrett et al. 2009.
    """
    image = to_uint8(pixels)
    thumbnail = cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    reduced = _LARGE / max(image.shape)
    if reduced < 1:
        width, height = (max(1, round(side * reduced)) for side in image.shape[::-1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image = trim(image)
    scale = SIDE / np.sqrt(image.size)
    width, height = (max(32, round(side * scale)) for side in image.shape[::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    contrast, spread = local_contrast(cv2.resize(image, (width, height), interpolation=method))
    sift = cv2.SIFT_create(contrastThreshold=_CONTRAST)
    keypoints = _spread_out(sift.detect(contrast), width, height)
    keypoints, found = sift.compute(contrast, keypoints) if keypoints else ((), None)
    descriptors = np.zeros((0, 128), np.uint8) if found is None else _root(found)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32).reshape(-1, 2)
    return Fingerprint(contrast, spread > _TEXTURE, points, descriptors, thumbnail, pixels.shape)


def trim(image: np.ndarray) -> np.ndarray:
    """Cut uniform margins off, as screenshots and padding to a square leave them; never most of the image.

    Args:
        image: uint8, H x W.

    Returns:
        A view of the image.
    """
    top, bottom = _margins(image)
    image = image[top : len(image) - bottom]
    left, right = _margins(image.T)
    return image[:, left : image.shape[1] - right]


def local_contrast(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure each pixel against the Gaussian-weighted mean and spread around it.

    Args:
        image: uint8, H x W.

    Returns:
        uint8 H x W, 128 + 40 local standard deviations; float32 H x W, the local standard deviation in grey levels.
    """
    image = image.astype(np.float32)
    difference = image - cv2.GaussianBlur(image, (0, 0), _SURROUND)
    spread = np.sqrt(cv2.GaussianBlur(difference * difference, (0, 0), _SURROUND))
    return np.clip(128 + 40 * difference / (spread + _FLOOR), 0, 255).astype(np.uint8), spread


def mirrored(points: np.ndarray, orientation: int, shape: tuple[int, int]) -> np.ndarray:
    """Return where points lie in the image mirrored as `ORIENTATIONS[orientation]` says.

    Args:
        points: float, N x 2: x, y.
        orientation: position in `ORIENTATIONS`.
        shape: height and width.
    """
    points = points.copy()
    if orientation & 1:
        points[:, 0] = shape[1] - 1 - points[:, 0]
    if orientation & 2:
        points[:, 1] = shape[0] - 1 - points[:, 1]
    return points


def mirrored_image(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return the image mirrored as `ORIENTATIONS[orientation]` says."""
    image = image[:, ::-1] if orientation & 1 else image
    return np.ascontiguousarray(image[::-1] if orientation & 2 else image)


def _margins(image: np.ndarray) -> tuple[int, int]:
    """Count the leading and trailing rows that hold one grey level, JPEG noise apart."""
    low, high = np.percentile(image, [2, 98], axis=1)
    uniform = high - low <= _MARGIN_SPREAD
    counts = [int(np.argmin(side)) if not side.all() else 0 for side in (uniform, uniform[::-1])]
    at_most = int(_MARGIN_AT_MOST * len(image))
    return min(counts[0], at_most), min(counts[1], at_most)


def _spread_out(keypoints: tuple, width: int, height: int) -> list:
    """Keep the strongest keypoints of every cell of a grid, so that lettering does not take all the places."""
    cells: dict[tuple[int, int], int] = {}
    kept, seen = [], set()
    for keypoint in sorted(keypoints, key=lambda k: (-k.response, k.pt, k.size)):
        place = (round(keypoint.pt[0], 2), round(keypoint.pt[1], 2), round(keypoint.size, 2))
        cell = (int(keypoint.pt[0] * _GRID / width), int(keypoint.pt[1] * _GRID / height))
        if place not in seen and cells.get(cell, 0) < _PER_CELL:
            seen.add(place)
            cells[cell] = cells.get(cell, 0) + 1
            keypoint.angle = 0.0
            kept.append(keypoint)
    return kept


def _root(descriptors: np.ndarray) -> np.ndarray:
    share = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.minimum(np.sqrt(share) * 255 + 0.5, 255).astype(np.uint8)
