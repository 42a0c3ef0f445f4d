"""The lung region of interest: mask, dilation, box."""

import cv2
import numpy as np
import pytest

from covidcx.errors import ImageError
from covidcx.imaging import enhance
from covidcx.imaging.preprocessing import Preprocessing, prepare
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.imaging.roi import SEGMENTER_SIZE, LungROI, bounding_box, grow, segment_lungs, segmenter_input


def rectangle(top: int, bottom: int, left: int, right: int, shape: tuple[int, int] = (256, 256)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(("kernel", "iterations"), [(5, 3), (3, 1), (7, 2), (5, 0), (1, 4)])
def test_dilation_adds_half_a_kernel_per_iteration(kernel, iterations):
    grown = grow(rectangle(100, 150, 60, 90), LungROI(kernel=kernel, iterations=iterations))
    reach = kernel // 2 * iterations
    np.testing.assert_array_equal(grown, rectangle(100 - reach, 150 + reach, 60 - reach, 90 + reach))


def test_dilation_stops_at_the_border():
    grown = grow(rectangle(0, 30, 240, 256), LungROI())
    np.testing.assert_array_equal(grown, rectangle(0, 36, 234, 256))


def test_specks_are_removed_and_lungs_are_kept():
    mask = rectangle(100, 150, 60, 90)
    mask[10:14, 10:14] = True
    mask[200, :] = True
    np.testing.assert_array_equal(grow(mask, LungROI()), grow(rectangle(100, 150, 60, 90), LungROI()))


def test_nothing_but_specks_leaves_an_empty_grid():
    mask = rectangle(20, 24, 20, 24) | rectangle(90, 94, 200, 203)
    assert not grow(mask, LungROI()).any()
    assert grow(mask, LungROI(kernel=3)).any()


def test_masks_of_any_size_meet_on_the_same_grid():
    small, large = rectangle(64, 128, 32, 96), rectangle(256, 512, 64, 192, (1024, 512))
    np.testing.assert_array_equal(grow(small, LungROI()), grow(large, LungROI()))


def test_bounding_box_by_hand():
    # On the grid 64..128 by 32..96; 10% of 64 cells is 6.4 cells a side, one cell is 4 by 2 image pixels.
    box = bounding_box(rectangle(64, 128, 32, 96), (1024, 512), 0.1)
    assert box == (230, 538, 51, 205)  # 57.6 x 4 = 230.4, 134.4 x 4 = 537.6, 25.6 x 2 = 51.2, 102.4 x 2 = 204.8


def test_bounding_box_without_margin_is_tight():
    assert bounding_box(rectangle(64, 128, 32, 96), (256, 256), 0.0) == (64, 128, 32, 96)
    assert bounding_box(rectangle(64, 128, 32, 96), (512, 1024), 0.0) == (128, 256, 128, 384)


def test_bounding_box_spans_both_lungs():
    assert bounding_box(rectangle(50, 90, 30, 60) | rectangle(70, 120, 150, 200), (256, 256), 0.0) == (50, 120, 30, 200)


def test_margin_grows_the_box_and_stops_at_the_border():
    grid = rectangle(10, 250, 100, 150)
    previous = (256, 0, 256, 0)
    for margin in (0.0, 0.02, 0.2, 1.0):
        box = bounding_box(grid, (300, 400), margin)
        assert box[0] <= previous[0] and box[1] >= previous[1] and box[2] <= previous[2] and box[3] >= previous[3]
        assert 0 <= box[0] < box[1] <= 300 and 0 <= box[2] < box[3] <= 400
        previous = box
    assert previous[:2] == (0, 300)


def test_bounding_box_of_an_empty_grid_is_the_whole_image():
    assert bounding_box(np.zeros((256, 256), bool), (123, 77), 0.02) == (0, 123, 0, 77)


@pytest.mark.parametrize("shape", [(20, 31), (3, 3), (1, 1)])
def test_bounding_box_is_never_empty(shape):
    for cell in (0, 100, 255):
        box = bounding_box(rectangle(cell, cell + 1, cell, cell + 1), shape, 0.0)
        assert 0 <= box[0] < box[1] <= shape[0] and 0 <= box[2] < box[3] <= shape[1]


def test_box_holds_the_real_lungs(shared_data):
    files = sorted((shared_data / "lung_masks").glob("*.png"))[:40]
    assert files
    for file in files:
        mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) == 255
        top, bottom, left, right = bounding_box(grow(mask, LungROI()), mask.shape, 0.02)
        assert mask[top:bottom, left:right].sum() >= 0.999 * mask.sum(), file.name
        assert (bottom - top) * (right - left) >= mask.sum(), file.name


def test_empty_mask_keeps_the_whole_image():
    pixels = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    empty = np.zeros(pixels.shape, bool)
    with_roi = prepare(pixels, Preprocessing(size=(64, 64), roi=LungROI(blank=True)), empty)
    without = prepare(pixels, Preprocessing(size=(64, 64)))
    np.testing.assert_array_equal(with_roi.image, without.image)
    assert with_roi.geometry.box == (0, 90, 0, 70)
    assert with_roi.geometry.lungs_found is False and with_roi.lungs is None


@pytest.mark.parametrize(
    ("enhancement", "function"),
    [("ahe", enhance.equalize_adaptive), ("clahe", enhance.equalize_clahe), ("none", np.array)],
)
def test_segmenter_sees_256_pixels_enhanced_as_asked(enhancement, function):
    pixels = np.random.default_rng(1).random((300, 200)).astype(np.float32)
    plain = to_uint8(resize_area(pixels, SEGMENTER_SIZE, SEGMENTER_SIZE))
    np.testing.assert_array_equal(segmenter_input(pixels, enhancement), function(plain))


def test_segmented_lungs_come_back_in_the_image_s_own_pixels():
    pixels = np.zeros((512, 384), np.float32)
    pixels[128:384, 96:192] = 1.0
    seen = {}

    def segmenter(batch: np.ndarray) -> np.ndarray:
        seen["batch"] = batch
        return batch

    mask = segment_lungs(pixels, segmenter, enhance="none")
    batch = seen["batch"]
    assert batch.shape == (1, 256, 256, 1) and batch.dtype == np.float32
    assert batch.min() == 0.0 and batch.max() == 1.0
    assert mask.shape == pixels.shape and mask.dtype == bool
    np.testing.assert_array_equal(mask, pixels > 0.5)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"enhance": "he"}, "'he'"),
        ({"kernel": 4}, "4"),
        ({"iterations": -1}, "-1"),
        ({"margin": 1.5}, "1.5"),
        ({"margin": -0.1}, "-0.1"),
        ({"margin": float("nan")}, "nan"),
        ({"margin": "wide"}, "'wide'"),
        ({"margin": True}, "margin.*True"),
        ({"enhance": None}, "None"),
        ({"kernel": 0}, "1 or more, received 0"),
        ({"kernel": -1}, "1 or more, received -1"),
        ({"kernel": True}, "kernel.*True"),
        ({"kernel": 5.0}, "kernel.*5.0"),
        ({"kernel": "5"}, "kernel.*'5'"),
        ({"iterations": 1.5}, "iterations.*1.5"),
        ({"iterations": True}, "iterations.*True"),
        ({"crop": 1}, "crop.*received 1"),
        ({"blank": "no"}, "blank.*'no'"),
    ],
)
def test_impossible_settings_are_refused_with_the_value(settings, shown):
    with pytest.raises(ImageError, match=shown) as caught:
        LungROI(**settings)
    assert "\n" not in str(caught.value)


def test_numbers_are_kept_as_one_type():
    roi = LungROI(kernel=np.int64(3), margin=0)
    assert type(roi.kernel) is int and type(roi.margin) is float


@pytest.mark.parametrize("crop", [True, False])
def test_specks_that_the_network_s_grid_misses_count_as_no_lungs(crop):
    # Two specks of one cell in opposite corners; every network pixel looks between them.
    mask = np.zeros((256, 256), bool)
    mask[10, 12] = mask[200, 220] = True
    pixels = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    roi = LungROI(kernel=1, iterations=0, crop=crop, blank=True)
    assert grow(mask, roi).any()
    prepared = prepare(pixels, Preprocessing(size=(16, 16), roi=roi), mask)
    assert prepared.geometry.lungs_found is False and prepared.lungs is None
    assert prepared.geometry.box == (0, 256, 0, 256)
    np.testing.assert_array_equal(prepared.image, prepare(pixels, Preprocessing(size=(16, 16))).image)
