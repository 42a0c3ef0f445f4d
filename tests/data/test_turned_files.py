"""Masks and boxes of files that the reader turns upright are turned with them, wherever they are read."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from covidcx.data.cache import masks_from, prepare_manifest, prepare_masks
from covidcx.data.manifest import Manifest
from covidcx.data.regions import FINDINGS, LUNGS
from covidcx.explain.truth import read_truth
from covidcx.imaging import Preprocessing, read
from covidcx.imaging.masks import read_levels
from covidcx.imaging.orientation import turn_of_exif

# EXIF number: how the upright image is stored, and what Patient Orientation says of rows and columns stored so.
LAID = {
    1: (lambda image: image, ["L", "F"]),
    2: (lambda image: image[:, ::-1], ["R", "F"]),
    3: (lambda image: np.rot90(image, 2), ["R", "H"]),
    4: (lambda image: image[::-1], ["L", "H"]),
    5: (lambda image: image.T, ["F", "L"]),
    6: (lambda image: np.rot90(image, 1), ["F", "R"]),
    7: (lambda image: np.rot90(image, 2).T, ["H", "R"]),
    8: (lambda image: np.rot90(image, -1), ["H", "L"]),
}
SHAPE = (48, 64)
LUNG, IGNORED, SICK, BOX = (np.s_[6:20, 8:40], np.s_[40:46, 50:60], np.s_[9:17, 12:20], (30, 22, 18, 9))
SPEC = Preprocessing(size=SHAPE, channels=("original",))


def drawn(*parts: tuple[tuple[slice, slice], int]) -> np.ndarray:
    image = np.zeros(SHAPE, np.uint8)
    for where, level in parts:
        image[where] = level
    return image


PIXELS = drawn((np.s_[:, :], 60), (LUNG, 220), (np.s_[40:44, 2:6], 140))


def as_jpeg(path: Path, stored: np.ndarray, number: int) -> None:
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, number, 0, 0)
    data = cv2.imencode(".jpg", stored, (cv2.IMWRITE_JPEG_QUALITY, 100))[1].tobytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])


def as_tiff(path: Path, stored: np.ndarray, number: int) -> None:
    height, width = stored.shape
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 274: number, 277: 1, 278: height, 279: stored.size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + stored.size) + stored.tobytes() + directory)


def as_dicom(path: Path, stored: np.ndarray, number: int) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.1", ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CR", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": stored.shape[0],
        "Columns": stored.shape[1], "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "WindowCenter": 128, "WindowWidth": 256, "PatientOrientation": LAID[number][1], "PixelData": stored.tobytes(),
    }.items():  # fmt: skip
        setattr(data, keyword, value)
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)


WRITERS = {"jpg": as_jpeg, "tif": as_tiff, "dcm": as_dicom}


def frame_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """24 files, eight orientations in three formats; every second one of a format has a box instead of a mask."""
    folder = tmp_path_factory.mktemp("turned")
    lungs, sick = drawn((LUNG, 255), (IGNORED, 127)), drawn((SICK, 128))
    x, y, width, height = BOX
    rows, boxes = ["image,patient_id,label,split,lung_mask,disease_mask"], ["image,x,y,width,height,finding,reader"]
    for number, (lay, _) in LAID.items():
        for part, image in (("lung", lungs), ("sick", sick)):
            cv2.imwrite(str(folder / f"{part}{number}.png"), lay(image))
        for kind, write in WRITERS.items():
            name = f"{number}.{kind}"
            write(folder / name, np.ascontiguousarray(lay(PIXELS)), number)
            boxed = kind != "jpg"
            rows.append(f"{name},p{name},covid,train,lung{number}.png,{'' if boxed else f'sick{number}.png'}")
            if boxed:
                place = frame_of(lay(drawn((np.s_[y : y + height, x : x + width], 1))))
                boxes.append(",".join(map(str, (name, *place, "Lung Opacity", "me"))))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return Manifest.read(folder / "manifest.csv")


def test_reader_says_how_it_turned_and_masks_follow(manifest):
    for name in manifest.frame["image"]:
        number = int(name[0])
        found = read(manifest.root / name)
        np.testing.assert_allclose(found.pixels * 255, PIXELS, atol=40 if name.endswith("jpg") else 0.6, err_msg=name)
        assert found.turn == turn_of_exif(number) and found.turn.number == number
        levels = read_levels(manifest.root / f"lung{number}.png", found.shape, found.turn)
        np.testing.assert_array_equal(levels, drawn((LUNG, 255), (IGNORED, 127)), err_msg=name)
        np.testing.assert_array_equal(found.turn.undo(PIXELS), LAID[number][0](PIXELS))


def test_cache_and_regions_turn_masks_and_boxes(manifest):
    prepared = prepare_manifest(manifest, SPEC, None, masks_from(manifest), key_extra="manifest")
    sick, boxed = drawn((SICK, 1)).astype(bool), drawn((np.s_[22:31, 30:48], 1))
    findings, lungs = FINDINGS.on_grid(manifest, prepared), LUNGS.on_grid(manifest, prepared)
    expected = drawn((LUNG, 1)).astype(np.int8)
    expected[IGNORED] = -1
    for i, name in enumerate(prepared.rows["image"]):
        np.testing.assert_array_equal(prepared.lungs[i], drawn((LUNG, 1)).astype(bool), err_msg=name)
        np.testing.assert_array_equal(lungs[i, ..., 0], expected, err_msg=name)
        if name.endswith("jpg"):
            np.testing.assert_array_equal(prepared.disease[i], sick, err_msg=name)
        np.testing.assert_array_equal(findings[i, ..., 0], sick if name.endswith("jpg") else boxed, err_msg=name)


def test_segmenter_sees_image_and_mask_the_same_way_up(manifest):
    prepared = prepare_masks(manifest, 48, "none")
    inside = prepared.targets == 1
    assert len(prepared) == 24 and inside.any()
    # All of the lung is bright and nothing else is, after the same reduction.
    assert (prepared.images[inside] > 150).all() and (prepared.images[prepared.targets == 0] < 180).all()


def test_truth_of_heat_maps_turns_masks_and_boxes(manifest):
    truth = read_truth(manifest.path)
    for name in manifest.frame["image"]:
        found = read(manifest.root / name)
        regions = truth.of(manifest.root / name, found.shape, found.turn)
        np.testing.assert_array_equal(regions.lungs, drawn((LUNG, 1)).astype(bool))
        np.testing.assert_array_equal(regions.ignored, drawn((IGNORED, 1)).astype(bool))
        if name.endswith("jpg"):
            np.testing.assert_array_equal(regions.target, drawn((SICK, 1)).astype(bool))
        else:
            assert regions.target == [BOX]


def test_evaluation_scores_a_perfect_segmenter_perfectly(manifest, repo):
    from covidcx.bundle import Bundle
    from covidcx.evaluation.masks import predict_masks

    bundle = Bundle.open(repo / "saved_models" / "lung-unet")
    table = predict_masks(bundle, manifest, "train", lambda batch: (batch > 0.6).astype(np.float32))
    assert len(table) == 24 and not table.failures
    assert min(score.dice for score in table.scores) > 0.9


def test_a_mask_that_was_drawn_on_the_upright_image_is_refused_where_it_cannot_fit(manifest):
    from covidcx.errors import ImageError

    found = read(manifest.root / "6.dcm")
    with pytest.raises(ImageError, match="turned upright"):
        read_levels(manifest.root / "lung1.png", found.shape, found.turn)
