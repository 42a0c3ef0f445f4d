"""`Preprocessing`: the one value that says how a radiograph becomes a network's input, and its NumPy/OpenCV executor.

The TensorFlow executor in `covidcx.deploy.graph` follows this file step by step; a parity test holds them together.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from covidcx.errors import ImageError
from covidcx.imaging import checks, enhance
from covidcx.imaging.resize import SummedImage, mostly
from covidcx.imaging.roi import SEGMENTER_SIZE, LungROI, bounding_box, grow

CHANNELS = ("original", "he", "ahe", "clahe", "beasf")
# How far pixels and shares may stray from 0..1 by rounding.
ROUNDING = 1e-6


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
        clahe_clip: CLAHE contrast limit, above 0; at 256 nothing is left to clip.
        clahe_tiles: CLAHE tiles in rows and columns; each must divide `size`.
        gamma: BEASF slope, within `covidcx.imaging.enhance.GAMMA`.
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
        for name, value in self._checked().items():
            object.__setattr__(self, name, value)
        if any(side % tile for side, tile in zip(self.size, self.clahe_tiles, strict=True)):
            raise ImageError(
                f"size {self.size} must be a multiple of the CLAHE tiles {self.clahe_tiles}; "
                "choose sizes such as 224 or 320 with 8 x 8 tiles"
            )
        if self.winsorise is not None and not self.winsorise_low < self.winsorise:
            raise ImageError(
                f"percentiles must rise within 0..100, received {self.winsorise_low} and {self.winsorise}"
            )
        if self.roi is not None and not isinstance(self.roi, LungROI):
            raise ImageError(f"roi takes a LungROI or None, received {checks.short(self.roi)}")
        if checks.flag("lung_statistics", self.lung_statistics) and self.roi is None:
            raise ImageError("lung_statistics needs a lung ROI; set roi=LungROI()")
        if self.clahe_clip == 0:
            raise ImageError(f"clahe_clip must be above 0, received {self.clahe_clip}")
        checks.choice("beasf_variant", self.beasf_variant, enhance.BEASF_VARIANTS)

    def _checked(self) -> dict[str, Any]:
        """Return the settings that are brought to one type: lists become tuples, whole numbers floats."""
        names = checks.sequence("channels", self.channels, "names")
        return {
            "size": checks.pair("size", self.size),
            "channels": tuple(checks.choice("channel", name, CHANNELS) for name in names),
            "winsorise": None if self.winsorise is None else checks.number("winsorise", self.winsorise, 0, 100),
            "winsorise_low": checks.number("winsorise_low", self.winsorise_low, 0, 100),
            "histogram": None if self.histogram is None else _cumulative(self.histogram),
            "clahe_clip": checks.number("clahe_clip", self.clahe_clip, 0, enhance.LEVELS),
            "clahe_tiles": checks.pair("clahe_tiles", self.clahe_tiles),
            "gamma": checks.number("gamma", self.gamma, *enhance.GAMMA),
        }

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
            ImageError: a key is unknown, or a value has a wrong type or is out of range.
        """
        checks.known_keys(value, cls, "preprocessing")
        roi = value.get("roi")
        if roi is None or isinstance(roi, LungROI):
            return cls(**value)
        checks.known_keys(roi, LungROI, "roi")
        return cls(**{**value, "roi": LungROI(**roi)})


@dataclass(frozen=True)
class Geometry:
    """Where a network's input came from, so that maps go back to the original pixels.

    Attributes:
        shape: height and width of the original image.
        box: top, bottom, left, right (half open) of the kept part, in original pixels.
        lungs_found: False where no lungs are left on the network's grid; then the box is the whole image.
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
        whole = np.empty(self.shape, np.float32)
        # Four strips instead of the whole: the kept part is most of an image and written below.
        whole[:top] = whole[bottom:] = whole[top:bottom, :left] = whole[top:bottom, right:] = 0
        patch = np.asarray(heat, dtype=np.float32)
        kept = whole[top:bottom, left:right]
        cv2.resize(patch, (right - left, bottom - top), dst=kept, interpolation=cv2.INTER_LINEAR)
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
        return mostly(mask[top:bottom, left:right], *size)


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


def prepare(pixels: np.ndarray | SummedImage, spec: Preprocessing, lung_mask: np.ndarray | None = None) -> Prepared:
    """Carry out a `Preprocessing` with NumPy and OpenCV.

    Args:
        pixels: float32, H x W, 0..1; or the same summed up, for several ways to prepare one radiograph.
        spec: what to do.
        lung_mask: bool, H x W; required when `spec.roi` is set.

    Returns:
        The network's input with its geometry.

    Raises:
        ImageError: the pixels are no float H x W image in 0..1, or a ROI is asked for without a bool mask of that
            shape.

    Example:
        >>> import numpy as np
        >>> prepare(np.zeros((64, 48), np.float32), Preprocessing(size=(32, 32))).image.shape
        (32, 32, 3)
    """
    if not isinstance(pixels, SummedImage):
        _require_pixels(pixels)
        pixels = SummedImage(pixels)
    shape = pixels.shape
    whole = box = (0, shape[0], 0, shape[1])
    lungs, found = None, True
    if spec.roi is not None:
        _require_mask(lung_mask, shape)
        grid = grow(lung_mask, spec.roi)
        if spec.roi.crop:
            box = bounding_box(grid, shape, spec.roi.margin)
        lungs = _sample_grid(grid, shape, box, spec.size)
        found = bool(lungs.any())
        if not found:
            # A speck may also fall between the network's pixels: a crop around it would show no lungs.
            box = whole
    image = pixels.levels(*spec.size, box)
    region = lungs if spec.lung_statistics and found else None
    if spec.winsorise is not None:
        image = enhance.winsorise(image, spec.winsorise, spec.winsorise_low, region)
    if spec.histogram is not None:
        image = enhance.match_histogram(image, spec.histogram, region)
    blank = spec.roi is not None and spec.roi.blank and found
    if blank:
        # A neutral fill first: otherwise the grey level outside the lungs would still steer the equalisation inside.
        image = cv2.copyTo(image, lungs.view(np.uint8), np.full(spec.size, _median_level(image, lungs), np.uint8))
    channels = [_channel(image, name, spec) for name in spec.channels]
    if blank:
        # Several times faster than an assignment through a mask.
        channels = [cv2.bitwise_and(channel, channel, mask=lungs.view(np.uint8)) for channel in channels]
    return Prepared(cv2.merge(channels).reshape(*spec.size, -1), Geometry(shape, box, found), lungs if found else None)


def _require_pixels(pixels: np.ndarray) -> None:
    if not isinstance(pixels, np.ndarray):
        raise ImageError(f"prepare takes an array, received {type(pixels).__name__}; pass the pixels of a Radiograph")
    if pixels.dtype.kind != "f" or pixels.ndim != 2 or pixels.size == 0:
        raise ImageError(
            f"prepare takes float pixels 0..1, H x W, received {pixels.dtype} of shape {pixels.shape}; "
            "pass the pixels of a Radiograph"
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):
        raise ImageError(f"prepare takes pixels in 0..1, received {low:g}..{high:g}; pass the pixels of a Radiograph")


def _require_mask(mask: np.ndarray | None, shape: tuple[int, int]) -> None:
    if not isinstance(mask, np.ndarray) or mask.shape != shape:
        received = mask.shape if isinstance(mask, np.ndarray) else checks.short(mask)
        raise ImageError(f"this preprocessing needs a lung mask of shape {shape}, received {received}")
    if mask.dtype != np.bool_:
        raise ImageError(f"a lung mask is bool, received {mask.dtype}; compare it with a threshold first")


def _cumulative(histogram: Any) -> tuple[float, ...]:
    shares = checks.sequence("histogram", histogram, "cumulative shares", enhance.LEVELS)
    shares = tuple(checks.number(f"histogram at level {i}", share, 0, 1) for i, share in enumerate(shares))
    falls = [level for level in range(1, enhance.LEVELS) if shares[level] < shares[level - 1]]
    if falls or abs(shares[-1] - 1.0) > ROUNDING:
        fault = f"falls at level {falls[0]}" if falls else f"ends at {shares[-1]:g}"
        raise ImageError(
            f"histogram takes cumulative shares that rise to 1, received one that {fault}; "
            "use covidcx.imaging.enhance.cumulative_histogram"
        )
    return shares


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
    cumulative = np.cumsum(enhance.histogram(image, mask))
    return int(np.searchsorted(cumulative * 2, cumulative[-1]))


def _sample_grid(
    grid: np.ndarray, shape: tuple[int, int], box: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """Read the segmenter's grid at the centre of every network pixel, in integer arithmetic."""
    rows = _centres(box[0], box[1], shape[0], size[0])
    columns = _centres(box[2], box[3], shape[1], size[1])
    # Not grid[rows][:, columns], which NumPy lays out by columns and OpenCV then copies at every use.
    return grid.take(rows, axis=0).take(columns, axis=1)


def _centres(start: int, stop: int, length: int, size: int) -> np.ndarray:
    doubled = start * 2 * size + (2 * np.arange(size, dtype=np.int64) + 1) * (stop - start)
    return np.minimum(doubled * SEGMENTER_SIZE // (2 * size * length), SEGMENTER_SIZE - 1)
