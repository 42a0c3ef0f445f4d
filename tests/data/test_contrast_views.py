"""The views of contrastive learning stay within their ranges and move the pixels as they say."""

import numpy as np
import pytest

from covidcx.data.contrast_views import ContrastViews, View, apply_view
from covidcx.errors import RecipeError
from covidcx.training import recipes

STILL = View(False, 0.0, 0.0, 1.0, (0.0, 0.0, 1.0, 1.0), 1.0, 1.0, 1.0, False, 0.0)


def drawn(recipe: str) -> list[View]:
    views, rng = recipes.get_pretraining(recipe).contrast.views, np.random.default_rng(0)
    return [views.draw(rng) for _ in range(2000)]


def spread(found: list[View], name: str) -> tuple[float, float]:
    return min(getattr(v, name) for v in found), max(getattr(v, name) for v in found)


def test_ranges_are_the_papers():
    original, modified, second = (drawn(name) for name in ("moco-cxr", "moco-cxr-modified", "moco-v2"))
    assert spread(original, "degrees") == pytest.approx((-10, 10), abs=0.1)
    assert spread(original, "shift") == (0, 0) and spread(original, "scale") == (1, 1)
    assert spread(modified, "degrees") == pytest.approx((-20, 20), abs=0.2)
    assert spread(modified, "shift") == pytest.approx((-0.2, 0.2), abs=0.002)
    assert spread(modified, "scale") == pytest.approx((1, 1.2), abs=0.002)
    assert recipes.get_pretraining("moco-cxr").contrast.temperature == 0.2
    assert recipes.get_pretraining("moco-cxr-modified").contrast.temperature == 0.07
    areas = [view.crop[2] * view.crop[3] for view in second]
    assert 0.19 < min(areas) < 0.25 and max(areas) <= 1 and spread(second, "degrees") == (0, 0)
    assert all(v.crop[0] + v.crop[2] <= 1 + 1e-9 and v.crop[1] + v.crop[3] <= 1 + 1e-9 for v in second)
    assert recipes.get_pretraining("moco-v2").contrast.mlp
    for share, name in ((0.5, "flip"), (0.2, "grey")):
        assert np.mean([getattr(view, name) for view in second]) == pytest.approx(share, abs=0.05)
    assert np.mean([view.sigma > 0 for view in second]) == pytest.approx(0.5, abs=0.05)
    assert spread(second, "brightness") == pytest.approx((0.6, 1.4), abs=0.01)


def test_views_move_pixels_as_they_say():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:14, 8:12] = (90, 120, 150)
    where = lambda x: tuple(np.argwhere(x[..., 0] > 40).mean(axis=0))  # noqa: E731
    change = lambda **how: apply_view(image, View(**{**vars(STILL), **how}))  # noqa: E731
    np.testing.assert_array_equal(apply_view(image, STILL), image)
    np.testing.assert_array_equal(change(flip=True), image[:, ::-1])
    assert where(change(shift=0.25)) == pytest.approx((11.5, 19.5))
    # A quarter turn to the left moves what is up and left of the centre down and left.
    assert where(change(degrees=90.0)) == pytest.approx((29.5, 11.5))
    assert where(change(crop=(0.0, 0.0, 0.5, 0.5))) == pytest.approx((23.5, 19.5), abs=0.6)
    np.testing.assert_array_equal(np.unique(change(grey=True)), [0, 120])
    assert change(brightness=0.5).max() == 75
    assert change(sigma=20.0).max() < 150


def test_a_seed_repeats_and_wrong_ranges_are_refused():
    views = ContrastViews(flip=0.5, rotate=20, shift=0.2, scale=(1.0, 1.2), jitter=0.4, blur=0.5)
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    first, second = (views.apply_batch(images, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, views.apply_batch(images, np.random.default_rng(5)))
    for wrong in ({"flip": 2.0}, {"scale": (1.2, 1.0)}, {"crop": (0.0, 1.0)}, {"rotate": -1.0}):
        with pytest.raises(RecipeError, match=next(iter(wrong))):
            ContrastViews(**wrong)
