"""COVID-QU-Ex: two parts that share images, and infection masks of COVID-19 alone."""

import shutil

import pandas as pd
import pytest
from conformance import write_png, write_tree
from trees.covid_qu_ex import INFECTION, LUNG

from covidcx.data import sources
from covidcx.data.sources.covid_qu_ex import NO_IMAGE


@pytest.fixture
def folder(tmp_path):
    write_tree("covid_qu_ex", tmp_path)
    return tmp_path


def read(folder):
    reading = sources.read("covid_qu_ex", folder)
    return reading, reading.manifest.frame.set_index("image")


def test_an_image_of_both_parts_is_one_row_with_both_masks(folder):
    reading, frame = read(folder)
    row = frame.loc[f"{LUNG}/Train/COVID-19/images/covid_1.png"]
    assert (row["label"], row["split"], row["findings"]) == ("covid", "train", "COVID-19")
    assert row["lung_mask"] == f"{LUNG}/Train/COVID-19/lung masks/covid_1.png"
    assert row["disease_mask"] == f"{INFECTION}/Test/COVID-19/infection masks/covid_1.png"
    assert f"{INFECTION}/Test/COVID-19/images/covid_1.png" not in frame.index
    assert frame["label"].value_counts().to_dict() == {"covid": 2, "cap": 2, "normal": 1}
    assert frame["split"].tolist() == ["train", "val", "test", "train", "train"]
    assert reading.skipped == ()


def test_same_name_with_other_bytes_is_another_image(folder):
    write_png(folder / INFECTION / "Test/COVID-19/images/covid_1.png", 99, (64, 64))
    _, frame = read(folder)
    assert len(frame) == 6
    assert pd.isna(frame.loc[f"{LUNG}/Train/COVID-19/images/covid_1.png", "disease_mask"])
    assert frame.loc[f"{INFECTION}/Test/COVID-19/images/covid_1.png", "split"] == "test"


def test_empty_infection_masks_of_other_classes_are_not_read(folder):
    _, frame = read(folder)
    assert pd.isna(frame.loc[f"{INFECTION}/Train/Non-COVID/images/non_COVID (5).png", "disease_mask"])
    assert frame["lung_mask"].notna().all()
    assert (frame["lung_mask_reader"] == "covid_qu_ex").all()


@pytest.mark.parametrize(("part", "rows"), [("Lung Segmentation Data", 3), ("Infection Segmentation Data", 3)])
def test_either_part_alone_is_read_doubled_or_not(folder, part, rows):
    other = {"Lung Segmentation Data", "Infection Segmentation Data"} - {part}
    shutil.rmtree(folder / other.pop())
    assert len(read(folder)[1]) == rows
    (folder / part / part).rename(folder / "moved")
    shutil.rmtree(folder / part)
    (folder / "moved").rename(folder / part)
    assert len(read(folder)[1]) == rows


def test_a_mask_without_an_image_is_named(folder):
    (folder / LUNG / "Test/Normal/images/Normal (3).png").unlink()
    reading, _ = read(folder)
    assert reading.skipped == ((f"{LUNG}/Test/Normal/lung masks/Normal (3).png", NO_IMAGE),)
