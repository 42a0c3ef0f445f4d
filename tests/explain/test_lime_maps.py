"""LIME maps find what a transparent predictor looks at, and find it again."""

import numpy as np
import pytest

from covidcx.errors import ExplainError

pytest.importorskip("lime")

from covidcx.explain import lime_map


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    image = np.full((48, 48, 3), 0.4, np.float32) + rng.normal(0, 0.02, (48, 48, 3)).astype(np.float32)
    image[8:20, 8:20] += np.linspace(-0.4, 0.5, 12, dtype=np.float32)[:, None, None]
    return np.clip(image, 0, 1)


def predict(images):
    """Looks at the contrast of one patch only; its second class is the patch."""
    assert images.dtype == np.float32 and images.ndim == 4
    contrast = images[:, 8:20, 8:20].std(axis=(1, 2, 3))
    share = np.clip(contrast * 3, 0, 1)
    return np.stack([1 - share, share], axis=1)


def test_weight_lies_where_the_predictor_looks(image):
    heat = lime_map(predict, image, 1, superpixels=36, samples=200)
    assert heat.shape == (48, 48) and heat.dtype == np.float32
    patch = np.zeros((48, 48), bool)
    patch[8:20, 8:20] = True
    assert heat[patch].mean() > 10 * abs(heat[~patch].mean())
    assert patch[np.unravel_index(heat.argmax(), heat.shape)]


def test_the_other_class_gets_the_opposite_sign(image):
    for_it, against = (lime_map(predict, image, label, 36, 200, seed=1) for label in (1, 0))
    np.testing.assert_allclose(for_it, -against, atol=1e-4)


def test_the_same_seed_gives_the_same_map_and_global_state_is_left_alone(image):
    np.random.seed(4)
    before = np.random.get_state()[1].copy()
    first, again, other = (lime_map(predict, image, 1, 36, 60, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before)


def test_nothing_is_written_to_the_terminal(image, capfd):
    lime_map(predict, image, 1, 36, 60)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_other_channel_counts_work(image):
    assert lime_map(predict, image[..., :1], 1, 36, 60).any()


def test_wrong_settings_are_refused(image):
    with pytest.raises(ExplainError, match="label index 2 is out of range"):
        lime_map(predict, image, 2)
    with pytest.raises(ExplainError, match="H x W x C"):
        lime_map(predict, image[..., 0], 1)
    with pytest.raises(ExplainError, match="at least 2"):
        lime_map(predict, image, 1, superpixels=1)
