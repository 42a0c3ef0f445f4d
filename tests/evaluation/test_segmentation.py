"""Overlap and boundary error against brute force and hand-computed cases."""

import numpy as np
import pytest

from covidcx.errors import CovidcxError
from covidcx.evaluation.segmentation import boundary, boundary_error, read_mask, score_mask


def _square(top, left, size, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def _brute_force(a, b, spacing=(1.0, 1.0)):
    first = np.argwhere(boundary(a)) * np.array(spacing)
    second = np.argwhere(boundary(b)) * np.array(spacing)
    distance = np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=-1))
    forth, back = distance.min(axis=1), distance.min(axis=0)
    return np.r_[forth, back].mean(), max(np.percentile(forth, 95), np.percentile(back, 95))


def test_identical_masks():
    score = score_mask(_square(3, 4, 6), _square(3, 4, 6), spacing=(0.5, 0.5))
    assert tuple(score.to_dict().values()) == (1, 1, 0, 0, 0, 0)


def test_overlap_by_hand():
    score = score_mask(_square(0, 0, 4), _square(0, 2, 4))
    assert score.dice == pytest.approx(2 * 8 / 32)
    assert score.iou == pytest.approx(8 / 24)


def test_distance_of_two_points_by_hand():
    a, b = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    a[1, 1], b[4, 5] = True, True
    assert boundary_error(a, b) == (5.0, 5.0)
    assert boundary_error(a, b, spacing=(2.0, 0.5)) == pytest.approx([np.hypot(6, 2)] * 2)
    score = score_mask(a, b, spacing=(0.2, 0.2))
    assert score.surface_distance_mm == pytest.approx(1.0)
    assert score.dice == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_boundary_error_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    a = _square(*rng.integers(0, 8, 2), rng.integers(3, 12)) | _square(*rng.integers(0, 15, 2), 4)
    b = (rng.random((20, 20)) < 0.2) | _square(5, 5, 6)
    for spacing in ((1.0, 1.0), (0.3, 0.7)):
        assert boundary_error(a, b, spacing=spacing) == pytest.approx(_brute_force(a, b, spacing))
        assert boundary_error(b, a, spacing=spacing) == pytest.approx(_brute_force(a, b, spacing))


def test_boundary_is_the_inner_rim_and_includes_the_image_border():
    rim = boundary(_square(2, 2, 4, (8, 8)))
    assert rim.sum() == 12
    assert not rim[3:5, 3:5].any()
    assert boundary(np.ones((5, 6), bool)).sum() == 2 * 6 + 2 * 3


def test_both_masks_empty_is_full_agreement():
    score = score_mask(np.zeros((4, 4), bool), np.zeros((4, 4), bool), spacing=(1, 1))
    assert tuple(score.to_dict().values()) == (1, 1, 0, 0, 0, 0)


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_mask_is_no_agreement_without_a_distance(swap):
    masks = [np.zeros((20, 20), bool), _square(3, 3, 5)]
    score = score_mask(*(masks[::-1] if swap else masks))
    assert (score.dice, score.iou) == (0.0, 0.0)
    assert np.isnan([score.surface_distance, score.hausdorff95]).all()


def test_without_any_labelled_pixel_nothing_is_defined():
    score = score_mask(_square(3, 3, 5), _square(3, 3, 5), np.ones((20, 20), bool))
    assert np.isnan(list(score.to_dict().values())).all()


def test_millimetres_are_undefined_without_spacing():
    score = score_mask(_square(3, 3, 5), _square(3, 4, 5))
    assert np.isnan([score.surface_distance_mm, score.hausdorff95_mm]).all()


def test_ignored_pixels_change_nothing():
    truth, predicted = _square(2, 2, 12), _square(2, 2, 12)
    predicted[6:9, 6:9] = False
    ignore = _square(6, 6, 3)
    assert score_mask(predicted, truth).dice < 1
    score = score_mask(predicted, truth, ignore)
    assert (score.dice, score.iou, score.surface_distance, score.hausdorff95) == (1, 1, 0, 0)


def test_errors_beside_ignored_pixels_still_count():
    truth, predicted = _square(2, 2, 12), _square(2, 2, 10)
    ignore = _square(0, 0, 2)
    assert score_mask(predicted, truth, ignore).to_dict() == pytest.approx(
        score_mask(predicted, truth).to_dict(), nan_ok=True
    )


def test_no_distance_is_measured_from_ignored_pixels():
    truth, predicted = _square(2, 2, 6), _square(2, 4, 6)
    clean = boundary_error(predicted, truth)
    ignore = np.zeros((20, 20), bool)
    ignore[:, 13:] = True
    # What was predicted there agrees with itself and would dilute the mean.
    assert boundary_error(predicted | _square(2, 14, 5), truth, ignore) == clean


def test_mask_only_in_ignored_pixels_counts_as_empty():
    ignore = _square(0, 0, 10)
    score = score_mask(_square(2, 2, 4), np.zeros((20, 20), bool), ignore)
    assert (score.dice, score.surface_distance) == (1.0, 0.0)


def test_different_shapes_are_refused():
    with pytest.raises(CovidcxError, match=r"\(4, 4\), \(5, 4\)"):
        score_mask(np.ones((4, 4), bool), np.ones((5, 4), bool))


def test_mask_file_levels():
    lung, ignore = read_mask(np.array([[0, 60, 127, 128, 200, 255]], np.uint8))
    assert lung.tolist() == [[False, False, False, False, True, True]]
    assert ignore.tolist() == [[False, False, True, True, False, False]]
