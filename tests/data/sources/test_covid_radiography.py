"""COVID-19 Radiography Database: classes, masks of another size, and workbooks."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_mask, write_tree
from trees.covid_radiography import BASE, write_workbook

from covidcx.data import sources
from covidcx.data.sources.covid_radiography import BAD_MASK, read_sheet
from covidcx.data.sources.tables import NO_FILE
from covidcx.errors import ManifestError


@pytest.fixture
def folder(tmp_path):
    write_tree("covid_radiography", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def read(folder, tmp_path):
    def read(place=folder, derived=True):
        reading = sources.read("covid_radiography", place, derived=tmp_path / "derived" if derived else None)
        return reading, reading.manifest.frame.set_index("source_id")

    return read


def test_classes_origins_and_missing_images(read):
    reading, frame = read()
    assert frame["label"].to_dict() == {
        "COVID-1": "covid", "Lung_Opacity-1": "cap", "Normal-1": "normal", "Viral Pneumonia-1": "cap"
    }  # fmt: skip
    assert frame.loc["COVID-1", "origin"] == "https://github.com/armiro/COVID-CXNet"
    # The workbook writes NORMAL-1, the file is Normal-1.png.
    assert "rsna-pneumonia" in frame.loc["Normal-1", "origin"]
    assert pd.isna(frame.loc["Lung_Opacity-1", "origin"])
    assert reading.skipped == (("COVID-2", NO_FILE),)


def test_masks_are_brought_to_the_size_of_the_image(read, tmp_path):
    _, frame = read()
    for place in frame["lung_mask"]:
        mask = cv2.imread(place, cv2.IMREAD_UNCHANGED)
        assert mask.shape == (299, 299)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask > 0).mean() == pytest.approx(0.25, abs=0.01)
    assert (frame["lung_mask_reader"] == "covid_radiography").all()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "derived").rglob("*.png")}
    assert len(before) == 4
    read()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "derived").rglob("*.png")} == before


def test_a_mask_that_fits_is_used_in_place_and_one_that_does_not_is_left_out_without_derived(read, folder):
    write_mask(folder / BASE / "COVID" / "masks" / "COVID-1.png", (299, 299))
    _, frame = read(derived=False)
    assert frame.loc["COVID-1", "lung_mask"] == f"{BASE}/COVID/masks/COVID-1.png"
    assert frame.drop("COVID-1")["lung_mask"].isna().all()
    assert frame.drop("COVID-1")["lung_mask_reader"].isna().all()


def test_a_damaged_mask_is_named_and_the_image_kept(read, folder):
    (folder / BASE / "COVID" / "masks" / "COVID-1.png").write_bytes(b"no picture")
    reading, frame = read()
    assert ("COVID-1.png", BAD_MASK) in reading.skipped
    assert pd.isna(frame.loc["COVID-1", "lung_mask"])


def test_class_folders_may_be_given_and_workbooks_missing(read, folder):
    for workbook in (folder / BASE).glob("*.xlsx"):
        workbook.unlink()
    reading, frame = read(folder / BASE)
    assert len(frame) == 4
    assert reading.skipped == ()


def test_a_workbook_without_its_columns_or_none_at_all_is_refused(read, folder):
    book = folder / BASE / "COVID.metadata.xlsx"
    write_workbook(book, ("FILE NAME", "LINK"), ("COVID-1", "x"))
    with pytest.raises(ManifestError, match=r"lacks the column 'URL'; it has: FILE NAME, LINK"):
        read()
    book.write_bytes(b"no workbook")
    with pytest.raises(ManifestError, match="cannot read the workbook"):
        read()


def test_workbook_cells_keep_their_columns(tmp_path):
    write_workbook(tmp_path / "a.xlsx", ("A", "B", "C"), ("1", "", "x"), ("", "y", ""))
    assert read_sheet(tmp_path / "a.xlsx") == [["A", "B", "C"], ["1", "", "x"], ["", "y"]]
