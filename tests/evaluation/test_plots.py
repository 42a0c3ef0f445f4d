"""Figures are drawn without pyplot's global state and show the numbers of the metrics."""

import sys

import cv2
import numpy as np
import pytest

from covidcx.evaluation import plots
from covidcx.finding import DISCLAIMER

LABELS = ("normal", "cap", "covid")
TRUE = np.array([True, True, False, False])
SCORE = np.array([0.9, 0.4, 0.6, 0.1])


def _texts(figure):
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in figure.findobj(Text))


def test_roc_legend_names_the_area_and_undefined_curves():
    figure = plots.roc_figure({"covid against rest": (TRUE, SCORE), "cap against rest": (TRUE[:2], SCORE[:2])}, "t")
    texts = _texts(figure)
    assert "covid against rest: AUC 0.750" in texts
    assert "cap against rest: undefined, one class only" in texts
    assert DISCLAIMER in texts


def test_precision_recall_legend_names_the_average_precision():
    texts = _texts(plots.precision_recall_figure({"covid against rest": (TRUE, SCORE), "x": (~TRUE[:2], SCORE[:2])}))
    assert "AP 0.833" in texts
    assert "undefined, no positive" in texts


def test_confusion_shows_counts_and_shares_of_the_true_class():
    texts = _texts(plots.confusion_figure(np.array([[3, 1], [0, 0]]), ("normal", "covid")))
    assert "3\n75%" in texts
    assert "1\n25%" in texts


def test_reliability_names_the_calibration_error():
    texts = _texts(plots.reliability_figure(np.array([[0.8, 0.2]] * 4), np.array([0, 0, 0, 1])))
    assert "expected calibration error 0.050" in texts


def test_sources_show_one_row_a_source_and_label():
    figure = plots.source_figure(
        ["covid", "covid", "normal", None], ["covid", "cap", "normal", "cap"], ["cohen", "cohen", "nih", "nih"], LABELS
    )
    texts = _texts(figure)
    for part in ("cohen: covid (n=2)", "nih: normal (n=1)", "nih: unknown (n=1)", "50%"):
        assert part in texts


def test_dice_shows_the_readers_median_as_ceiling():
    texts = _texts(plots.dice_figure(np.array([0.9, 0.95, np.nan]), np.array([0.96, np.nan])))
    assert "median 0.925 (n=2)" in texts
    assert "two readers, median 0.960 (n=1)" in texts


@pytest.mark.parametrize("repeats", [2])
def test_saved_png_is_an_image_and_the_same_every_time(tmp_path, repeats):
    files = [plots.save_figure(plots.roc_figure({"a": (TRUE, SCORE)}), tmp_path / f"{i}.png") for i in range(repeats)]
    assert cv2.imread(str(files[0])).shape[0] > 500
    assert files[0].read_bytes() == files[1].read_bytes()


def test_pyplot_is_never_imported():
    import subprocess

    code = (
        "import sys, numpy as np; from covidcx.evaluation import plots; "
        "plots.confusion_figure(np.eye(2), ('a', 'b')); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
