"""RICORD-1c: DICOM headers, readers' labels and the two forms of annotations."""

import json

import pandas as pd
import pytest
from conformance import write_csv, write_tree
from trees.ricord import EXPORT, STUDY, dicom, write_image

from covidcx.data import sources
from covidcx.data.sources.tables import NO_FILE, NO_XRAY, UNREADABLE
from covidcx.errors import ManifestError


@pytest.fixture
def folder(tmp_path):
    write_tree("ricord", tmp_path)
    return tmp_path


def read(folder, **options):
    reading = sources.read("ricord", folder, **options)
    return reading, reading.manifest.frame.set_index("image")


def test_rows_hold_header_and_readings(folder):
    reading, frame = read(folder)
    row = frame.loc[dicom("419639-000025", STUDY + "10001")]
    assert (row["label"], row["view"], row["age"], row["sex"]) == ("covid", "AP", "57", "M")
    # Two of three readers said typical.
    assert row["findings"] == "Typical Appearance|Indeterminate Appearance|Moderate (3-4 zones)"
    assert row["patient_id"] == "ricord_419639-000025"
    assert row["study"] == STUDY + "10001"
    other = frame.loc[dicom("419639-000361", STUDY + "10002")]
    assert (other["view"], other["findings"], other["label"]) == ("PA", "Negative for Pneumonia", "covid")
    assert (STUDY + "10009", NO_FILE) in reading.skipped
    assert [reason for _, reason in reading.skipped].count(NO_XRAY) == 1


def test_view_is_a_word_of_the_description_only_where_it_is_the_only_one(folder):
    write_image(folder, "419639-000400", "10003", ViewPosition="", StudyDescription="XR CHEST PA/LATERAL")
    write_image(folder, "419639-000401", "10004", ViewPosition="", StudyDescription="XR CHEST 1 VIEW AP")
    _, frame = read(folder)
    assert pd.isna(frame.loc[dicom("419639-000400", STUDY + "10003"), "view"])
    assert frame.loc[dicom("419639-000401", STUDY + "10004"), "view"] == "AP"


def test_annotations_converted_to_csv_give_the_same_table(folder):
    _, before = read(folder)
    content = json.loads((folder / EXPORT).read_text("utf-8"))
    names = {label["id"]: label["name"] for label in content["labelGroups"][0]["labels"]}
    notes = content["datasets"][0]["annotations"]
    (folder / EXPORT).unlink()
    write_csv(
        folder / "annotations.csv", ["", "id", "StudyInstanceUID", "labelName"],
        *([i, note["id"], note["StudyInstanceUID"], names[note["labelId"]]] for i, note in enumerate(notes)),
    )  # fmt: skip
    _, after = read(folder)
    pd.testing.assert_frame_equal(before, after)
    write_csv(folder / "annotations.csv", ["StudyInstanceUID", "label"], [STUDY, "x"])
    with pytest.raises(ManifestError, match=r"'labelName' \(is it 'label'\?\)"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "labelGroups"), ("[]", "no MD.ai export"), ("{", "cannot read the annotations")],
)
def test_another_json_file_is_refused(folder, content, message):
    (folder / EXPORT).write_text(content, "utf-8")
    with pytest.raises(ManifestError, match=message):
        read(folder)


def test_missing_annotations_are_refused(folder):
    (folder / EXPORT).unlink()
    with pytest.raises(ManifestError, match=r"1c_mdai_\*_annotations_\*\.json.*Expected there"):
        read(folder)


def test_a_damaged_dicom_file_is_named(folder):
    path = folder / dicom("419639-000025", STUDY + "10001")
    path.write_bytes(path.read_bytes()[:90])
    reading, _ = read(folder)
    assert (dicom("419639-000025", STUDY + "10001"), UNREADABLE) in reading.skipped
    assert len(reading.manifest) == 1
