"""Area resampling and quantising."""

import cv2
import numpy as np
import pytest

from covidcx.imaging import resize
from covidcx.imaging.resize import SummedImage, count_columns, mostly, resize_area, to_uint8

ROUNDING = 1e-10
"""Of sums over a million pixels in float64; to_uint8 minds nothing below 4e-9."""


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width)).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (417, 512), (31, 200), (5, 7)])
@pytest.mark.parametrize("size", [(32, 48), (64, 64), (3, 5), (130, 90)])
def test_mean_is_preserved_and_range_is_kept(shape, size):
    image = noise(*shape)
    result = resize_area(image, *size)
    assert result.shape == size and result.dtype == np.float64
    assert result.mean() == pytest.approx(image.astype(np.float64).mean(), abs=ROUNDING)
    assert result.min() >= float(image.min()) - ROUNDING and result.max() <= float(image.max()) + ROUNDING


@pytest.mark.parametrize("factors", [(2, 2), (4, 3), (1, 5)])
def test_integer_factors_give_block_means(factors):
    image = noise(24 * factors[0], 30 * factors[1])
    blocks = image.astype(np.float64).reshape(24, factors[0], 30, factors[1]).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_area(image, 24, 30), blocks, rtol=0, atol=ROUNDING)


def test_same_size_is_the_identity():
    image = noise(40, 50)
    np.testing.assert_array_equal(resize_area(image, 40, 50), image)


def test_growing_by_an_integer_repeats_pixels():
    image = noise(7, 9)
    np.testing.assert_allclose(resize_area(image, 21, 18), image.repeat(3, 0).repeat(2, 1), rtol=0, atol=ROUNDING)


def test_footprints_that_cut_pixels_by_hand():
    # Three pixels into two: each takes one whole and half of the middle one.
    np.testing.assert_allclose(resize_area(np.array([[0.0, 0.3, 0.9]]), 1, 2), [[0.1, 0.7]], atol=1e-15)


@pytest.mark.parametrize("shape", [(512, 417), (333, 400), (1000, 700)])
def test_shrinking_equals_opencv_area(shape):
    image = noise(*shape)
    expected = cv2.resize(image, (200, 160), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize_area(image, 160, 200), expected, rtol=0, atol=1e-3)


def test_real_radiograph_equals_opencv_area(shared_data):
    file = sorted((shared_data / "images").glob("*.jpg"))[0]
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    expected = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize_area(image, 224, 224), expected, rtol=0, atol=1e-3)


def test_masks_become_shares():
    mask = np.zeros((8, 8), bool)
    mask[:4, :6] = True
    np.testing.assert_allclose(resize_area(mask, 2, 2), [[1.0, 0.5], [0.0, 0.0]], atol=1e-15)


@pytest.mark.parametrize("shape", [(2300, 1700), (31, 40_000), (3000, 2)])
def test_images_of_many_blocks_equal_products_with_their_footprints(shape):
    image, size = noise(*shape), (37, 24)

    def footprints(length: int, count: int) -> np.ndarray:
        edges = np.arange(count + 1) * length / count
        end = np.minimum(edges[1:, None], np.arange(1, length + 1))
        return np.maximum(end - np.maximum(edges[:-1, None], np.arange(length)), 0) * count / length

    expected = footprints(shape[0], size[0]) @ image.astype(np.float64) @ footprints(shape[1], size[1]).T
    np.testing.assert_allclose(resize_area(image, *size), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((96, 96), (24, 24)), ((96, 72), (32, 12)), ((16, 48), (8, 24)), ((80, 64), (40, 8)), ((128, 16), (4, 2)),
     ((510, 510), (2, 2)), ((512, 6), (2, 3)), ((7, 5), (7, 5)), ((100, 90), (24, 24)), ((20, 20), (40, 40))],
)  # fmt: skip
def test_a_mask_resamples_as_its_means_do_whether_counted_or_summed(shape, size):
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.5, 0.7, 1.0):
        mask = rng.random(shape) < share
        means = np.array(resize_area(mask, *size))
        # Far from every share that a mask can have but one half, which is not "more than half".
        np.testing.assert_array_equal(mostly(mask, *size), means > 0.5 + 1e-7)
        np.testing.assert_array_equal(mostly(np.asfortranarray(mask), *size), means > 0.5 + 1e-7)


@pytest.mark.parametrize("height", [1, 255, 256, 600])
def test_the_pixels_of_each_column_are_counted(height):
    mask = np.random.default_rng(height).random((height, 9)) < 0.9
    mask[:, 0] = True
    np.testing.assert_array_equal(count_columns(mask), mask.sum(axis=0))


def test_a_half_is_not_mostly():
    rows, columns = np.arange(433)[:, None], np.arange(512)
    np.testing.assert_array_equal(mostly((rows + columns) % 2 == 0, 256, 256), np.zeros((256, 256), bool))
    np.testing.assert_array_equal(mostly(np.array([[True, True, True, False]]), 1, 2), [[True, False]])


def test_flipping_and_transposing_commute_with_resampling():
    image = noise(61, 83)
    result = resize_area(image, 20, 30)
    np.testing.assert_allclose(resize_area(image[::-1, ::-1], 20, 30), result[::-1, ::-1], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(resize_area(image.T, 30, 20), result.T, rtol=0, atol=ROUNDING)


def test_eight_bit_levels_survive_quantising():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(levels.astype(np.float32) / 255), levels)
    np.testing.assert_array_equal(to_uint8(levels / 255), levels)


def test_quantising_rounds_halves_up_and_clips():
    np.testing.assert_array_equal(
        to_uint8(np.array([-1.0, 0.0, 0.49 / 255, 0.5 / 255, 1.5 / 255, 254.49 / 255, 1.0, 7.0])),
        [0, 0, 0, 1, 2, 254, 255, 255],
    )


def test_quantising_is_deaf_to_rounding_noise_at_a_half():
    half = 17.5 / 255
    for noise_level in (-1e-13, 0.0, 1e-13):
        assert to_uint8(np.array([half + noise_level]))[0] == 18


@pytest.mark.parametrize("kept", [2**23, 0])
@pytest.mark.parametrize("top_level", [255, 4095])
def test_levels_of_a_summed_image_equal_those_of_its_parts_resampled(monkeypatch, kept, top_level):
    monkeypatch.setattr(resize, "_KEPT", kept)
    image = (np.random.default_rng(0).integers(0, top_level + 1, (300, 410)) / top_level).astype(np.float32)
    summed = SummedImage(image)
    assert summed.shape == (300, 410) and SummedImage.of(summed) is summed
    for top, bottom, left, right in ((0, 300, 0, 410), (17, 233, 101, 410), (280, 300, 0, 20), (40, 104, 0, 64)):
        for size in ((64, 64), (20, 27), (1, 1), (400, 3)):
            found = summed.levels(*size, (top, bottom, left, right))
            expected = to_uint8(resize_area(image[top:bottom, left:right], *size))
            assert found.shape == size and found.dtype == np.uint8
            np.testing.assert_array_equal(found, expected)


def test_levels_round_halves_up_where_whole_pixels_make_them():
    words = np.random.default_rng(1).integers(0, 256, (512, 256))
    # 255 is no power of two: grey levels of a file in 8 bits are not exact in float32, their halves are near misses.
    sums = words.reshape(128, 4, 64, 4).sum(axis=(1, 3))
    assert (sums % 16 == 8).sum() > 300
    levels = SummedImage((words / 255).astype(np.float32)).levels(128, 64)
    np.testing.assert_array_equal(levels, (sums + 8) // 16)


def test_levels_stay_within_eight_bits():
    image = np.tile(np.array([-0.5, 1.5], np.float32), (8, 4))
    np.testing.assert_array_equal(SummedImage(image).levels(2, 8), np.tile(np.array([0, 255], np.uint8), (2, 4)))
