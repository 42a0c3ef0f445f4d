"""The greyscale pipeline of DICOM PS3.3 C.11 as one table: modality, value of interest, presentation, padding."""

import math
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset

from covidcx.errors import UnreadableImageError, UnsupportedImageError

LUT_TAKES_16_BITS = int(cv2.__version__.split(".")[0]) >= 5
"""OpenCV 5 looks 16-bit images up, ten times as fast as NumPy, which turns them into 64-bit indices first."""


def grey_table(header: Dataset, words: np.ndarray, shift: int = 0, window: int | None = 0) -> np.ndarray:
    """Compute the grey level of every word a pixel can hold; every step of C.11 acts on each pixel by itself.

    Args:
        header: BitsStored, PixelRepresentation, PhotometricInterpretation and the LUT elements.
        words: uint8 or uint16, H x W: the stored bits with whatever lies beside them.
        shift: the lowest bit that is stored.
        window: index into VOI LUTs followed by windows, or None to stretch the whole range of values.

    Returns:
        float32, one entry for every value of a word, 0 = black to 1 = white.
    """
    levels = 1 << int(header.BitsStored)
    stored = np.arange(levels)
    if header.get("PixelRepresentation", 0) == 1:
        stored = np.where(stored < levels // 2, stored, stored - levels)
    padding = _padding(header, stored)
    if padding.any() and not (_present(words, levels, shift) & ~padding).any():
        raise UnsupportedImageError("every pixel holds the padding value; there is no image to read")
    values = modality_values(header, stored)
    grey = voi_values(header, values, window)
    if grey is None:
        present = values[_present(words, levels, shift) & ~padding]
        low, high = present.min(), present.max()
        grey = np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros(levels)
    # C.11 has two ways to say the same thing; a DX file carries both and is to be inverted once.
    if header.PhotometricInterpretation == "MONOCHROME1" or header.get("PresentationLUTShape") == "INVERSE":
        grey = 1.0 - grey
    table = np.where(padding, 0.0, grey).astype(np.float32)
    # Words that differ only in the bits beside the stored ones have one grey level.
    return np.tile(np.repeat(table, 1 << shift), (1 << 8 * words.dtype.itemsize) // (levels << shift))


def look_up(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return each word's entry.

    Args:
        table: float32, one entry for every value of a word.
        words: uint8 or uint16, H x W.

    Returns:
        float32, H x W.
    """
    if words.dtype == np.uint16 and not LUT_TAKES_16_BITS:
        return np.take(table, words)
    return cv2.LUT(words, table)


def _present(words: np.ndarray, levels: int, shift: int) -> np.ndarray:
    """Mark the codes that some pixel holds."""
    size = 1 << 8 * words.dtype.itemsize
    # OpenCV counts 16-bit images several times faster than np.bincount, which turns them into 64-bit numbers first.
    counts = cv2.calcHist([words], [0], None, [size], [0, size])
    return (counts.reshape(-1, levels, 1 << shift) > 0).any(axis=(0, 2))


def modality_values(header: Dataset, stored: np.ndarray) -> np.ndarray:
    """Apply the Modality LUT Sequence, or rescale slope and intercept, as PS3.3 C.11.1 says.

    Args:
        header: the elements of the Modality LUT module, if any.
        stored: stored values, int.

    Returns:
        float64, same shape.
    """
    if header.get("ModalityLUTSequence"):
        return _look_up(header, header.ModalityLUTSequence[0], stored)[0]
    slope = (numbers(header.get("RescaleSlope")) or [1.0])[0]
    intercept = (numbers(header.get("RescaleIntercept")) or [0.0])[0]
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
        raise UnreadableImageError(
            f"the rescale slope {slope:g} and intercept {intercept:g} make no image; export the file again"
        )
    return stored * slope + intercept


def voi_values(header: Dataset, values: np.ndarray, window: int | None = 0) -> np.ndarray | None:
    """Apply one value-of-interest view (PS3.3 C.11.2).

    Args:
        header: the elements of the VOI LUT module, if any.
        values: output of `modality_values`.
        window: index into VOI LUTs followed by windows; None asks for none of them.

    Returns:
        float64 in 0..1, or None where there is no view.
    """
    if window is None:
        return None
    tables = list(header.get("VOILUTSequence") or [])
    function = header.get("VOILUTFunction") or "LINEAR"
    smallest = 1.0 if function == "LINEAR" else np.finfo(float).tiny
    pairs = zip(numbers(header.get("WindowCenter")), numbers(header.get("WindowWidth")), strict=False)
    # Some exporters write a width of zero for "no window".
    pairs = [(c, w) for c, w in pairs if math.isfinite(c) and math.isfinite(w) and w >= smallest]
    count = len(tables) + len(pairs)
    if not count and window == 0:
        return None
    if not 0 <= window < count:
        raise UnsupportedImageError(
            f"window {window} was asked for, the file has {count}; choose one from 0 to {max(count - 1, 0)}, or None"
        )
    if window < len(tables):
        looked_up, top = _look_up(header, tables[window], values)
        # A few vendors state fewer bits than their table uses.
        return looked_up / max(top, looked_up.max())
    return apply_window(values, *pairs[window - len(tables)], function)


def apply_window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Apply a window, with an output range of 0..1.

    Args:
        values: float, any shape.
        centre: window centre.
        width: window width; at least 1 for LINEAR, above 0 for the others.
        function: `LINEAR` (C.11.2.1.2), `LINEAR_EXACT` (C.11.2.1.3.2) or `SIGMOID` (C.11.2.1.3.1).

    Returns:
        float64, same shape.
    """
    if function == "SIGMOID":
        # Equal to 1 / (1 + exp(-4 (x - c) / w)), without its overflow far below the centre.
        return 0.5 * (1.0 + np.tanh(2.0 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1.0
    elif function != "LINEAR_EXACT":
        raise UnsupportedImageError(
            "the VOI LUT Function is none of LINEAR, LINEAR_EXACT, SIGMOID; read with window=None"
        )
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)


def _padding(header: Dataset, stored: np.ndarray) -> np.ndarray:
    """Mark the codes that C.7.5.1.1.2 calls padding: one value, or a range between two in either order."""
    if header.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, bool)
    first = _as_stored(int(header.PixelPaddingValue), header)
    limit = header.get("PixelPaddingRangeLimit")
    last = first if limit is None else _as_stored(int(limit), header)
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _as_stored(value: int, header: Dataset) -> int:
    """Undo a sign that the writer's value representation lost or added."""
    if header.get("PixelRepresentation", 0) == 1:
        half = 1 << (int(header.BitsAllocated) - 1)
        return value - 2 * half if value >= half else value
    return value if value >= 0 else value + (1 << int(header.BitsAllocated))


def _look_up(header: Dataset, item: Dataset, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Apply a LUT item (descriptor: entries, first value mapped, bits); return the result and the highest output."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries & 0xFFFF or 1 << 16
    if first > 0x7FFF and values.min() < 0:
        first -= 1 << 16
    if not 8 <= bits <= 16:
        raise UnreadableImageError(f"a look-up table of {bits} bits; 8 to 16 are defined; export the file again")
    raw, order = item.LUTData, "<" if header.original_encoding[1] is not False else ">"
    if not isinstance(raw, bytes):
        raw = (np.atleast_1d(np.asarray(raw)).astype(np.int64) & 0xFFFF).astype(f"{order}u2").tobytes()
    # Eight-bit tables come one entry a byte or one entry a word.
    dtype = "u1" if bits == 8 and len(raw) < 2 * entries else f"{order}u2"
    table = np.frombuffer(raw[: len(raw) // 2 * 2], dtype)[:entries].astype(np.float64)
    if table.size < entries:
        raise UnreadableImageError(
            f"a look-up table of {entries} entries has {table.size}: truncated; copy or export the file again"
        )
    index = np.clip(np.rint(values - first), 0, entries - 1).astype(np.int64)
    return table[index], (1 << bits) - 1


def numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    return [float(value)] if isinstance(value, (int, float, str)) else [float(number) for number in value]
