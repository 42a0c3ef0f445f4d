"""The two numbers of a heat map, worked out by hand."""

import math

import numpy as np
import pytest

from covidcx.errors import ExplainError
from covidcx.explain import heat_inside, pointing_hit


def _peak(row, column, shape=(40, 60)):
    heat = np.zeros(shape)
    heat[row, column] = 1.0
    return heat


def test_heat_inside_is_a_share_of_the_positive_heat():
    heat = np.array([[1.0, 2.0], [5.0, -8.0]])
    assert heat_inside(heat, np.array([[True, True], [False, True]])) == pytest.approx(3 / 8)


def test_a_blind_map_gets_the_lungs_share_of_the_image():
    lungs = np.zeros((10, 10), bool)
    lungs[:3] = True
    assert heat_inside(np.full((10, 10), 0.2), lungs) == pytest.approx(0.3)


def test_no_heat_is_no_number():
    assert math.isnan(heat_inside(np.full((4, 4), -1.0), np.ones((4, 4), bool)))


@pytest.mark.parametrize(
    ("column", "tolerance", "hit"), [(25, 0, True), (29, 0, True), (30, 0, False), (34, 5, True), (35, 5, False)]
)
def test_pointing_at_a_mask_with_tolerance(column, tolerance, hit):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:30] = True
    assert pointing_hit(_peak(15, column), mask, tolerance) is hit


@pytest.mark.parametrize(
    ("row", "column", "tolerance", "hit"),
    [
        (15, 25, 0, True), (30, 50, 0, True), (15, 31, 0, False), (15, 31, 2, True), (23, 33, 4, False),
        (23, 33, 5, True),
    ],
)
def test_pointing_at_boxes_with_tolerance(row, column, tolerance, hit):
    boxes = [(20, 10, 10, 10), (45, 28, 10, 8)]
    assert pointing_hit(_peak(row, column), boxes, tolerance) is hit


def test_mask_and_box_of_the_same_place_agree_away_from_the_border():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:30] = True
    for row in range(0, 40, 3):
        for column in range(0, 60, 3):
            heat = _peak(row, column)
            assert pointing_hit(heat, mask, 0) == pointing_hit(heat, [(20, 10, 10, 10)], 0)


def test_a_map_without_a_maximum_misses():
    mask = np.ones((4, 4), bool)
    assert pointing_hit(np.full((4, 4), 0.5), mask) is False
    assert pointing_hit(np.full((4, 4), -0.5), mask) is False


def test_wrong_input_is_refused():
    with pytest.raises(ExplainError, match=r"\(4, 4\) and mask \(5, 4\)"):
        heat_inside(np.ones((4, 4)), np.ones((5, 4), bool))
    with pytest.raises(ExplainError, match="NaN"):
        heat_inside(np.full((4, 4), np.nan), np.ones((4, 4), bool))
    with pytest.raises(ExplainError, match="empty"):
        pointing_hit(_peak(1, 1), np.zeros((40, 60), bool))
    with pytest.raises(ExplainError, match="no box"):
        pointing_hit(_peak(1, 1), [])
    with pytest.raises(ExplainError, match="tolerance"):
        pointing_hit(_peak(1, 1), [(0, 0, 1, 1)], -1)
