"""Covered images against models whose secret is known."""

import numpy as np
import pytest

from covidcx.errors import CovidcxError, ImageError
from covidcx.evaluation.shortcuts import COVERS, border_only, survival, without_lungs

SIDE = 40


@pytest.fixture(scope="module")
def studies():
    """60 images whose disease is a bright patch in a lung and whose hospital is a mark in the corner."""
    rng = np.random.default_rng(0)
    sick = np.arange(60) % 2 == 0
    lungs = np.zeros((SIDE, SIDE), bool)
    lungs[10:30, 8:18] = lungs[10:30, 22:32] = True
    pixels = rng.uniform(0.3, 0.5, (60, SIDE, SIDE)).astype(np.float32)
    pixels[sick, 12:20, 10:16] += 0.4
    pixels[sick, 0:3, 0:3] += 0.4
    return pixels, lungs, sick


def measured(studies, look):
    pixels, lungs, sick = studies
    scores = {"whole": np.array([look(image) for image in pixels])}
    for name, cover in COVERS.items():
        scores[name] = np.array([look(cover(image, lungs)) for image in pixels])
    return survival(sick, scores, np.arange(len(sick)) // 2, repeats=200)


def test_a_model_that_looks_only_at_a_corner_keeps_its_score(studies):
    found = measured(studies, lambda image: image[:3, :3].mean())
    for cover in COVERS:
        assert found[f"survives_{cover}"].value == found[f"survives_{cover}"].low == 1.0


def test_a_model_that_looks_only_into_the_lungs_loses_all_of_it(studies):
    found = measured(studies, lambda image: image[12:20, 10:16].mean())
    assert found["auc_whole"].value == 1.0
    for cover in COVERS:
        assert found[f"auc_{cover}"].value == 0.5 and found[f"survives_{cover}"].high == 0.0


def test_half_a_shortcut_lies_between_and_its_interval_holds_the_value(studies):
    rng = np.random.default_rng(1)
    found = measured(
        studies, lambda image: image[12:20, 10:16].mean() + 0.3 * image[:3, :3].mean() + rng.normal(0, 0.15)
    )
    share = found["survives_lungs_black"]
    assert 0.1 < share.value < 0.9 and share.low < share.value < share.high


def test_without_discrimination_nothing_can_survive(studies):
    _, _, sick = studies
    flat = np.zeros(len(sick))
    found = survival(sick, {"whole": flat, "lungs_black": flat}, range(len(sick)), repeats=20)
    assert np.isnan(found["survives_lungs_black"].value)


def test_covers_hide_what_they_say_and_leave_the_rest(studies):
    pixels, lungs, _ = studies
    image = pixels[0]
    before = image.copy()
    dark = without_lungs(image, lungs)
    assert not dark[lungs].any() and np.array_equal(dark[~lungs], image[~lungs])
    framed = border_only(image, lungs)
    assert not framed[4:-4, 4:-4].any() and np.array_equal(framed[:4], image[:4])
    assert np.array_equal(framed[:, -4:], image[:, -4:]) and np.array_equal(image, before)


def test_wrong_shapes_and_shares_are_refused(studies):
    pixels, lungs, sick = studies
    with pytest.raises(ImageError, match=r"\(40, 10\)"):
        without_lungs(pixels[0], lungs[:, :10])
    with pytest.raises(ImageError, match=r"received 0\.5"):
        border_only(pixels[0], share=0.5)
    with pytest.raises(CovidcxError, match="whole"):
        survival(sick, {"lungs_black": np.zeros(len(sick))}, range(len(sick)))
