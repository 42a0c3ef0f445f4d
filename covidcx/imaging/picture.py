"""PNG and JPEG files: header checks before any pixel is decoded, greyscale order, alpha, and the accepted sizes."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.radiograph import Radiograph

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
MIN_SIDE = 32
MAX_SIDE = 12_000
MAX_PIXELS = 100_000_000

# A pixel is coloured when its channels lie further apart than this, in 8-bit levels; JPEG chroma noise, arrows and
# coloured letters on a grey radiograph stay far below the share.
COLOUR_SPREAD = 40
COLOUR_SHARE = 0.25

# 10-, 12- and 14-bit detector values are often stored in 16-bit PNG files without being scaled up.
MAX_UNSCALED_BITS = 14

_PNG_GREY = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# JPEG-LS (ITU-T T.87) has a start-of-frame marker of its own.
_SOF_JPEG_LS = 0xF7
_SOS = 0xDA
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class PictureHeader:
    """What a picture file promises.

    Attributes:
        width: columns.
        height: rows.
        bits: bits per sample.
        scan: byte offset of the first compressed data.
    """

    width: int
    height: int
    bits: int
    scan: int


def check_size(width: int, height: int) -> None:
    """Refuse images no network can use and images that would not fit a small machine's memory.

    Raises:
        UnsupportedImageError: a side or the number of pixels lies outside the limits.
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


def read_picture(path: Path) -> Radiograph:
    """Read a PNG (1 to 16 bits) or JPEG file as a radiograph.

    Colour files are accepted where the picture is grey all the same. Transparent parts are laid on black. Pixels are
    divided by the format's white (255 or 65535); a 16-bit file whose brightest pixel needs 14 bits or fewer holds
    unscaled detector values and is divided by the largest value of that many bits.

    Args:
        path: the file.

    Returns:
        The radiograph, with no projection, age or sex.

    Raises:
        UnreadableImageError: damaged or truncated.
        UnsupportedImageError: too small, too large, animated, or a colour photograph.
    """
    data = path.read_bytes()
    is_png = data.startswith(PNG_MAGIC)
    header = png_header(data) if is_png else jpeg_header(data)
    check_size(header.width, header.height)
    if is_png:
        _check_png_chunks(data)
    elif data.find(b"\xff\xd9", header.scan) < 0:
        raise UnreadableImageError("the JPEG data stop before their end marker: truncated; copy the file again")
    # ANYCOLOR turns a JPEG upright as its EXIF tag says, as every viewer does, but would drop a PNG's alpha.
    flags = cv2.IMREAD_UNCHANGED if is_png else cv2.IMREAD_ANYCOLOR
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UnreadableImageError(f"the {'PNG' if is_png else 'JPEG'} data are damaged; copy or export the file again")
    if sorted(image.shape[:2]) != sorted((header.height, header.width)):
        raise UnreadableImageError(
            f"{header.width} x {header.height} pixels were promised and {image.shape[1]} x {image.shape[0]} found; "
            "export the file again"
        )
    grey, bits = to_grey(image)
    return Radiograph(grey, bits=header.bits if bits == image.dtype.itemsize * 8 else bits)


def to_grey(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Turn a decoded picture into grey pixels.

    Args:
        image: uint8 or uint16, H x W, or H x W x 2 to 4 in OpenCV's order (blue, green, red, alpha).

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
    bits = depth
    if depth == 16:
        needed = max(8, int(image.max()).bit_length())
        bits = needed if needed <= MAX_UNSCALED_BITS else depth
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


def png_header(data: bytes) -> PictureHeader:
    """Read a PNG file's IHDR chunk.

    Raises:
        UnreadableImageError: the chunk is missing, damaged or cut off.
    """
    if len(data) < 33 or data[12:16] != b"IHDR" or int.from_bytes(data[8:12], "big") != 13:
        raise UnreadableImageError("the PNG header is missing or cut off; copy or export the file again")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[24] not in (1, 2, 4, 8, 16) or data[25] not in _PNG_GREY:
        raise UnreadableImageError(
            f"the PNG header names a bit depth of {data[24]} and colour type {data[25]}, which do not exist; "
            "copy or export the file again"
        )
    return PictureHeader(width, height, data[24], 33)


def _check_png_chunks(data: bytes) -> None:
    """Walk the chunks: libpng would hand out the upper part of a truncated picture without a word."""
    view, offset, found = memoryview(data), 8, False
    while offset + 12 <= len(data):
        length = int.from_bytes(view[offset : offset + 4], "big")
        end = offset + 12 + length
        kind = bytes(view[offset + 4 : offset + 8])
        if end > len(data):
            break
        if zlib.crc32(view[offset + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise UnreadableImageError("a PNG checksum does not match: the file is damaged; copy or export it again")
        if kind == b"acTL":
            raise UnsupportedImageError("an animated PNG; give a single image")
        found = found or kind == b"IDAT"
        if kind == b"IEND":
            if found:
                return
            break
        offset = end
    raise UnreadableImageError(f"the PNG data stop after {len(data):,} bytes: truncated; copy the file again")


def jpeg_header(data: bytes) -> PictureHeader:
    """Read the frame header of a JPEG, JPEG Lossless or JPEG-LS stream without decoding it.

    Raises:
        UnreadableImageError: no frame header or no scan was found.
    """
    offset, frame = 2, None
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            break
        marker = data[offset + 1]
        if marker == 0xFF or marker in _STANDALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if (marker in _SOF or marker == _SOF_JPEG_LS) and frame is None and offset + 9 <= len(data):
            height = int.from_bytes(data[offset + 5 : offset + 7], "big")
            frame = (int.from_bytes(data[offset + 7 : offset + 9], "big"), height, data[offset + 4])
        if marker == _SOS and frame is not None:
            return PictureHeader(*frame, scan=offset)
        offset += 2 + max(length, 2)
    raise UnreadableImageError("the JPEG header is damaged or cut off; copy or export the file again")


def jpeg2000_size(data: bytes) -> tuple[int, int]:
    """Read width and height from a JPEG 2000 codestream (ITU-T T.800 A.5.1), bare or in its JP2 box.

    Raises:
        UnreadableImageError: no image size marker was found.
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 24:
        raise UnreadableImageError("the JPEG 2000 header is damaged or cut off; export the file again")
    sizes = [int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)]
    return sizes[0] - sizes[2], sizes[1] - sizes[3]
