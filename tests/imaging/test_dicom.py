"""DICOM reading against PS3.3 C.11 worked out by hand, against pydicom, and against files that lie about themselves."""

import logging
import math
import random
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import COMPRESSED, DATE, NAME, PATIENT, UNCOMPRESSED, ramp, table, write_dicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from covidcx.errors import CovidcxError, UnreadableImageError, UnsupportedImageError
from covidcx.imaging import dicom, greyscale
from covidcx.imaging.greyscale import apply_window
from covidcx.imaging.read import read

# --- grey levels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "centre", "width", "value", "expected"),
    [
        # The notes of C.11.2.1.2.1: c = 2048, w = 4096 and c = 0, w = 100 and c = 0, w = 1.
        ("LINEAR", 2048, 4096, 0, 0.0),
        ("LINEAR", 2048, 4096, 4095, 1.0),
        ("LINEAR", 2048, 4096, 2048, (2048 - 2047.5) / 4095 + 0.5),
        ("LINEAR", 0, 100, -50, 0.0),
        ("LINEAR", 0, 100, -49, (-49 + 0.5) / 99 + 0.5),
        ("LINEAR", 0, 100, 49, 1.0),
        ("LINEAR", 0, 1, -1, 0.0),
        ("LINEAR", 0, 1, 0, 1.0),
        ("LINEAR_EXACT", 0, 100, -50, 0.0),
        ("LINEAR_EXACT", 0, 100, 0, 0.5),
        ("LINEAR_EXACT", 0, 100, 25, 0.75),
        ("LINEAR_EXACT", 0, 100, 51, 1.0),
        ("SIGMOID", 1000, 200, 1000, 0.5),
        ("SIGMOID", 1000, 200, 1050, 1 / (1 + math.exp(-1))),
        ("SIGMOID", 1000, 200, 900, 1 / (1 + math.exp(2))),
        ("SIGMOID", 0, 1, -1e6, 0.0),
    ],
)
def test_window_functions_at_the_points_of_the_standard(function, centre, width, value, expected):
    assert apply_window(np.array([value]), centre, width, function)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_rescale_then_window_pixel_by_pixel(tmp_path, function):
    stored = ramp()
    path = write_dicom(
        tmp_path / "a.dcm", stored, RescaleSlope="2.5", RescaleIntercept="-1024", WindowCenter="3000",
        WindowWidth="2000", VOILUTFunction=function,
    )  # fmt: skip

    def by_hand(code: int) -> float:
        x, c, w = code * 2.5 - 1024, 3000.0, 2000.0
        if function == "SIGMOID":
            return 1 / (1 + math.exp(-4 * (x - c) / w))
        if function == "LINEAR_EXACT":
            return 0.0 if x <= c - w / 2 else 1.0 if x > c + w / 2 else (x - c) / w + 0.5
        low, high = c - 0.5 - (w - 1) / 2, c - 0.5 + (w - 1) / 2
        return 0.0 if x <= low else 1.0 if x > high else (x - (c - 0.5)) / (w - 1) + 0.5

    expected = np.array([by_hand(int(code)) for code in stored.ravel()]).reshape(stored.shape)
    pixels = read(path).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
    assert 0 < np.count_nonzero((expected > 0) & (expected < 1)) <= expected.size


def test_without_a_window_the_whole_range_is_stretched(tmp_path):
    stored = ramp() // 4 + 100
    expected = (stored - 100.0) / stored.max().__sub__(100)
    np.testing.assert_allclose(read(write_dicom(tmp_path / "a.dcm", stored)).pixels, expected, atol=1e-6)
    flat = np.full((40, 40), 7, "<u2")
    assert not read(write_dicom(tmp_path / "b.dcm", flat)).pixels.any()
    # A width of zero is some exporters' way to say that there is no window.
    zero = write_dicom(tmp_path / "c.dcm", stored, WindowCenter="500", WindowWidth="0")
    np.testing.assert_allclose(read(zero).pixels, expected, atol=1e-6)


def test_negative_slope_turns_the_image_round(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(), RescaleSlope="-1", RescaleIntercept="4095")
    np.testing.assert_allclose(read(path).pixels, 1 - ramp() / 4095, atol=1e-6)


def test_window_argument_picks_one_of_several(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(), WindowCenter=["1000", "3000"], WindowWidth=["101", "201"])
    assert read(path).pixels.ravel()[1000] == pytest.approx(0.505)
    assert read(path, window=1).pixels.ravel()[3000] == pytest.approx(0.5025)
    np.testing.assert_allclose(read(path, window=None).pixels, ramp() / 4095, atol=1e-6)
    with pytest.raises(UnsupportedImageError, match="window 2 was asked for, the file has 2"):
        read(path, window=2)
    with pytest.raises(UnsupportedImageError, match="window 1"):
        read(write_dicom(tmp_path / "b.dcm", ramp()), window=1)


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_voi_lut_sequence(tmp_path, syntax, vr):
    entries = [int(1023 * math.sqrt(i / 999)) for i in range(1000)]
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), syntax, VOILUTSequence=table(entries, 500, 10, vr, order=order),
        WindowCenter="2000", WindowWidth="50",
    )  # fmt: skip
    expected = [entries[min(max(int(code) - 500, 0), 999)] / 1023 for code in ramp().ravel()]
    np.testing.assert_allclose(read(path).pixels.ravel(), expected, atol=1e-6)
    assert read(path, window=1).pixels.ravel()[1900] == 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_modality_lut_with_negative_first_value(tmp_path, syntax):
    stored = ramp().astype("<i2") - 2048
    entries = [(i * i) % 4096 for i in range(4096)]
    path = write_dicom(tmp_path / "a.dcm", stored, syntax, ModalityLUTSequence=table(entries, -2048, 12))
    values = np.array([entries[int(v) + 2048] for v in stored.ravel()], float)
    expected = (values - values.min()) / (values.max() - values.min())
    np.testing.assert_allclose(read(path).pixels.ravel(), expected, atol=1e-6)


def test_eight_bit_lut_one_entry_a_byte(tmp_path):
    entries = [255 - i for i in range(256)]
    path = write_dicom(tmp_path / "a.dcm", ramp(256), VOILUTSequence=table(entries, 0, 8, "OW", packed=True))
    np.testing.assert_allclose(read(path).pixels, 1 - ramp(256) / 255, atol=1e-6)


def test_lut_of_65536_entries_is_written_as_zero(tmp_path):
    item = table([0], 0, 16, "OW")[0]
    item.LUTDescriptor = [0, 0, 16]
    item.LUTData = np.arange(65536, dtype="<u2")[::-1].tobytes()
    path = write_dicom(tmp_path / "a.dcm", ramp() * 16, BitsStored=16, VOILUTSequence=Sequence([item]))
    np.testing.assert_allclose(read(path).pixels, 1 - ramp() * 16.0 / 65535, atol=1e-6)


def test_lut_shorter_than_it_says_is_refused(tmp_path):
    broken = table(list(range(64)), 0, 12)
    broken[0].LUTDescriptor = [4096, 0, 12]
    with pytest.raises(UnreadableImageError, match="4096 entries has 64"):
        read(write_dicom(tmp_path / "a.dcm", ramp(), VOILUTSequence=broken))


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", None, False),
    ],
)
def test_inverted_once_or_not_at_all(tmp_path, photometric, shape, inverted):
    path = write_dicom(tmp_path / "a.dcm", ramp(), PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    radiograph = read(path)
    expected = 1 - ramp() / 4095 if inverted else ramp() / 4095
    np.testing.assert_allclose(radiograph.pixels, expected, atol=1e-6)
    assert radiograph.photometric == photometric


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=lambda uid: uid.name)
def test_padding_is_black_and_outside_the_range(tmp_path, photometric, syntax):
    stored = (ramp() // 8 + 1000).astype("<i2")
    stored[:8], stored[8:12] = -2000, -1990
    image = stored[12:].astype(float)
    expected = (image - image.min()) / (image.max() - image.min())
    path = write_dicom(
        tmp_path / "a.dcm", stored, syntax, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990,
        PhotometricInterpretation=photometric,
    )  # fmt: skip
    pixels = read(path).pixels
    assert not pixels[:12].any()
    np.testing.assert_allclose(pixels[12:], 1 - expected if photometric == "MONOCHROME1" else expected, atol=1e-6)
    single = read(write_dicom(tmp_path / "b.dcm", stored, syntax, PixelPaddingValue=-2000)).pixels
    assert not single[:8].any() and not single[8:12].any() and single[12:].min() > 0.7


def test_nothing_but_padding_is_refused(tmp_path):
    with pytest.raises(UnsupportedImageError, match="padding"):
        read(write_dicom(tmp_path / "a.dcm", np.full((64, 64), 5, "<u2"), PixelPaddingValue=5))


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_stored_and_sign(tmp_path, bits, signed):
    codes = (np.arange(4096) * (2**bits - 1) // 4095).reshape(64, 64)
    values = codes - 2 ** (bits - 1) if signed else codes
    path = write_dicom(tmp_path / "a.dcm", values.astype("<i2" if signed else "<u2"), BitsStored=bits)
    radiograph = read(path)
    assert radiograph.bits == bits
    np.testing.assert_allclose(radiograph.pixels, codes / (2**bits - 1), atol=1e-6)


def test_high_bit_and_rubbish_in_the_unused_bits(tmp_path):
    left = write_dicom(tmp_path / "left.dcm", (ramp() << 4) | 0x5, HighBit=15)
    np.testing.assert_allclose(read(left).pixels, ramp() / 4095, atol=1e-6)
    above = write_dicom(tmp_path / "above.dcm", ramp() | 0xA000)
    np.testing.assert_allclose(read(above).pixels, ramp() / 4095, atol=1e-6)
    negative = (ramp().astype("<i2") - 2048) & 0x0FFF
    signed = write_dicom(tmp_path / "signed.dcm", negative.astype("<i2"))
    np.testing.assert_allclose(read(signed).pixels, ramp() / 4095, atol=1e-6)
    with pytest.raises(UnreadableImageError, match="high bit"):
        read(write_dicom(tmp_path / "no.dcm", ramp(), HighBit=7))


# --- transfer syntaxes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", UNCOMPRESSED + COMPRESSED, ids=lambda uid: uid.name)
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<i2"])
def test_every_transfer_syntax_gives_the_same_pixels(tmp_path, syntax, dtype):
    stored = ramp(256 if dtype == "u1" else 4096, dtype) - (2048 if dtype == "<i2" else 0)
    pixels = read(write_dicom(tmp_path / "a.dcm", stored.astype(dtype), syntax)).pixels
    np.testing.assert_allclose(pixels, ramp(256, "u1") / 255 if dtype == "u1" else ramp() / 4095, atol=1e-6)


def test_jpeg_baseline(tmp_path):
    smooth = cv2.GaussianBlur(ramp(256, "u1"), (0, 0), 3)
    encoded = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", smooth, JPEGBaseline8Bit, PixelData=encapsulate([encoded]), WindowCenter="128",
        WindowWidth="256",
    )  # fmt: skip
    np.testing.assert_allclose(read(path).pixels, cv2.imdecode(np.frombuffer(encoded, "u1"), 0) / 255, atol=3 / 255)


def test_without_preamble_and_meta_information(tmp_path):
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        whole = write_dicom(tmp_path / "whole.dcm", ramp(), syntax)
        data = whole.read_bytes()
        (tmp_path / "no_preamble").write_bytes(data[132:])
        length = int.from_bytes(data[140:144], "little")
        (tmp_path / "no_meta").write_bytes(data[144 + length :])
        for name in ("no_preamble", "no_meta"):
            np.testing.assert_array_equal(read(tmp_path / name).pixels, read(whole).pixels, err_msg=f"{syntax} {name}")


def test_missing_codec_is_named(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", ramp(), JPEGLSLossless)
    monkeypatch.setattr(dicom.get_decoder(JPEGLSLossless), "_available", {})
    with pytest.raises(UnreadableImageError, match=r"JPEG-LS Lossless Image Compression \(1.2.840.10008.1.2.4.80\)"):
        read(path)


def test_transfer_syntax_without_a_decoder_is_named(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(), UID("1.2.840.10008.1.2.4.100"), PixelData=encapsulate([b"\0" * 64]))
    with pytest.raises(UnreadableImageError, match=r"MPEG2 .*1\.2\.840\.10008\.1\.2\.4\.100"):
        read(path)


# --- metadata and identity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "years"),
    [("045Y", 45), ("006M", 0.5), ("010D", 10 / 365.25), ("004W", 28 / 365.25), ("62", 62), ("", None), (None, None),
     ("Y", None), ("999Y", None), ("-12Y", None), ("45 years", None)],
)  # fmt: skip
def test_age(text, years):
    assert dicom.parse_age(text) == (None if years is None else pytest.approx(years))


def test_metadata_is_kept(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), Modality="DX", PatientAge="045Y", PatientSex="F", ViewPosition="PA",
        BodyPartExamined="CHEST", ImagerPixelSpacing=["0.2", "0.1"], PixelSpacing=["0.5", "0.5"],
    )  # fmt: skip
    radiograph = read(path)
    assert (radiograph.view, radiograph.age, radiograph.sex) == ("PA", 45.0, "F")
    assert (radiograph.spacing, radiograph.modality, radiograph.bits) == ((0.2, 0.1), "DX", 12)
    path = write_dicom(
        tmp_path / "b.dcm", ramp(), PatientSex="O", PatientAge="006M", PixelSpacing=["0.5", "0.4"],
        ImagerPixelSpacing=["0", "0"],
    )  # fmt: skip
    radiograph = read(path)
    assert (radiograph.view, radiograph.age, radiograph.sex, radiograph.spacing) == (None, 0.5, None, (0.5, 0.4))


def test_identity_is_never_kept_said_or_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    secrets = [NAME, "Roentgen", "Anna", PATIENT, DATE, "ACC-0815", "Wuerzburg"]
    said = []
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        good = write_dicom(tmp_path / "a.dcm", ramp(), PatientAge=NAME[:12], PatientSex="Roentgen")
        lies = [
            {"Modality": "ROENTGEN"}, {"BodyPartExamined": f"HAND {NAME}"}, {"ViewPosition": f"LATERAL {NAME}"},
            {"PhotometricInterpretation": NAME}, {"VOILUTFunction": NAME, "WindowCenter": "1", "WindowWidth": "9"},
            {"NumberOfFrames": "2"}, {"PixelData": b"\0" * 10}, {"PresentationIntentType": NAME, "BitsStored": 3},
        ]  # fmt: skip
        bad = [write_dicom(tmp_path / f"bad{i}.dcm", ramp(), **lie) for i, lie in enumerate(lies)]
    uids = [pydicom.dcmread(good).SOPInstanceUID, pydicom.dcmread(good).StudyInstanceUID]
    radiograph = read(good)
    assert radiograph.age is None and radiograph.sex is None
    said += [repr(radiograph), *(str(getattr(radiograph, f.name)) for f in fields(radiograph) if f.name != "pixels")]
    for path in bad:
        with pytest.raises(CovidcxError) as caught:
            read(path)
        said.append(str(caught.value))
    said += [record.getMessage() for record in caplog.records]
    for secret in [*secrets, *uids]:
        assert not [text for text in said if secret.lower() in text.lower()]


def test_older_opencv_looks_up_the_same_grey_levels(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", (ramp() << 3) | 0x5, HighBit=14, WindowCenter=1800, WindowWidth=3000)
    pixels = read(path).pixels
    monkeypatch.setattr(greyscale, "LUT_TAKES_16_BITS", False)
    np.testing.assert_array_equal(read(path).pixels, pixels)
    assert np.unique(pixels).size > 2900


def test_pydicom_warns_only_in_our_debug_log(tmp_path, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    path = write_dicom(tmp_path / "a.dcm", ramp())
    path.write_bytes(path.read_bytes() + b"\x10\x20")
    with pydicom.config.disable_value_validation():
        odd = write_dicom(
            tmp_path / "b.dcm", ramp(), ExplicitVRBigEndian, PixelData=ramp(dtype=">u2").tobytes() + b"\0" * 8
        )
    before = pydicom.config.settings.reading_validation_mode
    read(path)
    read(odd)
    assert not recwarn.list
    assert {record.levelno for record in caplog.records} <= {logging.DEBUG}
    assert any(record.name == "covidcx.imaging.dicom" for record in caplog.records)
    assert pydicom.config.settings.reading_validation_mode == before
    assert logging.getLogger("pydicom").propagate


def test_threads_read_alike(tmp_path):
    paths = [write_dicom(tmp_path / f"{i}.dcm", ramp(), s) for i, s in enumerate(UNCOMPRESSED + COMPRESSED)]
    before = pydicom.config.settings.reading_validation_mode
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda path: read(path).pixels, paths * 4))
    for image in images:
        np.testing.assert_allclose(image, ramp() / 4095, atol=1e-6)
    assert pydicom.config.settings.reading_validation_mode == before


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "OT", "XA", "RTIMAGE", "PX", "NONSENSE", ""])
def test_other_modalities_are_refused(tmp_path, modality):
    path = write_dicom(tmp_path / "a.dcm", ramp(), Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    shown = {"NONSENSE": "unknown", "": "missing"}.get(modality, modality)
    with pytest.raises(UnsupportedImageError, match=f"modality is {shown}"):
        read(path)


def test_radiographs_are_accepted_by_modality_or_class(tmp_path):
    for modality in ("CR", "DX", "RG"):
        assert read(write_dicom(tmp_path / "a.dcm", ramp(), Modality=modality)).modality == modality
    assert read(write_dicom(tmp_path / "a.dcm", ramp(), Modality=None)).modality == "CR"


@pytest.mark.parametrize(
    ("view", "kept"),
    [("PA", "PA"), ("AP", "AP"), ("pa ", "PA"), ("AP_SUPINE", "AP"), ("POSTERO-ANTERIOR", "PA"),
     ("ANTERO_POSTERIOR", "AP"), ("", None), ("UNKNOWN", None)],
)  # fmt: skip
def test_frontal_views_are_accepted(tmp_path, view, kept):
    with pydicom.config.disable_value_validation():
        assert read(write_dicom(tmp_path / "a.dcm", ramp(), ViewPosition=view)).view == kept


@pytest.mark.parametrize(
    "view", ["LL", "RL", "LATERAL", "Lateral", "LAT", "LLO", "RLO", "L LATERAL", "LAT_ERECT", "AP OBLIQUE", "RAO"]
)
def test_lateral_and_oblique_views_are_refused(tmp_path, view):
    with pydicom.config.disable_value_validation():
        path = write_dicom(tmp_path / "a.dcm", ramp(), ViewPosition=view)
    with pytest.raises(UnsupportedImageError, match="lateral projection"):
        read(path)


@pytest.mark.parametrize("code", ["399067008", "R-10236", "unheard of"])
def test_lateral_view_code_is_refused(tmp_path, code):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "left lateral"
    path = write_dicom(tmp_path / "a.dcm", ramp(), Modality="DX", ViewCodeSequence=Sequence([item]))
    with pytest.raises(UnsupportedImageError, match="lateral projection"):
        read(path)


def test_frontal_view_code_is_kept(tmp_path):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "399348003", "SCT", "antero-posterior"
    path = write_dicom(tmp_path / "a.dcm", ramp(), Modality="DX", ViewCodeSequence=Sequence([item]))
    assert read(path).view == "AP"


@pytest.mark.parametrize(
    "part", ["LEG", "FOOT", "HAND", "KNEE", "SKULL", "LHAND", "HANDS", "EXTREMITY", "ABDOMEN", "TSPINE", "C SPINE",
             "THORACIC SPINE", "PELVIS", "UPRARM"],
)  # fmt: skip
def test_other_body_parts_are_refused(tmp_path, part):
    with pytest.raises(UnsupportedImageError, match="not a chest"):
        read(write_dicom(tmp_path / "a.dcm", ramp(), BodyPartExamined=part))


@pytest.mark.parametrize(
    "part", ["CHEST", "", None, "PORT CHEST", "THORAX", "TORAX", "LUNG", "CHESTABDOMEN", "WHATEVER"]
)
def test_chests_and_unknown_body_parts_are_accepted(tmp_path, part):
    assert read(write_dicom(tmp_path / "a.dcm", ramp(), BodyPartExamined=part)).shape == (64, 64)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"NumberOfFrames": "2"}, "2 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits in 32"),
        ({"BitsStored": 4}, "4 bits in 16"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"Rows": 1, "Columns": 1}, "1 x 1"),
        ({"FloatPixelData": np.full(4096, np.nan, "<f4").tobytes(), "BitsAllocated": 32, "BitsStored": 32}, "32"),
        ({"FloatPixelData": np.zeros(4096, "<f4").tobytes()}, "floating point"),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path, elements, message):
    with pytest.raises(UnsupportedImageError, match=message):
        read(write_dicom(tmp_path / "a.dcm", ramp(), **elements))


@pytest.mark.parametrize("missing", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"])
def test_missing_pixel_description_is_named(tmp_path, missing):
    with pytest.raises(UnreadableImageError, match=missing):
        read(write_dicom(tmp_path / "a.dcm", ramp(), HighBit=11, **{missing: None}))


def test_broken_rescale_is_refused(tmp_path):
    for slope in ("0", "nan"):
        with pydicom.config.disable_value_validation():
            path = write_dicom(tmp_path / "a.dcm", ramp(), RescaleSlope=slope, RescaleIntercept="0")
        with pytest.raises(UnreadableImageError):
            read(path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
def test_giant_header_takes_no_memory(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", ramp(), syntax)
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 60_000
    data.save_as(path)
    with pytest.raises(UnsupportedImageError):
        read(path)
    tracemalloc.start()
    with pytest.raises(UnsupportedImageError, match="60000 x 60000"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_codestream_larger_than_the_header_is_not_decoded(tmp_path, syntax):
    if syntax == JPEGBaseline8Bit:
        frame = bytearray(cv2.imencode(".jpg", ramp(256, "u1"))[1].tobytes())
        at = frame.index(b"\xff\xc0")
        frame[at + 5 : at + 9] = (50_000).to_bytes(2, "big") * 2
        path = write_dicom(tmp_path / "a.dcm", ramp(256, "u1"), syntax, PixelData=encapsulate([bytes(frame)]))
    else:
        path = write_dicom(tmp_path / "a.dcm", ramp(), syntax)
        data = path.read_bytes()
        at = data.index(b"\xff\x4f\xff\x51")
        path.write_bytes(data[: at + 8] + (50_000).to_bytes(4, "big") * 2 + data[at + 16 :])
    with pytest.raises(UnreadableImageError, match="50000 x 50000"):
        read(path)


def test_deflated_bomb_is_not_inflated(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "MAX_INFLATED_BYTES", 4_000_000)
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), DeflatedExplicitVRLittleEndian, RedPaletteColorLookupTableData=bytes(20_000_000)
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(UnsupportedImageError, match="unfold"):
        read(path)


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, *COMPRESSED, JPEGBaseline8Bit], ids=lambda uid: uid.name)
def test_truncated_anywhere_is_refused(tmp_path, syntax):
    noise = np.random.default_rng(0).integers(0, 256, (96, 80)).astype("u1")
    frame = cv2.imencode(".jpg", noise)[1].tobytes()
    extra = {"PixelData": encapsulate([frame])} if syntax == JPEGBaseline8Bit else {}
    data = write_dicom(tmp_path / "a.dcm", noise, syntax, **extra).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.97):
        (tmp_path / "cut.dcm").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CovidcxError) as caught:
            read(tmp_path / "cut.dcm")
        assert "\n" not in str(caught.value)
        assert share == 0.1 or isinstance(caught.value, UnreadableImageError), share


def test_pixel_data_shorter_than_promised(tmp_path):
    with pytest.raises(UnreadableImageError, match="promises 8,192 bytes"):
        read(write_dicom(tmp_path / "a.dcm", ramp(), PixelData=ramp().tobytes()[:-2]))
    with pytest.raises(UnreadableImageError, match="missing or cut off"):
        read(write_dicom(tmp_path / "b.dcm", ramp(), PixelData=None, ImageComments="x" * 10_000))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, *COMPRESSED], ids=lambda uid: uid.name)
def test_damaged_bytes_read_or_raise_our_errors(tmp_path, syntax):
    data = write_dicom(tmp_path / "a.dcm", ramp(), syntax, WindowCenter="1000", WindowWidth="500").read_bytes()
    draw = random.Random(1)
    path = tmp_path / "bad.dcm"
    for _ in range(60):
        bad = bytearray(data)
        for _ in range(draw.choice([1, 3, 20])):
            bad[draw.randrange(132, min(len(bad), 1500))] = draw.randrange(256)
        path.write_bytes(bad)
        try:
            assert read(path).pixels.ndim == 2
        except CovidcxError as error:
            assert "\n" not in str(error)


def test_damaged_jpeg_ls_header_does_not_end_the_process(tmp_path):
    """gdcm's JPEG-LS decoder aborts on this one; pyjpegls raises."""
    path = write_dicom(tmp_path / "a.dcm", ramp(), JPEGLSLossless)
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xf7") + 4] = 200
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match="JPEG-LS"):
        read(path)


# --- files of others -----------------------------------------------------------------------------------------------


def test_real_shared_files(shared_data):
    chests = {read(path).photometric: read(path) for path in sorted((shared_data / "dicom").glob("*.dcm"))}
    assert set(chests) == {"MONOCHROME1", "MONOCHROME2"}
    for radiograph in chests.values():
        assert radiograph.shape == (1024, 1024)
        assert (radiograph.view, radiograph.age, radiograph.sex) == ("PA", 62.0, "M")
        assert radiograph.spacing == pytest.approx((0.168, 0.168), abs=1e-3)
        assert radiograph.pixels.min() == 0 and radiograph.pixels.max() == 1
    chest = chests["MONOCHROME2"].pixels
    assert chest[400:600, [250, 720]].mean() < chest[400:600, 530].mean() - 0.1
    # The MONOCHROME1 file is the other one with its header altered, so it must come out as the exact negative.
    np.testing.assert_allclose(chests["MONOCHROME1"].pixels, 1 - chest, atol=1e-6)


@pytest.mark.parametrize("syntax", UNCOMPRESSED[:2])
def test_header_of_plain_pixels_is_parsed_once(tmp_path, monkeypatch, syntax):
    path = write_dicom(tmp_path / "a.dcm", ramp(), syntax)
    monkeypatch.setattr(dicom.pydicom, "dcmread", lambda *_, **__: pytest.fail("the file is parsed from its start"))
    assert read(path).shape == (64, 64)
