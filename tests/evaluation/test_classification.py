"""Class metrics against hand-computed cases and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from covidcx.errors import CovidcxError
from covidcx.evaluation.classification import (
    accuracy,
    classification_metrics,
    confusion_matrix,
    f1,
    macro_f1,
    pair_score,
    precision,
    recall,
    share_called,
    specificity,
    title,
)
from covidcx.evaluation.subgroups import label_index

LABELS = ("normal", "cap", "covid")


def _matrix(rows):
    return np.array([rows], float)


def test_hand_counted_confusion_matrix():
    truth = np.array([0, 0, 1, 1, 2, 2, 2])
    called = np.array([0, 1, 1, 1, 2, 0, 2])
    assert confusion_matrix(truth, called, 3)[0].tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 2]]
    doubled = confusion_matrix(truth, called, 3, np.array([[2.0, 0, 0, 0, 0, 0, 1]]))[0]
    assert doubled.tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_hand_computed_metrics():
    m = _matrix([[1, 1, 0], [0, 2, 0], [1, 0, 2]])
    assert accuracy(m)[0] == pytest.approx(5 / 7)
    assert recall(m)[0] == pytest.approx([1 / 2, 1, 2 / 3])
    assert precision(m)[0] == pytest.approx([1 / 2, 2 / 3, 1])
    assert specificity(m)[0] == pytest.approx([4 / 5, 4 / 5, 1])
    assert f1(m)[0] == pytest.approx([0.5, 0.8, 0.8])
    assert macro_f1(m)[0] == pytest.approx(0.7)


def test_class_never_called_has_no_precision_but_zero_f1():
    m = _matrix([[2, 0], [3, 0]])
    assert np.isnan(precision(m)[0, 1])
    assert f1(m)[0, 1] == 0.0
    assert macro_f1(m)[0] == pytest.approx((4 / 7) / 2)


def test_class_without_images_makes_macro_f1_undefined():
    m = _matrix([[2, 1], [0, 0]])
    assert np.isnan(recall(m)[0, 1])
    assert np.isnan(precision(m)[0, 1])
    assert np.isnan(f1(m)[0, 1])
    assert np.isnan(macro_f1(m)[0])
    assert np.isnan(specificity(m)[0, 0])


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    truth, called = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    m = confusion_matrix(truth, called, 3)
    p, r, f, _ = precision_recall_fscore_support(truth, called)
    assert precision(m)[0] == pytest.approx(p)
    assert recall(m)[0] == pytest.approx(r)
    assert f1(m)[0] == pytest.approx(f)
    assert macro_f1(m)[0] == pytest.approx(f1_score(truth, called, average="macro"))


def test_pair_score_ignores_the_third_class():
    p = np.array([[0.1, 0.8, 0.1], [0.2, 0.0, 0.8], [0.0, 1.0, 0.0]])
    assert pair_score(p, 2, 0) == pytest.approx([0.5, 0.8, 0.5])


def _set(seed=0, n=90):
    rng = np.random.default_rng(seed)
    index = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[index]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = [LABELS[i] for i in index]
    called = [LABELS[i] for i in p.argmax(axis=1)]
    return p, truth, called, [f"p{i // 2}" for i in range(n)]


def test_covid_against_normal_restricts_to_the_two_classes():
    # Among covid and normal p(covid) misorders, p(covid) given the pair does not.
    p = np.array([[0.05, 0.75, 0.2], [0.65, 0.05, 0.3], [0.0, 0.1, 0.9]])
    result = classification_metrics(p, ["covid", "normal", "cap"], ["cap", "normal", "covid"], LABELS, "abc", 0)
    assert result.metrics["auc_covid_vs_normal"].value == 1.0
    assert result.metrics["auc_covid_vs_normal_by_p_covid"].value == 0.0
    assert result.metrics["auc_covid"].value == 0.0


def test_missing_and_foreign_labels_are_left_out_and_counted():
    p, truth, called, patients = _set()
    clean = classification_metrics(p, truth, called, LABELS, patients, 50)
    extra = np.vstack([p, np.full((4, 3), 1 / 3)])
    mixed = classification_metrics(
        extra, [*truth, float("nan"), None, "", "other"], [*called, *["covid"] * 4], LABELS, [*patients, *"wxyz"], 50
    )
    assert mixed.excluded == {"missing": 3, "other": 1}
    assert mixed.images == 90
    assert {k: v.value for k, v in mixed.metrics.items()} == {k: v.value for k, v in clean.metrics.items()}
    assert clean.metrics == mixed.metrics


def test_result_is_deterministic_and_json_ready():
    import json

    arguments = _set()
    p, truth, called, patients = arguments
    first = classification_metrics(p, truth, called, LABELS, patients, 100, seed=3).to_dict()
    assert first == classification_metrics(p, truth, called, LABELS, patients, 100, seed=3).to_dict()
    assert first != classification_metrics(p, truth, called, LABELS, patients, 100, seed=4).to_dict()
    json.dumps(first, allow_nan=False)


def test_every_value_lies_in_its_interval():
    p, truth, called, patients = _set(seed=5)
    result = classification_metrics(p, truth, called, LABELS, patients, 300)
    assert result.patients == 45
    for name, interval in result.metrics.items():
        assert interval.low <= interval.value <= interval.high, name


def test_set_of_one_class_reports_what_it_can():
    result = classification_metrics(np.tile([0.1, 0.2, 0.7], (5, 1)), ["cap"] * 5, ["covid"] * 5, LABELS, "abcde", 20)
    assert result.metrics["accuracy"].value == 0.0
    assert result.metrics["recall_cap"].value == 0.0
    for name in ("macro_f1", "auc_covid", "auc_covid_vs_normal", "eer_covid_vs_normal", "recall_covid"):
        assert np.isnan(result.metrics[name].value), name
        assert result.metrics[name].undefined == 20


def test_perfect_predictions():
    index = np.arange(30) % 3
    truth = [LABELS[i] for i in index]
    result = classification_metrics(np.eye(3)[index], truth, truth, LABELS, range(30), 50)
    for name in ("accuracy", "macro_f1", "auc_covid", "auc_covid_vs_normal", "precision_cap"):
        assert result.metrics[name].value == 1.0
        assert result.metrics[name].degenerate
    assert result.metrics["brier"].value == 0.0
    assert result.calibration_error == 0.0


def test_brier_by_hand():
    p = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    result = classification_metrics(p, ["normal", "cap"], ["normal", "cap"], LABELS, "ab", 0)
    assert result.metrics["brier"].value == pytest.approx((0.25 + 2 * 0.0625) / 2)


def test_two_class_model_has_no_rest_metrics():
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    truth = ["normal", "covid", "normal", "covid"]
    result = classification_metrics(p, truth, truth, ("normal", "covid"), "abcd", 0)
    assert result.metrics["auc_covid_vs_normal"].value == 1.0
    assert "eer_covid_vs_rest" not in result.metrics


def test_share_called_by_hand():
    share = share_called(["covid", "cap", "covid", "normal"], "aabc", repeats=200)
    assert share.value == 0.5
    assert share.low < 0.5 < share.high


def test_no_usable_label_is_an_error_that_names_what_was_found():
    with pytest.raises(CovidcxError, match="'other': 2"):
        classification_metrics(np.ones((2, 3)) / 3, ["other"] * 2, ["covid"] * 2, LABELS, "ab")


def test_mismatched_shapes_and_unknown_predictions_are_errors():
    with pytest.raises(CovidcxError, match=r"\(2, 3\)"):
        classification_metrics(np.ones((2, 2)), ["cap"] * 2, ["cap"] * 2, LABELS, "ab")
    with pytest.raises(CovidcxError, match="pneumonia"):
        classification_metrics(np.ones((1, 3)) / 3, ["cap"], ["pneumonia"], LABELS, "a")


def test_label_index_marks_unknown_as_minus_one():
    index, excluded = label_index(["covid", "other", None, "normal"], LABELS)
    assert index.tolist() == [2, -1, -1, 0]
    assert excluded == {"other": 1, "missing": 1}


def test_titles_name_the_set_the_threshold_comes_from():
    assert title("sensitivity_at_90_specificity_covid_vs_normal") == (
        "Sensitivity at 90% specificity, covid against normal (threshold found on this set's own negatives)"
    )
    assert title("recall_covid") == "Recall (sensitivity), covid"
    assert title("auc_cap") == "ROC AUC, cap against rest"
    assert "p(covid) /" in title("auc_covid_vs_normal")
