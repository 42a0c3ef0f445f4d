"""Text removal: marks drawn on a chest are found and filled, and what only looks a little like them is left alone."""

import csv

import cv2
import numpy as np
import pytest

from covidcx.errors import ImageError
from covidcx.imaging.text import fill, find_text, remove_text

SIDE = 512


def _chest() -> tuple[np.ndarray, np.ndarray]:
    """A smooth chest with ribs, a wire and film grain: float32 0..1, and its lungs."""
    columns = np.arange(SIDE, dtype=np.float32)[None, :].repeat(SIDE, axis=0)
    chest = 0.72 - 0.25 * ((columns - 256) / 256) ** 2
    lungs = np.zeros((SIDE, SIDE), np.uint8)
    for centre in (155, 357):
        cv2.ellipse(lungs, (centre, 250), (72, 160), 0, 0, 360, 1, -1)
    chest -= 0.42 * cv2.GaussianBlur(lungs.astype(np.float32), (0, 0), 6)
    ribs = np.zeros((SIDE, SIDE), np.float32)
    for top in range(90, 420, 42):
        cv2.ellipse(ribs, (256, top + 60), (190, 70), 0, 190, 350, 1.0, 9)
    chest += 0.10 * cv2.GaussianBlur(ribs, (0, 0), 2.5)
    wire = np.zeros((SIDE, SIDE), np.float32)
    cv2.polylines(wire, [np.array([[330, 40], [395, 160], [405, 300], [470, 470]])], False, 1.0, 2, cv2.LINE_AA)
    chest = np.maximum(chest, 0.75 * cv2.GaussianBlur(wire, (0, 0), 0.8))
    chest += np.random.default_rng(0).normal(0, 0.01, chest.shape)
    return np.clip(chest, 0.03, 0.93).astype(np.float32), lungs > 0


def _through_jpeg(image: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", np.round(image * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _text(words: str, place: tuple[int, int], height: float = 0.6):
    def draw(layer):
        cv2.putText(layer, words, place, cv2.FONT_HERSHEY_SIMPLEX, height, 255, 2, cv2.LINE_AA)

    return draw


def _arrow(tip: tuple[int, int]):
    x, y = tip
    points = np.array([(x, y), (x + 14, y - 8), (x + 14, y - 3), (x + 38, y - 3), (x + 38, y + 3), (x + 14, y + 3),
                       (x + 14, y + 8)])  # fmt: skip
    return lambda layer: cv2.fillPoly(layer, [points], 255, cv2.LINE_AA)


def _rectangle(left: int, top: int):
    return lambda layer: cv2.rectangle(layer, (left, top), (left + 80, top + 60), 255, 2)


def _marked(draw, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pixels, lungs = _chest()
    layer = np.zeros(pixels.shape, np.uint8)
    draw(layer)
    layer = layer.astype(np.float32) / 255
    return _through_jpeg(pixels + (level - pixels) * layer), layer > 0.5, lungs


MARKS = {
    "date outside": _text("2020/03/14", (180, 480)), "letter outside": _text("R", (20, 60), 1.0),
    "arrow outside": _arrow((460, 300)), "rectangle outside": _rectangle(400, 430),
    "date inside": _text("12/03/20", (110, 240)), "letter inside": _text("B", (340, 250), 1.0),
    "arrow inside": _arrow((330, 180)), "rectangle inside": _rectangle(115, 200),
}  # fmt: skip


@pytest.mark.parametrize("level", [1.0, 0.0], ids=["white", "black"])
@pytest.mark.parametrize("name", MARKS)
def test_a_drawn_mark_is_found_and_hardly_anything_else(name, level):
    image, drawn, lungs = _marked(MARKS[name], level)
    mask = find_text(image, lungs)
    assert mask[drawn].mean() > 0.9
    near = cv2.dilate(drawn.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert not mask[~near].any()


def test_a_chest_without_marks_is_left_as_it_is():
    pixels, lungs = _chest()
    for known in (lungs, None):
        cleaned, mask = remove_text(_through_jpeg(pixels), known)
        assert not mask.any()
        np.testing.assert_array_equal(cleaned, _through_jpeg(pixels))


def test_nothing_but_the_mask_changes_and_what_is_filled_is_close_to_what_was_there():
    original, lungs = _chest()
    image, drawn, _ = _marked(MARKS["date inside"], 1.0)
    cleaned, mask = remove_text(image, lungs)
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    assert cleaned.dtype == np.float32 and cleaned.min() >= 0 and cleaned.max() <= 1
    assert np.abs(cleaned - original)[drawn].mean() < 0.04 < np.abs(image - original)[drawn].mean()


def test_the_input_is_not_written_to():
    image, _, lungs = _marked(MARKS["letter outside"], 1.0)
    kept = image.copy()
    remove_text(image, lungs)
    np.testing.assert_array_equal(image, kept)


def test_the_tissue_inside_a_drawn_rectangle_stays():
    image, _, lungs = _marked(_rectangle(115, 200), 0.0)
    assert not find_text(image, lungs)[212:248, 127:183].any()


def test_a_label_box_goes_with_its_letter():
    image, lungs = _chest()
    box = np.full((40, 44), 250, np.uint8)
    image[20:60, 20:64] = cv2.putText(box, "A", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 0, 2, cv2.LINE_AA) / 255
    mask = find_text(_through_jpeg(image), lungs)
    assert mask[20:60, 20:64].all() and mask.mean() < 0.02


def test_a_drawn_circle_is_found_but_not_what_it_encloses():
    image, drawn, lungs = _marked(lambda layer: cv2.circle(layer, (150, 260), 45, 255, 2, cv2.LINE_AA), 1.0)
    mask = find_text(image, lungs)
    assert mask[drawn].mean() > 0.9 and not mask[240:280, 130:170].any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda layer: cv2.circle(layer, (150, 260), 9, 255, -1, cv2.LINE_AA),
        lambda layer: cv2.ellipse(layer, (150, 330), (90, 170), 20, 200, 280, 255, 3, cv2.LINE_AA),
        lambda layer: cv2.polylines(layer, [np.array([[110, 130], [140, 210], [135, 300], [180, 380]])], False, 255, 2,
                                    cv2.LINE_AA),
    ],
    ids=["electrode", "tube", "wire"],
)  # fmt: skip
def test_devices_in_the_lungs_are_no_text(draw):
    image, _, lungs = _marked(draw, 0.95)
    assert not find_text(image, lungs)[lungs].any()


def test_soft_black_gaps_in_the_lungs_are_no_text():
    pixels, lungs = _chest()
    holes = np.zeros(pixels.shape, np.float32)
    for centre in ((140, 200), (170, 300), (350, 260), (345, 330)):
        cv2.ellipse(holes, centre, (11, 5), 30, 0, 360, 1.0, -1)
    image = np.clip(pixels - 0.6 * cv2.GaussianBlur(holes, (0, 0), 2.5), 0, 1)
    assert not find_text(_through_jpeg(image.astype(np.float32)), lungs).any()


def test_without_a_lung_mask_the_middle_is_treated_as_lungs():
    image, drawn, lungs = _marked(_text("p", (250, 300), 0.7), 0.45)
    everywhere_else = np.zeros_like(lungs)
    assert not find_text(image)[drawn].any()
    assert not find_text(image, np.ones_like(lungs))[drawn].any()
    assert find_text(image, everywhere_else).sum() >= find_text(image).sum()


def test_large_images_are_searched_on_a_small_grid_and_come_back_at_full_size():
    image, drawn, lungs = _marked(MARKS["date outside"], 1.0)
    large, grown = (cv2.resize(part, (2500, 2500), interpolation=cv2.INTER_LINEAR) for part in (image, drawn * 1.0))
    wide = cv2.resize(lungs.astype(np.uint8), (2500, 2500), interpolation=cv2.INTER_NEAREST) > 0
    cleaned, mask = remove_text(large, wide)
    assert cleaned.shape == mask.shape == (2500, 2500)
    assert mask[grown > 0.5].mean() > 0.9 and mask.mean() < 0.05


def test_a_filled_hole_continues_a_slope_and_invents_no_level():
    slope = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1))
    hole = np.zeros(slope.shape, bool)
    hole[20:40, 30:50] = True
    filled = fill(np.where(hole, 5.0, slope).astype(np.float32), hole)
    np.testing.assert_allclose(filled, slope, atol=0.02)
    assert filled.min() >= 0 and filled.max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (32, 32), (40, 700)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_blank_images_of_any_shape_hold_no_text(shape, level):
    cleaned, mask = remove_text(np.full(shape, level, np.float32))
    assert not mask.any() and cleaned.shape == shape


def test_wrong_inputs_are_refused():
    with pytest.raises(ImageError, match="uint8"):
        find_text(np.zeros((64, 64), np.uint8))
    with pytest.raises(ImageError, match="H x W"):
        find_text(np.zeros((64, 64, 3), np.float32))
    with pytest.raises(ImageError, match="lung mask has shape"):
        find_text(np.zeros((64, 64), np.float32), np.zeros((32, 64), bool))


def test_real_chests_with_side_letters_lose_nothing_of_their_lungs(shared_data):
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train" and row["lung_mask"]][::12]
    assert len(rows) >= 10
    inside = []
    for row in rows:
        pixels = cv2.imread(str(shared_data / row["image"]), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        lungs = cv2.imread(str(shared_data / row["lung_mask"]), cv2.IMREAD_GRAYSCALE) == 255
        inside.append(find_text(pixels, lungs)[lungs].mean())
    assert np.mean(inside) < 0.001 and max(inside) < 0.02
