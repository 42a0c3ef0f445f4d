"""JSRT: raw images, clinical tables, GIF masks of the SCR database."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_tree
from trees.jsrt import SIDE, write_gif, write_raw

from covidcx import imaging
from covidcx.data import sources
from covidcx.data.manifest import box_problems
from covidcx.data.sources.derived import read_grey
from covidcx.data.sources.jsrt import BAD_LEVELS, BAD_MASK, BAD_SIZE, decode
from covidcx.data.sources.tables import NO_FILE
from covidcx.errors import ManifestError, UnreadableImageError


def read_tree(place):
    reading = sources.read("jsrt", place / "source", derived=place / "derived")
    return reading, reading.manifest.frame.set_index("source_id")


@pytest.fixture
def folder(tmp_path):
    write_tree("jsrt", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The small tree, read once: images of 2048 x 2048 take a while to compress."""
    place = tmp_path_factory.mktemp("jsrt")
    write_tree("jsrt", place / "source")
    return read_tree(place)


def test_raw_bytes_are_big_endian_and_upside_down():
    density = np.zeros((SIDE, SIDE), np.uint16)
    density[0, :4] = 0, 1, 256, 4095
    pixels = decode(density.astype(">u2").tobytes())
    assert pixels.dtype == np.uint16
    assert pixels[0, :4].tolist() == [65535, round(4094 * 65535 / 4095), round(3839 * 65535 / 4095), 0]
    with pytest.raises(UnreadableImageError, match="in big-endian order"):
        decode(density.astype("<u2").tobytes())
    with pytest.raises(UnreadableImageError, match="2048 x 2048 x 2 bytes"):
        decode(b"\0" * 100)


def test_converted_images_read_as_radiographs(read):
    _, frame = read
    pixels = imaging.read(frame.loc["JPCNN001", "image"]).pixels
    # The ramp of density runs from 0 (white) to 4095 (black); every one of its levels is kept.
    assert pixels.shape == (SIDE, SIDE)
    assert (pixels[0, 0], pixels[0, -1]) == (1.0, 0.0)
    assert len(np.unique(pixels[0])) == 2048


def test_rows_hold_the_clinical_tables(read):
    reading, frame = read
    first = frame.loc["JPCLN001"]
    assert (first["label"], first["age"], first["sex"], first["view"]) == ("other", "53", "M", "PA")
    assert first["findings"] == "nodule|subtlety 5|malignant|l.upper lobe lung cancer"
    # A '?' is no age; the record after it has lost its line end.
    second = frame.loc["JPCLN002"]
    assert pd.isna(second["age"])
    assert second["findings"].endswith("l.upper lobe(S5) pulmonary hematoma")
    third = frame.loc["JPCNN001"]
    assert (third["label"], third["age"], third["sex"], third["findings"]) == ("normal", "65", "F", "non-nodule")
    assert ("JPCLN003.IMG", NO_FILE) in reading.skipped
    assert (frame["width"] == "2048").all()


def test_boxes_have_the_size_of_the_nodule_and_stay_inside(read):
    reading, frame = read
    boxes = reading.boxes.set_index("image")
    first = boxes.loc[frame.loc["JPCLN001", "image"]]
    # 15 mm at 0.175 mm a pixel.
    assert first["width"] == pytest.approx(15 / 0.175)
    assert first["x"] + first["width"] / 2 == pytest.approx(1634)
    assert first["y"] + first["height"] / 2 == pytest.approx(692)
    assert (first["finding"], first["reader"]) == ("nodule", "jsrt")
    second = boxes.loc[frame.loc["JPCLN002", "image"]]
    assert second["x"] == 0
    assert second["y"] + second["height"] == SIDE
    assert box_problems(reading.boxes, reading.manifest) == []


def test_scr_masks_are_joined_and_enlarged(read):
    _, frame = read
    mask = cv2.imread(frame.loc["JPCLN001", "lung_mask"], cv2.IMREAD_UNCHANGED)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[400:1600, 1200:1800] = expected[400:1600, 200:800] = 255
    np.testing.assert_array_equal(mask, expected)
    assert frame.loc["JPCLN001", "lung_mask_reader"] == "scr"
    assert frame.loc["JPCLN002", ["lung_mask", "lung_mask_reader"]].isna().all()


def test_gif_files_are_decoded(tmp_path):
    mask = np.zeros((300, 517), np.uint8)
    mask[20:200, 30:400] = 255
    write_gif(tmp_path / "a.gif", mask)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.gif"), mask)
    (tmp_path / "b.gif").write_bytes(b"GIF87a")
    with pytest.raises(UnreadableImageError, match=r"opencv-python-headless 4\.11"):
        read_grey(tmp_path / "b.gif")


def test_damaged_files_are_named(folder, tmp_path):
    (folder / "All247images" / "JPCLN002.IMG").write_bytes(b"\0" * 1000)
    write_raw(folder / "All247images" / "JPCNN001.IMG", np.full((SIDE, SIDE), 4096))
    (folder / "scratch" / "fold1" / "masks" / "left lung" / "JPCLN001.gif").write_bytes(b"no GIF")
    reading, frame = read_tree(tmp_path)
    assert list(frame.index) == ["JPCLN001"]
    assert pd.isna(frame.loc["JPCLN001", "lung_mask"])
    expected = {("JPCLN002.IMG", BAD_SIZE), ("JPCNN001.IMG", BAD_LEVELS), ("JPCLN001.png", BAD_MASK)}
    assert expected <= set(reading.skipped)


def test_nothing_can_be_read_without_a_folder_for_derived_files(folder):
    with pytest.raises(ManifestError, match="a folder for derived files is needed"):
        sources.read("jsrt", folder)
