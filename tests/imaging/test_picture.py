"""TIFF, WebP and BMP beside PNG and JPEG: depth, alpha, palette, orientation, several pictures, headers that lie."""

import random
import struct
import zlib

import cv2
import numpy as np
import pytest
from picture_files import SHAPE, bmp, encode, grey_tiff, noise, tiff, webp, write

from covidcx.errors import CovidcxError, UnreadableImageError, UnsupportedImageError
from covidcx.imaging.headers import MAX_JPEG_SCANS
from covidcx.imaging.picture import MAX_DECODED_BYTES, check_size
from covidcx.imaging.read import read

# --- what is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_keeps_every_level(tmp_path, order, dtype, white_is_zero):
    image, top = noise(dtype=dtype), np.iinfo(dtype).max
    radiograph = read(write(tmp_path, grey_tiff(image, order, _262=0 if white_is_zero else 1), "chest.dcm"))
    expected = (top - image if white_is_zero else image) / top
    np.testing.assert_allclose(radiograph.pixels, expected, atol=2e-7)
    assert radiograph.bits == np.iinfo(dtype).bits


@pytest.mark.parametrize("compression", [8, 32946])
def test_deflated_tiff(tmp_path, compression):
    image = noise(dtype=np.uint16)
    packed = zlib.compress(image.tobytes())
    data = tiff(packed, {256: SHAPE[1], 257: SHAPE[0], 258: 16, 259: compression})
    np.testing.assert_allclose(read(write(tmp_path, data)).pixels, image / 65535, atol=1e-7)


@pytest.mark.parametrize("scheme", [1, 5, 32773, 8])
def test_tiffs_of_opencv(tmp_path, scheme):
    image = noise((70, 90), np.uint16)
    data = encode(image, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, scheme)
    np.testing.assert_allclose(read(write(tmp_path, data)).pixels, image / 65535, atol=1e-7)
    colour = encode(cv2.merge([image] * 3), ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, scheme)
    np.testing.assert_allclose(read(write(tmp_path, colour)).pixels, image / 65535, atol=1e-7)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_detector_depths_in_tiff(tmp_path, bits, white_is_zero, packed):
    """Packed bit by bit, or unscaled in 16 bits: both come out with white at the top of their own range."""
    image = noise(dtype=np.uint16) >> (16 - bits)
    image[0, 0] = 2**bits - 1
    tags = {256: SHAPE[1], 257: SHAPE[0], 258: bits if packed else 16, 262: 0 if white_is_zero else 1}
    data = image.astype("<u2").tobytes()
    if packed:
        loose = np.unpackbits(image.astype(">u2").view(np.uint8).reshape(*SHAPE, 2), axis=2)[..., 16 - bits :]
        data = np.packbits(loose.reshape(SHAPE[0], -1), axis=1).tobytes()
    radiograph = read(write(tmp_path, tiff(data, tags)))
    expected = image / (2**bits - 1)
    np.testing.assert_allclose(radiograph.pixels, 1 - expected if white_is_zero else expected, atol=1e-6)
    assert radiograph.bits == bits


def test_bilevel_tiff(tmp_path):
    image = noise((40, 64)) > 127
    data = tiff(np.packbits(image, axis=1).tobytes(), {256: 64, 257: 40, 258: 1})
    np.testing.assert_array_equal(read(write(tmp_path, data)).pixels, image.astype(np.float32))


def test_palettes(tmp_path):
    image = noise()
    ramp = [257 * (255 - i) for i in range(256)]
    data = tiff(image.tobytes(), {256: SHAPE[1], 257: SHAPE[0], 262: 3, 320: ramp * 3})
    expected = (255 - image.astype(int)) / 255
    # Colour maps are SHORT; the hand-made one is written as LONG, so put it right.
    at = data.index(struct.pack("<HHI", 320, 4, 768))
    words = struct.pack("<768H", *ramp * 3)
    start = struct.unpack_from("<I", data, at + 8)[0]
    data = data[:at] + struct.pack("<HHI", 320, 3, 768) + data[at + 8 : start] + words + data[start + len(words) :]
    np.testing.assert_allclose(read(write(tmp_path, data)).pixels, expected, atol=1e-6)
    table = b"".join(struct.pack("4B", i, i, i, 0) for i in range(255, -1, -1))
    np.testing.assert_allclose(read(write(tmp_path, bmp(image, 8, table))).pixels, expected, atol=1e-6)


def test_tiff_alpha_is_laid_on_black(tmp_path):
    for dtype, atol in ((np.uint8, 1.1 / 255), (np.uint16, 1e-5)):
        image, alpha, top = noise(dtype=dtype, seed=1), noise(dtype=dtype, seed=2), np.iinfo(dtype).max
        deep = np.dtype(dtype).itemsize * 8
        tags = {256: SHAPE[1], 257: SHAPE[0], 258: [deep] * 4, 262: 2, 277: 4}
        straight = tiff(np.stack([image] * 3 + [alpha], -1).tobytes(), {**tags, 338: 2})
        expected = image / top * (alpha / top)
        np.testing.assert_allclose(read(write(tmp_path, straight)).pixels, expected, atol=atol)
        laid = np.rint(expected * top).astype(dtype)
        premultiplied = tiff(np.stack([laid] * 3 + [alpha], -1).tobytes(), {**tags, 338: 1})
        np.testing.assert_allclose(read(write(tmp_path, premultiplied)).pixels, expected, atol=atol)


def test_webp_is_exact_when_lossless_and_close_when_lossy(tmp_path):
    image = noise()
    np.testing.assert_array_equal(read(write(tmp_path, webp(image))).pixels, image / np.float32(255))
    smooth = cv2.GaussianBlur(noise((96, 80)), (0, 0), 5)
    lossy = encode(smooth, ".webp", cv2.IMWRITE_WEBP_QUALITY, 90)
    assert np.abs(read(write(tmp_path, lossy)).pixels - smooth / 255).max() < 0.03


def test_webp_alpha_is_laid_on_black(tmp_path):
    image, alpha = noise(seed=1), noise(seed=2) | 1
    pixels = read(write(tmp_path, webp(cv2.merge([image] * 3 + [alpha])))).pixels
    np.testing.assert_allclose(pixels, image / 255 * (alpha / 255), atol=1e-6)


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_keeps_every_level(tmp_path, top_down):
    # An odd width, so that rows are padded to four bytes.
    image = noise((60, 47))
    table = b"".join(struct.pack("4B", i, i, i, 0) for i in range(256))
    for data in (bmp(image, 8, table, top_down=top_down), bmp(np.stack([image] * 3, -1), 24, top_down=top_down)):
        np.testing.assert_array_equal(read(write(tmp_path, data)).pixels, image / np.float32(255))


@pytest.mark.parametrize("header", [40, 108, 124])
def test_the_fourth_byte_of_a_bmp_pixel_is_no_alpha(tmp_path, header):
    image = noise()
    data = bmp(np.stack([image] * 3 + [np.zeros_like(image)], -1), 32, header=header)
    np.testing.assert_array_equal(read(write(tmp_path, data)).pixels, image / np.float32(255))


# --- orientation ---------------------------------------------------------------------------------------------------


def exif(number: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, number, 0) + b"\0\0\0\0"


def with_exif(image: np.ndarray, kind: str, number: int) -> bytes:
    if kind == "tiff":
        return grey_tiff(image, _274=number)
    if kind == "jpeg":
        data, block = encode(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100), b"Exif\0\0" + exif(number)
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    if kind == "png":
        data, block = encode(image, ".png"), exif(number)
        piece = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
        return data[:33] + piece + data[33:]
    still, block = webp(image)[12:], exif(number)
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in image.shape[1::-1])
    body = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + sides + still
    body += b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("number", range(1, 9))
def test_orientation_is_followed_in_every_format(tmp_path, kind, number):
    # Three blocks that tell rows from columns and every corner from the others.
    upright = np.zeros((64, 96), np.uint8)
    upright[:16], upright[:, :16], upright[16:32, 16:32] = 120, 200, 255
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[number]  # fmt: skip
    pixels = read(write(tmp_path, with_exif(np.ascontiguousarray(stored), kind, number))).pixels
    assert pixels.shape == (64, 96)
    assert np.abs(pixels - upright / 255).max() < (0.06 if kind == "jpeg" else 1e-6)


def test_alpha_survives_an_orientation(tmp_path):
    image, alpha = noise(seed=1), noise(seed=2)
    data = with_exif(cv2.merge([image] * 3 + [alpha]), "png", 3)
    np.testing.assert_allclose(read(write(tmp_path, data)).pixels, (image / 255 * (alpha / 255))[::-1, ::-1], atol=1e-6)


# --- what is refused -----------------------------------------------------------------------------------------------


def test_several_pictures_in_one_file_are_refused(tmp_path):
    image = noise()
    pages = tiff(image.tobytes(), {256: SHAPE[1], 257: SHAPE[0]}, pages=2)
    with pytest.raises(UnsupportedImageError, match="several pages; give a single image"):
        read(write(tmp_path, pages))
    flags = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\x2f\0\0\x3b\0\0" + webp(image)[12:]
    with pytest.raises(UnsupportedImageError, match="animated WebP; give a single image"):
        read(write(tmp_path, b"RIFF" + struct.pack("<I", 4 + len(flags)) + b"WEBP" + flags))


def test_thumbnails_and_masks_are_no_pages(tmp_path):
    image = noise()
    for subfile in (1, 4):
        data = tiff(image.tobytes(), {256: SHAPE[1], 257: SHAPE[0], 254: subfile}, pages=3)
        np.testing.assert_array_equal(read(write(tmp_path, data)).pixels, image / np.float32(255))


def test_tiff_directories_in_a_circle_are_refused(tmp_path):
    image = noise()
    data = bytearray(tiff(image.tobytes(), {256: SHAPE[1], 257: SHAPE[0], 254: 1}, pages=2))
    start = 8 + image.size
    step = (len(data) - start) // 2
    data[-4:] = struct.pack("<I", start + step)
    with pytest.raises(UnreadableImageError, match="circle"):
        read(write(tmp_path, bytes(data)))
    # Back to the first directory, of which the walk begins with the second.
    data[-4:] = struct.pack("<I", start)
    with pytest.raises(UnreadableImageError, match="circle"):
        read(write(tmp_path, bytes(data)))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({258: 32}, "32 bit numbers"),
        ({258: 64, 339: 3}, "64 bit numbers"),
        ({258: 16, 339: 2}, "signed"),
        ({258: 16, 339: 3}, "real"),
        ({258: 4}, "1 samples a pixel, 4 bits"),
        ({277: 2, 258: [8, 8]}, "2 samples a pixel"),
        ({277: 5, 258: [8] * 5, 262: 2}, "5 samples a pixel"),
        ({277: 3, 258: [8, 8, 16], 262: 2}, "3 samples a pixel"),
        ({277: 3, 258: [8] * 3, 262: 2, 284: 2}, "separate colour planes"),
        ({262: 5, 277: 4, 258: [8] * 4}, "photometric interpretation 5"),
        ({259: 50000}, "compression 50000"),
        ({259: 6}, "compression 6"),
        ({322: 1 << 20, 323: 1 << 20}, "tiles of 1048576 x 1048576"),
    ],
)
def test_tiffs_that_would_be_decoded_wrongly_are_refused(tmp_path, tags, message):
    data = tiff(bytes(SHAPE[0] * SHAPE[1] * 8), {256: SHAPE[1], 257: SHAPE[0], **tags})
    with pytest.raises(UnsupportedImageError, match=message):
        read(write(tmp_path, data))


def test_tiffs_that_lie_are_refused(tmp_path):
    image = noise()
    base = {256: SHAPE[1], 257: SHAPE[0]}
    for tags, message in (
        ({279: 1 << 30}, "truncated"),
        ({279: [image.size // 2] * 2, 278: 30}, "read|damaged|truncated"),
        ({273: 8, 257: 600, 278: 600}, "damaged"),
    ):
        with pytest.raises(CovidcxError, match=message):
            read(write(tmp_path, tiff(image.tobytes(), {**base, **tags})))
            raise UnreadableImageError("read")
    data = grey_tiff(image)
    at = data.index(struct.pack("<HHI", 273, 4, 1))
    with pytest.raises(UnreadableImageError, match=r"273 has 4,294,967,295 values"):
        read(write(tmp_path, data[: at + 4] + b"\xff\xff\xff\xff" + data[at + 8 :]))


@pytest.mark.parametrize("kind", ["tiff", "webp", "bmp"])
def test_truncated_anywhere_is_refused(tmp_path, kind, capfd):
    image = noise((80, 80))
    data = {"tiff": encode(image, ".tiff"), "webp": webp(image), "bmp": encode(image, ".bmp")}[kind]
    for length in [9, 11, 20, 33, 60, *range(100, len(data), 197), len(data) - 1]:
        # Eleven bytes of a WebP file are those of any RIFF container.
        with pytest.raises(UnreadableImageError if length > 11 else CovidcxError) as caught:
            read(write(tmp_path, data[:length]))
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["tiff", "deflated", "webp", "lossy", "bmp"])
def test_damaged_bytes_read_or_raise_our_errors(tmp_path, kind, capfd):
    smooth = cv2.GaussianBlur(noise((64, 64)), (0, 0), 2)
    data = {
        "tiff": encode(smooth, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 5),
        "deflated": encode(smooth, ".tiff", cv2.IMWRITE_TIFF_COMPRESSION, 8),
        "webp": webp(smooth), "lossy": encode(smooth, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
        "bmp": encode(smooth, ".bmp"),
    }[kind]  # fmt: skip
    draw, refused = random.Random(0), 0
    for _ in range(150):
        bad = bytearray(data)
        for _ in range(draw.choice([1, 2, 10])):
            bad[draw.randrange(len(bad) if draw.random() < 0.5 else 60)] = draw.randrange(256)
        try:
            assert read(write(tmp_path, bytes(bad))).pixels.min() >= 0
        except CovidcxError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10
    assert capfd.readouterr() == ("", "")


def test_run_length_coded_bmp_is_refused(tmp_path):
    data = bytearray(encode(noise(), ".bmp"))
    data[30] = 1
    with pytest.raises(UnsupportedImageError, match="compression 1; save it uncompressed"):
        read(write(tmp_path, bytes(data)))


def test_jpeg_of_a_thousand_scans_is_refused(tmp_path):
    data = encode(noise(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert read(write(tmp_path, data)).shape == SHAPE
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    with pytest.raises(UnsupportedImageError, match=rf"scans, at most {MAX_JPEG_SCANS} are read"):
        read(write(tmp_path, data[:-2] + scan * 1000 + b"\xff\xd9"))


def test_decoded_size_has_a_limit_of_its_own():
    check_size(10_000, 10_000, 3)
    with pytest.raises(UnsupportedImageError, match="10000 x 10000 pixels of 8 bytes"):
        check_size(10_000, 10_000, 8)
    assert MAX_DECODED_BYTES == 300_000_000
