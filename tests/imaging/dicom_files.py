"""DICOM files for the tests of this room, full of a made-up identity that no message may repeat."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

NAME, PATIENT, DATE = "Roentgen^Anna Bertha", "PAT-4711", "18951222"
UNCOMPRESSED = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


def ramp(levels: int = 4096, dtype: str = "<u2") -> np.ndarray:
    """A 64 x 64 image that holds every level of 12 bits once."""
    return (np.arange(64 * 64) * levels // 4096).reshape(64, 64).astype(dtype)


def write_dicom(path: Path, pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **elements: object) -> Path:
    """Write a CR image full of identity; an element of value None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in COMPRESSED else syntax
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    bits = pixels.dtype.itemsize * 8
    defaults = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(), "PatientName": NAME, "PatientID": PATIENT, "PatientBirthDate": DATE,
        "StudyDate": DATE, "AccessionNumber": "ACC-0815", "InstitutionName": "Spital Wuerzburg", "Modality": "CR",
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": pixels.shape[0],
        "Columns": pixels.shape[1], "BitsAllocated": bits, "BitsStored": 12 if bits == 16 else 8,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    settings = {**defaults, **elements}
    settings.setdefault("HighBit", settings["BitsStored"] - 1)
    for keyword, value in settings.items():
        if value is not None:
            setattr(data, keyword, value)
    if "PixelData" not in elements and "FloatPixelData" not in elements:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    if "PixelData" in data:
        # Bytes, unless told otherwise: as OW words, big endian would swap every two 8-bit pixels.
        data["PixelData"].VR = "OB" if meta.TransferSyntaxUID.is_encapsulated or bits == 8 else "OW"
    if syntax in COMPRESSED:
        data.compress(syntax, generate_instance_uid=False)
    data.save_as(path, enforce_file_format=True)
    return path


def table(entries: list[int], first: int, bits: int, vr: str = "US", *, packed: bool = False, order: str = "<"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    words = np.array(entries, "u1" if packed else f"{order}u2")
    item.add_new("LUTData", vr, words.tobytes() if vr == "OW" else entries)
    item.ModalityLUTType = "US"
    return Sequence([item])
