"""DICOM radiographs: header checks before decoding, the stored bits, and the few facts that are kept.

Only the elements in `_ELEMENTS` are ever parsed, so a patient's name, identifier, dates and UIDs reach no value, log
or message. Messages hold numbers and the standard's own terms, never free text from a file.
"""

import logging
import math
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.greyscale import grey_table, numbers
from covidcx.imaging.picture import check_size, jpeg2000_size, jpeg_header
from covidcx.imaging.radiograph import Radiograph

log = logging.getLogger(__name__)

# Computed radiography, digital radiography, and RG: conventional film, digitised. All three are plain projections.
MODALITIES = ("CR", "DX", "RG")
MAX_INFLATED_BYTES = 512 * 2**20

_OTHER_MODALITIES = (
    "AU", "BMD", "CT", "DOC", "ECG", "ES", "GM", "IO", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OT", "PR", "PT",
    "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC",
)  # fmt: skip
_CR_DX_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
_ELEMENTS = [
    "SOPClassUID", "Modality", "PresentationIntentType", "PatientAge", "PatientSex", "BodyPartExamined",
    "ViewPosition", "ViewCodeSequence", "ImagerPixelSpacing", "PixelSpacing", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData", "PixelData",
]  # fmt: skip

# Letters only, upper case. A body part that names both (CHESTABDOMEN) is taken as a chest; an unknown word as well.
_CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "PULMO", "PECHO", "POITRINE", "BRUST", "RIB", "CXR")
_NOT_CHEST = (
    "SPINE", "EXTREMITY", "SKULL", "HEAD", "BRAIN", "NECK", "SINUS", "ORBIT", "MANDIBLE", "MAXILLA", "TEETH", "TOOTH",
    "ABDOMEN", "KUB", "PELVIS", "HIP", "SACRUM", "COCCYX", "LEG", "FEMUR", "THIGH", "KNEE", "PATELLA", "TIBIA",
    "FIBULA", "CALF", "ANKLE", "HEEL", "CALCANEUS", "FOOT", "FEET", "TOE", "ARM", "HUMERUS", "ELBOW", "RADIUS", "ULNA",
    "WRIST", "HAND", "FINGER", "THUMB", "SHOULDER", "CLAVICLE", "SCAPULA", "BREAST",
)  # fmt: skip

# Context group CID 4010 (PS3.16), SNOMED CT and the SNOMED RT codes that older files carry.
_VIEW_CODES = {
    "399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-40888": "PA",
    "399067008": "LATERAL", "R-102CD": "LATERAL", "399198007": "LATERAL", "R-10232": "LATERAL",
    "399173006": "LATERAL", "R-10236": "LATERAL", "399352003": "LATERAL", "R-10228": "LATERAL",
    "399260004": "LATERAL", "R-10224": "LATERAL",
}  # fmt: skip
_LATERAL = {"LL", "RL", "LAT", "LLAT", "RLAT", "LATL", "LATR", "LATERAL", "LM", "ML"}
_OBLIQUE = {"LLO", "RLO", "LMO", "MLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE"}
_DECUBITUS = {"LLD", "RLD", "DECUBITUS", "DECUB"}

# pydicom would try gdcm first, whose JPEG-LS decoder ends the whole process on some damaged streams.
_PLUGINS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg", "1.2.840.10008.1.2.4.91": "pylibjpeg",
}  # fmt: skip

_PYDICOM = threading.Lock()


def read_dicom(path: Path, window: int | None = 0) -> Radiograph:
    """Read a single-frame CR, DX or RG file as a radiograph.

    Args:
        path: the file; a preamble is not needed.
        window: index into the file's value-of-interest views, VOI LUTs first and windows after them, or None to
            stretch the whole range of values.

    Returns:
        The radiograph, 0 = black (air) to 1 = white (bone); padding is black.

    Raises:
        UnreadableImageError: damaged, truncated, contradictory, or no codec for its transfer syntax.
        UnsupportedImageError: another modality, body part, projection, number of frames, or pixel type.

    Source: DICOM PS3.3 C.7.6.3, C.8.1 (CR), C.8.11 (DX), C.11.1 and C.11.2.
    """
    with _quiet():
        _check_deflated(path)
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_ELEMENTS, force=True)
        modality = _check_kind(header)
        view = _check_view(header)
        _check_pixels(header, path)
        codes = _decode(pydicom.dcmread(path, specific_tags=_ELEMENTS, force=True))
        table = grey_table(header, codes, window)
        sex = header.get("PatientSex")
        kept = {
            "view": view,
            "age": parse_age(header.get("PatientAge")),
            "sex": sex if sex in ("M", "F") else None,
            "spacing": _spacing(header),
            "modality": modality,
            "photometric": str(header.PhotometricInterpretation),
            "bits": int(header.BitsStored),
        }
    return Radiograph(table[codes], **kept)


def parse_age(text: str | None) -> float | None:
    """Read an Age String (VR AS: `045Y`, `006M`, `012W`, `010D`; bare digits are taken as years) in years."""
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", str(text or "").strip().upper())
    if match is None:
        return None
    years = int(match[1]) / {"D": 365.25, "W": 365.25 / 7, "M": 12.0}.get(match[2], 1.0)
    return years if years <= 130 else None


def projection(text: str | None) -> str | None:
    """Read a view position as `PA`, `AP`, `LATERAL`, `OBLIQUE`, `DECUBITUS`, or None where it says none of them."""
    words = re.findall("[A-Z]+", str(text or "").upper())
    for name, known in (("DECUBITUS", _DECUBITUS), ("OBLIQUE", _OBLIQUE), ("LATERAL", _LATERAL)):
        if known.intersection(words):
            return name
    joined = "".join(words)
    if "PA" in words or joined.startswith("POSTEROANT"):
        return "PA"
    return "AP" if "AP" in words or joined.startswith("ANTEROPOST") else None


def _check_kind(header: Dataset) -> str:
    """Return the modality of a plain radiograph; refuse all else."""
    modality = str(header.get("Modality") or "").strip()
    if not modality:
        modality = _CR_DX_CLASSES.get(str(header.get("SOPClassUID") or ""), "")
    if modality not in MODALITIES:
        shown = f"is {modality}" if modality in _OTHER_MODALITIES else "is unknown" if modality else "is missing"
        raise UnsupportedImageError(f"the DICOM modality {shown}; covidcx reads plain radiographs (CR, DX, RG)")
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        raise UnsupportedImageError("raw detector data (FOR PROCESSING); send the FOR PRESENTATION image of the study")
    letters = re.sub("[^A-Z]", " ", str(header.get("BodyPartExamined") or "").upper())
    spine = "SPINE" in letters
    if spine or not any(word in letters for word in _CHEST):
        words = letters.split()
        part = next((p for p in _NOT_CHEST if (p in letters if len(p) > 4 else _names(words, p))), None)
        if part is not None:
            raise UnsupportedImageError(
                f"Body Part Examined names {part}, not a chest; give a chest radiograph, or correct the header"
            )
    return modality


def _names(words: list[str], part: str) -> bool:
    """Match a short part (ARM, LEG, HEAD) as a word, its plural, or after a side or joint prefix (LHAND, LOWLEG)."""
    prefix = "(L|R|LT|RT|LEFT|RIGHT|UP|UPR|UPPER|LOW|LWR|LOWER|FORE)?"
    return any(re.fullmatch(f"{prefix}{part}S?", word) for word in words)


def _check_view(header: Dataset) -> str | None:
    """Return `PA`, `AP` or None; refuse lateral, oblique and decubitus views."""
    views = [projection(header.get("ViewPosition"))]
    for item in header.get("ViewCodeSequence") or []:
        views.append(_VIEW_CODES.get(str(item.get("CodeValue") or "")) or projection(item.get("CodeMeaning")))
    what = {
        "LATERAL": "a lateral projection",
        "OBLIQUE": "an oblique or lateral projection",
        "DECUBITUS": "a lateral decubitus view",
    }
    for view in views:
        if view in what:
            raise UnsupportedImageError(f"the header names {what[view]}; give the frontal (PA or AP) image")
    return next((view for view in views if view), None)


def _check_pixels(header: Dataset, path: Path) -> None:
    """Check everything the header says about the pixels, and the bytes there are, before any memory is taken."""
    needed = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
    missing = [name for name in needed if header.get(name) in (None, "")]
    if missing:
        raise UnreadableImageError(f"the DICOM header lacks {', '.join(missing)}; export the file again")
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    if frames != 1:
        raise UnsupportedImageError(f"the file holds {frames} frames, one is read; export a single radiograph")
    if samples != 1 or header.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedImageError(
            f"a colour image ({samples} samples a pixel, or a palette); export MONOCHROME1 or MONOCHROME2"
        )
    check_size(int(header.Columns), int(header.Rows))
    allocated, bits, high = _bits(header)
    if allocated not in (8, 16) or not 8 <= bits <= 16:
        raise UnsupportedImageError(
            f"pixels of {bits} bits in {allocated}; radiographs of 8 to 16 bits in 8 or 16 are read"
        )
    if not bits <= high + 1 <= allocated:
        raise UnreadableImageError(
            f"{bits} bits stored below high bit {high} do not fit {allocated} allocated; export the file again"
        )
    syntax = _transfer_syntax(header)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise UnreadableImageError(f"no decoder for the transfer syntax {_syntax_name(syntax)}; {_CONVERT}") from error
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        raise UnreadableImageError(f"no codec installed for the transfer syntax {_syntax_name(syntax)} ({needs})")
    if not syntax.is_encapsulated and syntax != DeflatedExplicitVRLittleEndian:
        _check_length(path.stat().st_size, int(header.Rows) * int(header.Columns) * allocated // 8)


_CONVERT = "convert it to Explicit VR Little Endian first"


def _bits(header: Dataset) -> tuple[int, int, int]:
    bits = int(header.BitsStored)
    high = header.get("HighBit")
    return int(header.BitsAllocated), bits, bits - 1 if high is None else int(high)


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise UnreadableImageError(
            f"the header promises {expected:,} bytes of pixels and the file holds {found:,}: truncated; copy it again"
        )


def _decode(data: Dataset) -> np.ndarray:
    """Return the stored bits of each pixel, uint8 or uint16, with everything above and below them removed."""
    if "FloatPixelData" in data or "DoubleFloatPixelData" in data:
        raise UnsupportedImageError("the pixels are floating point numbers; export 8 to 16 bit integers")
    if not data.get("PixelData"):
        raise UnreadableImageError("the pixel data are missing or cut off: truncated; copy or export the file again")
    rows, columns = int(data.Rows), int(data.Columns)
    allocated, bits, high = _bits(data)
    syntax = _transfer_syntax(data)
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        _check_codestream(get_frame(data.PixelData, 0, number_of_frames=1), syntax, (columns, rows))
    else:
        _check_length(len(data.PixelData), rows * columns * allocated // 8)
    shift = 0
    if not syntax.is_encapsulated or syntax == RLELossless:
        # pydicom masks as if the high bit were always bits stored - 1; let it hand out whole words instead.
        shift = high + 1 - bits
        data.BitsStored, data.HighBit = allocated, allocated - 1
    array = _pixel_array(data, syntax)
    if array.shape != (rows, columns) or array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        raise UnreadableImageError(
            f"{columns} x {rows} pixels of {allocated} bits were promised, {array.dtype} of shape {array.shape} found; "
            "export the file again"
        )
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    # Bits beside the stored ones may hold overlays (retired, but alive in old archives) or anything else.
    return (native.view(f"u{native.dtype.itemsize}") >> shift) & ((1 << bits) - 1)


def _pixel_array(data: Dataset, syntax: UID) -> np.ndarray:
    plugin = _PLUGINS.get(str(syntax), "")
    if plugin in get_decoder(syntax).available_plugins:
        data.pixel_array_options(decoding_plugin=plugin)
    try:
        return data.pixel_array
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # BaseException, because a panic in pylibjpeg-rle, which is written in Rust, is no Exception.
        raise UnreadableImageError(
            f"no installed codec could decode the pixels ({_syntax_name(syntax)}): damaged, or a variant such as "
            f"12-bit JPEG that none of them knows; {_CONVERT}"
        ) from error


def _check_codestream(frame: bytes, syntax: UID, size: tuple[int, int]) -> None:
    """Hold a compressed frame's own header against the data set's, and look for its end marker."""
    name = str(syntax)
    if not name.startswith("1.2.840.10008.1.2.4."):
        return
    if frame.startswith(b"\xff\xd8"):
        header = jpeg_header(frame)
        found, scan = (header.width, header.height), header.scan
    else:
        found, scan = jpeg2000_size(frame), 0
    if found != size:
        raise UnreadableImageError(
            f"the header promises {size[0]} x {size[1]} pixels, the compressed data {found[0]} x {found[1]}; "
            "export the file again"
        )
    if frame.find(b"\xff\xd9", scan) < 0:
        raise UnreadableImageError("the compressed pixels stop before their end marker: truncated; copy the file again")


def _transfer_syntax(data: Dataset) -> UID:
    """Return the transfer syntax, guessed from what was seen where a file has no meta information."""
    named = data.file_meta.get("TransferSyntaxUID")
    if named:
        return UID(named)
    implicit, little = data.original_encoding
    return ImplicitVRLittleEndian if implicit else UID("1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2")


def _syntax_name(syntax: UID) -> str:
    return f"{syntax.name} ({syntax})" if syntax.name != syntax else "of this file, which is not a standard one"


def _spacing(header: Dataset) -> tuple[float, float] | None:
    for name in ("ImagerPixelSpacing", "PixelSpacing"):
        pair = numbers(header.get(name))
        if len(pair) == 2 and all(math.isfinite(side) and side > 0 for side in pair):
            return pair[0], pair[1]
    return None


def _check_deflated(path: Path) -> None:
    """Refuse a deflated data set that would unfold to more than any radiograph holds."""
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
        if DeflatedExplicitVRLittleEndian.encode() not in head:
            return
        if head[128:140] != b"DICM\x02\0\0\0UL\x04\0":
            raise UnreadableImageError("a deflated file without the length of its meta information; export it again")
        stream.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        pending = stream.read(1 << 16)
        while pending:
            total += len(inflate.decompress(pending, 1 << 20))
            if total > MAX_INFLATED_BYTES:
                raise UnsupportedImageError(
                    f"the deflated data unfold to more than {MAX_INFLATED_BYTES:,} bytes; give a single radiograph"
                )
            pending = inflate.unconsumed_tail or stream.read(1 << 16)


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn pydicom's warnings into debug records without the values they quote.

    Warning filters and pydicom's settings are global to the process, hence the lock: threads read DICOM one by one.
    """
    source = logging.getLogger("pydicom")
    with _PYDICOM, warnings.catch_warnings(record=True) as caught, pydicom.config.disable_value_validation():
        warnings.simplefilter("always")
        # Handlers that someone put on pydicom's own logger still hear everything.
        propagate, source.propagate = source.propagate, False
        try:
            yield
        finally:
            source.propagate = propagate
            for warning in caught:
                log.debug("pydicom: %s", re.split("['\"]", str(warning.message))[0].strip())
