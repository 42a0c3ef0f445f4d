"""A phantom as a DICOM file: Digital X-Ray or Computed Radiography, 12 bits, some MONOCHROME1."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from covidcx.data.phantom.render import PhantomImage

BITS = 12
_TOP = 2**BITS - 1


def write_dicom(path: Path, made: PhantomImage, name: str, patient: str, seed: int) -> None:
    """Write a phantom as DICOM; reading it back gives the picture to 1 part in 4095.

    Modality, photometric interpretation and date come from the seed, never from the label.

    Args:
        path: the file.
        made: the radiograph.
        name: of the study; UIDs are derived from it and the seed under pydicom's root.
        patient: identifier; the name becomes `Phantom^N`.
        seed: of the radiograph.

    Source: DICOM PS3.3 A.2 (CR), A.26 (DX), C.8.11.3 (DX image), C.11.2 (VOI LUT).
    """
    rng = np.random.default_rng([30, seed])
    digital, inverted = rng.random() < 0.6, rng.random() < 0.35
    stored = np.round(made.pixels * _TOP).astype(np.uint16)
    if inverted:
        stored = _TOP - stored
    meta = FileMetaDataset()
    kind = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = _uid("instance", name, seed)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid("study", name, seed), _uid("series", name, seed)
    ds.ImageType = ["ORIGINAL", "PRIMARY"] if not digital else ["ORIGINAL", "PRIMARY", ""]
    ds.StudyDate = ds.ContentDate = f"20{rng.integers(10, 22):02d}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    ds.StudyTime = ds.ContentTime = f"{rng.integers(6, 22):02d}{rng.integers(60):02d}00"
    ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.Manufacturer = "covidcx phantom"
    ds.Modality = "DX" if digital else "CR"
    ds.StudyDescription = ds.SeriesDescription = "Synthetic chest radiograph"
    number = patient.rsplit("-", 1)[-1].lstrip("0")
    ds.PatientName, ds.PatientID = f"Phantom^{number}", patient
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "", made.sex, f"{made.age:03d}Y"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic: no person was imaged"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = name[-16:], 1, 1
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", made.view
    ds.PatientOrientation = ["L", "F"]
    ds.BurnedInAnnotation = "YES"
    ds.ImagerPixelSpacing = [f"{value:.4f}" for value in made.spacing]
    if digital:
        _describe_dx(ds, inverted, made.view)
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, BITS, BITS - 1
    # The DX object fixes slope 1 and intercept 0; CR readers must cope with any.
    slope, intercept = (1, 0) if digital else (2, -1000)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
    # PS3.3 C.11.2.1.2: centre - 0.5 +- (width - 1) / 2 span exactly the stored range.
    ds.WindowCenter = f"{slope * _TOP / 2 + intercept + 0.5:g}"
    ds.WindowWidth = str(slope * _TOP + 1)
    ds.PixelData = stored.astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)


def _describe_dx(ds: Dataset, inverted: bool, view: str) -> None:
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if inverted else -1
    ds.DetectorType, ds.ImageLaterality, ds.LossyImageCompression = "DIRECT", "U", "00"
    ds.AcquisitionContextSequence, ds.PositionerType = [], ""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    ds.AnatomicRegionSequence = [code]
    projection = Dataset()
    projection.CodeValue = "272479007" if view == "PA" else "272460009"
    projection.CodingSchemeDesignator = "SCT"
    projection.CodeMeaning = "postero-anterior" if view == "PA" else "antero-posterior"
    projection.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [projection]


def _uid(kind: str, name: str, seed: int) -> str:
    return generate_uid(entropy_srcs=["covidcx phantom", kind, name, str(seed)])
