"""The header of a source DICOM file, cut down to what the objects made from it repeat and freed of invalid values.

The objects go back into the patient's own study, so they carry the patient and study of the source, which nothing else
in covidcx ever reads. These values reach the objects alone: no file name, log or message holds any of them.
"""

import logging
import re
from pathlib import Path

import pydicom
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit
from pydicom.valuerep import validate_value

from covidcx.errors import UnsupportedImageError
from covidcx.imaging.dicom import quiet  # one lock for pydicom's global settings, so one context manager
from covidcx.imaging.picture import JPEG_MAGIC, PNG_MAGIC

log = logging.getLogger(__name__)

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Present in every object, empty where the source has no valid value (PS3.3 C.7.1.1, C.7.2.1)."""
OPTIONAL = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDescription", "Modality", "Manufacturer", "ManufacturerModelName",
    "BurnedInAnnotation",
)  # fmt: skip
_DESIGNATED = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "BurnedInAnnotation": ("YES", "NO"),
}
# What pydicom raises on a value that does not fit its value representation.
_MALFORMED = (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError, LookupError)


def read_header(path: Path) -> Dataset:
    """Read what the DICOM objects of a finding repeat from its source.

    Type 2 values that are invalid become empty, others are dropped; ages, dates and times in older spellings are
    repaired. Identifiers are never altered, except that text becomes UTF-8.

    Args:
        path: the DICOM file that was analysed.

    Returns:
        A data set with the four UIDs, patient, study, and the image's size, spacing, orientation and numbers.

    Raises:
        UnsupportedImageError: no DICOM file, or one whose study or image cannot be told.
    """
    name = path.name
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
        if head.startswith((PNG_MAGIC, JPEG_MAGIC)):
            raise UnsupportedImageError(
                f"{name}: no DICOM objects can be made from a PNG or JPEG picture: they go into the image's study, and "
                "a picture names neither study nor patient; give the DICOM file"
            )
        with quiet():
            source = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return _clean(source, name)
    except OSError as error:
        raise UnsupportedImageError(f"{name}: cannot be opened ({error.strerror}); check the path") from error
    except (*_MALFORMED, pydicom.errors.InvalidDicomError) as error:
        raise UnsupportedImageError(
            f"{name}: the header is damaged ({type(error).__name__}); export or copy the file again"
        ) from None  # its cause may quote the patient


def _clean(source: Dataset, name: str) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword in UIDS:
        setattr(header, keyword, _uid(source, keyword, name))
    if isinstance(source.get("PatientID"), MultiValue) or len(str(source.get("PatientID") or "").strip(" \0")) > 64:
        raise UnsupportedImageError(
            f"{name}: the Patient ID is longer than 64 characters or has several values, and a changed one would name "
            "somebody else; correct the header"
        )
    for keyword in (*TYPE_2, *OPTIONAL):
        text = _text(source, keyword)
        if text is None:
            log.debug("%s: an invalid %s was left out", name, keyword)
        if text or keyword in TYPE_2:
            setattr(header, keyword, text or "")
    _keep_deidentification(source, header)
    header.Rows, header.Columns = int(source.Rows), int(source.Columns)
    for keyword in ("InstanceNumber", "SeriesNumber"):
        number = _text(source, keyword) or ""
        if re.fullmatch(r"\+?\d{1,10}", number) and int(number) < 2**31:
            setattr(header, keyword, int(number))
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        pair = _several(source, keyword)
        if len(pair) == 2 and all(_positive(side) for side in pair):
            setattr(header, keyword, pair)
    orientation = _several(source, "PatientOrientation")
    if len(orientation) == 2 and all(re.fullmatch("[APRLHF]{1,3}", axis) for axis in orientation):
        header.PatientOrientation = orientation
    _keep_loss(source, header)
    return header


def _uid(source: Dataset, keyword: str, name: str) -> str:
    """Return a UID as it stands: leading zeros are invalid, but a reference has to be the same as what it refers to."""
    value = source.get(keyword)
    if not value and keyword.startswith("SOP"):
        value = source.file_meta.get(f"MediaStorage{keyword}")
    text = "" if isinstance(value, MultiValue) else str(value or "").strip(" \0")
    if not text:
        state = "missing"
    elif not re.fullmatch(r"[0-9.]{1,64}", text):
        state = "no valid UID"
    else:
        return text
    raise UnsupportedImageError(
        f"{name}: the {keyword} is {state}, so that no object can be filed beside this image; export it from the "
        "archive again"
    )


def _text(source: Dataset, keyword: str) -> str | None:
    """Return one valid value in its present-day spelling, an empty one as it is, or None for an invalid one."""
    try:
        value = source.get(keyword)
        if isinstance(value, MultiValue):
            return None
        text = _repaired(dictionary_VR(keyword), str("" if value is None else value).strip(" \0"))
        if keyword in _DESIGNATED and text.upper() in _DESIGNATED[keyword]:
            return text.upper()
        validate_value(dictionary_VR(keyword), text, RAISE)
    except _MALFORMED:
        return None
    return text if text.isprintable() and (keyword not in _DESIGNATED or not text) else None


def _repaired(vr: str, text: str) -> str:
    """Spell an age, date or time as PS3.5 6.2 does: `62`, `2004.08.26` and `10:20:30` are common in older files."""
    if vr == "AS":
        age = re.fullmatch(r"(\d{1,3})([DWMYdwmy]?)", text)
        return f"{int(age[1]):03d}{age[2].upper() or 'Y'}" if age else text
    if vr == "DA":
        return re.sub(r"^(\d{4})[.-](\d{2})[.-](\d{2})$", r"\1\2\3", text)
    if vr == "TM":
        return re.sub(r"^(\d{2}):(\d{2}):(\d{2})", r"\1\2\3", text)
    return text


def _several(source: Dataset, keyword: str) -> list[str]:
    try:
        value = source.get(keyword)
        listed = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
        texts = [str(one).strip(" \0") for one in listed if one not in (None, "")]
        for text in texts:
            validate_value(dictionary_VR(keyword), text, RAISE)
    except _MALFORMED:
        return []
    return texts


def _positive(text: str) -> bool:
    return 0.0 < float(text) < 1e4


def _keep_deidentification(source: Dataset, header: Dataset) -> None:
    """Keep how the identity was removed; one of two elements must say so (PS3.3 C.7.1.1)."""
    if header.get("PatientIdentityRemoved") != "YES":
        return
    items = []
    for item in source.get("DeidentificationMethodCodeSequence") or []:
        values = {key: _text(item, key) for key in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")}
        if all(values.values()):
            items.append(Dataset())
            for keyword, text in values.items():
                setattr(items[-1], keyword, text)
    if items:
        header.DeidentificationMethodCodeSequence = items
    elif "DeidentificationMethod" not in header:
        header.DeidentificationMethod = "Not stated by the source image"


def _keep_loss(source: Dataset, header: Dataset) -> None:
    """Keep whether the source lost detail to compression: what is drawn from it has lost it too (PS3.3 C.7.6.1.1.5)."""
    syntax = source.file_meta.get("TransferSyntaxUID")
    lossy = _text(source, "LossyImageCompression") == "01" or syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    header.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod") if lossy else ():
        values = _several(source, keyword)
        if values:
            header.add_new(tag_for_keyword(keyword), dictionary_VR(keyword), values)
