"""What a reader sees: the radiograph with its lung outline, its heat map and a caption. OpenCV and NumPy only."""

import contextlib
import os
import textwrap
import uuid
from pathlib import Path

import cv2
import numpy as np

from covidcx.errors import ImageError
from covidcx.imaging.resize import to_uint8

LUNG_COLOUR = (0, 220, 255)
# Heat below this share of its maximum stays invisible, so that the radiograph can be read where nothing was found.
HEAT_FLOOR = 0.2

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GAP = 4


def overlay(
    pixels: np.ndarray,
    lungs: np.ndarray | None = None,
    heat: np.ndarray | None = None,
    alpha: float = 0.45,
    *,
    side_by_side: bool = False,
    caption: str | None = None,
) -> np.ndarray:
    """Draw a radiograph with what was found on it.

    Args:
        pixels: float, H x W, 0..1.
        lungs: bool, H x W: drawn as an outline.
        heat: float, H x W, any range: divided by its maximum; negative values count as none.
        alpha: opacity of the strongest heat, 0..1.
        side_by_side: put the plain radiograph to the left.
        caption: text for a strip below the image, such as the disclaimer.

    Returns:
        uint8, H x W x 3, RGB; wider with `side_by_side`, taller with `caption`.

    Raises:
        ImageError: shapes differ, `alpha` is outside 0..1, or the heat map holds NaN or infinite values.
    """
    if pixels.ndim != 2:
        raise ImageError(f"an overlay is drawn on an H x W image, received shape {pixels.shape}; pass one channel")
    if not 0.0 <= alpha <= 1.0:
        raise ImageError(f"alpha must lie in 0..1, received {alpha}; 0.45 is the default")
    plain = np.repeat(to_uint8(pixels)[..., None], 3, axis=2)
    drawn = plain.copy()
    if heat is not None:
        drawn = _blend_heat(drawn, _require_shape("heat map", heat, pixels.shape), alpha)
    if lungs is not None:
        drawn = outline(drawn, lungs, LUNG_COLOUR)
    if side_by_side:
        drawn = np.hstack([plain, np.zeros((pixels.shape[0], _GAP, 3), np.uint8), drawn])
    return drawn if caption is None else np.vstack([drawn, caption_strip(caption, drawn.shape[1])])


def _blend_heat(rgb: np.ndarray, heat: np.ndarray, alpha: float) -> np.ndarray:
    heat = np.maximum(np.asarray(heat, dtype=np.float32), 0.0)
    if not np.isfinite(heat).all():
        raise ImageError("the heat map holds NaN or infinite values; check the model's output")
    peak = float(heat.max(initial=0.0))
    if peak <= 0.0:
        return rgb
    share = heat / peak
    bgr = cv2.applyColorMap(to_uint8(share), cv2.COLORMAP_TURBO)
    opacity = alpha * np.clip((share - HEAT_FLOOR) / (1.0 - HEAT_FLOOR), 0.0, 1.0)[..., None]
    return np.floor(rgb * (1.0 - opacity) + bgr[..., ::-1] * opacity + 0.5).astype(np.uint8)


def outline(rgb: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = LUNG_COLOUR) -> np.ndarray:
    """Draw a mask's border.

    Args:
        rgb: uint8, H x W x 3.
        mask: bool, H x W.
        colour: red, green, blue.

    Returns:
        A new uint8 H x W x 3 image; the line is wider on large images.

    Raises:
        ImageError: the shapes differ.
    """
    mask = _require_shape("mask", mask, rgb.shape[:2])
    contours, _ = cv2.findContours(
        np.ascontiguousarray(mask).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    drawn = np.ascontiguousarray(rgb).copy()
    cv2.drawContours(drawn, contours, -1, colour, max(1, round(min(rgb.shape[:2]) / 300)))
    return drawn


def caption_strip(text: str, width: int) -> np.ndarray:
    """Set text in small white letters on black, broken into as many lines as the width needs.

    Args:
        text: what to write; letters outside ASCII become `?`, since OpenCV's plain fonts hold no others.
        width: of the strip, in pixels.

    Returns:
        uint8, h x width x 3.
    """
    ascii_text = text.encode("ascii", "replace").decode()
    scale = min(0.9, max(0.35, width / 1800))
    thickness = max(1, round(scale * 1.5))
    (ten_letters, height), baseline = cv2.getTextSize("n" * 10, _FONT, scale, thickness)
    columns = max(8, int((width - 8) * 10 / max(ten_letters, 1)))
    lines = textwrap.wrap(ascii_text, columns) or [""]
    step = height + baseline + 4
    strip = np.zeros((step * len(lines) + 6, width, 3), np.uint8)
    for number, line in enumerate(lines):
        origin = (4, 4 + step * number + height)
        cv2.putText(strip, line, origin, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return strip


def write_png(path: str | os.PathLike[str], rgb: np.ndarray) -> Path:
    """Write an 8-bit PNG that is either there whole or not at all.

    Args:
        path: where to; missing folders are made, a file of that name is replaced.
        rgb: uint8, H x W x 3 in RGB order, or H x W grey.

    Returns:
        The path.

    Raises:
        ImageError: not an 8-bit image, or the disk refuses it.
    """
    path = Path(path)
    if rgb.dtype != np.uint8 or not (rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 3)) or rgb.size == 0:
        raise ImageError(
            f"a PNG is written from uint8 H x W or H x W x 3, received {rgb.dtype} of shape {rgb.shape}; "
            "use covidcx.imaging.to_uint8 on a 0..1 image"
        )
    done, encoded = cv2.imencode(".png", rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    if not done:
        raise ImageError(f"OpenCV could not encode a PNG of shape {rgb.shape}; try a smaller image")
    # In the same folder, because os.replace is atomic only within one file system.
    partial = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            stream.write(encoded.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise ImageError(f"{path} could not be written ({error.strerror}); check the folder and free space") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _require_shape(what: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape != tuple(shape):
        raise ImageError(f"the {what} has shape {array.shape}, the image {tuple(shape)}; bring it to the image's grid")
    return array
