"""Headers of PNG, JPEG, JPEG 2000, WebP and BMP, read from the bytes before a decoder takes any memory."""

import zlib
from dataclasses import dataclass

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.orientation import exif_orientation

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"

# Encoders write about ten scans. Each costs a pass over the whole picture, so a few thousand of them, in a file of a
# few kilobytes, would keep a decoder busy for hours.
MAX_JPEG_SCANS = 100

_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# JPEG-LS (ITU-T T.87) has a start-of-frame marker of its own.
_SOF_JPEG_LS = 0xF7
_SOS = 0xDA
_APP1 = 0xE1
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


@dataclass(frozen=True)
class PictureHeader:
    """What a picture file promises.

    Attributes:
        width: columns.
        height: rows.
        bits: bits per sample.
        channels: samples per pixel once decoded, alpha included.
        scan: byte offset of the first compressed data.
        orientation: EXIF orientation, 1 = upright.
        needs: bytes the file must have, where that can be told from the header.
    """

    width: int
    height: int
    bits: int
    channels: int = 1
    scan: int = 0
    orientation: int = 1
    needs: int = 0


def png_header(data: bytes) -> PictureHeader:
    """Read a PNG file's IHDR chunk and walk the others: libpng hands out the upper part of a cut-off picture silently.

    Raises:
        UnreadableImageError: a chunk is missing, damaged or cut off.
        UnsupportedImageError: an animation.

    Source: PNG third edition, 5 and 11.
    """
    if len(data) < 33 or data[12:16] != b"IHDR" or int.from_bytes(data[8:12], "big") != 13:
        raise UnreadableImageError("the PNG header is missing or cut off; copy or export the file again")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits, colour = data[24], data[25]
    if bits not in (1, 2, 4, 8, 16) or colour not in _PNG_CHANNELS:
        raise UnreadableImageError(
            f"the PNG header names a bit depth of {bits} and colour type {colour}, which do not exist; "
            "copy or export the file again"
        )
    return PictureHeader(width, height, bits, _PNG_CHANNELS[colour], 33, _walk_png(data))


def _walk_png(data: bytes) -> int:
    view, offset, found, orientation = memoryview(data), 8, False, 1
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
        if kind == b"eXIf":
            orientation = exif_orientation(bytes(view[offset + 8 : end - 4]))
        found = found or kind == b"IDAT"
        if kind == b"IEND":
            if found:
                return orientation
            break
        offset = end
    raise UnreadableImageError(f"the PNG data stop after {len(data):,} bytes: truncated; copy the file again")


def jpeg_header(data: bytes) -> PictureHeader:
    """Read the frame header of a JPEG, JPEG Lossless or JPEG-LS stream without decoding it.

    Raises:
        UnreadableImageError: no frame header or no scan was found.
        UnsupportedImageError: more scans than any encoder writes.

    Source: ITU-T T.81 annex B, T.87 annex C.
    """
    offset, frame, orientation = 2, None, 1
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            break
        marker = data[offset + 1]
        if marker == 0xFF or marker in _STANDALONE:
            offset += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if (marker in _SOF or marker == _SOF_JPEG_LS) and frame is None and offset + 10 <= len(data):
            height = int.from_bytes(data[offset + 5 : offset + 7], "big")
            frame = (int.from_bytes(data[offset + 7 : offset + 9], "big"), height, data[offset + 4], data[offset + 9])
        if marker == _APP1 and data[offset + 4 : offset + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[offset + 4 : offset + 2 + length])
        if marker == _SOS and frame is not None:
            # Within coded data FF is always followed by 00 or a restart marker, so every FF DA starts a scan.
            scans = data.count(b"\xff\xda", offset)
            if scans > MAX_JPEG_SCANS:
                raise UnsupportedImageError(
                    f"the JPEG stream has {scans:,} scans, at most {MAX_JPEG_SCANS} are read; save the picture again"
                )
            return PictureHeader(*frame, scan=offset, orientation=orientation)
        offset += 2 + max(length, 2)
    raise UnreadableImageError("the JPEG header is damaged or cut off; copy or export the file again")


def jpeg2000_header(data: bytes) -> PictureHeader:
    """Read the image size marker of a JPEG 2000 codestream, bare or in its JP2 box.

    Raises:
        UnreadableImageError: no image size marker was found.

    Source: ITU-T T.800 A.5.1.
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 43:
        raise UnreadableImageError("the JPEG 2000 header is damaged or cut off; export the file again")
    sizes = [int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)]
    channels = int.from_bytes(data[start + 40 : start + 42], "big")
    bits = (data[start + 42] & 0x7F) + 1
    return PictureHeader(sizes[0] - sizes[2], sizes[1] - sizes[3], bits, channels, start)


def webp_header(data: bytes) -> PictureHeader:
    """Read the size of a still WebP picture from its lossy, lossless or extended chunk.

    Raises:
        UnreadableImageError: damaged or truncated.
        UnsupportedImageError: an animation, or another RIFF container.

    Source: RFC 9649, 2 and 3.
    """
    if data[8:12] != b"WEBP":
        raise UnsupportedImageError("a RIFF container that is no WebP picture; export the image as PNG")
    total = 8 + int.from_bytes(data[4:8], "little")
    if total > len(data):
        raise UnreadableImageError(
            f"the WebP header promises {total:,} bytes and the file holds {len(data):,}: truncated; copy it again"
        )
    offset, sizes, alpha, orientation = 12, [], False, 1
    while offset + 8 <= total:
        kind, length = data[offset : offset + 4], int.from_bytes(data[offset + 4 : offset + 8], "little")
        body = data[offset + 8 : offset + 8 + min(length, total - offset - 8)]
        if kind in (b"ANIM", b"ANMF") or (kind == b"VP8X" and body and body[0] & 0x02):
            raise UnsupportedImageError("an animated WebP; give a single image")
        if kind == b"VP8X" and len(body) >= 10:
            alpha = bool(body[0] & 0x10)
            sizes.append(tuple(1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7)))
        elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
            sizes.append(tuple(int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8)))
        elif kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
            packed = int.from_bytes(body[1:5], "little")
            alpha = alpha or bool(packed >> 28 & 1)
            sizes.append((1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)))
        elif kind == b"EXIF":
            orientation = exif_orientation(body)
        offset += 8 + length + length % 2
    if not sizes or len(set(sizes)) > 1:
        raise UnreadableImageError("the WebP header is damaged; copy or export the file again")
    return PictureHeader(*sizes[0], bits=8, channels=4 if alpha else 3, orientation=orientation)


def bmp_header(data: bytes) -> PictureHeader:
    """Read the header of an uncompressed BMP picture.

    Raises:
        UnreadableImageError: damaged or cut off.
        UnsupportedImageError: run-length coded, or holding another format.
    """
    size = int.from_bytes(data[14:18], "little")
    if len(data) < 14 + size or size not in _BMP_HEADERS:
        raise UnreadableImageError("the BMP header is damaged or cut off; copy or export the file again")
    if size == 12:
        width, height, bits = (int.from_bytes(data[at : at + 2], "little") for at in (18, 20, 24))
        compression = 0
    else:
        width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
        bits, compression = (int.from_bytes(data[at : at + 2], "little") for at in (28, 30))
    # A negative height says that the first row comes first.
    height = abs(height)
    if compression not in (0, 3) or bits not in (1, 4, 8, 16, 24, 32):
        raise UnsupportedImageError(
            f"a BMP picture of {bits} bits a pixel and compression {compression}; save it uncompressed, or as PNG"
        )
    start, stride = int.from_bytes(data[10:14], "little"), (width * bits + 31) // 32 * 4
    return PictureHeader(width, height, 8, channels=3 if bits > 8 else 1, needs=start + stride * height)
