"""What portable units and workstations write: functional groups, captures, overlays, and images that lie down."""

import logging

import numpy as np
import pydicom
import pytest
from dicom_files import COMPRESSED, NAME, UNCOMPRESSED, ramp, table, write_dicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from covidcx.errors import UnreadableImageError, UnsupportedImageError
from covidcx.imaging.read import read

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def groups(**sequences: dict[str, object]) -> Sequence:
    """A functional groups sequence of one item, each group given as its elements."""
    outer = Dataset()
    for name, elements in sequences.items():
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(outer, name, Sequence([item]))
    return Sequence([outer])


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_window_rescale_and_spacing_in_functional_groups(tmp_path, where):
    frame = groups(
        FrameVOILUTSequence={"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": "LINEAR_EXACT"},
        PixelValueTransformationSequence={"RescaleSlope": "0.5", "RescaleIntercept": "100", "RescaleType": "US"},
        PixelMeasuresSequence={"PixelSpacing": ["0.3", "0.4"]},
    )
    radiograph = read(write_dicom(tmp_path / "a.dcm", ramp(), **{where: frame}))
    np.testing.assert_allclose(radiograph.pixels, np.clip((ramp() * 0.5 + 100 - 1000) / 500 + 0.5, 0, 1), atol=1e-6)
    assert radiograph.spacing == (0.3, 0.4)


def test_per_frame_goes_before_shared_and_both_before_the_rest(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), WindowCenter="10", WindowWidth="20",
        VOILUTSequence=table(list(range(256)), 0, 8),
        SharedFunctionalGroupsSequence=groups(FrameVOILUTSequence={"WindowCenter": "2000", "WindowWidth": "100"}),
        PerFrameFunctionalGroupsSequence=groups(FrameVOILUTSequence={"WindowCenter": "3000", "WindowWidth": "201"}),
    )  # fmt: skip
    pixels = read(path).pixels
    assert pixels.ravel()[3000] == pytest.approx(0.5025) and pixels.ravel()[2000] == 0
    with pytest.raises(UnsupportedImageError, match="the file has 1"):
        read(path, window=1)


def test_voi_lut_in_a_functional_group(tmp_path):
    frame = groups(FrameVOILUTSequence={"VOILUTSequence": table([0, 100, 1023, 1023], 1000, 10)})
    pixels = read(write_dicom(tmp_path / "a.dcm", ramp(), SharedFunctionalGroupsSequence=frame)).pixels.ravel()
    np.testing.assert_allclose(pixels[[0, 1000, 1001, 1002, 4000]], [0, 0, 100 / 1023, 1, 1], atol=1e-6)


def test_empty_functional_groups_change_nothing(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), SharedFunctionalGroupsSequence=Sequence(), WindowCenter="2048", WindowWidth="4096",
        PerFrameFunctionalGroupsSequence=Sequence([Dataset()]),
    )  # fmt: skip
    np.testing.assert_allclose(read(path).pixels, ramp() / 4095, atol=1e-6)


@pytest.mark.parametrize("modality", [None, "OT", "SC", "DR", "CR", "DX"])
@pytest.mark.parametrize("sop_class", [CAPTURE, f"{CAPTURE}.2", f"{CAPTURE}.3", f"{CAPTURE}.4"])
def test_capture_of_a_chest_is_read(tmp_path, modality, sop_class):
    path = write_dicom(
        tmp_path / "a.dcm", ramp(), Modality=modality, SOPClassUID=sop_class, BodyPartExamined="CHEST",
        ConversionType="WSD",
    )  # fmt: skip
    radiograph = read(path)
    np.testing.assert_allclose(radiograph.pixels, ramp() / 4095, atol=1e-6)
    assert radiograph.modality == (modality if modality in ("CR", "DX") else "OT")


def test_capture_of_a_chest_by_anatomic_region(tmp_path):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    elements = {"Modality": None, "SOPClassUID": CAPTURE, "AnatomicRegionSequence": Sequence([region])}
    assert read(write_dicom(tmp_path / "a.dcm", ramp(), **elements)).modality == "OT"
    region.CodeMeaning = "Hand"
    with pytest.raises(UnsupportedImageError, match="Region names HAND"):
        read(write_dicom(tmp_path / "b.dcm", ramp(), AnatomicRegionSequence=Sequence([region])))


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"BodyPartExamined": None}, "needs CHEST as its Body Part"),
        ({"BodyPartExamined": "HAND"}, "needs CHEST as its Body Part"),
        ({"Modality": "CT"}, "modality is CT; covidcx reads plain radiographs [(]CR, DX, RG[)]$"),
        ({"Modality": "RF"}, "modality is RF"),
        ({"Modality": "XA"}, "modality is XA"),
        ({"Modality": "MG", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "modality is MG"),
        ({"ConversionType": "SD"}, "scanned document"),
        ({"ConversionType": "DRW"}, "drawing"),
        ({"ConversionType": "SYN"}, "synthetic"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "modality is missing"),
        ({"AnatomicalOrientationType": "QUADRUPED", "Modality": "CR"}, "quadruped"),
    ],
)
def test_captures_of_anything_else_are_refused(tmp_path, elements, message):
    settings = {"Modality": None, "SOPClassUID": CAPTURE, "BodyPartExamined": "CHEST", **elements}
    with pytest.raises(UnsupportedImageError, match=message):
        read(write_dicom(tmp_path / "a.dcm", ramp(), **settings))


def test_vague_modality_of_a_cr_or_dx_file(tmp_path):
    for modality in (None, "OT", "DR"):
        path = write_dicom(tmp_path / "a.dcm", ramp(), Modality=modality, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")
        assert read(path).modality == "DX"


def colours(image: np.ndarray, **elements: object) -> dict[str, object]:
    return {
        "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Modality": "OT",
        "SOPClassUID": CAPTURE, "BodyPartExamined": "CHEST", "PixelData": image.tobytes(), **elements,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("syntax", "planes"),
    # Not RLE of planes: pydicom's encoder takes its bytes for colour by pixel.
    [(syntax, planes) for syntax in [*UNCOMPRESSED, JPEGLSLossless] for planes in (0, 1)] + [(RLELossless, 0)],
)
def test_grey_captured_in_colour(tmp_path, syntax, planes):
    grey = ramp(256, "u1")
    image = np.stack([grey] * 3, 0 if planes else -1)
    # A window means nothing to colour (C.11.2.1.2).
    elements = colours(image, PlanarConfiguration=planes, WindowCenter="10", WindowWidth="20")
    radiograph = read(write_dicom(tmp_path / "a.dcm", grey, syntax, **elements))
    np.testing.assert_array_equal(radiograph.pixels, grey / np.float32(255))
    assert (radiograph.photometric, radiograph.bits) == ("RGB", 8)
    with pytest.raises(UnsupportedImageError, match="window 1 was asked for, a colour image has none"):
        read(tmp_path / "a.dcm", window=1)
    np.testing.assert_array_equal(read(tmp_path / "a.dcm", window=None).pixels, radiograph.pixels)


def test_colour_channels_are_not_mixed_up(tmp_path):
    grey = ramp(200, "u1")
    image = np.stack([grey, grey, grey + 20], -1)
    pixels = read(write_dicom(tmp_path / "a.dcm", grey, **colours(image))).pixels
    # Blue has the least weight in grey.
    np.testing.assert_allclose(pixels, (grey + 20 * 0.114) / 255, atol=0.6 / 255)


def test_colour_photograph_and_deep_colour_are_refused(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("u1")
    with pytest.raises(UnsupportedImageError, match="colour picture"):
        read(write_dicom(tmp_path / "a.dcm", ramp(256, "u1"), **colours(image)))
    with pytest.raises(UnsupportedImageError, match="colour image of 12 bits in 16"):
        read(write_dicom(tmp_path / "b.dcm", ramp(), **colours(image.astype("<u2"))))
    with pytest.raises(UnreadableImageError, match="promises 12,288 bytes"):
        read(write_dicom(tmp_path / "c.dcm", ramp(256, "u1"), **colours(image[:32])))


def overlay(data: Dataset, group: int, plane: np.ndarray) -> None:
    """Write a full-size overlay plane (C.9.2) of ones, which a viewer would draw in white."""
    for element, vr, value in (
        (0x0010, "US", plane.shape[0]), (0x0011, "US", plane.shape[1]), (0x0040, "CS", "G"), (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1), (0x0102, "US", 0), (0x0022, "LO", NAME),
        (0x3000, "OW", np.packbits(plane, bitorder="little").tobytes()),
    ):  # fmt: skip
        data.add_new((group, element), vr, value)


@pytest.mark.parametrize("syntax", UNCOMPRESSED + COMPRESSED, ids=lambda uid: uid.name)
def test_overlay_planes_alter_no_pixel(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", ramp(), syntax)
    plain = read(path).pixels
    data = pydicom.dcmread(path)
    overlay(data, 0x6000, np.ones((64, 64), np.uint8))
    overlay(data, 0x601E, np.eye(64, dtype=np.uint8))
    data.save_as(path)
    np.testing.assert_array_equal(read(path).pixels, plain)


@pytest.mark.parametrize("bit", [12, 13, 15])
def test_overlays_in_the_unused_bits_are_masked_out(tmp_path, bit):
    drawn = ramp() | (np.eye(64, dtype="<u2") << bit)
    path = write_dicom(tmp_path / "a.dcm", drawn)
    data = pydicom.dcmread(path)
    for element, vr, value in ((0x0010, "US", 64), (0x0011, "US", 64), (0x0100, "US", 16), (0x0102, "US", bit)):
        data.add_new((0x6000, element), vr, value)
    data.save_as(path)
    np.testing.assert_allclose(read(path).pixels, ramp() / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("directions", "turned"),
    [
        (["L", "F"], lambda image: image),
        (["R", "F"], lambda image: image[:, ::-1]),
        (["R", "H"], lambda image: np.rot90(image, 2)),
        (["L", "H"], lambda image: image[::-1]),
        # Lying on its side: the first row shows the patient's right, the first column the feet.
        (["H", "L"], lambda image: image.T[::-1]),
        (["F", "R"], lambda image: image.T[:, ::-1]),
        (["F", "L"], lambda image: image.T),
        (["H", "R"], lambda image: image.T[::-1, ::-1]),
        (["LF", "FR"], lambda image: image),
        ([], lambda image: image),
        (["L"], lambda image: image),
    ],
)  # fmt: skip
def test_patient_orientation_is_turned_upright(tmp_path, caplog, directions, turned):
    caplog.set_level(logging.INFO)
    stored = ramp()[:40]
    path = write_dicom(
        tmp_path / "a.dcm", stored, PatientOrientation=directions, ImagerPixelSpacing=["0.1", "0.2"],
        WindowCenter="2048", WindowWidth="4096",
    )  # fmt: skip
    radiograph = read(path)
    expected = turned(stored / 4095)
    np.testing.assert_allclose(radiograph.pixels, expected, atol=1e-6)
    assert radiograph.spacing == ((0.1, 0.2) if expected.shape == stored.shape else (0.2, 0.1))
    upright = np.array_equal(expected, stored / 4095)
    assert [record.getMessage()[:24] for record in caplog.records] == ([] if upright else ["a.dcm: turned upright as"])


def test_orientation_in_a_functional_group(tmp_path):
    frame = groups(PatientOrientationInFrameSequence={"PatientOrientation": ["R", "F"]})
    path = write_dicom(tmp_path / "a.dcm", ramp(), PerFrameFunctionalGroupsSequence=frame)
    np.testing.assert_allclose(read(path).pixels, ramp()[:, ::-1] / 4095, atol=1e-6)


def test_sagittal_orientation_is_a_lateral_view(tmp_path):
    with pytest.raises(UnsupportedImageError, match="lateral projection"):
        read(write_dicom(tmp_path / "a.dcm", ramp(), PatientOrientation=["A", "F"]))


@pytest.mark.parametrize(
    "elements",
    [
        {"FieldOfViewRotation": "90", "FieldOfViewHorizontalFlip": "YES", "FieldOfViewOrigin": ["0", "0"]},
        {"FieldOfViewRotation": "180", "FieldOfViewHorizontalFlip": "NO"},
        {"ImageLaterality": "R"},
        {"Laterality": "L"},
    ],
)
def test_what_was_done_before_storing_is_not_done_again(tmp_path, elements):
    """C.8.11.4.1.1: Pixel Data hold the field of view after its rotation and flip; laterality is no direction."""
    path = write_dicom(tmp_path / "a.dcm", ramp(), Modality="DX", **elements)
    np.testing.assert_allclose(read(path).pixels, ramp() / 4095, atol=1e-6)


@pytest.mark.parametrize("frames", ["2", "2147483647", "0"])
def test_absurd_number_of_frames(tmp_path, frames):
    path = write_dicom(tmp_path / "a.dcm", ramp(), NumberOfFrames=frames)
    if frames == "0":
        assert read(path).shape == (64, 64)
    else:
        with pytest.raises(UnsupportedImageError, match=f"holds {frames} frames"):
            read(path)


def test_codestream_of_many_components_is_not_decoded(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(), JPEG2000Lossless)
    data = path.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 40
    path.write_bytes(data[:at] + (16_384).to_bytes(2, "big") + data[at + 2 :])
    with pytest.raises(UnreadableImageError, match="64 x 64 of 16384"):
        read(path)


def test_deeply_nested_sequences_are_refused_or_passed_over(tmp_path):
    """Written byte by byte: pydicom's own writer ends the process at this depth."""
    path = write_dicom(tmp_path / "a.dcm", ramp())
    data = path.read_bytes()
    opened = b"\0\x52\x29\x92SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    at = data.index(b"\xe0\x7f\x10\0")
    for depth in (50, 1000, 20_000):
        path.write_bytes(data[:at] + opened * depth + closed * depth + data[at:])
        if depth == 50:
            assert read(path).shape == (64, 64)
        else:
            with pytest.raises(UnreadableImageError, match="damaged"):
                read(path)
