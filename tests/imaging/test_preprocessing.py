"""`Preprocessing` as a value, its NumPy executor, and the way back to the original pixels."""

import dataclasses
import json

import numpy as np
import pytest

from covidcx.errors import ImageError, UnreadableImageError
from covidcx.imaging import enhance
from covidcx.imaging.preprocessing import CHANNELS, Geometry, Preprocessing, prepare
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.imaging.roi import LungROI

RAMP = tuple(np.round(np.linspace(0, 1, 256), 6).tolist())
FULL = Preprocessing(
    size=(224, 192), channels=("he", "clahe", "beasf", "original"),
    roi=LungROI(enhance="clahe", blank=True, margin=0.1),
    winsorise=92.5, winsorise_low=1.0, histogram=RAMP, lung_statistics=True, clahe_clip=3.0, clahe_tiles=(4, 8),
    gamma=0.8, beasf_variant="arriaga_garcia",
)
CHANGED = {
    "size": (224, 224),
    "channels": ("original", "clahe"),
    "roi": LungROI(),
    "winsorise": 92.5,
    "winsorise_low": 1.0,
    "histogram": RAMP,
    "lung_statistics": True,
    "clahe_clip": 3.0,
    "clahe_tiles": (4, 4),
    "gamma": 1.0,
    "beasf_variant": "arriaga_garcia",
}


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = resize_area(rng.random((12, 10)), 200, 160)
    return np.clip(0.8 * coarse + 0.2 * rng.random((200, 160)), 0, 1).astype(np.float32)


@pytest.fixture
def lungs() -> np.ndarray:
    mask = np.zeros((200, 160), bool)
    mask[50:150, 30:70] = True
    mask[60:140, 95:130] = True
    return mask


# --- the value


@pytest.mark.parametrize("spec", [Preprocessing(), FULL, Preprocessing(roi=LungROI(crop=False))])
def test_json_round_trip_gives_an_equal_value(spec):
    again = Preprocessing.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec and again.hash == spec.hash
    assert isinstance(again.size, tuple) and isinstance(again.channels, tuple)
    assert again.roi is None or isinstance(again.roi, LungROI)


def test_missing_keys_take_the_defaults():
    assert Preprocessing.from_dict({}) == Preprocessing()
    assert Preprocessing.from_dict({"size": [64, 64]}) == Preprocessing(size=(64, 64))


def test_hash_is_twelve_hexadecimal_digits_and_stable():
    value = Preprocessing().hash
    assert len(value) == 12 and int(value, 16) >= 0
    assert value == Preprocessing().hash == Preprocessing.from_dict(Preprocessing().to_dict()).hash


def test_every_field_has_a_case_in_this_test():
    assert set(CHANGED) == {field.name for field in dataclasses.fields(Preprocessing)}


@pytest.mark.parametrize("field", CHANGED)
def test_hash_changes_with_every_field(field):
    base = Preprocessing(roi=LungROI(margin=0.5)) if field == "lung_statistics" else Preprocessing()
    assert dataclasses.replace(base, **{field: CHANGED[field]}).hash != base.hash


@pytest.mark.parametrize(
    "change", [{"enhance": "none"}, {"kernel": 3}, {"iterations": 1}, {"margin": 0.1}, {"crop": False}, {"blank": True}]
)
def test_hash_changes_with_every_field_of_the_roi(change):
    assert Preprocessing(roi=LungROI(**change)).hash != Preprocessing(roi=LungROI()).hash


def test_unknown_setting_is_refused_with_a_suggestion():
    with pytest.raises(ImageError, match=r"'winsorize'\. Did you mean 'winsorise'\?"):
        Preprocessing.from_dict({"winsorize": 92.5})


def test_hashes_of_released_settings_stay():
    # They name caches and stand in the bundles' records.
    assert Preprocessing().hash == "9d4ba3cbf924"
    assert Preprocessing(roi=LungROI()).hash == "3b1b6a192f17"


def test_unknown_channel_is_refused_with_a_suggestion():
    with pytest.raises(ImageError, match=r"'clahee'\. Did you mean 'clahe'\?.*beasf"):
        Preprocessing(channels=("original", "clahee"))


def test_only_a_roi_needs_lungs():
    assert Preprocessing(roi=LungROI()).needs_lungs and not Preprocessing().needs_lungs


# --- the executor


def test_channels_are_the_enhancements_of_the_resized_image(pixels):
    spec = Preprocessing(size=(64, 48), channels=CHANNELS, clahe_clip=3.0, clahe_tiles=(4, 8), gamma=2.0)
    image = prepare(pixels, spec).image
    plain = to_uint8(resize_area(pixels, 64, 48))
    expected = [
        plain, enhance.equalize(plain), enhance.equalize_adaptive(plain),
        enhance.equalize_clahe(plain, 3.0, (4, 8)), enhance.equalize_beasf(plain, 2.0),
    ]
    assert image.dtype == np.uint8 and image.shape == (64, 48, 5)
    np.testing.assert_array_equal(image, np.stack(expected, axis=-1))


def test_grey_levels_are_winsorised_before_they_are_matched(pixels):
    spec = Preprocessing(size=(64, 48), channels=("original",), winsorise=90.0, winsorise_low=2.0, histogram=RAMP)
    plain = to_uint8(resize_area(pixels, 64, 48))
    expected = enhance.match_histogram(enhance.winsorise(plain, 90.0, 2.0), RAMP)
    np.testing.assert_array_equal(prepare(pixels, spec).image[..., 0], expected)


def test_crop_keeps_the_box_of_the_lungs(pixels, lungs):
    spec = Preprocessing(size=(64, 64), channels=("original",), roi=LungROI(margin=0.0, iterations=0))
    prepared = prepare(pixels, spec, lungs)
    top, bottom, left, right = prepared.geometry.box
    # A cell of the segmenter's grid is less than a pixel of this image.
    assert abs(top - 50) <= 1 and abs(bottom - 150) <= 1 and abs(left - 30) <= 1 and abs(right - 130) <= 1
    expected = to_uint8(resize_area(pixels[top:bottom, left:right], 64, 64))
    np.testing.assert_array_equal(prepared.image[..., 0], expected)


def test_blanked_input_does_not_depend_on_what_lies_outside_the_lungs(pixels, lungs):
    spec = Preprocessing(
        size=(64, 64), channels=("original", "he", "clahe", "beasf"), roi=LungROI(blank=True, crop=False),
        winsorise=95.0, lung_statistics=True,
    )
    prepared = prepare(pixels, spec, lungs)
    far = resize_area(prepared.geometry.restore(prepared.lungs.astype(np.float32)), *pixels.shape) == 0
    other = np.where(far, 1 - pixels, pixels).astype(np.float32)
    assert (other != pixels).mean() > 0.3
    inside = prepared.lungs
    assert (prepared.image[~inside] == 0).all() and (prepared.image[inside] > 0).mean() > 0.9
    # Pixels at the lungs' rim mix both sides, hence a small share may move.
    changed = np.abs(prepare(other, spec, lungs).image.astype(int) - prepared.image) > 2
    assert changed.mean() < 0.01


def test_lung_statistics_change_the_grey_levels(pixels, lungs):
    whole = Preprocessing(size=(64, 64), roi=LungROI(crop=False), winsorise=70.0, channels=("original",))
    inside = dataclasses.replace(whole, lung_statistics=True)
    darker = np.where(lungs, pixels * 0.4, pixels).astype(np.float32)
    first, second = (prepare(darker, spec, lungs) for spec in (whole, inside))
    region = second.lungs
    assert second.image[region].mean() > first.image[region].mean() + 20


def test_lungs_on_the_network_s_grid_follow_the_crop(pixels, lungs):
    spec = Preprocessing(size=(64, 64), roi=LungROI(margin=0.05, iterations=0))
    prepared = prepare(pixels, spec, lungs)
    expected = prepared.geometry.project(lungs, (64, 64))
    assert (prepared.lungs == expected).mean() > 0.97
    assert prepared.lungs.mean() == pytest.approx(expected.mean(), abs=0.03)


def test_network_input_is_a_batch_of_floats_in_0_to_1(pixels):
    batch = prepare(pixels, Preprocessing(size=(64, 64))).network_input
    assert batch.shape == (1, 64, 64, 3) and batch.dtype == np.float32
    assert batch.min() >= 0.0 and batch.max() <= 1.0 and batch.max() > 0.9


def test_preparing_is_repeatable_and_leaves_the_pixels_alone(pixels, lungs):
    before = pixels.copy()
    first, second = prepare(pixels, FULL, lungs), prepare(pixels, FULL, lungs)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(pixels, before)


def test_missing_and_misshapen_masks_are_refused(pixels):
    spec = Preprocessing(size=(64, 64), roi=LungROI())
    with pytest.raises(ImageError, match=r"\(200, 160\), received None"):
        prepare(pixels, spec)
    with pytest.raises(ImageError, match=r"\(200, 160\), received \(160, 200\)"):
        prepare(pixels, spec, np.ones((160, 200), bool))


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (np.zeros((32, 32), np.uint8), "uint8"),
        (np.zeros((32, 32), bool), "bool"),
        (np.zeros((32, 32, 3), np.float32), r"\(32, 32, 3\)"),
        (np.zeros((0, 32), np.float32), r"\(0, 32\)"),
        (np.zeros((32, 0), np.float32), r"\(32, 0\)"),
        (np.full((32, 32), 128.0, np.float32), "128"),
        (np.full((32, 32), -0.5), "-0.5"),
        (np.where(np.eye(32, dtype=bool), np.nan, 0.5), "nan"),
        (np.where(np.eye(32, dtype=bool), np.inf, 0.5), "inf"),
        ([[0.0, 1.0]], "list"),
    ],
)
def test_arrays_that_are_no_radiograph_are_refused_with_what_they_are(wrong, shown):
    for spec in (Preprocessing(size=(32, 32)), Preprocessing(size=(32, 32), roi=LungROI())):
        with pytest.raises(ImageError, match=rf"received.*{shown}") as caught:
            prepare(wrong, spec, np.ones(np.shape(wrong)[:2], bool))
        assert "\n" not in str(caught.value)


def test_pixels_a_rounding_beyond_the_range_are_prepared():
    pixels = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    expected = prepare(pixels, Preprocessing(size=(32, 32)))
    np.testing.assert_array_equal(
        prepare(pixels * (1 + 1e-8) - 5e-9, Preprocessing(size=(32, 32))).image, expected.image
    )


def test_masks_that_are_not_bool_are_refused(pixels, lungs):
    with pytest.raises(ImageError, match="bool, received uint8"):
        prepare(pixels, Preprocessing(size=(64, 64), roi=LungROI()), lungs.astype(np.uint8) * 255)


@pytest.mark.parametrize("shape", [(0, 0), (0, 32), (32, 0)])
def test_radiographs_without_pixels_are_refused(shape):
    with pytest.raises(UnreadableImageError, match=rf"no pixels, received \({shape[0]}, {shape[1]}\)"):
        Radiograph(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [1.0, 0.0, -0.0, 1e-45])
def test_radiographs_take_the_ends_of_their_range(value):
    assert Radiograph(np.full((2, 2), value, np.float32)).pixels[0, 0] == np.float32(value)


@pytest.mark.parametrize("value", [np.nextafter(np.float32(1), np.float32(2)), -1e-45, 2.0])
def test_radiographs_refuse_one_pixel_outside(value):
    pixels = np.full((3, 3), 0.5, np.float32)
    pixels[1, 2] = value
    with pytest.raises(UnreadableImageError, match=r"in 0\.\.1"):
        Radiograph(pixels)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_no_numbers_never_reach_preparation(bad):
    pixels = np.full((32, 32), 0.5, np.float32)
    pixels[3, 4] = bad
    with pytest.raises(ImageError, match="1 pixels that are NaN or infinite"):
        Radiograph(pixels)


def test_radiograph_shares_no_memory_that_someone_may_write_on():
    base = np.full((4, 5), 0.5, np.float32)
    view = base[:]
    view.flags.writeable = False
    for given in (base, view):
        assert not np.shares_memory(Radiograph(given).pixels, base)
    base.flags.writeable = False
    assert Radiograph(base).pixels is base


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_constant_images_survive_every_step(level, lungs):
    image = prepare(np.full((200, 160), level, np.float32), FULL, lungs).image
    assert image.shape == (224, 192, 4)


# --- the way back


def test_hot_cell_lands_where_the_crop_says():
    geometry = Geometry((100, 120), (20, 80, 30, 110))
    heat = np.zeros((6, 8), np.float32)
    heat[2, 5] = 1.0
    whole = geometry.restore(heat)
    assert whole.shape == (100, 120) and whole.dtype == np.float32
    # Cells are 10 pixels a side: row 2 covers 40..50, column 5 covers 80..90.
    peak = np.argwhere(whole == whole.max()).mean(axis=0)
    np.testing.assert_allclose(peak, [44.5, 84.5], atol=0.5)
    assert whole[40:50, 80:90].min() >= 0.25
    assert whole.sum() == pytest.approx(100.0, rel=0.01)


def test_restored_map_is_zero_outside_the_box_and_whole_inside():
    geometry = Geometry((50, 60), (10, 31, 5, 58))
    whole = geometry.restore(np.ones((7, 7)))
    expected = np.zeros((50, 60), np.float32)
    expected[10:31, 5:58] = 1.0
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("grid", [(10, 10), (7, 9), (20, 20)])
def test_coordinates_come_back_within_half_a_cell(grid):
    geometry = Geometry((400, 300), (37, 381, 22, 271))
    heights, widths = 344 / grid[0], 249 / grid[1]
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, grid[0], 12), rng.integers(0, grid[1], 12), strict=True):
        heat = np.zeros(grid, np.float32)
        heat[row, column] = 1.0
        y, x = np.argwhere(geometry.restore(heat) > 0.99 * geometry.restore(heat).max()).mean(axis=0) + 0.5
        assert abs(y - (37 + (row + 0.5) * heights)) <= heights / 2
        assert abs(x - (22 + (column + 0.5) * widths)) <= widths / 2


def test_network_pixels_come_back_to_the_original(pixels, lungs):
    spec = Preprocessing(size=(64, 64), channels=("original",), roi=LungROI())
    prepared = prepare(pixels, spec, lungs)
    top, bottom, left, right = prepared.geometry.box
    back = prepared.geometry.restore(prepared.image[..., 0] / 255.0)[top:bottom, left:right]
    smooth = resize_area(resize_area(pixels[top:bottom, left:right], 64, 64), bottom - top, right - left)
    assert np.abs(back - smooth).mean() < 0.02


def test_project_and_restore_bring_a_mask_round_trip():
    geometry = Geometry((300, 240), (40, 260, 20, 220))
    mask = np.zeros((300, 240), bool)
    mask[90:200, 60:150] = True
    projected = geometry.project(mask, (128, 128))
    assert projected.shape == (128, 128) and projected.dtype == bool
    back = geometry.restore(projected.astype(np.float32)) > 0.5
    overlap = (back & mask).sum() / (back | mask).sum()
    assert overlap > 0.97


def test_project_by_hand():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:6] = True
    expected = [[True, True, False], [False, False, False], [False, False, False]]
    np.testing.assert_array_equal(Geometry((8, 8), (2, 8, 2, 8)).project(mask, (3, 3)), expected)


def test_project_agrees_with_prepare_on_where_things_are(pixels, lungs):
    spec = Preprocessing(size=(96, 96), channels=("original",), roi=LungROI())
    marked = np.zeros_like(pixels)
    marked[100:120, 40:60] = 1.0
    prepared = prepare(marked, spec, lungs)
    np.testing.assert_array_equal(prepared.image[..., 0] > 127, prepared.geometry.project(marked > 0.5, (96, 96)))
