"""The one image value inside the house."""

import math
from dataclasses import InitVar, dataclass

import numpy as np

from covidcx.errors import UnreadableImageError
from covidcx.imaging.orientation import UPRIGHT, Turn

_BITS_OF_ONE = int(np.float32(1.0).view(np.uint32))
"""As whole numbers the bits of a float32 rise with its value: those of 0..1 end here, and NaN, infinity and whatever
has a sign (minus zero too, which is allowed) lie above. One pass over the pixels instead of two."""


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A single greyscale radiograph, freed of file format and of the patient's identity.

    Attributes:
        pixels: float32, H x W, 0 = black (air) to 1 = white (bone), read-only.
        view: projection (`PA`, `AP`, `LL`, `RL` ...) or None where the file does not say.
        age: patient's age in years, or None.
        sex: `M`, `F`, or None.
        spacing: row and column spacing in mm, or None.
        modality: DICOM modality (`CR`, `DX`), or None for a picture file.
        photometric: photometric interpretation of the file before it was unified.
        bits: bits stored per pixel in the file.
        turn: what brought the file's rows and columns upright; its masks and boxes need the same turn.

    Args:
        in_range: that the pixels lie in 0..1 is known, as of a table that they were looked up in; no attribute.
    """

    pixels: np.ndarray
    view: str | None = None
    age: float | None = None
    sex: str | None = None
    spacing: tuple[float, float] | None = None
    modality: str | None = None
    photometric: str = "MONOCHROME2"
    bits: int = 8
    turn: Turn = UPRIGHT
    in_range: InitVar[bool] = False

    def __post_init__(self, in_range: bool) -> None:
        pixels = np.ascontiguousarray(self.pixels, dtype=np.float32)
        if pixels.ndim != 2:
            raise UnreadableImageError(
                f"a radiograph is one H x W grey image, received an array of shape {pixels.shape}; "
                "pass a single frame and a single channel"
            )
        if pixels.size == 0:
            raise UnreadableImageError(f"the image holds no pixels, received {pixels.shape}; re-export the image")
        if not (in_range or surely_in_range(pixels)):
            _check_range(pixels)
        # An array that its maker gave up to write on needs no copy; a read-only view of a writable one does.
        if pixels is self.pixels and (pixels.flags.writeable or not pixels.flags.owndata):
            pixels = pixels.copy()
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape


def surely_in_range(values: np.ndarray) -> bool:
    """Whether float32 values lie in 0..1, in one pass; False where one is minus zero, which does too."""
    return bool(values.view(np.uint32).max() <= _BITS_OF_ONE)


def _check_range(pixels: np.ndarray) -> None:
    """Refuse pixels outside 0..1, which NaN and infinity are too."""
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~np.isfinite(pixels)).sum())
        raise UnreadableImageError(
            f"the image holds {bad} pixels that are NaN or infinite; re-export the image without them"
        )
    if low < 0.0 or high > 1.0:
        raise UnreadableImageError(f"pixels of a radiograph lie in 0..1, received {low:g}..{high:g}; scale them first")
