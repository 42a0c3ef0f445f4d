"""ROC metrics against hand-computed cases and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from covidcx.errors import CovidcxError
from covidcx.evaluation.roc import (
    auc,
    average_precision,
    equal_error_rate,
    precision_recall_points,
    roc_points,
    sensitivity_at_specificity,
    threshold_at_specificity,
)

PERFECT = np.array([0.9, 0.8, 0.2, 0.1])
TRUE = np.array([True, True, False, False])


def test_perfect_and_inverted_order():
    assert auc(TRUE, PERFECT)[0] == 1.0
    assert auc(TRUE, 1 - PERFECT)[0] == 0.0
    assert equal_error_rate(TRUE, PERFECT)[0] == 0.0
    assert equal_error_rate(TRUE, 1 - PERFECT)[0] == 1.0
    assert sensitivity_at_specificity(TRUE, PERFECT, 0.99)[0] == 1.0
    assert sensitivity_at_specificity(TRUE, 1 - PERFECT, 0.99)[0] == 0.0
    assert average_precision(TRUE, PERFECT)[0] == 1.0


def test_all_scores_tied_is_chance():
    tied = np.full(4, 0.5)
    assert auc(TRUE, tied)[0] == 0.5
    assert equal_error_rate(TRUE, tied)[0] == 0.5
    assert sensitivity_at_specificity(TRUE, tied, 0.9)[0] == 0.0
    assert average_precision(TRUE, tied)[0] == 0.5


def test_auc_counts_a_tied_pair_half():
    # Pairs: (3,1) won, (3,2) won, (2,1) won, (2,2) tied: 3.5 of 4.
    assert auc(TRUE, np.array([3.0, 2.0, 2.0, 1.0]))[0] == pytest.approx(3.5 / 4)


def test_equal_error_rate_by_hand():
    # Thresholds 4, 3, 2, 1: (FPR, FNR) = (0, .5), (.5, .5): meets at 0.5.
    assert equal_error_rate(TRUE, np.array([4.0, 2.0, 3.0, 1.0]))[0] == pytest.approx(0.5)
    # Three negatives: points (FPR, TPR) (0, .5), (1/3, .5), (1/3, 1): the vertical step crosses FNR = 1/3.
    positive = np.array([True, False, True, False, False])
    assert equal_error_rate(positive, np.array([5.0, 4, 3, 2, 1]))[0] == pytest.approx(1 / 3)
    # A tied group of everything but one: line from (0, .5) to (1, 1) meets FPR = FNR at 1/3.
    assert equal_error_rate(TRUE, np.array([2.0, 1, 1, 1]))[0] == pytest.approx(1 / 3)


def test_sensitivity_at_specificity_allows_exactly_the_share_of_negatives():
    negatives = np.arange(10) / 10  # 0.0 .. 0.9
    positives = np.array([0.95, 0.85, 0.5])
    positive = np.r_[np.ones(3, bool), np.zeros(10, bool)]
    score = np.r_[positives, negatives]
    # 90%: one of ten negatives (0.9) may be called, so the lowest threshold is 0.85: two of three.
    assert sensitivity_at_specificity(positive, score, 0.9)[0] == pytest.approx(2 / 3)
    assert threshold_at_specificity(positive, score, 0.9) == 0.85
    # 99% of ten: none may be called.
    assert sensitivity_at_specificity(positive, score, 0.99)[0] == pytest.approx(1 / 3)
    assert threshold_at_specificity(positive, score, 0.99) == 0.95


@pytest.mark.parametrize(("specificity", "allowed"), [(0.9, 2), (0.91, 1), (0.95, 1), (0.96, 0), (1.0, 0), (0.0, 20)])
def test_number_of_false_positives_allowed_among_twenty(specificity, allowed):
    # Positives and negatives alternate from the top: one more false positive allowed is one more positive found.
    score = np.arange(40, 0, -1.0)
    positive = np.arange(40) % 2 == 1
    found = sensitivity_at_specificity(positive, score, specificity)[0] * 20
    assert found == pytest.approx(min(allowed, 20))


def test_positive_tied_with_a_forbidden_negative_is_not_called():
    positive = np.array([True, True, False, False])
    score = np.array([0.9, 0.7, 0.7, 0.1])
    assert sensitivity_at_specificity(positive, score, 0.9)[0] == 0.5
    assert sensitivity_at_specificity(positive, score, 0.5)[0] == 1.0


def test_highest_score_is_a_negative_leaves_no_threshold():
    score = np.array([0.5, 0.4, 0.9, 0.1])
    assert sensitivity_at_specificity(TRUE, score, 0.99)[0] == 0.0
    assert threshold_at_specificity(TRUE, score, 0.99) == np.inf


@pytest.mark.parametrize("positive", [np.ones(3, bool), np.zeros(3, bool)])
def test_single_class_is_undefined(positive):
    score = np.array([0.1, 0.5, 0.9])
    assert np.isnan(auc(positive, score)[0])
    assert np.isnan(equal_error_rate(positive, score)[0])
    assert np.isnan(sensitivity_at_specificity(positive, score, 0.9)[0])
    assert np.isnan(average_precision(positive, score)[0]) == (not positive.any())


def test_no_image_is_undefined():
    assert np.isnan(auc(np.empty(0, bool), np.empty(0))[0])
    assert np.isnan(threshold_at_specificity(np.empty(0, bool), np.empty(0), 0.9))


def test_agrees_with_scikit_learn_with_ties_and_weights():
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive = rng.random(80) < 0.3
        score = np.round(rng.normal(size=80) + positive, 1)
        weights = rng.integers(0, 4, (3, 80)).astype(float)
        for row, mine, precision in zip(
            weights, auc(positive, score, weights), average_precision(positive, score, weights), strict=True
        ):
            assert mine == pytest.approx(roc_auc_score(positive, score, sample_weight=row))
            assert precision == pytest.approx(average_precision_score(positive, score, sample_weight=row))


def test_curve_starts_at_zero_ends_at_one_and_never_falls():
    rng = np.random.default_rng(1)
    fpr, tpr, thresholds = roc_points(rng.random(50) < 0.5, np.round(rng.random(50), 1))
    assert (fpr[0, 0], tpr[0, 0], fpr[0, -1], tpr[0, -1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert thresholds[0] == np.inf
    assert (np.diff(thresholds) < 0).all()


def test_precision_recall_points_by_hand():
    precision, recall = precision_recall_points(TRUE, np.array([4.0, 2.0, 3.0, 1.0]))
    assert recall[0].tolist() == [0, 0.5, 0.5, 1, 1]
    assert precision[0] == pytest.approx([1, 1, 1 / 2, 2 / 3, 1 / 2])


def test_nan_scores_are_refused():
    with pytest.raises(CovidcxError, match="1 of 2 scores are NaN"):
        auc(np.array([True, False]), np.array([np.nan, 0.2]))
