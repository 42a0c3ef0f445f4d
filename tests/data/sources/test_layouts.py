"""The adapters on the tables as they are published, real images where there are some, stand-ins where not."""

import gzip
import os
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from conformance import write_dicom, write_png

from covidcx.data import sources
from covidcx.data.manifest import box_problems


@pytest.fixture
def layouts(shared_data):
    if not (shared_data / "layouts").is_dir():
        pytest.skip(f"published tables not found at {shared_data / 'layouts'}")
    return shared_data / "layouts"


@pytest.fixture
def stand_ins(layouts, tmp_path):
    """Return a function that lays real tables of a folder beside stand-ins for their images."""

    def stand_ins(folder, images, dicom=False, size=(48, 40)):
        target = tmp_path / "source"
        target.mkdir(exist_ok=True)
        for path in (layouts / folder).iterdir():
            if path.is_file() and not (target / path.name).exists():
                (target / path.name).symlink_to(path)
        picture = tmp_path / ("one.dcm" if dicom else "one.png")
        (write_dicom if dicom else write_png)(picture, 0, size)
        for name in dict.fromkeys(images):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(picture, target / name)
        return target

    return stand_ins


def labels(reading):
    return Counter(reading.manifest.frame["label"].fillna("none"))


def rows(path):
    return pd.read_csv(path, dtype=str, encoding="cp1252")


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("armiro", "armiro", {"covid": 6}),
        ("cohen", "cohen", {"covid": 5}),
        ("kermany", "kermany", {"normal": 2, "cap": 4}),
    ],
)
def test_real_images_read_without_problems(layouts, name, folder, expected):
    reading = sources.read(name, layouts / folder)
    assert reading.manifest.problems() == []
    assert labels(reading) == expected


def test_nih_agrees_with_the_shared_manifest(layouts, shared_data):
    shared = pd.read_csv(shared_data / "manifest.csv", dtype=str)
    shared = shared[shared["source"] == "nih"].set_index("source_id")
    reading = sources.read("nih", layouts / "nih_cxr14")
    frame = reading.manifest.frame
    assert len(frame) == 6
    assert reading.manifest.problems() == []
    assert len(reading.skipped) == 112120 - 6
    for row in frame.itertuples():
        name = row.source_id.removesuffix(".png")
        if name in shared.index:
            other = shared.loc[name]
            assert row.view == other["view"]
            assert set(row.findings.split("|")) == set(other["findings"].split("|"))
            assert row.patient_id == f"nih_{int(other['source_patient_id'].removeprefix('nih-'))}"
    assert (frame[["original_width", "original_height"]].astype(int) > 1024).all().all()


def test_every_label_set_of_chestxray14_is_known(layouts):
    from covidcx.data.sources.nih import label_of

    with gzip.open(layouts / "nih_cxr14" / "Data_Entry_2017_v2020.csv.gz", "rt") as stream:
        found = Counter(label_of(text.split("|"), {"Pneumonia"}) for text in pd.read_csv(stream)["Finding Labels"])
    assert found == {"normal": 60361, "cap": 1431, "other": 112120 - 60361 - 1431}


def test_cohen_labels_every_published_row(stand_ins, layouts):
    table = rows(layouts / "cohen" / "metadata.csv")
    names = table["filename"][~table["filename"].str.endswith(".gz")].unique()
    folder = stand_ins("cohen", [f"images/{name}" for name in names])
    frontal, every = sources.read("cohen", folder), sources.read("cohen", folder, all_views=True)
    assert frontal.manifest.problems() == []
    assert set(frontal.manifest.frame["view"].dropna()) == {"PA", "AP"}
    assert set(every.manifest.frame["view"].dropna()) == {"PA", "AP", "LL"}
    assert len(every.manifest) + len(every.skipped) == len(table)
    xrays = table[(table["modality"] == "X-ray") & ~table["view"].isin(["Axial", "Coronal"])]
    xrays = xrays.drop_duplicates("filename")
    covid = xrays["finding"].isin(["COVID-19", "COVID-19, ARDS"]).sum()
    assert labels(every)["covid"] == covid
    assert labels(every)["normal"] == (xrays["finding"] == "No Finding").sum()
    assert labels(every)["none"] == (xrays["finding"] == "todo").sum()
    (folder / "public-annotations.csv").symlink_to(layouts / "brixia" / "public-annotations.csv")
    scored = sources.read("cohen", folder).manifest.frame
    listed = pd.read_csv(layouts / "brixia" / "public-annotations.csv").set_index("filename")["S-Global"]
    given = scored.set_index("source_id")["brixia"].dropna().astype(int)
    assert len(given) == scored["source_id"].isin(listed.index).sum() > 150
    assert (given == listed[given.index]).all()
    assert set(every.manifest.frame["licence"]) >= {"CC BY-NC-SA", "CC BY 3.0", sources.info("cohen").licence}


def test_armiro_table_covers_a_part_of_its_images(stand_ins, layouts):
    table = pd.read_csv(layouts / "armiro" / "metadata.csv", dtype=str, encoding="utf-8-sig")
    images = [*table["filename"], "036.jpg", "1490-.png", "1484p.png"]
    reading = sources.read("armiro", stand_ins("armiro", [f"chest_xray_images/covid19/{name}" for name in images]))
    frame = reading.manifest.frame
    assert reading.manifest.problems() == []
    assert len(frame) == len(table) + 3
    assert labels(reading) == {"covid": len(table) + 2, "none": 1}
    assert frame["view"].value_counts().to_dict() == {"AP": 190, "PA": 35}
    findings = frame.set_index("source_id")["findings"]
    assert findings["1490-.png"] == "COVID-19|no visible abnormality"
    assert findings["1484p.png"] == "COVID-19|pediatric"
    assert findings.str.contains("PCR negative").sum() == 23


def test_chexpert_uncertain_observations_follow_the_option(stand_ins, layouts):
    table = rows(layouts / "chexpert" / "train.csv").head(300)
    images = [path.partition("/")[2] for path in table["Path"]]
    folder = stand_ins("chexpert", images)
    (folder / "train.csv").unlink()
    table.to_csv(folder / "train.csv", index=False)
    found = {}
    for uncertain in ("ignore", "ones", "zeros"):
        reading = sources.read("chexpert", folder, uncertain=uncertain)
        assert reading.manifest.problems() == []
        found[uncertain] = labels(reading)
        assert reading.manifest.frame["patient_id"].str.fullmatch(r"chexpert_patient\d{5}").all()
    frontal = table[table["Frontal/Lateral"] == "Frontal"]
    marked = frontal[["Pneumonia", "Consolidation"]]
    normal = frontal["No Finding"] == "1.0"
    present, unsure = (marked == "1.0").any(axis=1) & ~normal, (marked == "-1.0").any(axis=1) & ~normal
    assert {counts["normal"] for counts in found.values()} == {normal.sum()}
    assert found["ones"]["cap"] == (present | unsure).sum()
    assert found["zeros"]["cap"] == found["ignore"]["cap"] == present.sum()
    assert found["ignore"]["none"] > found["zeros"]["none"]
    assert len(sources.read("chexpert", folder, all_views=True).manifest) == len(table)


def test_rsna_classes_and_boxes(stand_ins, layouts):
    with gzip.open(layouts / "rsna_pneumonia" / "stage_2_detailed_class_info.csv.gz", "rt") as stream:
        classes = pd.read_csv(stream).drop_duplicates("patientId").set_index("patientId")["class"].head(60)
    with gzip.open(layouts / "rsna_pneumonia" / "stage_2_train_labels.csv.gz", "rt") as stream:
        boxes = pd.read_csv(stream).dropna()
    images = [f"stage_2_train_images/{name}.dcm" for name in classes.index]
    reading = sources.read("rsna", stand_ins("rsna_pneumonia", images, dicom=True, size=(1024, 1024)))
    assert reading.manifest.problems() == []
    assert box_problems(reading.boxes, reading.manifest) == []
    assert labels(reading) == {
        "normal": (classes == "Normal").sum(), "cap": (classes == "Lung Opacity").sum(),
        "other": (classes == "No Lung Opacity / Not Normal").sum(),
    }  # fmt: skip
    assert len(reading.boxes) == boxes["patientId"].isin(classes.index).sum() > 0
    with_box = set(reading.boxes["image"].str.extract(r"/([^/]+)\.dcm")[0])
    assert with_box == set(classes.index[classes == "Lung Opacity"])


def test_siim_studies_and_boxes(stand_ins, layouts):
    table = rows(layouts / "siim_covid19" / "train_image_level.csv").head(150)
    studies = rows(layouts / "siim_covid19" / "train_study_level.csv").set_index("id")
    images = [f"train/{study}/series/{name.removesuffix('_image')}.dcm"
              for name, study in zip(table["id"], table["StudyInstanceUID"], strict=True)]  # fmt: skip
    reading = sources.read("siim", stand_ins("siim_covid19", images, dicom=True, size=(5000, 5000)))
    assert reading.manifest.problems() == []
    assert box_problems(reading.boxes, reading.manifest) == []
    wanted = studies.loc[[f"{study}_study" for study in table["StudyInstanceUID"]]].idxmax(axis=1)
    assert labels(reading) == Counter(word.split()[0].lower() for word in wanted)
    assert len(reading.boxes) == table["label"].str.count("opacity").sum()
    first = reading.boxes.iloc[0]
    assert [first["x"], first["y"], first["width"], first["height"]] == pytest.approx(
        [789.28836, 582.43035, 1026.65662, 1917.30292]
    )


def test_vindr_counts_findings_of_most_readers(stand_ins, layouts):
    table = rows(layouts / "vindr" / "train.csv")
    several = table.groupby("image_id")["rad_id"].nunique()
    names = [*several[several > 1].index, *several[several == 1].index[:100]]
    folder = stand_ins("vindr", [f"train/{name}.dicom" for name in names], dicom=True, size=(4000, 4000))
    most, any_ = sources.read("vindr", folder), sources.read("vindr", folder, readers="any")
    assert most.manifest.problems() == any_.manifest.problems() == []
    assert len(most.manifest) == len(names)
    part = table[table["image_id"].isin(names)]
    assert len(most.boxes) == len(any_.boxes) == part["x_min"].notna().sum()
    assert labels(most)["normal"] >= labels(any_)["normal"] > 0
    assert labels(most)["none"] > 0
    assert set(most.boxes["reader"]) == set(part["rad_id"][part["x_min"].notna()])


def test_small_covid_sets_label_every_published_row(stand_ins, layouts):
    table = rows(layouts / "actualmed" / "metadata.csv")
    folder = stand_ins("actualmed", [f"images/{name}" for name in table["imagename"]])
    reading = sources.read("actualmed", folder)
    assert reading.manifest.problems() == []
    assert labels(reading) == {"normal": 127, "covid": 58, "none": 53}


def test_figure1_reads_windows_text_and_joins_a_patients_images(stand_ins, layouts):
    table = rows(layouts / "figure1" / "metadata.csv")
    reading = sources.read("figure1", stand_ins("figure1", [f"images/{name}.jpg" for name in table["patientid"]]))
    assert labels(reading) == {"covid": 35, "none": 15, "normal": 3, "cap": 2}
    assert reading.manifest.frame["patient_id"].nunique() == 48
    assert reading.manifest.frame["age"].dropna().astype(float).max() == 77


def test_hannover_reads_every_published_row(stand_ins, layouts):
    table = rows(layouts / "hannover" / "data.csv")
    reading = sources.read("hannover", stand_ins("hannover", [f"png/{name}.png" for name in table["image_id"]]))
    assert labels(reading) == {"covid": 243}
    assert reading.manifest.frame["patient_id"].nunique() == 71
    assert reading.manifest.frame["view"].value_counts().to_dict() == {"AP": 194, "PA": 49}


def test_covidx_gives_the_patients_of_the_data_sets_it_lists(stand_ins, layouts):
    lines = [line.split() for line in (layouts / "covidx" / "train_COVIDx9A.txt").read_text().splitlines()]
    reading = sources.read("covidx", stand_ins("covidx", [f"train/{line[1]}" for line in lines]))
    frame = reading.manifest.frame
    assert reading.manifest.problems() == []
    assert labels(reading) == {"covid": 348, "cap": 52}
    assert set(frame["split"]) == {"train"}
    prefixes = frame["patient_id"].str.partition("_")[0]
    assert prefixes.value_counts().to_dict() == {"cohen": 322, "covidx": 29, "actualmed": 25, "figure1": 24}
    own = rows(layouts / "cohen" / "metadata.csv").drop_duplicates("filename").set_index("filename")["patientid"]
    listed = frame[(prefixes == "cohen") & frame["source_id"].isin(own.index)]
    same = listed["patient_id"].to_numpy() == ("cohen_" + own[listed["source_id"]]).to_numpy()
    # The collection lists 000001-27.jpg for its patients 287 and 340.
    assert np.mean(same) > 0.99
    assert len(listed) > 250
