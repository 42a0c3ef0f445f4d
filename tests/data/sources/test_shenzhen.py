"""Shenzhen: readings as they are written, and masks beside the pictures."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_mask, write_tree
from trees.shenzhen import SIZE

from covidcx.data import sources
from covidcx.data.sources.shenzhen import BAD_MASK
from covidcx.data.sources.tables import NO_FILE


@pytest.fixture
def folder(tmp_path):
    write_tree("shenzhen", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def read(folder, tmp_path):
    def read(place=folder, derived=True):
        reading = sources.read("shenzhen", place, derived=tmp_path / "derived" if derived else None)
        return reading, reading.manifest.frame.set_index("source_id")

    return read


@pytest.mark.parametrize(
    ("name", "sex", "age", "label"),
    [
        ("CHNCXR_0001_0", "M", 45, "normal"),
        ("CHNCXR_0002_0", "M", 16 / 12, "normal"),
        ("CHNCXR_0003_0", "F", 64 / 365.25, "normal"),
        ("CHNCXR_0004_0", "M", None, "normal"),
        ("CHNCXR_0330_1", "F", 32, "other"),
        ("CHNCXR_0331_1", "F", 24, "other"),
        ("CHNCXR_0332_1", "M", 29, "other"),
    ],
)
def test_readings(read, name, sex, age, label):
    _, frame = read()
    row = frame.loc[name]
    assert (row["sex"], row["label"]) == (sex, label)
    assert pd.isna(row["age"]) if age is None else float(row["age"]) == pytest.approx(age, abs=1e-3)


def test_findings_hold_the_label_and_the_reading(read):
    reading, frame = read()
    assert frame.loc["CHNCXR_0001_0", "findings"] == "normal"
    assert frame.loc["CHNCXR_0331_1", "findings"] == "tuberculosis|left PTB/pleuritis"
    assert frame["view"].isna().all()
    assert reading.skipped == (("CHNCXR_0999_1", NO_FILE),)


def test_masks_are_used_in_place_where_they_fit(read, tmp_path):
    _, frame = read()
    assert frame.loc["CHNCXR_0001_0", "lung_mask"] == "mask/mask/CHNCXR_0001_0_mask.png"
    assert frame.loc["CHNCXR_0001_0", "lung_mask_reader"] == "shenzhen"
    small = frame.loc["CHNCXR_0330_1", "lung_mask"]
    assert small == (tmp_path / "derived" / "lung_masks" / "CHNCXR_0330_1.png").as_posix()
    assert cv2.imread(small, cv2.IMREAD_UNCHANGED).shape == SIZE
    assert frame["lung_mask"].notna().sum() == 2
    _, frame = read(derived=False)
    assert frame["lung_mask"].notna().sum() == 1


def test_grey_edges_of_a_mask_are_decided(read, folder, tmp_path):
    path = folder / "mask" / "mask" / "CHNCXR_0001_0_mask.png"
    write_mask(path, SIZE, 200)
    _, frame = read()
    place = frame.loc["CHNCXR_0001_0", "lung_mask"]
    assert place.startswith((tmp_path / "derived").as_posix())
    assert set(np.unique(cv2.imread(place, cv2.IMREAD_UNCHANGED))) == {0, 255}


def test_a_damaged_mask_is_named(read, folder):
    (folder / "mask" / "mask" / "CHNCXR_0001_0_mask.png").write_bytes(b"no picture")
    reading, frame = read()
    assert ("CHNCXR_0001_0_mask.png", BAD_MASK) in reading.skipped
    assert pd.isna(frame.loc["CHNCXR_0001_0", "lung_mask"])


def test_lung_masks_of_readers_who_differ_can_be_told_apart(tmp_path):
    readers = {}
    for name in ("shenzhen", "montgomery", "v7", "covid_radiography", "covid_qu_ex"):
        write_tree(name, tmp_path / name)
        frame = sources.read(name, tmp_path / name, derived=tmp_path / f"derived-{name}").manifest.frame
        assert (frame["lung_mask"].notna() == frame["lung_mask_reader"].notna()).all()
        readers[name] = set(frame["lung_mask_reader"].dropna())
    assert readers["v7"] == {"v7"}
    assert not readers["v7"] & set.union(*(found for name, found in readers.items() if name != "v7"))
