"""PNG, JPEG, TIFF, WebP and BMP files: header checks before any pixel is decoded, greyscale order, alpha, orientation.

A file of several pictures (animated PNG or WebP, TIFF of several pages) is refused: nothing in it says which one is
the radiograph, and the pages of a scanned folder belong to several patients.
"""

import threading
from pathlib import Path

import cv2
import numpy as np

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.headers import (
    JPEG_MAGIC,
    PNG_MAGIC,
    PictureHeader,
    bmp_header,
    jpeg_header,
    png_header,
    webp_header,
)
from covidcx.imaging.orientation import turn_of_exif
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.tiff import TIFF_MAGICS, TiffHeader, tiff_header

PICTURE_MAGICS = (PNG_MAGIC, JPEG_MAGIC, *TIFF_MAGICS, b"RIFF")
MIN_SIDE = 32
MAX_SIDE = 12_000
MAX_PIXELS = 100_000_000
# Three channels of 8 bits at the most pixels; the same picture with alpha and 16 bits would take 800 MB.
MAX_DECODED_BYTES = 300_000_000

# A pixel is coloured when its channels lie further apart than this, in 8-bit levels; JPEG chroma noise, arrows and
# coloured letters on a grey radiograph stay far below the share.
COLOUR_SPREAD = 40
COLOUR_SHARE = 0.25

# 10-, 12- and 14-bit detector values are often stored in 16-bit files without being scaled up.
MAX_UNSCALED_BITS = 14


def is_picture(head: bytes) -> bool:
    """Tell by its first ten bytes or more whether a file is of a format `read_picture` knows."""
    # Two letters alone would make a BMP picture of many a text; the reserved bytes are zero in every BMP file.
    return head.startswith(PICTURE_MAGICS) or (head.startswith(b"BM") and head[6:10] == b"\0\0\0\0")


def check_size(width: int, height: int, bytes_per_pixel: int = 1) -> None:
    """Refuse images no network can use and images that would not fit a small machine's memory.

    Raises:
        UnsupportedImageError: a side, the number of pixels or the decoded size lies outside the limits.
    """
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImageError(
            f"the image has {width} x {height} pixels, at least {MIN_SIDE} on each side are needed; "
            "export it at full resolution"
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UnsupportedImageError(
            f"the image has {width} x {height} pixels, at most {MAX_SIDE:,} on a side and {MAX_PIXELS:,} in all are "
            "read; reduce it first"
        )
    if width * height * bytes_per_pixel > MAX_DECODED_BYTES:
        raise UnsupportedImageError(
            f"the image has {width} x {height} pixels of {bytes_per_pixel} bytes, at most {MAX_DECODED_BYTES:,} bytes "
            "are decoded; save it in grey, without transparency"
        )


def read_picture(path: Path) -> Radiograph:
    """Read a PNG, JPEG, TIFF, WebP or BMP file of 1 to 16 bits as a radiograph.

    Colour files are accepted where the picture is grey all the same. Transparent parts are laid on black. Pixels are
    divided by the format's white (255 or 65535); a 16-bit file whose brightest pixel needs 14 bits or fewer holds
    unscaled detector values and is divided by the largest value of that many bits. An EXIF or TIFF orientation is
    followed, as every viewer does.

    Args:
        path: the file.

    Returns:
        The radiograph, with no projection, age or sex.

    Raises:
        UnreadableImageError: damaged or truncated.
        UnsupportedImageError: too small, too large, several pictures in one file, or a colour photograph.
    """
    data = path.read_bytes()
    if data.startswith(TIFF_MAGICS):
        return _read_tiff(data, tiff_header(data))
    for magic, name, parse in _FORMATS:
        if data.startswith(magic):
            return _read_other(data, name, parse(data))
    raise UnsupportedImageError("no PNG, JPEG, TIFF, WebP or BMP picture; export it as one of them")


_FORMATS = (
    (PNG_MAGIC, "PNG", png_header),
    (JPEG_MAGIC, "JPEG", jpeg_header),
    (b"RIFF", "WebP", webp_header),
    (b"BM", "BMP", bmp_header),
)


def _read_other(data: bytes, name: str, header: PictureHeader) -> Radiograph:
    check_size(header.width, header.height, header.channels * (2 if header.bits > 8 else 1))
    if header.needs > len(data):
        raise UnreadableImageError(
            f"the {name} header promises {header.needs:,} bytes and the file holds {len(data):,}: truncated; "
            "copy it again"
        )
    if name == "JPEG" and data.find(b"\xff\xd9", header.scan) < 0:
        raise UnreadableImageError("the JPEG data stop before their end marker: truncated; copy the file again")
    image = _decode(data, name, (header.height, header.width))
    if name == "BMP":
        # The fourth byte of a pixel is alpha in some BMP files and nothing in others; viewers pass over it.
        image = image[..., :3] if image.ndim == 3 else image
    grey, bits = to_grey(image)
    turn = turn_of_exif(header.orientation)
    return Radiograph(turn.apply(grey), bits=header.bits if bits == image.dtype.itemsize * 8 else bits, turn=turn)


def _read_tiff(data: bytes, header: TiffHeader) -> Radiograph:
    check_size(header.width, header.height, header.channels * (2 if header.bits > 8 else 1))
    # OpenCV lays a TIFF upright whatever it is told, hence either way round.
    image = _decode(data, "TIFF", (header.height, header.width), (header.width, header.height))
    if header.premultiplied:
        image = image[..., :3]
    if image.dtype == np.uint16 and header.bits < 16:
        # OpenCV hands out 10, 12 and 14 bits in the upper part of 16.
        image = image >> (16 - header.bits)
    grey, bits = to_grey(image, header.bits if 8 < header.bits < 16 else None)
    turn = turn_of_exif(header.orientation)
    return Radiograph(1.0 - grey if header.inverted else grey, bits=max(bits, 8), turn=turn)


def _decode(data: bytes, name: str, *shapes: tuple[int, int]) -> np.ndarray:
    """Decode to uint8 or uint16 in OpenCV's channel order, rows as they are stored."""
    # The orientation is followed here: OpenCV's own way of doing so would drop a PNG's alpha.
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    with _SILENCE:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UnreadableImageError(f"the {name} data are damaged; copy or export the file again")
    if image.shape[:2] not in shapes or image.dtype not in (np.uint8, np.uint16):
        raise UnreadableImageError(
            f"{shapes[0][1]} x {shapes[0][0]} pixels were promised and {image.shape[1]} x {image.shape[0]} "
            f"({image.dtype}) found; export the file again"
        )
    return image


class _Silence:
    """Keep OpenCV from writing what it thinks of a damaged file to standard error.

    Its log level is one for the whole process: the first thread in turns it off, the last one out turns it on again.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._level = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                cv2.utils.logging.setLogLevel(self._level)


_SILENCE = _Silence()


def to_grey(image: np.ndarray, bits: int | None = None) -> tuple[np.ndarray, int]:
    """Turn a decoded picture into grey pixels.

    Args:
        image: uint8 or uint16, H x W, or H x W x 2 to 4 in OpenCV's order (blue, green, red, alpha).
        bits: bits that white stands for, if known; found from a 16-bit picture's brightest pixel otherwise.

    Returns:
        float32 H x W in 0..1, and the number of bits that white stands for.

    Raises:
        UnsupportedImageError: a colour photograph.
    """
    alpha = None
    if image.ndim == 3 and image.shape[2] in (2, 4):
        image, alpha = image[..., :-1], image[..., -1]
    if image.ndim == 3:
        image = image[..., 0] if image.shape[2] == 1 else _grey_of_colour(np.ascontiguousarray(image))
    depth = image.dtype.itemsize * 8
    if bits is None and depth == 16:
        needed = max(8, int(image.max()).bit_length())
        bits = needed if needed <= MAX_UNSCALED_BITS else depth
    bits = bits or depth
    grey = image.astype(np.float32) / np.float32(2**bits - 1)
    if alpha is not None:
        grey *= alpha.astype(np.float32) / np.float32(2**depth - 1)
    return grey, bits


def _grey_of_colour(image: np.ndarray) -> np.ndarray:
    blue, green, red = cv2.split(image)
    spread = cv2.max(cv2.max(blue, green), red) - cv2.min(cv2.min(blue, green), red)
    if not spread.any():
        return green
    level = COLOUR_SPREAD * (1 if image.dtype == np.uint8 else 257)
    share = float(np.count_nonzero(spread > level)) / spread.size
    if share > COLOUR_SHARE:
        raise UnsupportedImageError(
            f"a colour picture: {share:.0%} of its pixels are coloured, at most {COLOUR_SHARE:.0%} are accepted; "
            "give a radiograph, saved in greyscale"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
