"""Picture files and sniffing: greyscale order, sizes, colour, alpha, damage, and what is no image at all."""

import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from covidcx.errors import CovidcxError, UnreadableImageError, UnsupportedImageError
from covidcx.imaging.headers import PNG_MAGIC, jpeg2000_header, jpeg_header
from covidcx.imaging.read import read


def picture(shape=(60, 48), seed=0, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG_MAGIC + header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write(folder, data: bytes, name: str = "a.bin"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_level(tmp_path, dtype):
    image = picture(dtype=dtype)
    radiograph = read(write(tmp_path, encode(image), "chest.dcm"))
    np.testing.assert_array_equal(radiograph.pixels, image.astype(np.float32) / np.float32(np.iinfo(dtype).max))
    assert radiograph.pixels.dtype == np.float32 and not radiograph.pixels.flags.writeable
    assert radiograph.bits == np.iinfo(dtype).bits
    assert (radiograph.view, radiograph.age, radiograph.sex, radiograph.modality) == (None, None, None, None)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_16_bit_png_with_unscaled_detector_values(tmp_path, bits):
    image = picture(dtype=np.uint16) >> (16 - bits)
    image[0, 0] = 2**bits - 1
    radiograph = read(write(tmp_path, encode(image)))
    np.testing.assert_allclose(radiograph.pixels, image / (2**bits - 1), atol=1e-6)
    assert radiograph.bits == bits


def test_jpeg_grey_and_grey_saved_as_colour(tmp_path):
    smooth = cv2.GaussianBlur(picture((96, 80)), (0, 0), 4)
    grey = read(write(tmp_path, encode(smooth, ".jpg"), "chest.png")).pixels
    assert np.abs(grey - smooth / 255).max() < 0.03
    colour = read(write(tmp_path, encode(cv2.merge([smooth] * 3), ".jpg"))).pixels
    assert np.abs(colour - smooth / 255).max() < 0.03


def test_grey_saved_as_colour_png_is_exact(tmp_path):
    image = picture()
    np.testing.assert_array_equal(read(write(tmp_path, encode(cv2.merge([image] * 3)))).pixels, image / np.float32(255))


def test_alpha_is_laid_on_black(tmp_path):
    image, alpha = picture(seed=1), picture(seed=2)
    pixels = read(write(tmp_path, encode(cv2.merge([image, image, image, alpha])))).pixels
    np.testing.assert_allclose(pixels, image / 255 * (alpha / 255), atol=1e-6)
    # Transparent colour under alpha 0 shows nothing.
    alpha[:] = 0
    assert not read(write(tmp_path, encode(cv2.merge([image, image, image, alpha])))).pixels.any()


def test_grey_with_alpha(tmp_path):
    image, alpha = picture(seed=1), picture(seed=2)
    rows = b"".join(b"\0" + np.stack([g, a], -1).tobytes() for g, a in zip(image, alpha, strict=True))
    pixels = read(write(tmp_path, raw_png(48, 60, 8, 4, rows))).pixels
    np.testing.assert_allclose(pixels, image / 255 * (alpha / 255), atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_png(tmp_path, depth):
    levels = picture((40, 64)) >> (8 - depth)
    packed = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -depth:].ravel()).tobytes() for row in levels]
    pixels = read(write(tmp_path, raw_png(64, 40, depth, 0, b"".join(b"\0" + row for row in packed)))).pixels
    np.testing.assert_allclose(pixels, levels / (2**depth - 1), atol=1e-6)


def test_grey_palette_png(tmp_path):
    image = picture()
    palette = chunk(b"PLTE", bytes(level for i in range(256) for level in (255 - i,) * 3))
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    pixels = read(write(tmp_path, raw_png(48, 60, 8, 3, rows, palette))).pixels
    np.testing.assert_allclose(pixels, (255 - image.astype(int)) / 255, atol=1e-6)


def test_colour_photograph_is_refused(tmp_path):
    for suffix in (".png", ".jpg"):
        photo = cv2.GaussianBlur(picture((96, 96, 3)), (0, 0), 3)
        photo = cv2.normalize(photo, None, 0, 255, cv2.NORM_MINMAX)
        with pytest.raises(UnsupportedImageError, match=r"colour picture: \d+% of its pixels"):
            read(write(tmp_path, encode(photo, suffix)))
    with pytest.raises(UnsupportedImageError, match="colour"):
        read(write(tmp_path, encode(picture((96, 96, 3), dtype=np.uint16))))


def test_coloured_letters_and_a_light_tint_are_no_photograph(tmp_path):
    image = cv2.merge([picture((100, 100))] * 3)
    image[:10, :50] = (0, 0, 255)
    pixels = read(write(tmp_path, encode(image))).pixels
    np.testing.assert_allclose(pixels[10:], image[10:, :, 0] / 255, atol=1e-6)
    tint = (image * np.array([1.0, 0.95, 0.9])).astype(np.uint8)
    assert read(write(tmp_path, encode(tint))).shape == (100, 100)


def test_exif_orientation_of_a_jpeg_is_followed(tmp_path):
    image = np.zeros((64, 96), np.uint8)
    image[:, :20] = 255
    data = encode(image, ".jpg")
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + tag + b"\0\0\0\0"
    turned = read(write(tmp_path, data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])).pixels
    assert turned.shape == (96, 64)
    assert turned[:15].mean() > 0.95 and turned[30:].mean() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (31, 200), (200, 31)])
def test_too_small_is_refused_with_its_size(tmp_path, size):
    for suffix in (".png", ".jpg"):
        with pytest.raises(UnsupportedImageError, match=f"{size[1]} x {size[0]} pixels, at least 32"):
            read(write(tmp_path, encode(np.zeros(size, np.uint8), suffix)))
    assert read(write(tmp_path, encode(np.zeros((32, 32), np.uint8)))).shape == (32, 32)


@pytest.mark.parametrize("width,height", [(60_000, 60_000), (12_001, 40), (40, 12_001), (11_000, 11_000), (2**31, 1)])
def test_giant_header_takes_no_memory(tmp_path, width, height):
    png = write(tmp_path, raw_png(width, height, 8, 0, b"\0" * 1000))
    jpeg = bytearray(encode(np.zeros((64, 64), np.uint8), ".jpg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    for path in (png, write(tmp_path, bytes(jpeg), "b.jpg")):
        tracemalloc.start()
        with pytest.raises(UnsupportedImageError, match=r"pixels, at (most|least)"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000


def test_animated_png_is_refused(tmp_path):
    rows = b"".join(b"\0" + row.tobytes() for row in picture())
    with pytest.raises(UnsupportedImageError, match="animated"):
        read(write(tmp_path, raw_png(48, 60, 8, 0, rows, chunk(b"acTL", struct.pack(">II", 2, 0)))))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_anywhere_is_refused(tmp_path, suffix, capfd):
    data = encode(picture((80, 80)), suffix)
    for length in [9, 20, 33, 60, *range(100, len(data), 97), len(data) - 1]:
        with pytest.raises(UnreadableImageError) as caught:
            read(write(tmp_path, data[:length]))
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_bytes_read_or_raise_our_errors(tmp_path, suffix):
    data = encode(picture((64, 64)), suffix)
    draw = random.Random(0)
    refused = 0
    for _ in range(150):
        bad = bytearray(data)
        for _ in range(draw.choice([1, 2, 10])):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        try:
            assert read(write(tmp_path, bytes(bad))).pixels.min() >= 0
        except CovidcxError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > (130 if suffix == ".png" else 5)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", UnreadableImageError, "empty"),
        (b"Name: Anna\nThis is a letter, not an image.\n" * 9, UnreadableImageError, "starts with text"),
        (b"x", UnreadableImageError, "starts with text"),
        (bytes(range(256)) * 3, UnreadableImageError, "unknown content"),
        (b"\0" * 5000, UnreadableImageError, "unknown content"),
        (b"II*\0" + b"\0" * 200, UnreadableImageError, "TIFF directory"),
        (b"II+\0" + b"\0" * 200, UnsupportedImageError, "BigTIFF"),
        (b"RIFF" + b"\0" * 200, UnsupportedImageError, "RIFF"),
        (b"BM" + b"\0" * 200, UnreadableImageError, "BMP header"),
        (b"BMW is a car, not an image. " * 9, UnreadableImageError, "starts with text"),
        (b"GIF89a" + b"\0" * 200, UnsupportedImageError, "GIF"),
        (b"%PDF-1.7\n", UnsupportedImageError, "PDF"),
        (b"PK\x03\x04" + b"\0" * 200, UnsupportedImageError, "ZIP"),
        (PNG_MAGIC, UnreadableImageError, "PNG header"),
        (b"\xff\xd8\xff", UnreadableImageError, "JPEG header"),
        (b"\0" * 128 + b"DICM", CovidcxError, "modality"),
        (b"\0" * 128 + b"DICM" + b"not really a DICOM file" * 20, CovidcxError, "bad.dcm"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", CovidcxError, "modality"),
    ],
)
def test_what_is_no_image_is_named_in_one_line(tmp_path, data, error, message):
    with pytest.raises(error, match=message) as caught:
        read(write(tmp_path, data, "bad.dcm"))
    text = str(caught.value)
    assert text.startswith("bad.dcm: ") and "\n" not in text and "Anna" not in text


def test_missing_file_folder_and_pipe(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"nothing\.png: no such file"):
        read(tmp_path / "nothing.png")
    with pytest.raises(UnreadableImageError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UnreadableImageError, match="path is not valid"):
        read("a\0b.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImageError, match="no regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(UnreadableImageError) as caught:
        read(tmp_path / "two\nlines.png")
    assert "\n" not in str(caught.value)


def test_huge_file_is_not_read(tmp_path):
    path = write(tmp_path, encode(picture()))
    with path.open("r+b") as stream:
        stream.truncate(3 * 2**30)
    with pytest.raises(UnsupportedImageError, match=r"3,221,225,472 bytes"):
        read(path)


def test_decoder_failure_is_chained(tmp_path, monkeypatch):
    def fail(*_):
        raise cv2.error("boom")

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(UnreadableImageError, match="damaged") as caught:
        read(write(tmp_path, encode(picture())))
    assert isinstance(caught.value.__cause__, cv2.error)


def test_codestream_headers():
    header = jpeg_header(encode(np.zeros((40, 56), np.uint8), ".jpg"))
    assert (header.width, header.height, header.bits) == (56, 40, 8)
    header = jpeg2000_header(encode(np.zeros((40, 56), np.uint8), ".jp2"))
    assert (header.width, header.height, header.bits, header.channels) == (56, 40, 8, 1)


def test_reading_a_picture_does_not_import_pydicom(tmp_path):
    path = write(tmp_path, encode(picture()))
    code = f"import sys; from covidcx import read; read({str(path)!r}); assert 'pydicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_real_radiographs_read(shared_data):
    paths = sorted((shared_data / "images").glob("*.jpg"))[::400] + sorted((shared_data / "layouts").rglob("*.*g"))[::2]
    assert len(paths) > 10
    for path in paths:
        pixels = read(path).pixels
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert pixels.shape == image.shape and pixels.std() > 0.05
        if cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2:
            np.testing.assert_array_equal(pixels, image / np.float32(255))
