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
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.greyscale import grey_table, look_up, numbers
from covidcx.imaging.headers import jpeg2000_header, jpeg_header
from covidcx.imaging.orientation import UPRIGHT, turn_of_patient
from covidcx.imaging.picture import check_size, to_grey
from covidcx.imaging.radiograph import Radiograph, surely_in_range
from covidcx.imaging.subject import check_kind, check_view

log = logging.getLogger(__name__)

# The most pixels that are read, of 16 bits, take 191 MiB.
MAX_INFLATED_BYTES = 256 * 2**20

# As numbers: pydicom compares every element of a file with them, and its own tags compare in Python.
_ELEMENTS = [int(Tag(keyword)) for keyword in (
    "SOPClassUID", "Modality", "ConversionType", "PresentationIntentType", "PatientAge", "PatientSex",
    "AnatomicalOrientationType", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence",
    "PatientOrientation", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ImagerPixelSpacing",
    "PixelSpacing", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)]  # fmt: skip
_PIXELS = [int(Tag(keyword)) for keyword in ("FloatPixelData", "DoubleFloatPixelData", "PixelData")]

# Functional groups of one frame and what the reader takes from them (PS3.3 C.7.6.16.2).
_GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PatientOrientationInFrameSequence": ("PatientOrientation",),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
}
_GREYS = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# pydicom would try gdcm first, whose JPEG-LS decoder ends the whole process on some damaged streams. Its own RLE
# decoder unfolds runs without end; that of pylibjpeg stops where the frame does.
_PLUGINS = {
    "1.2.840.10008.1.2.5": "pylibjpeg",
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg", "1.2.840.10008.1.2.4.91": "pylibjpeg",
}  # fmt: skip

_PYDICOM = threading.Lock()


def read_dicom(path: Path, window: int | None = 0) -> Radiograph:
    """Read a single-frame CR, DX or RG file, or the secondary capture of a chest radiograph.

    The image is turned upright where Patient Orientation tells that its rows do not run to the patient's left or its
    columns not to the feet; the spacing follows, and the log says so. Overlay planes (60xx) are not drawn.

    Args:
        path: the file; a preamble is not needed.
        window: index into the file's value-of-interest views, VOI LUTs first and windows after them, or None to
            stretch the whole range of values. Colour captures have no such views.

    Returns:
        The radiograph, 0 = black (air) to 1 = white (bone); padding is black.

    Raises:
        UnreadableImageError: damaged, truncated, contradictory, or no codec for its transfer syntax.
        UnsupportedImageError: another modality, body part, projection, number of frames, or pixel type.

    Source: DICOM PS3.3 C.7.6.1 (orientation), C.7.6.3 (pixels), C.7.6.16 (functional groups), C.8.1 (CR), C.8.6 (SC),
        C.8.11 (DX), C.11.1 and C.11.2 (look-up tables).
    """
    with quiet(), path.open("rb") as stream:
        _check_deflated(stream)
        stream.seek(0)
        header = read_partial(stream, lambda tag, *_: tag in _PIXELS, force=True, specific_tags=_ELEMENTS)
        _lift_groups(header)
        modality = check_kind(header)
        view = check_view(header)
        turn = turn_of_patient([str(text) for text in _several(header.get("PatientOrientation"))])
        _check_pixels(header, path)
        words, shift = _decode(header, stream)
        if words.ndim == 3:
            pixels, in_range = _colour(words, window), False
        else:
            table = grey_table(header, words, shift, window)
            pixels, in_range = look_up(table, words), surely_in_range(table)
        sex = header.get("PatientSex")
        kept = {
            "view": view,
            "age": parse_age(header.get("PatientAge")),
            "sex": sex if sex in ("M", "F") else None,
            "spacing": turn.spacing(_spacing(header)),
            "modality": modality,
            "photometric": str(header.PhotometricInterpretation),
            "bits": int(header.BitsStored),
        }
    if turn != UPRIGHT:
        log.info("%s: turned upright as Patient Orientation says (%s)", path.name, turn)
    pixels = turn.apply(pixels)
    pixels.flags.writeable = False
    return Radiograph(pixels, turn=turn, in_range=in_range, **kept)


def _several(value: Any) -> list[Any]:
    return [] if value is None or isinstance(value, str) else list(value)


def _lift_groups(header: Dataset) -> None:
    """Bring what the functional groups of the first frame say to where single-frame files say it.

    A per-frame group goes before a shared one, and either before an element outside of them.
    """
    for where in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = header.get(where)
        for name, keywords in _GROUPS.items() if items else ():
            group = items[0].get(name)
            for keyword in keywords if group else ():
                # A group says all there is to say: a window in it is not to be mixed with a table outside.
                value = group[0].get(keyword)
                if value is not None:
                    setattr(header, keyword, value)
                elif keyword in header:
                    delattr(header, keyword)


def _colour(image: np.ndarray, window: int | None) -> np.ndarray:
    """Turn the captured colours of a grey picture into grey levels."""
    if window:
        raise UnsupportedImageError(f"window {window} was asked for, a colour image has none; leave it at 0, or None")
    return to_grey(image[..., ::-1])[0]


def parse_age(text: str | None) -> float | None:
    """Read an Age String (VR AS: `045Y`, `006M`, `012W`, `010D`; bare digits are taken as years) in years."""
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", str(text or "").strip().upper())
    if match is None:
        return None
    years = int(match[1]) / {"D": 365.25, "W": 365.25 / 7, "M": 12.0}.get(match[2], 1.0)
    return years if years <= 130 else None


def _check_pixels(header: Dataset, path: Path) -> None:
    """Check everything the header says about the pixels, and the bytes there are, before any memory is taken."""
    needed = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
    missing = [name for name in needed if header.get(name) in (None, "")]
    if missing:
        raise UnreadableImageError(f"the DICOM header lacks {', '.join(missing)}; export the file again")
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    if frames != 1:
        raise UnsupportedImageError(f"the file holds {frames} frames, one is read; export a single radiograph")
    colour = header.PhotometricInterpretation in _COLOURS
    if samples != (3 if colour else 1) or not (colour or header.PhotometricInterpretation in _GREYS):
        raise UnsupportedImageError(
            f"a colour image ({samples} samples a pixel, or a palette); export MONOCHROME1 or MONOCHROME2"
        )
    allocated, bits, high = _bits(header)
    check_size(int(header.Columns), int(header.Rows), samples * allocated // 8)
    if colour and (allocated, bits, high) != (8, 8, 7):
        raise UnsupportedImageError(f"a colour image of {bits} bits in {allocated}; export 8 bits, or MONOCHROME2")
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
        _check_length(path.stat().st_size, _native_bytes(header))


_CONVERT = "convert it to Explicit VR Little Endian first"


def _bits(header: Dataset) -> tuple[int, int, int]:
    bits = int(header.BitsStored)
    high = header.get("HighBit")
    return int(header.BitsAllocated), bits, bits - 1 if high is None else int(high)


def _native_bytes(header: Dataset) -> int:
    """Return the size of the uncompressed pixel data; 4:2:2 shares its two colour samples between two pixels."""
    samples = int(header.get("SamplesPerPixel") or 1)
    samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else samples
    return int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated) // 8


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise UnreadableImageError(
            f"the header promises {expected:,} bytes of pixels and the file holds {found:,}: truncated; copy it again"
        )


def _decode(header: Dataset, stream: BinaryIO) -> tuple[np.ndarray, int]:
    """Return each pixel's word, uint8 or uint16, and at which of its bits the stored ones begin.

    Bits beside the stored ones may hold overlays (retired, but alive in old archives) or anything else.

    Args:
        header: what stands before the pixels, checked.
        stream: the file, where the header's reader left it.
    """
    samples = int(header.get("SamplesPerPixel") or 1)
    shape = (int(header.Rows), int(header.Columns), samples)[: 3 if samples > 1 else 2]
    allocated, bits, high = _bits(header)
    syntax = _transfer_syntax(header)
    plain = samples == 1 and syntax.is_little_endian and not syntax.is_encapsulated
    if plain and syntax != DeflatedExplicitVRLittleEndian:
        # The words lie there as they are, so the header need not be parsed a second time.
        data = read_dataset(stream, *header.original_encoding, specific_tags=_PIXELS)
    else:
        stream.seek(0)
        data = pydicom.dcmread(stream, specific_tags=_ELEMENTS, force=True)
    if "FloatPixelData" in data or "DoubleFloatPixelData" in data:
        raise UnsupportedImageError("the pixels are floating point numbers; export 8 to 16 bit integers")
    # Its bytes, which pydicom would hand through a converter first.
    content = data.get_item("PixelData").value if "PixelData" in data else None
    if not content:
        raise UnreadableImageError("the pixel data are missing or cut off: truncated; copy or export the file again")
    if syntax.is_encapsulated:
        _check_codestream(get_frame(content, 0, number_of_frames=1), syntax, shape)
    else:
        _check_length(len(content), _native_bytes(header))
    # Decoders of the other syntaxes hand out the stored bits alone.
    shift = high + 1 - bits if not syntax.is_encapsulated or syntax == RLELossless else 0
    if plain:
        # What pydicom would do, without its copies.
        array = np.frombuffer(content, f"<u{allocated // 8}", math.prod(shape)).reshape(shape)
    else:
        if not syntax.is_encapsulated or syntax == RLELossless:
            # pydicom masks as if the high bit were always bits stored - 1; let it hand out whole words instead.
            data.BitsStored, data.HighBit = allocated, allocated - 1
        array = _pixel_array(data, syntax)
    if array.shape != shape or array.dtype.kind not in "iu" or array.dtype.itemsize > 2:
        raise UnreadableImageError(
            f"{shape} pixels of {allocated} bits were promised, {array.dtype} of shape {array.shape} found; "
            "export the file again"
        )
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return native.view(f"u{native.dtype.itemsize}"), shift


def _pixel_array(data: Dataset, syntax: UID) -> np.ndarray:
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = syntax
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


def _check_codestream(frame: bytes, syntax: UID, shape: tuple[int, ...]) -> None:
    """Hold a compressed frame's own header against the data set's, and look for its end marker."""
    name = str(syntax)
    if not name.startswith("1.2.840.10008.1.2.4."):
        return
    found = jpeg_header(frame) if frame.startswith(b"\xff\xd8") else jpeg2000_header(frame)
    samples = shape[2] if len(shape) > 2 else 1
    if (found.height, found.width, found.channels) != (*shape[:2], samples):
        raise UnreadableImageError(
            f"the header promises {shape[1]} x {shape[0]} pixels of {samples} samples, the compressed data "
            f"{found.width} x {found.height} of {found.channels}; export the file again"
        )
    if frame.find(b"\xff\xd9", found.scan) < 0:
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


def _check_deflated(stream: BinaryIO) -> None:
    """Refuse a deflated data set that would unfold to more than any radiograph holds."""
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
def quiet() -> Iterator[None]:
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
