"""Thin, sharp-edged shapes of nearly one grey level: what letters, arrows and drawn lines have in common.

Only OpenCV and NumPy. Every shape is measured here; `covidcx.imaging.text` decides which ones are marks.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.imaging.resize import to_uint8

# The longest side on which shapes are looked for; the sizes below are in pixels of a 512-pixel image.
GRID = 1024
UNIT = 512.0
KERNELS = (7, 15, 29)
# A stroke stands out of what surrounds it by this much at least, on the 0..1 scale.
CONTRAST = 0.10
_MIN_AREA = 5
_FAR = 3


@dataclass(frozen=True, eq=False)
class Shapes:
    """Measured components of one polarity and one scale; every field but `labels` has one entry per component.

    Attributes:
        labels: int32, H x W: 0 nothing, i + 1 component i.
        left, top, width, height, area: bounding box and size in pixels.
        level: 60th percentile along the middle of the stroke, 0..1, 1 the extreme of this polarity.
        flatness: that level less the 25th percentile; 0 for a constant stroke. Ends and crossings do not count.
        contrast: level less the mean 3 pixels off the edge.
        steepness: how much of the contrast falls within one pixel of the edge; 1 for a step, below 0.4 for anatomy.
        surrounded: share of the border at which the level falls.
        stroke: mean stroke width in pixels.
        length: pixels along the middle of the stroke.
        ink: share of the bounding box.
    """

    labels: np.ndarray
    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    area: np.ndarray
    level: np.ndarray
    flatness: np.ndarray
    contrast: np.ndarray
    steepness: np.ndarray
    surrounded: np.ndarray
    stroke: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.area)

    @property
    def size(self) -> np.ndarray:
        """The longer side of each bounding box."""
        return np.maximum(self.width, self.height)

    @property
    def ink(self) -> np.ndarray:
        """Share of each bounding box that the component fills."""
        return self.area / (self.width * self.height)

    def crop(self, index: int) -> np.ndarray:
        """Return one component, bool, cut to its bounding box."""
        top, left = self.top[index], self.left[index]
        return self.labels[top : top + self.height[index], left : left + self.width[index]] == index + 1

    def mask(self, keep: np.ndarray) -> np.ndarray:
        """Return the components where `keep` (bool, N) is True: bool, H x W."""
        return np.concatenate([[False], keep])[self.labels]


def find_shapes(grey: np.ndarray, kernel: int) -> Shapes:
    """Find and measure shapes that are brighter than what surrounds them and narrower than a kernel.

    Args:
        grey: float32, H x W, 0..1; pass `1 - grey` for dark shapes.
        kernel: odd side of the structuring element in pixels; wider strokes are not seen.

    Returns:
        The shapes.
    """
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    # Eight bits are enough to tell where a stroke is, and several times faster.
    hat = cv2.morphologyEx(to_uint8(grey), cv2.MORPH_TOPHAT, element)
    some = hat > round(255 * CONTRAST)
    count, labels = cv2.connectedComponents(some.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    # Half of a component's own height is where its edge lies, however blurred it is.
    peak = np.zeros(count, np.uint8)
    np.maximum.at(peak, labels[some], hat[some])
    strong = np.zeros(grey.shape, np.uint8)
    strong[some] = hat[some] > peak[labels[some]] // 2
    count, labels, stats, _ = cv2.connectedComponentsWithStats(strong, connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= _MIN_AREA
    keep[0] = False
    number = (np.cumsum(keep) * keep).astype(np.int32)
    return _measure(grey, number[labels], stats[keep])


def _measure(grey: np.ndarray, labels: np.ndarray, stats: np.ndarray) -> Shapes:
    count = len(stats)
    inside = (labels > 0).astype(np.uint8)
    # The frame of the picture counts as surroundings, so that a letter cut off by it keeps its stroke width.
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    cross = np.ones((3, 3), np.uint8)
    middle = (labels > 0) & (distance >= cv2.dilate(distance, cross) - 0.3)
    edge = (labels > 0) & (cv2.erode(inside, cross, borderValue=1) == 0)
    span = cv2.dilate(grey, cross) - cv2.erode(grey, cross)

    def mean(where: np.ndarray, values: np.ndarray) -> np.ndarray:
        owner = labels[where]
        sums = np.bincount(owner, weights=values[where], minlength=count + 1)
        return (sums / np.maximum(np.bincount(owner, minlength=count + 1), 1))[1:]

    length = np.bincount(labels[middle], minlength=count + 1)[1:]
    level, low = _quantiles(labels[middle], grey[middle], length, (0.6, 0.25))
    stroke = 2.0 * mean(middle, distance) - 1.0
    outside = _ring(labels, _FAR)
    around = outside > 0
    owner = outside[around]
    drop = np.concatenate([[0.0], level])[owner] - grey[around]
    rings = np.maximum(np.bincount(owner, minlength=count + 1), 1)
    contrast = (np.bincount(owner, weights=drop, minlength=count + 1) / rings)[1:]
    falls = drop > np.maximum(0.5 * CONTRAST, 0.35 * np.concatenate([[0.0], contrast])[owner])
    surrounded = (np.bincount(owner, weights=falls, minlength=count + 1) / rings)[1:]
    steepness = mean(edge, span) / np.maximum(contrast, 1e-3)
    left, top, width, height, area = (stats[:, i].astype(np.int64) for i in range(5))
    return Shapes(labels, left, top, width, height, area, level, level - low, contrast, steepness, surrounded,
                  np.maximum(stroke, 1.0), length)  # fmt: skip


def _quantiles(
    owner: np.ndarray, values: np.ndarray, counts: np.ndarray, shares: tuple[float, ...]
) -> list[np.ndarray]:
    """Return quantiles of each owner's values; owners are 1 .. N, `counts` how many values each has."""
    ordered = values[np.lexsort((values, owner))].astype(np.float64)
    start = np.cumsum(counts) - counts
    last = np.maximum(len(ordered) - 1, 0)
    at = [np.minimum(start + (share * np.maximum(counts - 1, 0)).round().astype(np.int64), last) for share in shares]
    return [np.where(counts > 0, ordered[index], 0.0) if len(ordered) else np.zeros(len(counts)) for index in at]


def _ring(labels: np.ndarray, distance: int) -> np.ndarray:
    """Return the pixels `distance` off each component, with its label; of two that meet the later one wins."""
    values = labels.astype(np.float32)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance + 1, 2 * distance + 1))
    inner = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance - 1, 2 * distance - 1))
    far, near = cv2.dilate(values, disk), cv2.dilate(values, inner)
    far[near > 0] = 0
    return far.astype(np.int32)
