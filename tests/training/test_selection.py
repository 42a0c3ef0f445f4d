"""Which rows a run learns from beyond their split: filters by label, held-out patients, merged classes."""

import cv2
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("albumentations")

from covidcx.data.manifest import Manifest
from covidcx.errors import ManifestError, RecipeError
from covidcx.imaging import Preprocessing
from covidcx.training import recipes
from covidcx.training.recipe import ModelSettings, Recipe
from covidcx.training.rows import select
from covidcx.training.selection import RowFilter, Selection
from covidcx.training.tasks import task_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Twenty pediatric and ten adult normals, 30 COVID-19 and 8 CAP images of 15 and 8 patients; a test split."""
    folder = tmp_path_factory.mktemp("selection")
    groups = (
        ("pediatric", "normal", "kermany", 20, 1), ("pediatric", "normal", "nih", 4, 1),
        ("train", "normal", "nih", 10, 1), ("train", "covid", "cohen", 30, 2), ("pediatric", "covid", "armiro", 3, 1),
        ("train", "cap", "nih", 8, 1), ("val", "normal", "nih", 2, 1), ("val", "cap", "nih", 2, 1),
        ("val", "covid", "cohen", 2, 1), ("test", "normal", "nih", 3, 1),
    )  # fmt: skip
    rows = []
    for split, label, source, count, per_patient in groups:
        for i in range(count):
            name = f"{split}_{label}_{source}_{i}.png"
            cv2.imwrite(str(folder / name), np.full((16, 16), 99, np.uint8))
            rows.append((name, f"{split}-{label}-{source}-{i // per_patient}", label, split, source))
    table = pd.DataFrame(rows, columns=["image", "patient_id", "label", "split", "source"])
    table.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def chosen(path, recipe):
    return select(recipe, task_of(recipe), Manifest.read(path))


def recipe(selection, labels=("normal", "covid"), **changes):
    return Recipe(
        "r", ModelSettings("covid-cxnet"), Preprocessing(size=(32, 32)), "classify", labels,
        selection=selection, **changes,
    )  # fmt: skip


def test_base_model_v1_learns_from_children_and_is_chosen_on_held_out_patients(manifest):
    rows = chosen(manifest, recipes.get("base-model-v1"))
    both = pd.concat([rows.train.frame, rows.val.frame])
    assert set(zip(both["label"], both["split"], both["source"], strict=True)) == {
        ("normal", "pediatric", "kermany"), ("covid", "train", "cohen"),
    }  # fmt: skip
    assert len(both) == 50
    assert not set(rows.train.frame["patient_id"]) & set(rows.val.frame["patient_id"])
    assert rows.val.frame.groupby("label")["patient_id"].nunique().to_dict() == {"normal": 4, "covid": 3}


def test_held_out_patients_depend_neither_on_seed_nor_on_the_tables_order(manifest, tmp_path):
    value = recipes.get("base-model-v1")
    first = set(chosen(manifest, value).val.frame["image"])
    assert set(chosen(manifest, value.override({"seed": "5"})).val.frame["image"]) == first
    turned = Manifest.read(manifest)
    turned = turned.take(np.ones(len(turned), bool))
    turned = Manifest(turned.frame[::-1].reset_index(drop=True), turned.root, turned.path)
    assert set(select(value, task_of(value), turned).val.frame["image"]) == first


def test_a_limit_takes_whole_patients_and_never_more_images(manifest):
    rows = chosen(manifest, recipe(Selection(only={"covid": RowFilter(splits=("train",), limit=7)})))
    covid = rows.train.frame[rows.train.frame["label"] == "covid"]
    assert len(covid) == 6 and covid["patient_id"].nunique() == 3, "seven images cannot be made of pairs"
    assert (rows.train.frame["label"] == "normal").sum() == 10, "other labels keep all rows"
    assert (rows.val.frame["label"] == "covid").sum() == 2, "validation splits are not filtered"


def test_merged_labels_are_one_class_in_training_and_validation(manifest):
    value = recipe(Selection(merge={"pneumonia": ("cap", "covid")}), ("normal", "pneumonia"))
    rows = chosen(manifest, value)
    assert rows.counts == {
        "train": {"normal": 10, "pneumonia": 38}, "val": {"normal": 2, "pneumonia": 4},
    }  # fmt: skip
    assert task_of(value).weights(rows.train.frame["label"])["normal"] == pytest.approx(2.4)


def test_a_filter_that_leaves_nothing_says_what_there_is(manifest):
    value = recipe(Selection(only={"normal": RowFilter(splits=("train",), sources=("kermany",))}))
    with pytest.raises(ManifestError, match=r"no image of 'normal' in split train from source kermany.*train/nih 10"):
        chosen(manifest, value)


@pytest.mark.parametrize(
    ("selection", "changes", "message"),
    [
        ({"holdout": 0.2}, {}, "with selection.holdout, now 0.2, val_splits must be empty"),
        ({}, {"val_splits": ()}, "must be non-empty"),
        ({"holdout": 1.0}, {"val_splits": ()}, "a share of the patients below 1, received 1.0"),
        ({"merge": {"pneumonia": ("cap",)}}, {}, "selection.merge makes 'pneumonia'"),
        ({"merge": {"covid": ("cap", "other"), "normal": ("cap",)}}, {}, "names cap twice"),
    ],
)
def test_selections_that_contradict_the_recipe_are_refused(selection, changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe(Selection(**selection), **changes)
