"""The learning-rate finder: a case with a known answer, the same losses for the same seed, ranges without an answer."""

import csv
import json

import numpy as np
import pytest
import tiny_runs

from covidcx.cli import main
from covidcx.errors import RecipeError
from covidcx.training.lr_finder import find_learning_rate, smooth, sweep


def quadratic(curvature):
    """Gradient descent on curvature / 2 * w^2."""
    state = {"w": 1.0}

    def step(rate):
        loss = 0.5 * curvature * state["w"] ** 2
        state["w"] -= rate * curvature * state["w"]
        return loss

    return step


@pytest.mark.parametrize("curvature", [1.0, 10.0, 1000.0])
def test_suggestion_on_a_quadratic_is_the_rate_that_calculus_gives(curvature):
    # With rates that rise by a factor r a step, d log L / d log rate = -2 curvature rate / log r while rates are small,
    # so L falls most steeply over log rate where rate * L is largest: at log r / (2 curvature).
    low, high, steps = 1e-7, 10.0, 400
    found = sweep(quadratic(curvature), low, high, steps)
    expected = np.log(high / low) / (steps - 1) / (2 * curvature)
    assert found.suggestion == pytest.approx(expected, rel=0.3)
    assert found.rates[1] / found.rates[0] == pytest.approx((high / low) ** (1 / (steps - 1)))


def test_a_rising_loss_ends_the_sweep_and_is_not_suggested():
    found = sweep(quadratic(1000.0), 1e-7, 10.0, 200)
    assert found.diverged and len(found.rates) < 200
    assert found.suggestion < 2 / 1000, "beyond two over the curvature every step makes it worse"


def test_smoothing_does_not_move_a_fall_sideways():
    falls = 1 / (1 + np.exp((np.arange(101) - 50) / 3.0))
    assert abs(int(np.gradient(smooth(falls, 4.0)).argmin()) - 50) <= 1
    np.testing.assert_allclose(smooth(np.full(30, 2.5), 4.0), 2.5)


@pytest.mark.parametrize(
    ("step", "arguments", "message"),
    [
        (lambda rate: rate, {}, "never falls between 1e-07"),
        (lambda rate: float("nan"), {}, "no number after 0 steps at 1e-07; set a lower --low"),
        (lambda rate: 1.0, {"low": 1.0, "high": 0.1}, "0 < low < high"),
        (lambda rate: 1.0, {"steps": 3}, "10 steps or more"),
    ],
)
def test_a_sweep_without_an_answer_says_why(step, arguments, message):
    with pytest.raises(RecipeError, match=message):
        sweep(step, **arguments)


@pytest.fixture(scope="module")
def recipe():
    return tiny_runs.recipe("classify")


def test_a_real_sweep_learns_repeats_itself_and_leaves_table_and_record(recipe, manifest, tmp_path):
    settings = {"low": 1e-5, "high": 10.0, "steps": 60}
    first = find_learning_rate(recipe, manifest, tmp_path / "a", **settings)
    again = find_learning_rate(recipe, manifest, tmp_path / "b", **settings)
    np.testing.assert_array_equal(first.losses, again.losses)
    assert first.suggestion == again.suggestion and 1e-4 < first.suggestion < 3
    other = find_learning_rate(recipe, manifest, tmp_path / "c", {"seed": "9"}, **settings)
    assert np.abs(first.losses[:10] - other.losses[:10]).max() > 1e-4
    with (tmp_path / "a" / "lr_find.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(first.rates) and float(rows[0]["learning_rate"]) == pytest.approx(1e-5)
    record = json.loads((tmp_path / "a" / "lr_find.json").read_text())
    assert record["suggestion"] == first.suggestion and record["recipe_rate"] == 3e-3


def test_the_command_writes_a_plot_and_says_what_to_set(recipe, manifest, tmp_path, monkeypatch, capsys):
    from covidcx.training import recipes

    monkeypatch.setattr(recipes, "get", lambda name: recipe)
    arguments = ["lr-find", "tiny", "--data", str(manifest), "--out", str(tmp_path / "lr"), "--low", "1e-5"]
    assert main([*arguments, "--high", "10", "--steps", "40"]) == 0
    assert "--set optimizer.learning_rate=" in capsys.readouterr().out
    assert (tmp_path / "lr" / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert main([*arguments, "--steps", "4"]) == 2
    assert "10 steps or more" in capsys.readouterr().err
