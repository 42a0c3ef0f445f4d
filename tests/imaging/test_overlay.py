"""Overlays: where colour goes, where it must not go, and files that are whole or absent."""

import stat

import cv2
import numpy as np
import pytest

from covidcx.errors import ImageError
from covidcx.imaging.overlay import LUNG_COLOUR, caption_strip, outline, overlay, write_png


@pytest.fixture
def pixels() -> np.ndarray:
    return np.linspace(0, 1, 90 * 70, dtype=np.float32).reshape(90, 70)


def box(top, bottom, left, right, shape=(90, 70)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_plain_overlay_is_the_grey_image(pixels):
    drawn = overlay(pixels)
    assert drawn.shape == (90, 70, 3) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, np.repeat(np.floor(pixels * 255 + 0.5)[..., None], 3, 2).astype(np.uint8))


def test_heat_colours_the_peak_and_leaves_the_rest(pixels):
    heat = np.zeros((90, 70), np.float32)
    heat[20:30, 20:30], heat[50:60, 20:30] = 8.0, 1.0
    drawn, plain = overlay(pixels, heat=heat).astype(int), overlay(pixels).astype(int)
    changed = (drawn != plain).any(axis=2)
    np.testing.assert_array_equal(changed, heat > 4)
    # The strongest heat is red: at 45 % opacity, exactly that share of the map's last colour.
    red = cv2.applyColorMap(np.array([[255]], np.uint8), cv2.COLORMAP_TURBO)[0, 0, ::-1]
    np.testing.assert_allclose(drawn[25, 25], plain[25, 25] * 0.55 + red * 0.45, atol=0.51)
    assert red[0] > red[2]


def test_heat_does_not_depend_on_its_scale(pixels):
    heat = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    np.testing.assert_array_equal(overlay(pixels, heat=heat), overlay(pixels, heat=heat * 4096))


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_no_heat_is_no_colour(pixels, value):
    np.testing.assert_array_equal(overlay(pixels, heat=np.full((90, 70), value)), overlay(pixels))


def test_alpha_zero_and_one(pixels):
    heat = np.ones((90, 70), np.float32)
    np.testing.assert_array_equal(overlay(pixels, heat=heat, alpha=0.0), overlay(pixels))
    assert np.ptp(overlay(pixels, heat=heat, alpha=1.0).reshape(-1, 3), axis=0).max() == 0


def test_lung_outline_is_a_border_on_the_mask(pixels):
    lungs = box(20, 60, 10, 30) | box(20, 60, 40, 60)
    drawn = overlay(pixels, lungs)
    on = (drawn == LUNG_COLOUR).all(axis=2)
    inner = cv2.erode(lungs.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    np.testing.assert_array_equal(on, lungs & ~inner)
    np.testing.assert_array_equal(drawn[~on], overlay(pixels)[~on])


def test_outline_draws_holes_and_does_not_write_into_its_input():
    rgb = np.zeros((90, 70, 3), np.uint8)
    mask = box(10, 80, 10, 60) & ~box(30, 50, 30, 40)
    drawn = outline(rgb, mask, (1, 2, 3))
    assert not rgb.any()
    assert (drawn[10, 30] == (1, 2, 3)).all() and (drawn[29, 35] == (1, 2, 3)).all()
    assert not drawn[40, 35].any() and not drawn[20, 20].any()
    assert not outline(rgb, np.zeros((90, 70), bool), (1, 2, 3)).any()


def test_side_by_side_and_caption(pixels):
    heat = box(20, 40, 20, 40).astype(np.float32)
    drawn = overlay(pixels, heat=heat, side_by_side=True, caption="Not for diagnostic use.")
    plain, whole = overlay(pixels), overlay(pixels, heat=heat)
    np.testing.assert_array_equal(drawn[:90, :70], plain)
    np.testing.assert_array_equal(drawn[:90, -70:], whole)
    assert drawn.shape[1] == 144 and drawn.shape[0] > 100
    assert drawn[90:].max() > 150 and np.median(drawn[90:]) == 0


@pytest.mark.parametrize("width", [64, 320, 1024, 2500])
def test_caption_fits_its_width(width):
    text = "Decision support for research. Not a medical device; not for diagnostic use. Bänder"
    strip = caption_strip(text, width)
    ink = np.flatnonzero(strip.any(axis=(0, 2)))
    assert strip.shape[1:] == (width, 3) and ink.min() >= 1 and ink.max() < width - 1
    assert caption_strip("", width).shape[1] == width


@pytest.mark.parametrize(
    "settings",
    [
        {"lungs": np.zeros((4, 4), bool)},
        {"heat": np.zeros((4, 4))},
        {"heat": np.full((90, 70), np.nan)},
        {"alpha": 1.5},
    ],
)
def test_what_does_not_fit_is_refused(pixels, settings):
    with pytest.raises(ImageError):
        overlay(pixels, **settings)
    with pytest.raises(ImageError):
        overlay(np.zeros((9, 9, 3)))


def test_png_goes_round(tmp_path, pixels):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    path = write_png(tmp_path / "new" / "a.png", rgb)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], rgb)
    write_png(path, rgb[..., 0])
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), rgb[..., 0])
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    assert path.stat().st_mode & stat.S_IRUSR and path.stat().st_mode & 0o777 != 0o600


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = write_png(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ImageError, match="No space left"):
        write_png(path, np.full((40, 40), 255, np.uint8))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_png_of_another_type_is_refused(tmp_path):
    for array in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ImageError, match="uint8"):
            write_png(tmp_path / "a.png", array)
    with pytest.raises(ImageError, match="could not be written"):
        (tmp_path / "file").write_text("x")
        write_png(tmp_path / "file" / "a.png", np.zeros((40, 40), np.uint8))
