"""Montgomery: the masks of both lungs as one, readings and repeated patients."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_png, write_tree
from trees.montgomery import BASE, SIZE

from covidcx.data import sources
from covidcx.data.sources.montgomery import BAD_MASK, BAD_NAME
from covidcx.data.sources.tables import NO_FILE


@pytest.fixture
def folder(tmp_path):
    write_tree("montgomery", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def read(folder, tmp_path):
    def read(place=folder, derived=True):
        reading = sources.read("montgomery", place, derived=tmp_path / "derived" if derived else None)
        return reading, reading.manifest.frame.set_index("source_id")

    return read


def test_rows_hold_label_reading_and_person(read):
    reading, frame = read()
    first = frame.loc["MCUCXR_0001_0"]
    assert (first["label"], first["age"], first["sex"], first["findings"]) == ("normal", "27", "F", "normal")
    assert (frame["view"] == "PA").all()
    tb = frame.loc["MCUCXR_0162_1"]
    assert (tb["label"], tb["findings"]) == ("other", "tuberculosis|cavitary infiltrate RUL/active TB")
    # One child is coded O in the published readings.
    assert pd.isna(frame.loc["MCUCXR_0080_0", "sex"])
    assert reading.skipped == (("MCUCXR_0999_1", NO_FILE),)


def test_both_lungs_are_joined_into_derived(read, tmp_path):
    _, frame = read()
    place = frame.loc["MCUCXR_0001_0", "lung_mask"]
    assert place == (tmp_path / "derived" / "lung_masks" / "MCUCXR_0001_0.png").as_posix()
    mask = cv2.imread(place, cv2.IMREAD_UNCHANGED)
    assert mask.shape == SIZE
    expected = np.zeros(SIZE, np.uint8)
    expected[10:50, 4:20] = expected[10:50, 28:44] = 255
    np.testing.assert_array_equal(mask, expected)
    assert (frame["lung_mask_reader"] == "montgomery").all()


def test_no_mask_without_derived_or_with_one_lung_only(read, folder):
    assert read(derived=False)[1]["lung_mask"].isna().all()
    (folder / BASE / "ManualMask" / "leftMask" / "MCUCXR_0001_0.png").unlink()
    _, frame = read()
    assert pd.isna(frame.loc["MCUCXR_0001_0", "lung_mask"])
    assert pd.isna(frame.loc["MCUCXR_0001_0", "lung_mask_reader"])
    assert frame.loc["MCUCXR_0080_0", "lung_mask_reader"] == "montgomery"


def test_images_of_one_patient_are_grouped(read, folder):
    readings = folder / BASE / "ClinicalReadings"
    _, frame = read()
    assert frame.loc["MCUCXR_0166_1", "patient_id"] == frame.loc["MCUCXR_0162_1", "patient_id"]
    assert frame["patient_id"].nunique() == 3
    # Readings that name each other end in one patient too.
    (readings / "MCUCXR_0162_1.txt").write_text("Patient's Sex: M\n(same pt as MCUCXR_0166_1)", "utf-8")
    _, frame = read()
    assert frame["patient_id"].nunique() == 3


def test_a_damaged_mask_and_a_strange_name_are_named(read, folder):
    (folder / BASE / "ManualMask" / "rightMask" / "MCUCXR_0001_0.png").write_bytes(b"no picture")
    write_png(folder / BASE / "CXR_png" / "copy of MCUCXR_0001_0.png")
    reading, frame = read()
    assert ("MCUCXR_0001_0.png", BAD_MASK) in reading.skipped
    assert ("copy of MCUCXR_0001_0", BAD_NAME) in reading.skipped
    assert pd.isna(frame.loc["MCUCXR_0001_0", "lung_mask"])


def test_contents_of_the_folder_may_be_given(read, folder):
    assert len(read(folder / BASE)[1]) == 4
