"""Augmentation is a value: reproducible, label preserving, and masks and boxes move along."""

import numpy as np
import pytest

pytest.importorskip("albumentations")

from covidcx.data.augment import Augmentation, random_tone, swap_texture

HEAVY = Augmentation(
    flip=0.5, rotate=10, shift=0.05, scale=0.1, brightness=0.2, blur=0.3, downscale=0.3, noise=0.3, jpeg=0.3,
    cutout=0.2, tone=0.7, texture_swap=0.7,
)  # fmt: skip


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (4, 64, 64, 3)).astype(np.uint8)


def test_no_setting_changes_nothing(batch):
    np.testing.assert_array_equal(Augmentation().apply_batch(batch, None, np.random.default_rng(0)), batch)


def test_same_generator_state_gives_same_images_and_another_state_others(batch):
    first = HEAVY.apply_batch(batch, None, np.random.default_rng(3))
    again = HEAVY.apply_batch(batch, None, np.random.default_rng(3))
    other = HEAVY.apply_batch(batch, None, np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.dtype == np.uint8 and first.shape == batch.shape


def test_input_is_not_written_to(batch):
    before = batch.copy()
    HEAVY.apply_batch(batch, None, np.random.default_rng(0))
    np.testing.assert_array_equal(batch, before)


def test_pixels_blanked_outside_the_lungs_stay_black():
    lungs = np.zeros((2, 64, 64), bool)
    lungs[:, 16:48, 8:56] = True
    images = np.where(lungs[..., None], 120, 0).astype(np.uint8).repeat(3, axis=-1)
    images[1] = np.where(lungs[1][..., None], 200, 0)
    photometric = Augmentation(texture_swap=1.0, tone=1.0, noise=1.0, jpeg=1.0, blur=1.0)
    out = photometric.apply_batch(images, lungs, np.random.default_rng(0))
    assert (out[~lungs] == 0).all()
    assert (out[lungs] > 0).all()
    moved = Augmentation(rotate=15, shift=0.1, brightness=0.2).apply_batch(images, lungs, np.random.default_rng(1))
    assert 0.7 < (moved > 0).mean() / (images > 0).mean() < 1.3
    assert (moved == 0).all(axis=-1).mean() > 0.3


def test_mask_moves_with_the_image_and_keeps_its_values():
    image = np.zeros((64, 64, 1), np.uint8)
    image[10:30, 12:40] = 200
    mask = (image > 0).astype(np.int8)
    mask[0:4, 0:4] = -1
    moved = Augmentation(flip=0.5, rotate=15, shift=0.1, scale=0.2)
    for seed in range(8):
        out, out_mask = moved.apply_pair(image, mask, np.random.default_rng(seed))
        assert out.shape == image.shape and out_mask.dtype == np.int8
        assert set(np.unique(out_mask)) <= {-1, 0, 1}
        inside = out_mask == 1
        overlap = (inside & (out > 100)).sum() / max((inside | (out > 100)).sum(), 1)
        assert overlap > 0.85


def test_box_moves_with_the_image():
    image = np.zeros((100, 100, 1), np.uint8)
    image[20:40, 10:30] = 255
    out, boxes = Augmentation(flip=1.0).apply_boxes(image, np.array([[10, 20, 20, 20]]), np.random.default_rng(0))
    rows, columns = np.nonzero(out[..., 0])
    np.testing.assert_allclose(boxes[0], [columns.min(), rows.min(), 20, 20], atol=1)
    assert columns.min() == 70


def test_texture_swap_keeps_coarse_structure_and_takes_the_donors_noise():
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 96)[None, :, None].repeat(96, 0).repeat(3, 2)
    smooth = ramp.astype(np.uint8)
    noisy = np.clip(120 + rng.normal(0, 15, ramp.shape), 0, 255).astype(np.uint8)
    out = swap_texture(smooth, noisy, 3.0).astype(float)
    assert np.corrcoef(out.mean(axis=(0, 2)), ramp.mean(axis=(0, 2)))[0, 1] > 0.99
    fine = out - ramp
    donor = noisy.astype(float) - 120
    assert np.corrcoef(fine[8:-8, 8:-8].ravel(), donor[8:-8, 8:-8].ravel())[0, 1] > 0.9


def test_tone_is_monotone_and_keeps_black():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for seed in range(20):
        out = random_tone(levels, np.random.default_rng(seed)).ravel().astype(int)
        assert out[0] == 0
        assert (np.diff(out[1:]) >= 0).all()
        assert out[-1] >= 210


def test_an_image_without_any_mask_is_augmented_like_one_with_masks():
    value, image = Augmentation(rotate=20, shift=0.1, tone=0.5), np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    image, none = image.astype(np.uint8), np.zeros((32, 32, 0), np.int8)
    alone, nothing = value.apply_pair(image, none, np.random.default_rng(5))
    beside, _ = value.apply_pair(image, np.zeros((32, 32, 1), np.int8), np.random.default_rng(5))
    np.testing.assert_array_equal(alone, beside)
    assert nothing.shape == (32, 32, 0)
