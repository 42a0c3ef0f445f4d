"""What a picture file says of itself before its pixels: size, and for DICOM view, age, sex and patient."""

import struct
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.errors import InvalidDicomError

from covidcx.imaging.headers import PNG_MAGIC

_TAGS = ["ViewPosition", "PatientAge", "PatientSex", "PatientID", "Rows", "Columns", "Modality", "StudyInstanceUID",
         "StudyDate"]  # fmt: skip
# Start of frame markers of JPEG (ITU T.81, table B.1), without DHT, JPG and DAC.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Header:
    """A picture's header.

    Attributes:
        width: columns of pixels, as stored.
        height: rows of pixels, as stored.
        view: View Position (0018,5101), as written; empty where it is missing, as are the following.
        age: Patient's Age, as written.
        sex: Patient's Sex, as written.
        patient: Patient ID.
        study: Study Instance UID.
        date: Study Date.
        modality: Modality.
    """

    width: int
    height: int
    view: str = ""
    age: str = ""
    sex: str = ""
    patient: str = ""
    study: str = ""
    date: str = ""
    modality: str = ""


def dicom_header(path: Path) -> Header | None:
    """Read the header of a DICOM file, without its pixels; None where it is no readable image."""
    try:
        # Public files bend the rules (an age of '51' in RSNA Pneumonia); a warning for each would drown the rest.
        with disable_value_validation():
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            width, height = int(dataset.Columns), int(dataset.Rows)
            words = {
                name: str(dataset.get(keyword) or "").strip()
                for name, keyword in (
                    ("view", "ViewPosition"), ("age", "PatientAge"), ("sex", "PatientSex"), ("patient", "PatientID"),
                    ("study", "StudyInstanceUID"), ("date", "StudyDate"), ("modality", "Modality"),
                )
            }  # fmt: skip
    except (InvalidDicomError, OSError, EOFError, AttributeError, TypeError, ValueError, struct.error):
        return None
    return Header(width, height, **words) if width > 0 and height > 0 else None


def header(path: Path) -> Header | None:
    """Read the header of a DICOM, PNG, JPEG or other picture, by its first bytes; None where there is none.

    Formats other than DICOM, PNG and JPEG are decoded to learn their size.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
            png = _png_shape(start)
            if png is not None:
                height, width = png
            elif start[:3] == b"\xff\xd8\xff":
                stream.seek(2)
                width, height = _jpeg_size(stream)
            elif start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
                return dicom_header(path)
            else:
                width, height = _decoded_size(path)
    except (OSError, struct.error, ValueError):
        return None
    return Header(width, height) if width > 0 and height > 0 else None


def png_shape(path: Path) -> tuple[int, int] | None:
    """Return height and width of a PNG file from its header, without decoding it; None where it is no PNG file."""
    with path.open("rb") as stream:
        return _png_shape(stream.read(24))


def _png_shape(start: bytes) -> tuple[int, int] | None:
    if len(start) < 24 or start[:8] != PNG_MAGIC or start[12:16] != b"IHDR":
        return None
    return int.from_bytes(start[20:24], "big"), int.from_bytes(start[16:20], "big")


def _jpeg_size(stream) -> tuple[int, int]:
    while True:
        byte = stream.read(1)
        while byte and byte != b"\xff":
            byte = stream.read(1)
        while byte == b"\xff":
            byte = stream.read(1)
        if not byte:
            raise ValueError("no frame")
        if byte[0] in _FRAMES:
            _, _, height, width = struct.unpack(">HBHH", stream.read(7))
            return width, height
        # Markers without a length: TEM, RST0..7, SOI.
        if byte[0] != 0x01 and not 0xD0 <= byte[0] <= 0xD8:
            stream.seek(struct.unpack(">H", stream.read(2))[0] - 2, 1)


def _decoded_size(path: Path) -> tuple[int, int]:
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("no picture")
    return pixels.shape[1], pixels.shape[0]
