"""Groups, and the warning that a label may be nothing but a source."""

import numpy as np
import pytest

from covidcx.evaluation.subgroups import groups_of, shortcut_notes, source_only_auc


def test_groups_are_sorted_and_unknown_comes_last():
    groups = groups_of(["PA", None, "AP", float("nan"), "PA", " "])
    assert list(groups) == ["AP", "PA", "unknown"]
    assert groups["PA"].tolist() == [0, 4]
    assert groups["unknown"].tolist() == [1, 3, 5]


def test_source_that_equals_the_label_is_said_in_words():
    notes = shortcut_notes(["covid", "covid", "normal", "cap"], ["cohen", "armiro", "nih", "nih"])
    assert len(notes) == 1
    assert "source recognition" in notes[0]
    assert "armiro, cohen" in notes[0]
    assert "nih" in notes[0]


def test_mixed_sources_give_no_note():
    truth = ["covid", "normal"] * 10
    assert shortcut_notes(truth, ["a"] * 10 + ["b"] * 10) == []
    assert shortcut_notes(truth, ["a"] * 20) == []


def test_sources_that_nearly_equal_the_label_are_named_with_their_auc():
    truth = ["covid"] * 10 + ["normal"] * 10
    notes = shortcut_notes(truth, ["a"] * 9 + ["b"] * 11)
    assert len(notes) == 1
    assert "largely coincide" in notes[0]


def test_one_class_cannot_be_compared():
    assert shortcut_notes(["cap", "normal"], ["cohen", "cohen"]) == []
    assert shortcut_notes([], []) == []


def test_source_only_auc_by_hand():
    # Source a: 2 of 3 covid; source b: 0 of 2. Positives score 2/3; negatives 2/3, 0, 0: (0.5 + 1 + 1) / 3.
    assert source_only_auc([True, True, False, False, False], list("aaabb")) == pytest.approx(2.5 / 3)
    assert source_only_auc([True, False], ["a", "b"]) == 1.0
    assert source_only_auc([True, False], ["a", "a"]) == 0.5
    assert np.isnan(source_only_auc([True], ["a"]))


def test_real_test_split_is_warned_about(shared_data):
    from covidcx.data.manifest import Manifest

    frame = Manifest.read(shared_data).subset("test", ("normal", "cap", "covid")).frame
    assert "AUC 1.000" in shortcut_notes(frame["label"], frame["source"])[0]
