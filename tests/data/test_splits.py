"""Splits and folds share no patient and do not depend on the order of the rows."""

import numpy as np
import pandas as pd
import pytest

from covidcx.data.manifest import Manifest
from covidcx.data.splits import folds, share_of_patients, split_by_patient, split_hash
from covidcx.errors import ManifestError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for patient in range(600):
        label = rng.choice(["normal", "cap", "covid", None], p=[0.5, 0.3, 0.15, 0.05])
        rows += [(f"p{patient}", label)] * int(rng.choice([1, 2, 3, 8], p=[0.6, 0.2, 0.15, 0.05]))
    frame = pd.DataFrame(rows, columns=["patient_id", "label"], dtype=object)
    frame["image"] = [f"{i}.png" for i in range(len(frame))]
    frame["split"] = np.nan
    return frame


def test_no_patient_is_in_two_parts(frame):
    split = split_by_patient(frame, FRACTIONS, seed=0)
    assert (split.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(split["split"]) == set(FRACTIONS)
    assert frame["split"].isna().all(), "the frame given must stay as it was"


def test_parts_have_their_share_of_every_label(frame):
    split = split_by_patient(frame, FRACTIONS, seed=0)
    for label in ("normal", "cap", "covid"):
        share = split.loc[split["label"] == label, "split"].value_counts(normalize=True)
        for name, fraction in FRACTIONS.items():
            assert share[name] == pytest.approx(fraction, abs=0.05), (label, name)


def test_row_order_does_not_matter_but_the_seed_does(frame):
    split = split_by_patient(frame, FRACTIONS, seed=0)
    shuffled = split_by_patient(frame.sample(frac=1, random_state=1), FRACTIONS, seed=0)
    pd.testing.assert_frame_equal(shuffled.sort_index(), split)
    other = split_by_patient(frame, FRACTIONS, seed=1)
    assert (other["split"] != split["split"]).mean() > 0.2


def test_small_class_reaches_every_part_or_is_warned_about(caplog):
    frame = pd.DataFrame({"patient_id": [f"p{i}" for i in range(5)], "label": "covid"})
    assert set(split_by_patient(frame, FRACTIONS | {"val": 0.15, "test": 0.15}, seed=0)["split"]) == set(FRACTIONS)
    split_by_patient(frame[:2], FRACTIONS, seed=0)
    assert "holds no image with label 'covid'" in caplog.text


@pytest.mark.parametrize("fractions", [{}, {"train": 0.5, "test": 0.4}, {"train": 1.2, "test": -0.2}])
def test_fractions_must_make_a_whole(frame, fractions):
    with pytest.raises(ManifestError, match="sum to 1"):
        split_by_patient(frame, fractions, seed=0)


def test_row_without_patient_is_refused(frame):
    frame.loc[4, "patient_id"] = np.nan
    with pytest.raises(ManifestError, match="1 rows have no patient_id"):
        split_by_patient(frame, FRACTIONS, seed=0)


def test_folds_share_no_patient_and_are_balanced(frame):
    fold = folds(frame, 5, seed=0)
    assert (fold.groupby(frame["patient_id"]).nunique() == 1).all()
    assert fold.index.equals(frame.index)
    for label in ("normal", "cap", "covid"):
        share = fold[frame["label"] == label].value_counts(normalize=True)
        assert sorted(share.index) == [0, 1, 2, 3, 4]
        assert share.max() < 0.27
        assert share.min() > 0.13
    assert folds(frame.sample(frac=1, random_state=2), 5, seed=0).sort_index().equals(fold)
    assert not folds(frame, 5, seed=1).equals(fold)


def test_label_absent_from_a_fold_is_refused_with_counts():
    frame = pd.DataFrame({"patient_id": [f"p{i}" for i in range(12)], "label": ["normal"] * 10 + ["covid"] * 2})
    with pytest.raises(ManifestError, match=r"in each of 3 folds .*covid: .*0.*normal: ") as caught:
        folds(frame, 3, seed=0)
    assert sorted(str(caught.value).split("covid: ")[1].split(";")[0].split(", ")) == ["0", "1", "1"]
    with pytest.raises(ManifestError, match="at least 2 folds, received 1"):
        folds(frame, 1, seed=0)


def test_shares_of_patients_are_nested_and_keep_the_labels(frame):
    tenth, third, whole = (share_of_patients(frame, share, seed=0) for share in (0.1, 0.3, 1.0))
    assert whole.all() and (tenth <= third).all() and tenth.sum() < third.sum()
    patients = frame["patient_id"]
    assert not set(patients[tenth]) & set(patients[~tenth])
    for label, count in frame["label"].value_counts().items():
        assert (frame["label"][third] == label).sum() == pytest.approx(0.3 * count, abs=0.05 * count + 3), label
    shuffled = frame.sample(frac=1, random_state=1)
    assert set(shuffled["image"][share_of_patients(shuffled, 0.1, seed=0)]) == set(frame["image"][tenth])
    assert not np.array_equal(share_of_patients(frame, 0.1, seed=1), tenth)
    with pytest.raises(ManifestError, match="received 0"):
        share_of_patients(frame, 0, seed=0)


def test_hash_names_the_content_and_not_the_order(frame):
    frame = split_by_patient(frame, FRACTIONS, seed=0)
    name = split_hash(frame)
    assert len(name) == 12
    assert int(name, 16) >= 0
    assert split_hash(frame.sample(frac=1, random_state=1)) == name
    assert split_hash(frame.assign(age="40")) == name
    for column in ("label", "split", "patient_id", "image"):
        moved = frame.copy()
        moved.loc[7, column] = "another"
        assert split_hash(moved) != name, column


def test_shared_data_divides_into_five_folds(shared_data):
    adult = Manifest.read(shared_data).subset(("train", "val", "test")).frame
    fold = folds(adult, 5, seed=0)
    counts = pd.crosstab(fold, adult["label"])
    assert counts.shape == (5, 4)
    assert (counts.max() - counts.min() <= 0.15 * counts.sum()).all()
