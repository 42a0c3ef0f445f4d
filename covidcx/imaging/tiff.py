"""TIFF headers: one sound page of 8 to 16 bit grey, RGB or palette pixels, or a refusal that says why.

OpenCV decodes these right (and lays them upright as their orientation tag says). What it decodes wrongly without a
word (grey with alpha, separate colour planes, signed numbers) is refused here.
"""

import struct
from dataclasses import dataclass

from covidcx.errors import UnreadableImageError, UnsupportedImageError

TIFF_MAGICS = (b"II*\0", b"MM\0*")
MAX_PAGES = 64

_TYPES = {1: "B", 3: "H", 4: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _FORMAT, _SUBFILE, _ORIENTATION = 284, 322, 323, 338, 339, 254, 274
# Offsets and byte counts, of strips or of tiles.
_BLOCKS = ((273, 279), (324, 325))
# How many values each tag may have; the others are passed over.
_WANTED = {
    **dict.fromkeys(
        (_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _SUBFILE,
         _ORIENTATION),
        1,
    ),
    **dict.fromkeys((_BITS, _EXTRA, _FORMAT), 16),
    **dict.fromkeys((tag for pair in _BLOCKS for tag in pair), 1 << 20),
}
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_UNASSOCIATED = 2
_MAX_TILE = 1 << 22


@dataclass(frozen=True)
class TiffHeader:
    """What a TIFF file promises.

    Attributes:
        width: columns as stored.
        height: rows as stored.
        bits: bits per sample.
        channels: samples per pixel once decoded, alpha included.
        inverted: zero stands for white.
        premultiplied: the colours are laid on black already.
        orientation: as in EXIF, 1 = upright.
    """

    width: int
    height: int
    bits: int
    channels: int
    inverted: bool
    premultiplied: bool
    orientation: int


def tiff_header(data: bytes) -> TiffHeader:
    """Read the first directory of a TIFF file and walk the others.

    A further page is refused, for nothing says which one is meant, unless it is a thumbnail or a mask of the first.

    Raises:
        UnreadableImageError: damaged, truncated, or directories that lead back to themselves.
        UnsupportedImageError: several pages, or pixels that are not decoded.

    Source: TIFF revision 6.0, sections 2, 8, 15 and 18.
    """
    order = "<" if data[:2] == b"II" else ">"
    first, after = _directory(data, order, int.from_bytes(data[4:8], "little" if order == "<" else "big"))
    _check_pages(data, order, after)
    kept = {tag: values[0] for tag, values in first.items() if values}
    missing = [name for name, tag in (("width", _WIDTH), ("height", _HEIGHT)) if tag not in kept]
    if missing or not any(offsets in kept for offsets, _ in _BLOCKS):
        raise UnreadableImageError(f"the TIFF header lacks {', '.join(missing) or 'pixels'}; export the file again")
    samples, photometric = kept.get(_SAMPLES, 1), kept.get(_PHOTOMETRIC, _BLACK_IS_ZERO)
    depths = set(first.get(_BITS) or (1,))
    bits = max(depths)
    _check_pixels(kept, samples, photometric, bits, len(depths))
    tile = (kept.get(_TILE_WIDTH, 0), kept.get(_TILE_HEIGHT, 0))
    if tile[0] * tile[1] > max(_MAX_TILE, kept[_WIDTH] * kept[_HEIGHT]):
        raise UnsupportedImageError(f"TIFF tiles of {tile[0]} x {tile[1]} pixels; save the picture in strips")
    for offsets, counts in _BLOCKS:
        for start, length in zip(first.get(offsets, ()), first.get(counts, ()), strict=False):
            if start + length > len(data):
                raise UnreadableImageError(
                    f"the TIFF header promises pixels up to byte {start + length:,} and the file holds {len(data):,}: "
                    "truncated; copy it again"
                )
    alpha = samples == 4
    # OpenCV decodes 8-bit RGBA by way of libtiff's viewer interface, which lays every picture on black.
    premultiplied = alpha and (bits == 8 or kept.get(_EXTRA) != _UNASSOCIATED)
    channels = samples if photometric != _PALETTE else 3
    # That interface turns white-is-zero round as well; deeper pixels come as they are stored.
    return TiffHeader(
        kept[_WIDTH], kept[_HEIGHT], bits, channels, photometric == _WHITE_IS_ZERO and bits > 8, premultiplied,
        kept.get(_ORIENTATION, 1),
    )  # fmt: skip


def _check_pixels(kept: dict[int, int], samples: int, photometric: int, bits: int, depths: int) -> None:
    """Refuse the kinds of pixel that OpenCV cannot decode, or decodes to something else than they mean."""
    advice = "save it as an 8 or 16 bit grey TIFF or PNG"
    if kept.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise UnsupportedImageError(f"a TIFF picture of compression {kept[_COMPRESSION]}; {advice}")
    if kept.get(_FORMAT, 1) not in (1, 4) or bits > 16:
        raise UnsupportedImageError(f"a TIFF picture of signed, real or {bits} bit numbers; {advice}")
    known = {
        _WHITE_IS_ZERO: ((1, 8, 10, 12, 14, 16), (1,)),
        _BLACK_IS_ZERO: ((1, 8, 10, 12, 14, 16), (1,)),
        _RGB: ((8, 16), (3, 4)),
        _PALETTE: ((4, 8), (1,)),
        _YCBCR: ((8,), (3,)),
    }
    if photometric not in known:
        raise UnsupportedImageError(f"a TIFF picture of photometric interpretation {photometric}; {advice}")
    depths_known, samples_known = known[photometric]
    if bits not in depths_known or samples not in samples_known or depths > 1:
        raise UnsupportedImageError(
            f"a TIFF picture of {samples} samples a pixel, {bits} bits each (photometric {photometric}); {advice}"
        )
    if samples > 1 and kept.get(_PLANAR, 1) != 1:
        raise UnsupportedImageError(f"a TIFF picture with separate colour planes; {advice}")


def _check_pages(data: bytes, order: str, offset: int) -> None:
    seen = set()
    while offset:
        if offset in seen or len(seen) >= MAX_PAGES:
            raise UnreadableImageError("the TIFF directories lead in a circle: damaged; export the file again")
        seen.add(offset)
        page, after = _directory(data, order, offset)
        if not (page.get(_SUBFILE) or (0,))[0] & 0b101:
            raise UnsupportedImageError("a TIFF file of several pages; give a single image")
        offset = after


def _directory(data: bytes, order: str, offset: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return the whole-number entries of the directory at `offset`, and the offset of the next one."""
    try:
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        entries = list(struct.iter_unpack(f"{order}HHI4s", data[offset + 2 : offset + 2 + 12 * count]))
        (after,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
        found = {}
        for tag, kind, number, field in entries:
            if tag not in _WANTED or kind not in _TYPES or tag in found:
                continue
            if number > _WANTED[tag]:
                raise UnreadableImageError(f"TIFF tag {tag} has {number:,} values: damaged; copy or export it again")
            code = f"{order}{number}{_TYPES[kind]}"
            inside = struct.calcsize(code) <= 4
            start = 0 if inside else struct.unpack(f"{order}I", field)[0]
            found[tag] = struct.unpack_from(code, field if inside else data, start)
    except struct.error as error:
        raise UnreadableImageError("the TIFF directory is damaged or cut off; copy or export the file again") from error
    return found, after
