"""Small files that promise, or unfold to, far more than a radiograph: refused, or read, with little memory taken."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import ramp, write_dicom
from picture_files import encode, noise, tiff, write
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from covidcx.imaging.headers import PNG_MAGIC


def pictures() -> dict[str, bytes]:
    def png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
        parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *chunks, (b"IEND", b"")]
        return PNG_MAGIC + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        )

    zeros = zlib.compress(bytes(200_000_000), 1)
    row = zlib.compress(bytes(65 * 64))
    jpeg = bytearray(encode(noise((64, 64)), ".jpg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    lossy = bytearray(encode(noise((64, 64)), ".webp", cv2.IMWRITE_WEBP_QUALITY, 50))
    at = lossy.index(b"\x9d\x01\x2a")
    lossy[at + 3 : at + 7] = struct.pack("<HH", 16_383, 16_383)
    sheet = bytearray(encode(noise((64, 64)), ".bmp"))
    sheet[18:26] = struct.pack("<ii", 60_000, -60_000)
    strip = {256: 64, 257: 64, 278: 0xFFFFFFF0}
    return {
        "PNG of 60,000 x 60,000": png(60_000, 60_000, 8, 0, (b"IDAT", row)),
        "PNG of 10,000 x 10,000 in 16-bit RGBA": png(10_000, 10_000, 16, 6, (b"IDAT", zeros)),
        "PNG whose text unfolds": png(64, 64, 8, 0, (b"zTXt", b"Comment\0\0" + zeros), (b"IDAT", row)),
        "PNG whose colour profile unfolds": png(64, 64, 8, 0, (b"iCCP", b"x\0\0" + zeros), (b"IDAT", row)),
        "PNG with more pixels than it says": png(64, 64, 8, 0, (b"IDAT", zeros)),
        "JPEG of 60,000 x 60,000": bytes(jpeg),
        "WebP of 16,383 x 16,383": bytes(lossy),
        "BMP of 60,000 x 60,000": bytes(sheet),
        "TIFF of 60,000 x 60,000": tiff(zeros, {256: 60_000, 257: 60_000, 259: 8}),
        "TIFF whose strip unfolds": tiff(zeros, {256: 64, 257: 64, 259: 8}),
        "TIFF of endless strips": tiff(bytes(64 * 64), strip),
        "TIFF of endless deflated strips": tiff(zeros, {**strip, 259: 8}),
        "TIFF of giant tiles": tiff(zeros, {256: 64, 257: 64, 259: 8, 322: 65_536, 323: 65_536}),
        "TIFF with a million offsets": tiff(bytes(64 * 64), {256: 64, 257: 64, 279: [1] * 1_000_000}),
    }


def dicom_files(folder: Path) -> dict[str, bytes]:
    def file(pixels: np.ndarray, syntax: str | None = None, frame: bytes | None = None, **header: object) -> bytes:
        """Write a sound file, then put another syntax, frame and header in it."""
        path = write_dicom(folder / "bomb", pixels)
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = syntax or data.file_meta.TransferSyntaxUID
        if frame is not None:
            data.PixelData = encapsulate([frame])
            data["PixelData"].VR = "OB"
        for keyword, value in header.items():
            setattr(data, keyword, value)
        data.save_as(path)
        return path.read_bytes()

    grey = ramp(256, "u1")
    jpeg = bytearray(encode(grey, ".jpg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    wavelet = bytearray(encode(grey, ".jp2"))
    wavelet = wavelet[wavelet.index(b"\xff\x4f\xff\x51") :]
    many = wavelet[:40] + struct.pack(">H", 16_384) + wavelet[42:]
    wavelet[8:16] = struct.pack(">II", 60_000, 60_000)
    runs = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x07" * 1_500_000
    return {
        "DICOM of 60,000 x 60,000": file(ramp(), Rows=60_000, Columns=60_000),
        "RLE DICOM of 60,000 x 60,000": file(ramp(), RLELossless, runs, Rows=60_000, Columns=60_000),
        "DICOM of 2,147,483,647 frames": file(ramp(), NumberOfFrames="2147483647"),
        "DICOM of 65,535 samples": file(ramp(), SamplesPerPixel=65_535),
        "DICOM with a giant JPEG": file(grey, JPEGBaseline8Bit, bytes(jpeg)),
        "DICOM with a giant JPEG 2000": file(grey, JPEG2000Lossless, bytes(wavelet)),
        "DICOM with a JPEG 2000 of 16,384 components": file(grey, JPEG2000Lossless, bytes(many)),
        "RLE DICOM whose runs unfold": file(grey, RLELossless, runs),
        "deflated DICOM that unfolds": file(
            grey, DeflatedExplicitVRLittleEndian, RedPaletteColorLookupTableData=bytes(300_000_000)
        ),
    }


PROBE = """
import json, resource, sys
from covidcx.errors import CovidcxError
from covidcx.imaging.read import read
import covidcx.imaging.dicom
folder, found = sys.argv[1], {}
read(folder + "/plain")
for name in json.loads(sys.argv[2]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(folder + "/" + name)
        said = "read"
    except CovidcxError as error:
        said = str(error)
    found[name] = (said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
print(json.dumps(found))
"""


def probe(tmp_path, files: dict[str, bytes]) -> dict[str, tuple[str, float]]:
    """Read the files in a process of its own; return what was said of each and how many MiB its peak rose."""
    write(tmp_path, encode(noise((2000, 2000)), ".png"), "plain")
    for name, data in files.items():
        write(tmp_path, data, name)
    command = [sys.executable, "-c", PROBE, str(tmp_path), json.dumps(list(files))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    # libpng says on standard error what it passes over; OpenCV does not let that be turned off.
    assert not [line for line in done.stderr.splitlines() if line and not line.startswith("libpng warning")]
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux only")
def test_bombs_take_no_memory(tmp_path):
    files = {**pictures(), **dicom_files(tmp_path)}
    assert max(len(data) for data in files.values()) < 5_000_000
    found = probe(tmp_path, files)
    for name, (said, grown) in found.items():
        assert grown < 40, f"{name}: peak memory rose by {grown:.0f} MiB"
        assert said == "read" or said.startswith(f"{name}: "), said
    # What hangs on to 64 x 64 sound pixels may be passed over.
    harmless = {name for name, (said, _) in found.items() if said == "read"}
    assert harmless <= {
        "PNG whose text unfolds", "PNG whose colour profile unfolds", "PNG with more pixels than it says",
        "TIFF whose strip unfolds", "TIFF of endless strips", "TIFF of endless deflated strips",
        "TIFF with a million offsets", "RLE DICOM whose runs unfold",
    }  # fmt: skip
    for name, message in (
        ("PNG of 60,000 x 60,000", "at most 12,000 on a side"),
        ("PNG of 10,000 x 10,000 in 16-bit RGBA", "pixels of 8 bytes"),
        ("JPEG of 60,000 x 60,000", "at most 12,000 on a side"),
        ("WebP of 16,383 x 16,383", "at most 12,000 on a side"),
        ("BMP of 60,000 x 60,000", "at most 12,000 on a side"),
        ("TIFF of 60,000 x 60,000", "at most 12,000 on a side"),
        ("TIFF of giant tiles", "tiles of 65536"),
        ("DICOM of 60,000 x 60,000", "at most 12,000 on a side"),
        ("RLE DICOM of 60,000 x 60,000", "at most 12,000 on a side"),
        ("DICOM of 2,147,483,647 frames", "holds 2147483647 frames"),
        ("DICOM of 65,535 samples", "65535 samples a pixel"),
        ("DICOM with a giant JPEG", "60000 x 60000"),
        ("DICOM with a giant JPEG 2000", "60000 x 60000"),
        ("DICOM with a JPEG 2000 of 16,384 components", "of 16384"),
        ("deflated DICOM that unfolds", "unfold to more than"),
    ):
        assert message in found[name][0], found[name]
