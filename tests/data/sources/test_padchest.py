"""PadChest: labels, projections and places of the pictures."""

import shutil

import pandas as pd
import pytest
from conformance import set_cell, write_tree
from trees.padchest import TABLE

from covidcx.data import sources
from covidcx.data.sources.padchest import EMPTY, EXCLUDED
from covidcx.data.sources.tables import NO_FILE, NOT_FRONTAL

AP = "135803415504923515076821959678074435083_fzis7b.png"
PA = "20536686640136348236148679891455886468_k6ga29.png"


@pytest.fixture
def folder(tmp_path):
    write_tree("padchest", tmp_path)
    return tmp_path


def read(folder, **options):
    reading = sources.read("padchest", folder, **options)
    return reading, reading.manifest.frame.set_index("source_id")


def test_rows_hold_what_the_table_says(folder):
    reading, frame = read(folder)
    row = frame.loc[AP]
    assert (row["image"], row["label"], row["view"], row["age"], row["sex"]) == (f"14/{AP}", "cap", "AP", "84", "F")
    assert row["findings"] == "infiltrates|pneumonia"
    assert row["method_label"] == "Physician"
    assert row["patient_id"] == "padchest_313572750430997347502932654319389875966"
    assert frame.loc[PA, "label"] == "normal"
    reasons = {name.split("_")[-1]: reason for name, reason in reading.skipped}
    assert reasons == {
        "lateral.png": NOT_FRONTAL, "costal.png": NOT_FRONTAL, "excluded.png": EXCLUDED, "gone.png": NO_FILE
    }  # fmt: skip


def test_other_projections_on_request_but_never_excluded_ones(folder):
    _, frame = read(folder, all_views=True)
    assert frame.loc["48951848941_lateral.png", "view"] == "LL"
    assert pd.isna(frame.loc["48951848942_costal.png", "view"])
    assert "48951848943_excluded.png" not in frame.index


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ("['normal']", "normal"),
        ("['normal', ' unchanged']", "normal"),
        ("['pneumonia']", "cap"),
        ("['atypical pneumonia', 'pleural effusion']", "cap"),
        ("['cardiomegaly']", "other"),
        ("['normal', 'scoliosis']", "other"),
        ("['unchanged']", None),
        ("['suboptimal study']", None),
        ("[]", None),
        ("", None),
        ("['cardiomegaly'", None),
        ("nan", None),
    ],
)
def test_labels_of_reports(folder, labels, label):
    set_cell(folder / TABLE, 0, "Labels", labels)
    _, frame = read(folder)
    found = frame.loc[PA, "label"]
    assert found == label if label else pd.isna(found)


def test_supine_projection_is_frontal(folder):
    set_cell(folder / TABLE, 0, "Projection", "AP_horizontal")
    _, frame = read(folder)
    assert frame.loc[PA, "view"] == "AP"


def test_an_unknown_year_of_birth_gives_no_age(folder):
    set_cell(folder / TABLE, 0, "PatientBirth", "")
    _, frame = read(folder)
    assert pd.isna(frame.loc[PA, "age"])


@pytest.mark.parametrize("place", ["images", "images-224", "."])
def test_pictures_may_lie_in_one_folder(folder, place):
    (folder / place).mkdir(exist_ok=True)
    for archive in ("0", "14"):
        for picture in sorted((folder / archive).iterdir()):
            shutil.move(picture, folder / place / picture.name)
    reading, _ = read(folder)
    assert len(reading.manifest) == 2


def test_an_empty_picture_is_left_out(folder):
    (folder / "0" / PA).write_bytes(b"")
    reading, frame = read(folder)
    assert (PA, EMPTY) in reading.skipped
    assert PA not in frame.index
