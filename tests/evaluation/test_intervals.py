"""Patient-level bootstrap: values, coverage, clusters, determinism."""

import numpy as np
import pytest

from covidcx.errors import CovidcxError
from covidcx.evaluation.intervals import (
    Interval,
    bootstrap,
    bootstrap_all,
    mean,
    median,
    ratio,
    repeated,
    resampled_weights,
)
from covidcx.evaluation.roc import auc


def _mean(values, weights):
    return mean(values, weights)


def test_value_is_the_metric_of_the_set_itself():
    interval = bootstrap(_mean, np.array([0.0, 1.0, 1.0, 0.0, 1.0]), repeats=200)
    assert interval.value == pytest.approx(0.6)
    assert 0.0 <= interval.low < 0.6 < interval.high <= 1.0
    assert (interval.repeats, interval.undefined) == (200, 0)


def test_same_seed_same_interval_other_seed_other_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(_mean, values, seed=7) == bootstrap(_mean, values, seed=7)
    assert bootstrap(_mean, values, seed=7) != bootstrap(_mean, values, seed=8)


def test_order_of_images_does_not_matter():
    rng = np.random.default_rng(1)
    values, patients = rng.normal(size=60), rng.integers(0, 25, 60)
    shuffled = rng.permutation(60)
    first = bootstrap(_mean, values, groups=patients, repeats=100)
    second = bootstrap(_mean, values[shuffled], groups=patients[shuffled], repeats=100)
    assert first.low == pytest.approx(second.low, abs=1e-12)
    assert first.high == pytest.approx(second.high, abs=1e-12)


def test_images_of_one_patient_are_drawn_together():
    patients = ["a", "a", "b", "c", "c", "c"]
    weights = np.concatenate(list(resampled_weights(patients, 50, 0)))
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_repeated_images_do_not_narrow_the_cluster_interval():
    rng = np.random.default_rng(2)
    values = rng.integers(0, 2, 40).astype(float)
    patients = np.arange(40)
    once = bootstrap(_mean, values, groups=patients, repeats=500)
    copied = np.repeat(values, 5)
    by_patient = bootstrap(_mean, copied, groups=np.repeat(patients, 5), repeats=500)
    by_image = bootstrap(_mean, copied, repeats=500)
    assert by_patient.low == pytest.approx(once.low)
    assert by_patient.high == pytest.approx(once.high)
    # Five copies make the naive interval about sqrt(5) times too narrow.
    assert (by_image.high - by_image.low) < 0.6 * (by_patient.high - by_patient.low)


def test_undefined_resamples_are_counted_and_left_out():
    positive = np.array([True, False, False])
    interval = bootstrap(auc, positive, np.array([0.9, 0.1, 0.2]), repeats=2000)
    # No positive drawn: (2/3)^3; only positives drawn: (1/3)^3.
    assert interval.undefined / 2000 == pytest.approx(8 / 27 + 1 / 27, abs=0.04)
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)
    assert interval.degenerate


def test_metric_undefined_on_the_set_has_no_interval():
    interval = bootstrap(auc, np.array([True, True]), np.array([0.1, 0.9]), repeats=10)
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    assert interval.undefined == 10
    assert interval.to_dict() == {"value": None, "low": None, "high": None, "repeats": 10, "undefined": 10}
    assert str(interval) == "undefined"


def test_no_repeats_gives_the_value_alone():
    interval = bootstrap(_mean, np.array([1.0, 2.0]), repeats=0)
    assert interval.value == 1.5
    assert np.isnan(interval.low)
    assert str(interval) == "1.500"


def test_interval_of_known_auc_covers_it_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    true = 0.7602  # Phi(1 / sqrt(2)): positives N(1, 1), negatives N(0, 1)
    positive = np.arange(100) < 50
    covered = 0
    for trial in range(200):
        interval = bootstrap(auc, positive, rng.normal(size=100) + positive, repeats=200, seed=trial)
        covered += interval.low <= true <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_weighted_metrics_equal_really_repeated_rows():
    rng = np.random.default_rng(4)
    values, positive = rng.normal(size=30), rng.random(30) < 0.5
    groups = rng.integers(0, 12, 30)
    for fast, slow, arrays in [
        (lambda v, weights: mean(v, weights), np.mean, (values,)),
        (lambda v, weights: median(v, weights), np.median, (values,)),
        (auc, lambda p, s: auc(p, s)[0], (positive, np.round(values, 1))),
    ]:
        a = bootstrap(fast, *arrays, groups=groups, repeats=80, seed=5)
        b = bootstrap(repeated(slow), *arrays, groups=groups, repeats=80, seed=5)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
        assert a.undefined == b.undefined


def test_chunks_do_not_change_the_resamples(monkeypatch):
    groups = np.arange(20)
    whole = np.concatenate(list(resampled_weights(groups, 30, 1)))
    monkeypatch.setattr("covidcx.evaluation.intervals._CHUNK", 100)
    pieces = list(resampled_weights(groups, 30, 1))
    assert len(pieces) == 6
    assert (np.concatenate(pieces) == whole).all()


def test_metrics_of_one_set_share_their_resamples():
    values = np.random.default_rng(6).normal(size=20)
    both = bootstrap_all(
        {"x": lambda w: mean(values, w), "minus": lambda w: mean(-values, w)}, np.arange(20), 100, 0
    )
    assert both["x"].low == pytest.approx(-both["minus"].high)


def test_nan_values_are_left_out_of_mean_and_median():
    values = np.array([np.nan, 1.0, 4.0, 10.0])
    ones = np.ones((1, 4))
    assert mean(values, ones)[0] == 5.0
    assert median(values, ones)[0] == 4.0
    assert np.isnan(mean(np.full(3, np.nan), np.ones((1, 3)))[0])
    assert np.isnan(median(np.full(3, np.nan), np.ones((1, 3)))[0])
    assert np.isnan(median(values, np.array([[3.0, 0, 0, 0]]))[0])


def test_ratio_with_nothing_below_is_nan_not_zero():
    assert np.isnan(ratio(0, 0))
    assert ratio(1, 4) == 0.25


def test_bad_arguments_say_what_was_received():
    with pytest.raises(CovidcxError, match="0 images"):
        bootstrap_all({}, [])
    with pytest.raises(CovidcxError, match=r"\[2, 3\]"):
        bootstrap(_mean, np.zeros(3), groups=[1, 2])


def test_interval_is_shown_as_value_and_range():
    assert str(Interval(0.5, 0.4, 0.6, 10, 0)) == "0.500 (0.400 to 0.600)"
