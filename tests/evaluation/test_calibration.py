"""Operating points, temperature and calibration error."""

import numpy as np
import pytest

from covidcx.bundle import calibrate, decide
from covidcx.errors import CovidcxError, RecipeError
from covidcx.evaluation.calibration import (
    choose_operating_point,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)

LABELS = ("normal", "cap", "covid")


def _table(covid_scores, other_scores):
    scores = np.r_[covid_scores, other_scores]
    p = np.stack([(1 - scores) * 0.75, (1 - scores) * 0.25, scores], axis=1)
    return p, ["covid"] * len(covid_scores) + ["normal"] * len(other_scores)


def test_highest_threshold_that_keeps_the_sensitivity():
    p, truth = _table([0.9, 0.8, 0.6, 0.3], [0.5, 0.2, 0.1])
    point = choose_operating_point(p, truth, LABELS, "sensitivity>=0.75")
    assert point["threshold"] == pytest.approx((0.6 + 0.5) / 2)
    assert "sensitivity 0.750, specificity 1.000" in point["rule"]
    assert "7 validation images (4 covid)" in point["rule"]
    assert choose_operating_point(p, truth, LABELS, "sensitivity >= 0.76")["threshold"] == pytest.approx(0.25)


def test_chosen_point_is_reached_by_the_decision_rule():
    rng = np.random.default_rng(0)
    for target in (0.5, 0.8, 0.95, 1.0):
        p, truth = _table(rng.beta(3, 2, 60), rng.beta(2, 3, 80))
        point = choose_operating_point(p, truth, LABELS, f"sensitivity>={target}")
        called = np.array(decide(p, LABELS, {"covid": point}))
        covid = np.array(truth) == "covid"
        assert (called[covid] == "covid").mean() >= target
        assert 0 <= point["threshold"] <= 1


def test_specificity_rule_gives_the_lowest_threshold():
    p, truth = _table([0.9, 0.55, 0.4], [0.6, 0.5, 0.2, 0.1])
    point = choose_operating_point(p, truth, LABELS, "specificity>=0.75")
    assert 0.5 < point["threshold"] < 0.55
    covid = np.array(decide(p, LABELS, {"covid": point})) == "covid"
    assert covid.tolist() == [True, True, False, True, False, False, False]


def test_specificity_rule_may_call_nothing_at_all():
    p, truth = _table([0.5], [0.8, 0.1])
    assert choose_operating_point(p, truth, LABELS, "specificity>=1")["threshold"] == pytest.approx(0.9)
    p, truth = _table([0.5], [1.0, 0.1])
    with pytest.raises(CovidcxError, match="no threshold within"):
        choose_operating_point(p, truth, LABELS, "specificity>=1")


def test_youden_finds_the_separating_threshold():
    p, truth = _table([0.9, 0.7], [0.4, 0.1])
    assert choose_operating_point(p, truth, LABELS, "youden")["threshold"] == pytest.approx(0.55)


def test_images_without_a_known_label_do_not_count():
    p, truth = _table([0.9, 0.8], [0.3, 0.2])
    more = np.vstack([p, [[0.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]])
    assert choose_operating_point(more, [*truth, "other", float("nan")], LABELS) == choose_operating_point(
        p, truth, LABELS
    )


@pytest.mark.parametrize("rule", ["sensitivity=0.9", "sensitivity>=1.5", "accuracy>=0.9", ""])
def test_unknown_rules_are_refused_with_the_known_ones(rule):
    p, truth = _table([0.9], [0.1])
    with pytest.raises(RecipeError, match="youden"):
        choose_operating_point(p, truth, LABELS, rule)


def test_one_class_or_unknown_label_is_refused():
    p, truth = _table([0.9, 0.8], [])
    with pytest.raises(CovidcxError, match="received 2 and 0"):
        choose_operating_point(p, truth, LABELS)
    with pytest.raises(CovidcxError, match="no label 'flu'"):
        choose_operating_point(p, truth, LABELS, label="flu")


def _softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_that_spoiled_the_probabilities_is_found(true):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 3)) * 1.5
    p = _softmax(logits)
    truth = [LABELS[i] for i in (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)]
    assert fit_temperature(_softmax(logits * true), truth, LABELS) == pytest.approx(true, rel=0.07)


def test_fitted_temperature_lowers_the_loss_and_the_calibration_error():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(1000, 3))
    p = _softmax(logits)
    index = (p.cumsum(axis=1) > rng.random((1000, 1))).argmax(axis=1)
    sharp = _softmax(4 * logits)
    t = fit_temperature(sharp, [LABELS[i] for i in index], LABELS)
    calibrated = calibrate(sharp, t)
    assert negative_log_likelihood(calibrated, index) < negative_log_likelihood(sharp, index)
    assert expected_calibration_error(calibrated, index) < 0.5 * expected_calibration_error(sharp, index)


def test_separable_images_give_a_finite_temperature(caplog):
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    t = fit_temperature(p, ["normal", "cap"], LABELS)
    assert 0.04 < t < 0.1
    assert "separable" in caplog.text


def test_certain_and_wrong_gives_a_finite_temperature():
    t = fit_temperature(np.array([[1.0, 0.0, 0.0]] * 3), ["normal", "cap", "covid"], LABELS)
    assert np.isfinite(t)
    assert t > 1


def test_temperature_without_labels_is_refused():
    with pytest.raises(CovidcxError, match="no validation image"):
        fit_temperature(np.ones((1, 3)) / 3, ["other"], LABELS)


def test_calibration_error_by_hand():
    # Confidence 0.9 four times, right three times; confidence 0.6 twice, right twice.
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 2)
    index = np.array([0, 0, 0, 1, 0, 0])
    assert expected_calibration_error(p, index, bins=10) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_reliability_puts_edges_into_the_lower_bin():
    confidence, right, count = reliability(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), bins=2)
    assert count.tolist() == [1, 1]
    assert confidence.tolist() == [0.5, 1.0]
    assert right.tolist() == [1.0, 1.0]


def test_no_images_have_no_calibration_error():
    assert np.isnan(expected_calibration_error(np.empty((0, 3)), np.empty(0, int)))
