"""The rules of single adapters and the helpers they share, on small trees."""

import json
import logging

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import set_cell, write_csv, write_dicom, write_png, write_tree

from covidcx.data import sources
from covidcx.data.sources import cohen, kermany, siim, tables
from covidcx.data.sources.headers import dicom_header, header
from covidcx.errors import ManifestError


def read(name, folder, **options):
    write_tree(name, folder)
    reading = sources.read(name, folder, **options)
    return reading, reading.manifest.frame.set_index("source_id")


def test_cohen_findings_plain_and_as_paths():
    expected = {
        "COVID-19": "covid", "COVID-19, ARDS": "covid", "Pneumonia/Viral/COVID-19": "covid", "SARS": "cap",
        "Pneumonia/Bacterial/Klebsiella": "cap", "Pneumonia/Fungal/Cryptococcus": "cap", "No Finding": "normal",
        "Tuberculosis": "other", "Mycoplasma Bacterial Pneumonia": "cap",
    }  # fmt: skip
    assert {finding: cohen.label_of(finding) for finding in expected} == expected
    assert np.isnan(cohen.label_of("todo")) and np.isnan(cohen.label_of(np.nan))
    assert cohen.label_of("Sarcoidosis") is None


def test_cohen_file_listed_for_two_patients_stays_with_the_first(tmp_path):
    reading, frame = read("cohen", tmp_path)
    assert frame.loc["a.jpg", "patient_id"] == "cohen_2"
    assert ("a.jpg", tables.TWICE) in reading.skipped
    assert ("ct.jpg", tables.NO_XRAY) in reading.skipped
    assert frame.loc["a.jpg", "licence"] == "CC BY 3.0"


def test_nih_options_split_and_scaled_boxes(tmp_path):
    reading, frame = read("nih", tmp_path)
    assert frame["label"].tolist() == ["other", "cap", "normal"]
    assert frame["split"].tolist() == ["train", "train", "test"]
    assert frame["age"].tolist()[:2] == ["58", "58"]
    assert np.isnan(frame["age"].iloc[2]), "an age of 412 is a typing error"
    # 32 x 64 pixels stand for the published 1024 x 1024.
    assert reading.boxes.iloc[0].tolist()[1:] == [16.0, 16.0, 4.0, 32.0, "Infiltration", "nih"]
    assert len(reading.boxes) == 1
    narrow = sources.read("nih", tmp_path, cap="Consolidation")
    assert narrow.manifest.frame["label"].tolist() == ["other", "other", "normal"]
    with pytest.raises(ManifestError, match="Did you mean 'Pneumonia'"):
        sources.read("nih", tmp_path, cap="Pnuemonia")


@pytest.mark.parametrize(
    ("uncertain", "labels", "findings"),
    [
        ("ignore", ["normal", "cap", np.nan, "other", "other"], "Edema|Pneumonia?"),
        ("ones", ["normal", "cap", "cap", "other", "other"], "Edema|Pneumonia"),
        ("zeros", ["normal", "cap", "other", "other", "other"], "Edema"),
    ],
)
def test_chexpert_uncertain_observations(tmp_path, uncertain, labels, findings):
    frame = read("chexpert", tmp_path, uncertain=uncertain)[0].manifest.frame
    pd.testing.assert_series_equal(frame["label"], pd.Series(labels, name="label", dtype=object))
    assert frame["findings"][2] == findings
    assert frame["split"].tolist() == ["train"] * 4 + ["val"]


def test_chexpert_option_is_checked(tmp_path):
    with pytest.raises(ManifestError, match="unknown meaning of uncertain observations 'maybe'"):
        read("chexpert", tmp_path, uncertain="maybe")


def test_chexpert_reads_from_the_folder_above_too(tmp_path):
    write_tree("chexpert", tmp_path / "CheXpert-v1.0-small")
    assert len(sources.read("chexpert", tmp_path).manifest) == 5


def test_rsna_takes_patients_of_nih_where_the_mapping_is_there(tmp_path):
    reading, frame = read("rsna", tmp_path)
    assert ("broken", tables.UNREADABLE) in reading.skipped
    assert ("gone", tables.NO_FILE) in reading.skipped
    assert frame.loc["00436515", ["patient_id", "label", "view", "age", "sex", "rsna_class"]].tolist() == [
        "rsna_00436515", "cap", "PA", "51", "F", "Lung Opacity"
    ]  # fmt: skip
    mapping = tmp_path / "pneumonia-challenge-dataset-mappings_2018.json"
    mapping.write_text(json.dumps([{"subset_img_id": "00436515", "img_id": "00013774_026.png"}]))
    frame = sources.read("rsna", tmp_path).manifest.frame.set_index("source_id")
    assert frame.loc["00436515", "patient_id"] == "nih_13774"
    assert frame.loc["00313ee0", "patient_id"] == "rsna_00313ee0"
    mapping.write_text('[{"img_id": 3}]')
    with pytest.raises(ManifestError, match="no list of subset_img_id and img_id"):
        sources.read("rsna", tmp_path)


def test_siim_study_label_and_image_boxes(tmp_path):
    reading, frame = read("siim", tmp_path)
    assert frame["label"].to_dict() == {"aaa": "typical", "bbb": "typical", "ccc": "atypical", "ddd": "negative"}
    assert frame.loc["aaa", "patient_id"] == frame.loc["bbb", "patient_id"] == "siim_p0"
    assert reading.boxes[["x", "y", "width", "height"]].to_numpy().tolist() == [
        [1.5, 2.5, 10.0, 20.0], [20.0, 30.0, 25.5, 25.25]
    ]  # fmt: skip
    set_cell(tmp_path / "train_study_level.csv", 0, "Atypical Appearance", "1")
    frame = sources.read("siim", tmp_path).manifest.frame.set_index("source_id")
    assert np.isnan(frame.loc["aaa", "label"])
    assert frame.loc["aaa", "findings"] == "Typical Appearance|Atypical Appearance"
    assert siim.opacities(np.nan) == siim.opacities("none 1 0 0 1 1") == []


def test_kermany_persons_of_test_are_others(tmp_path):
    frame = read("kermany", tmp_path)[0].manifest.frame
    patients = dict(zip(frame["image"], frame["patient_id"], strict=True))
    base = "chest_xray"
    assert patients[f"{base}/train/PNEUMONIA/person1_bacteria_1.jpeg"] == "kermany_train-person1"
    assert patients[f"{base}/train/PNEUMONIA/person1_virus_6.jpeg"] == "kermany_train-person1"
    assert patients[f"{base}/test/PNEUMONIA/person1_virus_6.jpeg"] == "kermany_test-person1"
    assert kermany.patient_of("BACTERIA-1008087-0001", "train") == "BACTERIA-1008087"
    assert set(frame["findings"]) == {"Normal", "Bacterial pneumonia", "Viral pneumonia"}


@pytest.mark.parametrize(
    ("readers", "labels"),
    [
        ("majority", {"aa": "other", "bb": "normal", "cc": "cap", "dd": "none"}),
        ("any", {"aa": "other", "bb": "normal", "cc": "none", "dd": "none"}),
        ("all", {"aa": "other", "bb": "normal", "cc": "none", "dd": "none"}),
    ],
)
def test_vindr_readers_who_differ(tmp_path, readers, labels):
    reading, frame = read("vindr", tmp_path, readers=readers)
    assert frame["label"].fillna("none").to_dict() == labels
    assert len(reading.boxes) == 4, "all boxes of all readers are kept"
    assert frame.loc["cc", "readers"] == "R10|R8|R9"


def test_covidx_versions_and_names_of_other_data_sets(tmp_path):
    _, frame = read("covidx", tmp_path)
    assert frame["patient_id"].to_dict() == {
        "SARS-10.1148-day0.jpeg": "cohen_3", "a b (1).png": "cohen_2", "COVID-00003a.jpg": "figure1_COVID-00003",
        "DX.1.2.3.png": "actualmed_ANON14", "0103fadb-1663.png": "rsna_0103fadb-1663",
        "COVID(12).png": "covidx_COVID_12",
    }  # fmt: skip
    assert frame["label"].fillna("none").to_dict() == {
        "SARS-10.1148-day0.jpeg": "cap", "a b (1).png": "covid", "COVID-00003a.jpg": "covid", "DX.1.2.3.png": "none",
        "0103fadb-1663.png": "normal", "COVID(12).png": "covid",
    }  # fmt: skip
    assert frame.loc["0103fadb-1663.png", "split"] == "test"
    (tmp_path / "train_COVIDx8B.txt").write_text("3 SARS-10.1148-day0.jpeg positive cohen\nnot a line\n")
    with pytest.raises(ManifestError, match="several versions: 8B, 9A"):
        sources.read("covidx", tmp_path)
    reading = sources.read("covidx", tmp_path, version="8b")
    assert reading.manifest.frame["label"].tolist() == ["covid"]
    assert reading.skipped == (("train_COVIDx8B.txt line 2", "is not PATIENT FILE LABEL SOURCE"),)
    with pytest.raises(ManifestError, match="no lists of version '7A'"):
        sources.read("covidx", tmp_path, version="7A")


def test_covidx_names_patients_of_ricord_as_its_adapter_does(tmp_path):
    name = "MIDRC-RICORD-1C-419639-003251-46647-0.png"
    (tmp_path / "test.txt").write_text(f"419639-003251 {name} positive ricord\n")
    write_png(tmp_path / "test" / name)
    frame = sources.read("covidx", tmp_path).manifest.frame
    assert frame["patient_id"].tolist() == ["ricord_MIDRC-RICORD-1C-419639-003251"]
    assert frame["split"].tolist() == ["test"]


def test_a_patient_in_two_official_splits_gets_none(tmp_path, caplog):
    write_tree("covidx", tmp_path)
    with (tmp_path / "test_COVIDx9A.txt").open("a") as stream:
        stream.write("3 other.png normal cohen\n")
    write_png(tmp_path / "test" / "other.png")
    with caplog.at_level(logging.WARNING):
        reading = sources.read("covidx", tmp_path)
    assert reading.manifest.problems() == []
    own = reading.manifest.frame["patient_id"] == "cohen_3"
    assert own.sum() == 2
    assert reading.manifest.frame.loc[own, "split"].isna().all()
    assert "1 patients are in two official splits, such as cohen_3" in caplog.text


def test_an_unknown_label_is_warned_of(tmp_path, caplog):
    tree = write_tree("actualmed", tmp_path)
    tree.break_label(tmp_path)
    with caplog.at_level(logging.WARNING):
        sources.read("actualmed", tmp_path)
    assert "1 images have a label that covidcx does not know, such as 'COVID'" in caplog.text


@pytest.mark.parametrize(
    ("text", "age"),
    [("58", "58"), ("058Y", "58"), ("018M", "1.5"), ("50+", "50"), ("412", None), ("mid 50s", None), (np.nan, None),
     ("0.25", "0.25"), ("", None)],
)  # fmt: skip
def test_ages_as_sources_write_them(text, age):
    found = tables.age_of(text)
    assert found == age if age else np.isnan(found)


@pytest.mark.parametrize(
    ("text", "view"),
    [("PA", "PA"), ("AP Supine", "AP"), ("AP erect", "AP"), ("pa", "PA"), ("L", "LL"), ("Lateral", "LL"),
     ("POSTEROANTERIOR", "PA"), ("?", None), ("Axial", None), (np.nan, None), ("", None)],
)  # fmt: skip
def test_views_as_sources_write_them(text, view):
    found = tables.view_of(text)
    assert found == view if view else np.isnan(found)


def test_untidy_tables_are_read_and_bad_ones_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("name , temp\r\na,38\xb0C,too many\r\n\r\nb\r\n".encode("cp1252"))
    frame = tables.read_table(path, ("name", "temp"))
    assert frame.fillna("-").to_numpy().tolist() == [["a", "38\xb0C"], ["b", "-"]]
    with pytest.raises(ManifestError, match=r"lacks the column 'names' \(is it 'name'\?\); it has: name, temp"):
        tables.read_table(path, ("names",))
    write_csv(path, ["name"])
    with pytest.raises(ManifestError, match="no rows"):
        tables.read_table(path)
    (tmp_path / "b.csv.gz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(ManifestError, match="download it again"):
        tables.read_table(tmp_path / "b.csv.gz")


def test_headers_tell_the_size_of_every_format(tmp_path):
    for name in ("a.png", "b.jpg", "c.tif", "d.bmp", "e.webp", "f.dcm"):
        (write_dicom if name == "f.dcm" else write_png)(tmp_path / name, size=(48, 40))
        found = header(tmp_path / name)
        assert (found.width, found.height) == (40, 48), name
    # A thumbnail in the metadata of a JPEG has a frame of its own; the size is that of the picture.
    picture = (tmp_path / "b.jpg").read_bytes()
    small = cv2.imencode(".jpg", np.zeros((3, 5), np.uint8))[1].tobytes()
    marked = picture[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + picture[2:]
    (tmp_path / "g.jpg").write_bytes(marked)
    assert header(tmp_path / "g.jpg").width == 40
    for name, content in (("h.jpg", picture[:20]), ("i.png", b"\x89PNG"), ("j.dcm", b"no"), ("k.bmp", b"BM")):
        (tmp_path / name).write_bytes(content)
        assert header(tmp_path / name) is None, name
    assert header(tmp_path / "nowhere.png") is None


def test_dicom_header_takes_values_that_bend_the_rules(tmp_path):
    write_dicom(tmp_path / "a.dcm", PatientAge="051Y", ViewPosition="AP", PatientSex="F", PatientID="p")
    content = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(content.replace(b"051Y", b"51  "))
    found = dicom_header(tmp_path / "b.dcm")
    assert (found.age, found.view, found.sex, found.patient, found.width) == ("51", "AP", "F", "p", 40)
