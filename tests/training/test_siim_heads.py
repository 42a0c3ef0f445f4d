"""Heads of SIIM multi-class: appearances, opacities from boxes, presence of opacities, findings of two vocabularies."""

import csv

import numpy as np
import pytest

from covidcx.data.cache import prepare_manifest
from covidcx.data.manifest import Manifest, pd
from covidcx.data.phantom import write_phantom
from covidcx.data.sources.chexpert import FINDINGS as CHEXPERT
from covidcx.data.sources.nih import FINDINGS as NIH
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training import heads, recipes
from covidcx.training.feed import augment_pairs
from covidcx.training.heads.appearance import WEIGHTS
from covidcx.training.heads.findings import truth_of
from covidcx.training.heads.opacity import NOT_NORMAL, OPACITIES


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return Manifest.read(write_phantom(tmp_path_factory.mktemp("rsna") / "set", patients=16, size=64, labels="rsna"))


@pytest.fixture(scope="module")
def prepared(table):
    return prepare_manifest(table, Preprocessing(size=(32, 32), channels=("original",)), None)


def test_an_appearance_is_one_of_four_and_weighs_as_the_paper_says(table):
    head = heads.get("appearance")
    truth = head.targets(table, None)
    assert [head.classes[k] for k in truth.argmax(axis=1)] == table.frame["label"].tolist()
    loss = head.loss(recipes.get("siim-multitask").loss)
    assert tuple(loss.class_weights) == WEIGHTS == (0.2, 0.2, 0.3, 0.3)
    other = table.frame.assign(label="cap")
    assert not head.known(Manifest(other, table.root, table.path)).any()


def test_opacities_are_the_boxes_and_a_study_that_was_not_drawn_on_is_unknown(table, prepared):
    head, boxes = heads.get("opacity"), OPACITIES.boxes(table)
    targets = head.targets(table, prepared)
    for i, row in enumerate(table.frame.to_dict("records")):
        if row["label"] == "negative":
            assert not targets[i].any()
        elif row["image"] in boxes:
            x, y, width, height = max(boxes[row["image"]], key=lambda box: box[2] * box[3])
            assert targets[i, round((y + height / 2) / 2), round((x + width / 2) / 2), 0] == 1
        else:
            assert (targets[i] == -1).all()
    assert {"negative", "typical", "indeterminate"} <= set(table.frame["label"][head.known(table)])
    typical = table.frame["label"] == "typical"
    hidden = Manifest(table.frame[typical].assign(image="images/elsewhere.png"), table.root, table.path)
    assert not head.known(hidden).any(), "a positive study without a box is unknown, not empty"


def test_air_beside_the_lung_is_no_opacity(tmp_path):
    rows = [("a.png", 1, 2, 3, 4, "Pneumothorax", "r"), ("b.png", 1, 2, 3, 4, "Lung Opacity", "r"),
            ("c.png", 1, 2, 3, 4, "Left lung", "r")]  # fmt: skip
    with (tmp_path / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "x", "y", "width", "height", "finding", "reader"), *rows])
    frame = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "label": "atypical"})
    assert set(OPACITIES.boxes(Manifest(frame, tmp_path, tmp_path / "manifest.csv"))) == {"b.png"}


def test_presence_is_told_by_boxes_and_by_labels(tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height,finding,reader\nd.png,1,1,2,2,opacity,rsna\n")
    labels, read = ["normal", "cap", "other", "covid", np.nan, "other"], [np.nan, np.nan, NOT_NORMAL, *[np.nan] * 3]
    frame = pd.DataFrame({"image": [f"{name}.png" for name in "abcdef"], "label": labels, "rsna_class": read})
    table = Manifest(frame, tmp_path, tmp_path / "manifest.csv")
    truth = heads.get("presence").truth(table)
    np.testing.assert_array_equal(truth[:4], [[1, 0], [0, 1], [1, 0], [0, 1]])
    # Another finding that nobody read for opacities may be one.
    assert np.isnan(truth[4:]).all()
    assert heads.get("opacity").known(table).tolist() == [True, False, True, True, False, False]


def test_images_without_any_mask_are_augmented_too():
    recipe = recipes.get("siim-findings")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    targets = {"probabilities": np.array([[1.0, np.nan], [0.0, 1.0]], np.float32)}
    changed, same = augment_pairs(recipe)(images, targets, np.random.default_rng(1))
    assert changed.shape == images.shape and (changed != images).any()
    np.testing.assert_array_equal(same["probabilities"], targets["probabilities"])


def test_findings_are_known_where_the_vocabulary_is_the_sources_own(tmp_path):
    found = ["Edema|Mass", "No Finding", "COVID-19", np.nan, "Pneumonia|Sarcoidosis", "Edema?|Pneumonia"]
    frame = pd.DataFrame({"image": list("abcdef"), "label": np.nan, "findings": found})
    table = Manifest(frame, tmp_path, tmp_path / "manifest.csv")
    nih, chexpert = truth_of(table, NIH), truth_of(table, CHEXPERT)
    assert {NIH[k] for k in np.flatnonzero(nih[0] == 1)} == {"Edema", "Mass"} and not np.isnan(nih[0]).any()
    assert not nih[1].any() and np.isnan(nih[2:5]).all()
    # 'Mass' is no word of CheXpert's; its uncertain edema is missing, its pneumonia is not.
    assert np.isnan(chexpert[0]).all()
    assert np.isnan(chexpert[5, CHEXPERT.index("Edema")]) and chexpert[5, CHEXPERT.index("Pneumonia")] == 1
    assert heads.get("observations").classes == CHEXPERT and heads.get("findings").classes == NIH
