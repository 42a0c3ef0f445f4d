"""Holes lie where Fig. 1 of SIIM multi-class allows them."""

import numpy as np
import pytest

from covidcx.data.holes import InpaintingMasks
from covidcx.errors import RecipeError


@pytest.mark.parametrize(("height", "width"), [(224, 224), (96, 96), (320, 288)])
def test_lung_holes_stay_within_the_limits_for_many_seeds(height, width):
    masks, share = InpaintingMasks("lungs"), min(height, width) / 224
    sides, halves = set(), []
    for seed in range(1000):
        left, right = masks.boxes(height, width, np.random.default_rng(seed))
        for y, x, tall, wide in (left, right):
            assert tall == wide and round(17 * share) <= tall <= round(32 * share)
            assert 0.15 * height <= y and y + tall <= 0.80 * height
            assert 0.10 * width <= x and x + wide <= 0.90 * width
            sides.add(tall)
        assert left[1] + left[3] <= width // 2 <= right[1]
        halves.append((left[0], left[1], right[0], right[1]))
    assert {round(17 * share), round(32 * share)} <= sides
    # Every part of the region is reached, up to a few pixels.
    low, high = np.min(halves, axis=0) / (height, width, height, width), np.max(halves, axis=0)
    np.testing.assert_allclose(low, (0.15, 0.10, 0.15, 0.50), atol=0.02)
    assert high[0] > 0.70 * height and high[3] > 0.80 * width


def test_centre_hole_is_100_of_224_pixels_and_filled_with_the_mean():
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    masked, holes = InpaintingMasks("centre").apply_batch(images, np.random.default_rng(0))
    assert holes.sum(axis=(1, 2)).tolist() == [10_000, 10_000] and holes[0, 62:162, 62:162].all()
    np.testing.assert_array_equal(masked[~holes], images[~holes])
    np.testing.assert_array_equal(np.unique(masked[1, 62:162, 62:162, 1]), [round(images[1, ..., 1].mean())])


@pytest.mark.parametrize("wrong", [{"lungs": (32, 17)}, {"lungs": (17, 150)}, {"centre": 300}, {"patches": 0}])
def test_holes_that_cannot_be_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        InpaintingMasks("lungs", **wrong)
