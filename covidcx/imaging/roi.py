"""Lung region of interest (COVID-CXNet section 3.2): enhance, segment, dilate, add a margin, crop, blank."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.errors import ImageError
from covidcx.imaging import checks
from covidcx.imaging.enhance import equalize_adaptive, equalize_clahe
from covidcx.imaging.resize import SummedImage, mostly

SEGMENTER_SIZE = 256
ROI_ENHANCEMENTS = ("ahe", "clahe", "none")
NO_LUNGS = 0.02
"""Below this share of the image there are no lungs and the image is refused. Adult lung masks of the development data
cover 9% to 62% of their image (median 36%)."""
VAGUE_LUNGS = 0.86
"""Below this mean probability inside the lung mask the image is refused: asked about a leg, noise or a blank image, the
segmenter of `lung-unet` guesses at lungs with 0.65 to 0.85; on 593 chests of train, val and pediatric it never fell
below 0.887."""

Segmenter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LungROI:
    """How lungs are found and what of the image is kept.

    Attributes:
        enhance: contrast enhancement before the segmenter: `ahe` (as the paper), `clahe` or `none`.
        kernel: side of the square dilation kernel, in segmenter pixels.
        iterations: how often the mask is dilated.
        margin: added on each side of the lungs' bounding box, as a share of its size.
        crop: keep only the bounding box.
        blank: set what lies outside the dilated lungs to black.
    """

    enhance: str = "ahe"
    kernel: int = 5
    iterations: int = 3
    margin: float = 0.02
    crop: bool = True
    blank: bool = False

    def __post_init__(self) -> None:
        checks.choice("ROI enhancement", self.enhance, ROI_ENHANCEMENTS)
        object.__setattr__(self, "kernel", checks.whole_number("ROI kernel", self.kernel, 1))
        object.__setattr__(self, "iterations", checks.whole_number("ROI iterations", self.iterations, 0))
        object.__setattr__(self, "margin", checks.number("ROI margin", self.margin, 0, 1))
        checks.flag("ROI crop", self.crop)
        checks.flag("ROI blank", self.blank)
        if self.kernel % 2 != 1:
            raise ImageError(f"ROI kernel must be odd, so that it has a centre, received {self.kernel}")


def enhancement_of_channel(channel: str) -> str:
    """Name the enhancement that a segmenter trained on one channel of `Preprocessing` expects.

    Args:
        channel: `original`, or an enhancement's own name.

    Returns:
        The name in `ROI_ENHANCEMENTS`; a channel that is none of them comes back as it is.
    """
    return "none" if channel == "original" else channel


def segmenter_input(pixels: np.ndarray | SummedImage, enhance: str = "ahe") -> np.ndarray:
    """Turn a radiograph into what the lung segmenter sees.

    Args:
        pixels: float32, H x W, 0..1, or the same summed up.
        enhance: one of `ROI_ENHANCEMENTS`.

    Returns:
        uint8, 256 x 256.
    """
    image = SummedImage.of(pixels).levels(SEGMENTER_SIZE, SEGMENTER_SIZE)
    if enhance == "ahe":
        return equalize_adaptive(image)
    return equalize_clahe(image) if enhance == "clahe" else image


def segment_lungs(pixels: np.ndarray | SummedImage, segmenter: Segmenter, enhance: str = "ahe") -> np.ndarray:
    """Find the lungs.

    Args:
        pixels: float32, H x W, 0..1, or the same summed up.
        segmenter: maps float32 1 x 256 x 256 x 1 in 0..1 to lung probabilities of the same shape.
        enhance: enhancement the segmenter was trained on.

    Returns:
        bool, H x W, in the image's own pixels.
    """
    network = segmenter_input(pixels, enhance).astype(np.float32)[None, :, :, None] / 255.0
    probability = np.asarray(segmenter(network), dtype=np.float32).reshape(SEGMENTER_SIZE, SEGMENTER_SIZE)
    height, width = pixels.shape
    return cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def grow(mask: np.ndarray, roi: LungROI) -> np.ndarray:
    """Remove specks and dilate a lung mask on the segmenter's grid.

    Args:
        mask: bool, H x W, in the image's own pixels.
        roi: kernel and iterations.

    Returns:
        bool, 256 x 256; all False where nothing but specks was there.
    """
    grid = mostly(mask, SEGMENTER_SIZE, SEGMENTER_SIZE).view(np.uint8)
    # Erosion then dilation with the same kernel removes specks in both executors without connected components.
    square = np.ones((roi.kernel, roi.kernel), np.uint8)
    opened = cv2.dilate(cv2.erode(grid, square, borderValue=0), square, borderValue=0)
    return cv2.dilate(opened, square, iterations=roi.iterations, borderValue=0).astype(bool)


def bounding_box(grid: np.ndarray, shape: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """Find the lungs' box in the image's own pixels.

    Args:
        grid: bool, 256 x 256, from `grow`.
        shape: height and width of the image.
        margin: share of the box's size added on each side.

    Returns:
        top, bottom, left, right (half open) in image pixels; the whole image where the grid is empty.
    """
    if not grid.any():
        return 0, shape[0], 0, shape[1]
    top, bottom = _span(grid.any(axis=1), shape[0], margin)
    left, right = _span(grid.any(axis=0), shape[1], margin)
    return top, bottom, left, right


def _span(occupied: np.ndarray, length: int, margin: float) -> tuple[int, int]:
    where = np.flatnonzero(occupied)
    first, last = int(where[0]), int(where[-1]) + 1
    pad = margin * (last - first)
    start = max(0.0, first - pad) * length / SEGMENTER_SIZE
    stop = min(float(SEGMENTER_SIZE), last + pad) * length / SEGMENTER_SIZE
    return int(np.floor(start + 1e-9)), max(int(np.ceil(stop - 1e-9)), int(np.floor(start + 1e-9)) + 1)
