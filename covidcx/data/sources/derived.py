"""Masks and pictures that an adapter makes from the published files, in a folder of the user's own.

Lung masks follow the shared convention: 255 lung, 127 ignored, 0 background, of the size of their image.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from covidcx.atomic import write_atomic
from covidcx.data.sources.headers import png_shape
from covidcx.errors import UnreadableImageError

LUNG_MASKS = "lung_masks"
IMAGES = "images"
_HALF = 127


def shape_of(path: Path) -> tuple[int, int]:
    """Return a picture's height and width; only what is no PNG file is decoded for it.

    Raises:
        UnreadableImageError: OpenCV cannot decode it.
    """
    return png_shape(path) or read_grey(path).shape


def read_grey(path: Path) -> np.ndarray:
    """Read a mask or picture as 8-bit grey levels.

    Args:
        path: PNG, GIF (first frame; OpenCV 4.11 or newer) or another picture file.

    Returns:
        uint8, H x W.

    Raises:
        UnreadableImageError: OpenCV cannot decode it.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        gif = path.suffix.lower() == ".gif"
        hint = "GIF needs opencv-python-headless 4.11 or newer" if gif else "download it again"
        raise UnreadableImageError(f"{path} cannot be decoded; {hint}")
    return grey


def join_masks(parts: Sequence[Path], size: tuple[int, int]) -> np.ndarray:
    """Return the union of several binary masks.

    Args:
        parts: mask files; a level above the middle is inside.
        size: height and width of the result; masks of another size are resampled (nearest neighbour).

    Returns:
        uint8, H x W: 255 inside, 0 outside.

    Raises:
        UnreadableImageError: a file cannot be decoded.
    """
    whole = np.zeros(size, bool)
    for part in parts:
        grey = read_grey(part)
        if grey.shape != size:
            grey = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        whole |= grey > _HALF
    return np.where(whole, np.uint8(255), np.uint8(0))


def make(target: Path, sources: Sequence[Path], draw: Callable[[], np.ndarray]) -> Path:
    """Write a PNG file that is made from others, unless it is there and newer than they are.

    Args:
        target: the file; its folder is made.
        sources: the files it is made from.
        draw: returns its pixels, uint8 or uint16, H x W.

    Returns:
        `target`.
    """
    if not target.is_file() or target.stat().st_mtime <= max(source.stat().st_mtime for source in sources):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, cv2.imencode(".png", draw())[1].tobytes())
    return target


def fitted_mask(mask: Path, image: Path, derived: Path | None, name: str) -> Path | None:
    """Return a lung mask of its image's size that holds 0 and 255 only.

    Args:
        mask: the published mask.
        image: the PNG image it belongs to.
        derived: where a copy may be written if the published mask does not fit.
        name: path of that copy below `derived`.

    Returns:
        `mask` itself where it fits, else the copy; None where it does not fit and no copy may be written.

    Raises:
        UnreadableImageError: the mask or the image cannot be decoded.
    """
    size = shape_of(image)
    target = derived / name if derived else None
    if target is not None and target.is_file() and png_shape(target) == size:
        return make(target, (mask, image), lambda: join_masks((mask,), size))
    grey = read_grey(mask)
    if grey.shape == size and bool(((grey == 0) | (grey == 255)).all()):
        return mask
    return make(target, (mask, image), lambda: join_masks((mask,), size)) if target else None
