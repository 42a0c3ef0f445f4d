"""Which rows a run learns from: leaking patients are refused or left out, never learned from silently."""

import logging

import cv2
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("albumentations")

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.errors import ManifestError
from covidcx.imaging import Preprocessing
from covidcx.training.recipe import ModelSettings, Recipe
from covidcx.training.rows import select
from covidcx.training.tasks import task_of

ROWS = [
    ("a", "p1", "normal", "train"),
    ("b", "p2", "covid", "train"),
    ("c", "p2", "normal", "control"),
    ("d", "p3", "normal", "val"),
    ("e", "p4", "covid", "val"),
    ("f", "p1", "normal", "pediatric"),
    ("g", "p5", "covid", "train"),
]


@pytest.fixture
def manifest(tmp_path):
    for name, *_ in ROWS:
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 40), 99, np.uint8))
    table = pd.DataFrame(ROWS, columns=["image", "patient_id", "label", "split"])
    table["image"] += ".png"
    table.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def recipe(**changes):
    return Recipe(
        "r", ModelSettings("covid-cxnet"), Preprocessing(size=(32, 32)), "classify", ("normal", "covid"), **changes
    )


def chosen(path, **changes):
    value = recipe(**changes)
    return select(value, task_of(value), Manifest.read(path))


def test_a_patient_who_is_also_in_another_split_is_refused_by_default(manifest):
    with pytest.raises(ManifestError, match=r"'p2'.*'p1'.*leaks=drop"):
        chosen(manifest)


def test_leaking_patients_are_dropped_on_request_and_named(manifest, caplog):
    with caplog.at_level(logging.WARNING):
        rows = chosen(manifest, leaks="drop")
    assert rows.train.frame["image"].tolist() == ["g.png"]
    assert rows.val.frame["image"].tolist() == ["d.png", "e.png"]
    assert "2 rows left out" in caplog.text and "p1, p2" in caplog.text


def test_recorded_split_hash_is_that_of_the_whole_table(manifest):
    expected = split_hash(Manifest.read(manifest).frame)
    assert chosen(manifest, leaks="drop").identity()["split_hash"] == expected


def test_a_patient_in_two_splits_that_are_both_learned_from_is_no_leak(manifest):
    rows = chosen(manifest, leaks="drop", train_splits=("train", "pediatric"))
    assert rows.train.frame["image"].tolist() == ["a.png", "f.png", "g.png"]


def test_a_patient_in_train_and_val_is_refused_even_when_leaks_are_dropped(manifest):
    table = pd.read_csv(manifest)
    table.loc[3, "patient_id"] = "p5"
    table.to_csv(manifest, index=False)
    with pytest.raises(ManifestError, match="'p5'"):
        chosen(manifest, leaks="drop")


def test_a_row_without_patient_is_refused(manifest):
    table = pd.read_csv(manifest)
    table.loc[6, "patient_id"] = None
    table.to_csv(manifest, index=False)
    with pytest.raises(ManifestError, match="patient"):
        chosen(manifest, leaks="drop")
