"""Sheets of radiographs: what is shown, and that the disclaimer is on every one."""

import numpy as np
import pytest

from covidcx.errors import CovidcxError
from covidcx.evaluation.plots import bars_figure, learning_figure
from covidcx.evaluation.sheets import Panel, heat_panel, sheet_figure, signed_overlay
from covidcx.finding import DISCLAIMER


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).uniform(0.2, 0.6, (40, 32)).astype(np.float32)


def test_lime_tints_green_for_red_against_and_leaves_the_rest(pixels):
    weights = np.zeros_like(pixels)
    weights[:10], weights[30:] = 2.0, -1.0
    drawn = signed_overlay(pixels, weights).astype(int)
    assert (drawn[:10, :, 1] > drawn[:10, :, 0]).all() and (drawn[30:, :, 0] > drawn[30:, :, 1]).all()
    assert np.ptp(drawn[10:30], axis=2).max() == 0
    plain = signed_overlay(pixels, weights * 0)
    assert np.array_equal(plain[..., 0], plain[..., 2])


def test_a_sheet_has_a_panel_each_a_colour_bar_and_the_disclaimer(pixels):
    panels = [heat_panel(pixels, pixels > 0.5, f"({i})") for i in "abc"] + [Panel(pixels, "(d)")]
    figure = sheet_figure(panels, 3, "heat", scale="heat")
    titles = [axes.get_title() for axes in figure.axes if axes.get_images()]
    assert titles == ["(a)", "(b)", "(c)", "(d)"]
    assert any("maximum" in axes.get_ylabel() for axes in figure.axes)
    assert figure.get_supxlabel() == DISCLAIMER
    long = sheet_figure(panels[:1], 1, "a heading that is far too long for a single panel of this width")
    assert "\n" in long.get_suptitle()
    with pytest.raises(CovidcxError, match="heat, signed"):
        sheet_figure(panels, 3, scale="jet")
    with pytest.raises(CovidcxError, match="needs a panel"):
        sheet_figure([], 3)


def test_curves_and_bars_show_every_value():
    figure = learning_figure({"training": [3.0, 2.0, 1.0], "validation": [3.0, 2.5, 2.4]}, "loss", "curve")
    lines = figure.axes[0].get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3]] * 2 and lines[1].get_linestyle() == "--"
    bars = bars_figure({"covid": [0.2, 0.9], "normal": [0.1, 0.3]}, ("Edema", "Mass"), "probability")
    assert sorted(patch.get_width() for patch in bars.axes[0].patches) == [0.1, 0.2, 0.3, 0.9]
    assert bars.get_supxlabel() == DISCLAIMER and bars.axes[0].get_legend() is not None
    small = bars_figure({"all": [0.01, 0.04]}, ("Edema", "Mass"), "deviation", most=0.04).axes[0]
    assert 0.04 < small.get_xlim()[1] < 0.05 and small.get_legend() is None
    assert [text.get_text() for text in small.texts] == ["0.010", "0.040"]
