"""`Preprocessing`: the one value that says how a radiograph becomes a network's input, and its NumPy/OpenCV executor.

The TensorFlow executor in `covidcx.deploy.graph` follows this file step by step; a parity test holds them together.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np

from covidcx.errors import ImageError, did_you_mean
from covidcx.imaging import enhance
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.imaging.roi import SEGMENTER_SIZE, LungROI, bounding_box, grow

CHANNELS = ("original", "he", "ahe", "clahe", "beasf")


@dataclass(frozen=True)
class Preprocessing:
    """How a radiograph becomes a network's input; a value that travels as JSON in every bundle.

    Order: lung ROI (crop), resize, winsorise, histogram match, one enhanced image per channel, blank outside lungs.

    Attributes:
        size: height and width of the network's input.
        channels: one of `CHANNELS` per input channel; COVID-CXNet stacks original, CLAHE and BEASF.
        roi: lung region of interest, or None for the whole image.
        winsorise: upper percentile at which grey levels are clipped, or None.
        winsorise_low: lower percentile, used when `winsorise` is set.
        histogram: 256 cumulative shares to match the grey levels to, or None.
        lung_statistics: take percentiles and histogram from lung pixels only (needs `roi`).
        clahe_clip: CLAHE contrast limit.
        clahe_tiles: CLAHE tiles in rows and columns; each must divide `size`.
        gamma: BEASF slope.
        beasf_variant: see `covidcx.imaging.enhance.equalize_beasf`.
    """

    size: tuple[int, int] = (320, 320)
    channels: tuple[str, ...] = ("original", "clahe", "beasf")
    roi: LungROI | None = None
    winsorise: float | None = None
    winsorise_low: float = 0.0
    histogram: tuple[float, ...] | None = None
    lung_statistics: bool = False
    clahe_clip: float = 2.0
    clahe_tiles: tuple[int, int] = (8, 8)
    gamma: float = 1.5
    beasf_variant: str = "covid_cxnet"

    def __post_init__(self) -> None:
        for name in self.channels:
            if name not in CHANNELS:
                raise ImageError(f"unknown channel {name!r}.{did_you_mean(name, CHANNELS)}")
        if any(side <= 0 or side % tile for side, tile in zip(self.size, self.clahe_tiles, strict=True)):
            raise ImageError(
                f"size {self.size} must be a positive multiple of the CLAHE tiles {self.clahe_tiles}; "
                "choose sizes such as 224 or 320 with 8 x 8 tiles"
            )
        if self.histogram is not None and len(self.histogram) != enhance.LEVELS:
            raise ImageError(
                f"a reference histogram has {enhance.LEVELS} cumulative shares, received {len(self.histogram)}"
            )
        if self.winsorise is not None and not 0 <= self.winsorise_low < self.winsorise <= 100:
            raise ImageError(
                f"percentiles must rise within 0..100, received {self.winsorise_low} and {self.winsorise}"
            )
        if self.lung_statistics and self.roi is None:
            raise ImageError("lung_statistics needs a lung ROI; set roi=LungROI()")

    @property
    def needs_lungs(self) -> bool:
        """Whether a lung mask changes the result."""
        return self.roi is not None

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this value, for caches and records."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return the value as a JSON-ready dictionary; `from_dict` undoes it."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Preprocessing":
        """Build the value from `to_dict`'s dictionary.

        Raises:
            ImageError: a key is unknown.
        """
        known = {f.name for f in fields(cls)}
        for key in value:
            if key not in known:
                raise ImageError(f"unknown preprocessing setting {key!r}.{did_you_mean(key, known)}")
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        if isinstance(settings.get("roi"), dict):
            settings["roi"] = LungROI(**settings["roi"])
        return cls(**settings)


@dataclass(frozen=True)
class Geometry:
    """Where a network's input came from, so that maps go back to the original pixels.

    Attributes:
        shape: height and width of the original image.
        box: top, bottom, left, right (half open) of the kept part, in original pixels.
        lungs_found: False where the mask was empty and the whole image was kept.
    """

    shape: tuple[int, int]
    box: tuple[int, int, int, int]
    lungs_found: bool = True

    def restore(self, heat: np.ndarray) -> np.ndarray:
        """Bring a map from the network's grid back to the original image.

        Args:
            heat: float, h x w, any grid that covers the network's input (a feature map's will do).

        Returns:
            float32, H x W of the original; zero outside the kept part.
        """
        top, bottom, left, right = self.box
        whole = np.zeros(self.shape, np.float32)
        patch = np.asarray(heat, dtype=np.float32)
        whole[top:bottom, left:right] = cv2.resize(
            patch, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )
        return whole

    def project(self, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Bring a mask of the original image onto the network's input.

        Args:
            mask: bool, H x W of the original.
            size: height and width of the network's input.

        Returns:
            bool, size.
        """
        top, bottom, left, right = self.box
        return resize_area(mask[top:bottom, left:right], *size) > 0.5


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network's input before scaling to 0..1.

    Attributes:
        image: uint8, H x W x C.
        geometry: the way back to the original pixels.
        lungs: bool, H x W: dilated lungs on the network's grid, or None without a ROI or without lungs.
    """

    image: np.ndarray
    geometry: Geometry
    lungs: np.ndarray | None = None

    @property
    def network_input(self) -> np.ndarray:
        """float32, 1 x H x W x C, 0..1: what every covidcx classifier takes."""
        return self.image.astype(np.float32)[None] / np.float32(255.0)


def prepare(pixels: np.ndarray, spec: Preprocessing, lung_mask: np.ndarray | None = None) -> Prepared:
    """Carry out a `Preprocessing` with NumPy and OpenCV.

    Args:
        pixels: float32, H x W, 0..1.
        spec: what to do.
        lung_mask: bool, H x W; required when `spec.roi` is set.

    Returns:
        The network's input with its geometry.

    Raises:
        ImageError: a ROI is asked for without a mask, or the mask has another shape.

    Example:
        >>> import numpy as np
        >>> prepare(np.zeros((64, 48), np.float32), Preprocessing(size=(32, 32))).image.shape
        (32, 32, 3)
    """
    shape = pixels.shape
    box, lungs, found = (0, shape[0], 0, shape[1]), None, True
    if spec.roi is not None:
        if lung_mask is None or lung_mask.shape != shape:
            received = None if lung_mask is None else lung_mask.shape
            raise ImageError(f"this preprocessing needs a lung mask of shape {shape}, received {received}")
        grid = grow(lung_mask, spec.roi)
        found = bool(grid.any())
        if spec.roi.crop:
            box = bounding_box(grid, shape, spec.roi.margin)
        if found:
            lungs = _sample_grid(grid, shape, box, spec.size)
            found = bool(lungs.any())
    top, bottom, left, right = box
    image = to_uint8(resize_area(pixels[top:bottom, left:right], *spec.size))
    region = lungs if spec.lung_statistics and found else None
    if spec.winsorise is not None:
        image = enhance.winsorise(image, spec.winsorise, spec.winsorise_low, region)
    if spec.histogram is not None:
        image = enhance.match_histogram(image, spec.histogram, region)
    blank = spec.roi is not None and spec.roi.blank and found
    if blank:
        # A neutral fill first: otherwise the grey level outside the lungs would still steer the equalisation inside.
        image = np.where(lungs, image, _median_level(image, lungs)).astype(np.uint8)
    stack = np.stack([_channel(image, name, spec) for name in spec.channels], axis=-1)
    if blank:
        stack[~lungs] = 0
    return Prepared(stack, Geometry(shape, box, found), lungs if found else None)


def _channel(image: np.ndarray, name: str, spec: Preprocessing) -> np.ndarray:
    if name == "he":
        return enhance.equalize(image)
    if name == "ahe":
        return enhance.equalize_adaptive(image)
    if name == "clahe":
        return enhance.equalize_clahe(image, spec.clahe_clip, spec.clahe_tiles)
    if name == "beasf":
        return enhance.equalize_beasf(image, spec.gamma, spec.beasf_variant)
    return image


def _median_level(image: np.ndarray, mask: np.ndarray) -> int:
    cumulative = np.cumsum(np.bincount(image[mask], minlength=enhance.LEVELS))
    return int(np.searchsorted(cumulative * 2, cumulative[-1]))


def _sample_grid(
    grid: np.ndarray, shape: tuple[int, int], box: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """Read the segmenter's grid at the centre of every network pixel, in integer arithmetic."""
    rows = _centres(box[0], box[1], shape[0], size[0])
    columns = _centres(box[2], box[3], shape[1], size[1])
    return grid[rows[:, None], columns[None, :]]


def _centres(start: int, stop: int, length: int, size: int) -> np.ndarray:
    doubled = start * 2 * size + (2 * np.arange(size, dtype=np.int64) + 1) * (stop - start)
    return np.minimum(doubled * SEGMENTER_SIZE // (2 * size * length), SEGMENTER_SIZE - 1)
