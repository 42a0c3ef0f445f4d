"""Picture files written by hand, byte by byte, for the tests of this room."""

import struct

import cv2
import numpy as np

SHAPE = (60, 48)


def noise(shape=SHAPE, dtype=np.uint8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return data.tobytes()


def webp(image: np.ndarray) -> bytes:
    return encode(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)


def write(folder, data: bytes, name: str = "a.bin"):
    path = folder / name
    path.write_bytes(data)
    return path


def tiff(pixels: bytes, tags: dict[int, int | list[int]], order: str = "<", pages: int = 1) -> bytes:
    """Write a TIFF of one strip by hand; every page has the same directory, of LONG values, and the same pixels."""
    tags = {258: 8, 259: 1, 262: 1, 277: 1, 278: tags[257], 279: len(pixels), **tags, 273: 8}
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    body, directory_at = b"", 8 + len(pixels)
    for page in range(pages):
        extra = b""
        after = directory_at + 2 + 12 * len(tags) + 4
        entries = b""
        for tag, value in sorted(tags.items()):
            values = value if isinstance(value, list) else [value]
            packed = struct.pack(f"{order}{len(values)}I", *values)
            if len(values) > 1:
                field, extra = struct.pack(f"{order}I", after + len(extra)), extra + packed
            else:
                field = packed
            entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + field
        end = after + len(extra)
        last = page == pages - 1
        body += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0 if last else end) + extra
        directory_at = end
    return mark + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + body


def grey_tiff(image: np.ndarray, order: str = "<", **tags: int) -> bytes:
    deep = image.dtype.itemsize * 8
    more = {int(key[1:]): value for key, value in tags.items()}
    data = image.astype(image.dtype.newbyteorder(order)).tobytes()
    return tiff(data, {256: image.shape[1], 257: image.shape[0], 258: deep, **more}, order)


def bmp(image: np.ndarray, bits: int, table: bytes = b"", header: int = 40, top_down: bool = False) -> bytes:
    rows = image if top_down else image[::-1]
    rows = rows.reshape(rows.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
    height = -image.shape[0] if top_down else image.shape[0]
    info = struct.pack("<IiiHHIIiiII", header, image.shape[1], height, 1, bits, 0, len(rows), 0, 0, len(table) // 4, 0)
    info = info.ljust(header, b"\0") + table
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows
