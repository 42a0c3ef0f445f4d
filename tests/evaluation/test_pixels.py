import numpy as np
import pytest

from covidcx.errors import CovidcxError
from covidcx.evaluation.pixels import count_pixels, pixel_metrics

# Two rows of four pixels. First image: 3 found, 1 missed, 1 false alarm, 2 right, 1 ignored. Second: no foreground.
TRUTH = [np.array([[1, 1, 1, 1], [0, 0, 0, -1]]), np.array([[0, 0], [0, 0]])]
FOUND = [np.array([[0.9, 0.51, 0.8, 0.5], [0.7, 0.2, 0.0, 1.0]]), np.array([[0.1, 0.9], [0.2, 0.3]])]


def test_counts_by_hand():
    counts = count_pixels(FOUND, TRUTH)
    assert counts.true_positive.tolist() == [3, 0]
    assert counts.false_positive.tolist() == [1, 1]
    assert counts.false_negative.tolist() == [1, 0]  # exactly 0.5 is not above the threshold
    assert counts.true_negative.tolist() == [2, 3]
    assert counts.iou.tolist() == [3 / 5, 0]
    np.testing.assert_allclose(counts.dice, [6 / 8, 0])
    assert counts.true_positive_rate[0] == 3 / 4 and np.isnan(counts.true_positive_rate[1])


def test_pooled_and_mean_rates_differ_where_lesions_differ_in_size():
    truth = [np.ones((10, 10)), np.pad(np.ones((1, 1)), ((0, 9), (0, 9)))]
    found = [np.ones((10, 10)), np.zeros((10, 10))]
    metrics = pixel_metrics(count_pixels(found, truth), ["a", "b"], repeats=200)
    assert metrics["true_positive_rate"].value == pytest.approx(100 / 101)
    assert metrics["true_positive_rate_mean"].value == 0.5
    assert (metrics["true_positive_rate_mean"].low, metrics["true_positive_rate_mean"].high) == (0, 1)
    assert metrics["precision"].value == 1 and metrics["false_positive_rate"].value == 0


def test_calling_everything_wins_the_rate_and_loses_the_rest():
    counts = count_pixels([np.ones((2, 4)), np.ones((2, 2))], TRUTH)
    metrics = pixel_metrics(counts, [1, 2], repeats=0)
    assert metrics["true_positive_rate"].value == 1
    assert metrics["false_positive_rate"].value == 1
    assert metrics["precision"].value == 4 / 11
    assert metrics["iou_mean"].value == pytest.approx((4 / 7 + 0) / 2)


def test_empty_masks_agree_and_unlabelled_images_do_not_count():
    counts = count_pixels([np.zeros((2, 2)), np.ones((2, 2))], [np.zeros((2, 2)), -np.ones((2, 2))])
    assert counts.iou[0] == 1 and np.isnan(counts.iou[1])
    metrics = pixel_metrics(counts, [1, 2], repeats=0)
    assert metrics["iou_mean"].value == 1 and np.isnan(metrics["true_positive_rate"].value)


@pytest.mark.parametrize(
    ("found", "truth", "said"),
    [
        ([np.zeros((2, 2))], [], "1 predicted masks and 0"),
        ([np.zeros((2, 2))], [np.zeros((2, 3))], r"\(2, 2\).*\(2, 3\)"),
        ([np.full((2, 2), np.nan)], [np.zeros((2, 2))], "NaN"),
        ([np.zeros((2, 2))], [np.full((2, 2), 255)], "255"),
    ],
)
def test_masks_that_do_not_fit_are_refused(found, truth, said):
    with pytest.raises(CovidcxError, match=said):
        count_pixels(found, truth)
