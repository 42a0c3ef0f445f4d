"""Contrast enhancement against OpenCV, scikit-image and slow references written from the formulas."""

import math

import cv2
import numpy as np
import pytest

from covidcx.errors import ImageError
from covidcx.imaging import enhance

SHAPE = (72, 88)


def picture(kind: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(len(kind))
    noise = rng.integers(0, 256, shape).astype(np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5), None, 0, 255, cv2.NORM_MINMAX)
    return {
        "noise": noise,
        "smooth": smooth,
        "dark": (smooth // 4).astype(np.uint8),
        "bright": (255 - smooth // 6).astype(np.uint8),
        "narrow": (100 + smooth // 16).astype(np.uint8),
        "binary": np.where(smooth > 128, 255, 0).astype(np.uint8),
        "two levels": np.where(smooth > 100, 91, 90).astype(np.uint8),
    }[kind]


KINDS = ["noise", "smooth", "dark", "bright", "narrow", "binary", "two levels"]


# --- HE


@pytest.mark.parametrize("kind", KINDS)
def test_equalize_is_opencv_equalisation(kind):
    image = picture(kind)
    np.testing.assert_array_equal(enhance.equalize(image), cv2.equalizeHist(image))


def test_equalize_follows_the_cumulative_histogram_by_hand():
    image = np.array([[10, 10, 20, 30], [30, 30, 30, 40]], np.uint8)
    # Counts 2, 1, 4, 1; the darkest level is left out: 255 x 0/6, 1/6, 5/6, 6/6.
    expected = np.array([[0, 0, 42, 212], [212, 212, 212, 255]], np.uint8)
    np.testing.assert_array_equal(enhance.equalize(image), expected)


def test_equalize_reaches_both_ends_and_keeps_order():
    image = picture("narrow")
    result = enhance.equalize(image)
    assert result.min() == 0 and result.max() == 255
    levels = np.unique(image)
    mapped = [int(result[image == level][0]) for level in levels]
    assert mapped == sorted(mapped)


# --- AHE


@pytest.mark.parametrize("radius", [1, 2, 5, 13, 40])
@pytest.mark.parametrize("kind", ["noise", "smooth", "binary", "narrow"])
def test_adaptive_equalisation_equals_scikit_image(kind, radius):
    rank = pytest.importorskip("skimage.filters.rank")
    disk = pytest.importorskip("skimage.morphology").disk
    image = picture(kind, (41, 57))
    np.testing.assert_array_equal(enhance.equalize_adaptive(image, radius), rank.equalize(image, disk(radius)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (3, 120), (81, 81), (120, 5)])
def test_adaptive_equalisation_of_slivers_and_white_areas_equals_the_definition(shape):
    image = np.random.default_rng(sum(shape)).integers(240, 256, shape).astype(np.uint8)
    image[:, shape[1] // 2 :] = 255
    distance = np.hypot(*np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij", sparse=True))
    expected = np.empty(shape, np.uint8)
    for y, x in np.ndindex(shape):
        near = distance[np.abs(np.arange(shape[0]) - y)[:, None], np.abs(np.arange(shape[1]) - x)] <= 40
        expected[y, x] = 255 * int((image[near] <= image[y, x]).sum()) // int(near.sum())
    np.testing.assert_array_equal(enhance.equalize_adaptive(image), expected)


def test_adaptive_equalisation_by_hand():
    image = np.array([[5, 9, 7]], np.uint8)
    # Of the pixels within one step: {5, 9}, {5, 9, 7}, {9, 7}: ranks 1 of 2, 3 of 3, 1 of 2.
    np.testing.assert_array_equal(enhance.equalize_adaptive(image, 1), [[127, 255, 127]])


def test_adaptive_equalisation_ignores_brightness_and_gain():
    image = picture("dark")
    np.testing.assert_array_equal(enhance.equalize_adaptive(image, 6), enhance.equalize_adaptive(image * 3 + 20, 6))


def test_disk_holds_the_pixels_within_its_radius():
    assert enhance.disk_offsets(0) == [(0, 0)]
    assert sorted(enhance.disk_offsets(1)) == [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
    offsets = enhance.disk_offsets(40)
    assert len(set(offsets)) == len(offsets)
    assert max(math.hypot(dy, dx) for dy, dx in offsets) == 40
    assert len(offsets) == pytest.approx(math.pi * 40**2, rel=0.01)


# --- CLAHE


def slow_clahe(image: np.ndarray, clip: float, tiles: tuple[int, int]) -> np.ndarray:
    """CLAHE one pixel at a time in plain Python; real numbers until the last rounding."""
    height, width = image.shape
    rows, columns = height // tiles[0], width // tiles[1]
    limit = max(int(clip * rows * columns / 256), 1)
    tables = {}
    for i in range(tiles[0]):
        for j in range(tiles[1]):
            counts = [0] * 256
            for value in image[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].ravel().tolist():
                counts[value] += 1
            excess = sum(max(count - limit, 0) for count in counts)
            share, rest = divmod(excess, 256)
            counts = [min(count, limit) + share for count in counts]
            step = max(256 // rest, 1) if rest else 1
            for k in range(rest):
                if k * step < 256:
                    counts[k * step] += 1
            total, table = 0, []
            for count in counts:
                total += count
                table.append(round(total * 255 / (rows * columns)))
            tables[i, j] = table
    result = np.empty((height, width))
    for y in range(height):
        upper = math.floor(y / rows - 0.5)
        down = y / rows - 0.5 - upper
        for x in range(width):
            left = math.floor(x / columns - 0.5)
            across = x / columns - 0.5 - left
            value = 0.0
            for i, share_y in ((upper, 1 - down), (upper + 1, down)):
                for j, share_x in ((left, 1 - across), (left + 1, across)):
                    corner = min(max(i, 0), tiles[0] - 1), min(max(j, 0), tiles[1] - 1)
                    value += share_y * share_x * tables[corner][int(image[y, x])]
            result[y, x] = value
    return result


@pytest.mark.parametrize(("clip", "tiles"), [(2.0, (8, 8)), (3.5, (4, 8)), (40.0, (2, 2))])
@pytest.mark.parametrize("kind", ["noise", "smooth", "narrow"])
def test_clahe_equals_a_pixel_by_pixel_reference(kind, clip, tiles):
    image = picture(kind)
    # Half a level of rounding plus one level where a table entry sits on a half in single precision.
    worst = np.abs(enhance.equalize_clahe(image, clip, tiles) - slow_clahe(image, clip, tiles)).max()
    assert worst <= 1.0


def test_clahe_tiles_are_rows_then_columns():
    image = picture("smooth")
    by_rows = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 8)).apply(image)
    np.testing.assert_array_equal(enhance.equalize_clahe(image, 2.0, (8, 4)), by_rows)


def test_clahe_clip_limits_contrast():
    image = picture("narrow", (256, 256))
    spread = [float(enhance.equalize_clahe(image, clip).std()) for clip in (1.0, 4.0, 40.0)]
    assert spread[0] < spread[1] < spread[2]


# --- BEASF


def slow_beasf(image: np.ndarray, gamma: float, variant: str) -> np.ndarray:
    """BEASF bin by bin in plain Python, from the formula."""
    pixels = [int(value) for value in image.ravel()]
    mean = sum(pixels) // len(pixels)
    low, high = min(pixels), max(pixels)
    histogram = [0] * 256
    for value in pixels:
        if variant == "covid_cxnet":
            histogram[min((value - low) * 256 // (high - low), 255)] += 1
        else:
            histogram[value] += 1

    def median(first: int, last: int) -> int:
        total, seen = sum(histogram[first : last + 1]), 0
        for level in range(first, last + 1):
            seen += histogram[level]
            if seen > total / 2:
                return level
        raise AssertionError("an empty half")

    table = {}
    for first, last in ((0, mean), (mean, 255)):
        middle = median(first, last)
        curve = [1 / (1 + math.exp(-gamma * 5 * (t - middle) / (last - first))) for t in range(first, last + 1)]
        for tone, value in zip(range(first, last + 1), curve, strict=True):
            table[tone] = first + (last - first) * (value - curve[0]) / (curve[-1] - curve[0])
    return np.array([table[value] for value in pixels]).reshape(image.shape)


@pytest.mark.parametrize("variant", enhance.BEASF_VARIANTS)
@pytest.mark.parametrize("gamma", [0.3, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_beasf_equals_a_bin_by_bin_reference(kind, gamma, variant):
    image = picture(kind)
    expected = slow_beasf(image, gamma, variant)
    # A table rounded to grey levels: never further than half a level from the real curve.
    assert np.abs(enhance.equalize_beasf(image, gamma, variant) - expected).max() <= 0.5 + 1e-5


@pytest.mark.parametrize("variant", enhance.BEASF_VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_beasf_table_rises_from_black_through_the_mean_to_white(kind, variant):
    image = picture(kind)
    table = enhance.beasf_table(image, 1.5, variant).astype(int)
    mean = int(image.mean())
    assert table[0] == 0 and table[mean] == mean and table[255] == 255
    assert (np.diff(table) >= 0).all()


def test_beasf_variants_part_ways_on_an_image_of_narrow_range():
    image = picture("narrow")
    tables = [enhance.beasf_table(image, 1.5, variant) for variant in enhance.BEASF_VARIANTS]
    assert (tables[0] != tables[1]).any()


def test_beasf_variants_agree_on_an_image_of_full_range():
    # 0..255 over 256 bins of width 255 / 256: levels keep their own bin.
    image = picture("noise")
    assert image.min() == 0 and image.max() == 255
    np.testing.assert_array_equal(
        enhance.equalize_beasf(image, variant="covid_cxnet"), enhance.equalize_beasf(image, variant="arriaga_garcia")
    )


def test_beasf_gamma_steepens_the_sigmoids():
    image = picture("smooth")
    tables = [enhance.beasf_table(image, gamma, "arriaga_garcia").astype(int) for gamma in (0.5, 2.0, 6.0)]
    slopes = [int(np.diff(table).max()) for table in tables]
    assert slopes[0] < slopes[1] < slopes[2]
    straight = enhance.equalize_beasf(image, 1e-4).astype(int)
    assert np.abs(straight - image).max() <= 1


@pytest.mark.parametrize("level", [0, 1, 77, 254, 255])
@pytest.mark.parametrize("variant", enhance.BEASF_VARIANTS)
def test_beasf_leaves_a_constant_image_unchanged(level, variant):
    image = np.full(SHAPE, level, np.uint8)
    np.testing.assert_array_equal(enhance.equalize_beasf(image, 1.5, variant), image)


def test_beasf_survives_an_image_that_is_nearly_black():
    image = np.zeros(SHAPE, np.uint8)
    image[0, 0] = 200
    np.testing.assert_array_equal(enhance.equalize_beasf(image), image)


def test_beasf_refuses_an_unknown_variant():
    with pytest.raises(ImageError, match=r"'matlab'.*arriaga_garcia, covid_cxnet"):
        enhance.equalize_beasf(picture("smooth"), variant="matlab")


@pytest.mark.parametrize("gamma", [float("nan"), -1.5, 0.0, 1e-9, 101.0, float("inf")])
def test_beasf_refuses_a_slope_it_cannot_draw(gamma):
    with pytest.raises(ImageError, match="gamma lies within"):
        enhance.equalize_beasf(picture("smooth"), gamma)


@pytest.mark.parametrize("gamma", enhance.GAMMA)
def test_beasf_is_sound_at_both_ends_of_its_slopes(gamma):
    with np.errstate(all="raise", under="ignore"):
        table = enhance.beasf_table(picture("smooth"), gamma, "covid_cxnet").astype(int)
    assert table[0] == 0 and table[255] == 255 and (np.diff(table) >= 0).all()


# --- winsorising


def test_winsorise_by_hand():
    image = np.array([[0, 10, 20, 30, 40, 50, 60, 70, 80, 200]], np.uint8)
    # 90% of ten pixels lie at 80 or below: 0..80 is stretched to 0..255.
    expected = [0, 32, 64, 96, 128, 159, 191, 223, 255, 255]
    np.testing.assert_array_equal(enhance.winsorise(image, 90.0)[0], expected)


def test_winsorise_clips_both_ends():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    result = enhance.winsorise(image, upper=95.0, lower=6.0)
    # Six of a hundred pixels lie below level 6, five above level 94: 6..94 is stretched.
    assert (result[image <= 6] == 0).all() and (result[image >= 94] == 255).all()
    assert result[0, 7] == round(255 / 88) and result[9, 3] == round(255 * 87 / 88)


def test_winsorise_takes_percentiles_inside_the_mask():
    image = np.full((20, 20), 250, np.uint8)
    image[:10] = np.arange(200, dtype=np.uint8).reshape(10, 20)
    mask = np.zeros((20, 20), bool)
    mask[:10] = True
    result = enhance.winsorise(image, 50.0, mask=mask)
    assert result[4, 19] == 255 and result[4, 18] == round(98 / 99 * 255) and (result[10:] == 255).all()
    np.testing.assert_array_equal(enhance.winsorise(image, 50.0, mask=np.zeros((20, 20), bool)),
                                  enhance.winsorise(image, 50.0))


def test_winsorise_leaves_an_image_of_one_level_unchanged():
    image = np.full(SHAPE, 99, np.uint8)
    np.testing.assert_array_equal(enhance.winsorise(image, 92.5), image)


def test_winsorise_leaves_the_share_that_was_asked_for():
    image = picture("noise")
    result = enhance.winsorise(image, 92.5)
    assert (result < 255).mean() == pytest.approx(0.925, abs=0.01)


# --- histogram matching


@pytest.mark.parametrize("pair", [("dark", "noise"), ("noise", "bright"), ("smooth", "noise")])
def test_histogram_matching_is_near_scikit_image(pair):
    exposure = pytest.importorskip("skimage.exposure")
    image, reference = picture(pair[0]), picture(pair[1])
    ours = enhance.match_histogram(image, enhance.cumulative_histogram(reference)).astype(int)
    theirs = exposure.match_histograms(image, reference)
    # scikit-image interpolates between levels, a table of 256 levels cannot.
    assert np.abs(ours - theirs).mean() < 1.0


def test_histogram_matching_by_hand():
    image = np.array([[1, 1, 2, 3]], np.uint8)
    reference = np.zeros(256)
    reference[50:], reference[120:], reference[200:] = 0.5, 0.75, 1.0
    np.testing.assert_array_equal(enhance.match_histogram(image, reference), [[50, 50, 120, 200]])


def test_histogram_matching_to_itself_changes_nothing():
    for kind in KINDS:
        image = picture(kind)
        np.testing.assert_array_equal(
            enhance.match_histogram(image, enhance.cumulative_histogram(image)), image, err_msg=kind
        )


def test_histogram_matching_takes_statistics_inside_the_mask():
    image = np.array([[1, 2, 3, 3, 3, 3]], np.uint8)
    mask = np.array([[True, True, False, False, False, False]])
    reference = np.zeros(256)
    reference[40:], reference[90:] = 0.5, 1.0
    np.testing.assert_array_equal(enhance.match_histogram(image, reference, mask), [[40, 90, 90, 90, 90, 90]])
    np.testing.assert_array_equal(
        enhance.match_histogram(image, reference, np.zeros_like(mask)), enhance.match_histogram(image, reference)
    )


def test_cumulative_histogram_of_a_mask_by_hand():
    image = np.array([[0, 5], [255, 255]], np.uint8)
    shares = enhance.cumulative_histogram(image)
    assert len(shares) == 256 and shares[0] == 0.25 and shares[4] == 0.25 and shares[5] == 0.5 and shares[255] == 1.0
    inside = enhance.cumulative_histogram(image, np.array([[False, True], [True, True]]))
    assert inside[0] == 0.0 and inside[5] == 0.333333


# --- all

FUNCTIONS = {
    "equalize": enhance.equalize,
    "equalize_adaptive": enhance.equalize_adaptive,
    "equalize_clahe": enhance.equalize_clahe,
    "equalize_beasf": enhance.equalize_beasf,
    "winsorise": enhance.winsorise,
    "match_histogram": lambda image: enhance.match_histogram(image, np.linspace(0, 1, 256)),
    "cumulative_histogram": enhance.cumulative_histogram,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float_colour_and_16_bit_images_are_refused(name):
    for wrong, shown in [
        (np.zeros((8, 8), np.float32), "float32"),
        (np.zeros((8, 8, 3), np.uint8), r"\(8, 8, 3\)"),
        (np.zeros((8, 8), np.uint16), "uint16"),
    ]:
        with pytest.raises(ImageError, match=shown):
            FUNCTIONS[name](wrong)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "cumulative_histogram"])
def test_enhancement_keeps_type_and_shape_and_its_argument(name):
    image = picture("smooth", (32, 40))
    before = image.copy()
    strided = np.asfortranarray(image)
    result = FUNCTIONS[name](image)
    assert result.dtype == np.uint8 and result.shape == image.shape
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(FUNCTIONS[name](strided), result)
