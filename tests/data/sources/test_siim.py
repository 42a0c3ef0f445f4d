"""SIIM-FISABIO-RSNA: boxes at and over the border, studies without images, folds that keep a patient together."""

import numpy as np
import pytest
from conformance import read_csv, write_csv
from trees.siim import STUDY_TABLE, TREE

from covidcx.data import sources
from covidcx.data.prepare import prepare
from covidcx.data.sources import siim
from covidcx.data.splits import folds
from covidcx.errors import ManifestError


def _with_box(folder, label):
    TREE.write(folder)
    header, *records = read_csv(folder / "train_image_level.csv")
    for record in records:
        if record[0] == "ccc_image":
            record[2] = label
    write_csv(folder / "train_image_level.csv", header, *records)


@pytest.mark.parametrize(("box", "inside"), [
    ((-3.5, 2, 10, 12), (0, 2, 10, 10)), ((40, 50, 55, 70), (40, 50, 10, 10)), ((1, 2, 3, 4), (1, 2, 2, 2)),
    ((-9, 0, -1, 5), None), ((0, 60, 5, 90), None), ((10, 10, 10.4, 20), None),
])  # fmt: skip
def test_a_box_is_cut_at_the_border_of_its_image(box, inside):
    assert siim.clipped(box, 50, 60) == inside


def test_a_box_over_the_border_is_cut_and_one_outside_is_left_out_and_named(tmp_path):
    _with_box(tmp_path / "siim", "opacity 1 -3.5 2 10 12 opacity 1 200 200 240 250")
    made = prepare("siim", tmp_path / "siim", tmp_path / "siim.csv")
    assert made.reasons[siim.OUTSIDE] == 1
    boxes = [line for line in read_csv(made.boxes) if line[0].endswith("ccc.dcm")]
    assert [[float(cell) for cell in line[1:5]] for line in boxes] == [[0, 2, 10, 10]]


def test_a_study_without_images_and_an_image_without_study(tmp_path):
    TREE.write(tmp_path)
    header, *records = read_csv(tmp_path / STUDY_TABLE)
    write_csv(tmp_path / STUDY_TABLE, header, *records[1:], ["feedfeedfeed_study", 1, 0, 0, 0])
    reading = sources.read("siim", tmp_path)
    assert ("feedfeedfeed", siim.NO_IMAGES) in reading.skipped
    labels = reading.manifest.frame.set_index("source_id")["label"]
    assert labels[["aaa", "bbb"]].isna().all() and labels["ccc"] == "atypical"


def test_five_folds_of_the_real_tables_keep_studies_whole_and_every_class_in_every_fold(shared_data):
    layouts = shared_data / "layouts" / "siim_covid19"
    if not layouts.is_dir():
        pytest.skip(f"published tables not found at {layouts}")
    images = siim.read_table(layouts / "train_image_level.csv", ("id", "StudyInstanceUID"))
    studies = siim.read_table(layouts / "train_study_level.csv").set_index("id")
    marks = studies.loc[images["StudyInstanceUID"] + "_study", list(siim.APPEARANCES)].to_numpy() == "1"
    frame = images.assign(
        patient_id=images["StudyInstanceUID"], label=np.array(list(siim.APPEARANCES.values()))[marks.argmax(axis=1)]
    )
    fold = folds(frame, 5, 0)
    assert (frame.assign(fold=fold).groupby("patient_id")["fold"].nunique() == 1).all()
    counts = frame.groupby([fold, "label"]).size().unstack()
    assert counts.shape == (5, 4) and (counts.max() - counts.min()).max() <= 5
    rare = frame[(frame["label"] != "atypical") | (frame.index == frame.index[frame["label"] == "atypical"][0])]
    with pytest.raises(ManifestError, match=r"not every label is in each of 5 folds.*atypical"):
        folds(rare, 5, 0)
