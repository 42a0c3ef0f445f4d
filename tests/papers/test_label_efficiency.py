"""What a start is worth: the comparison's arithmetic, and the sweep on a phantom with a network of four layers."""

from dataclasses import replace

import numpy as np
import pytest

from covidcx.data.phantom import write_phantom
from covidcx.errors import MissingDataError
from covidcx.papers.item import Budget, Context
from covidcx.papers.siim import inpainting, label_efficiency
from covidcx.papers.siim.label_efficiency import Answers, compared
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import read_json

pytest.importorskip("tensorflow")
SMALL = {"preprocessing.size": "32,32", "model.kwargs.blocks": "1,1,1,1", "model.kwargs.growth": "4", "epochs": "1"}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("efficiency")
    manifest = write_phantom(folder / "phantom", patients=40, size=128, seed=3, labels="covid-cxnet")
    context = Context(manifest, True, folder, folder / "runs", Budget("tiny", SMALL, 1, 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_efficiency, "STARTS", {"random": None, "inpainting": "inpainting"})
        patch.setattr(label_efficiency, "SHARES", (0.1, 0.3))
        patch.setattr(inpainting, "KINDS", {"inpainting": "lungs"})
        yield context


@pytest.fixture(scope="module")
def result(context):
    return label_efficiency.label_efficiency(context)


@pytest.mark.slow
def test_every_start_and_share_is_trained_with_the_same_settings(context, result):
    recipes = {path.name: Recipe.from_dict(read_json(path / "recipe.json"))
               for path in context.work.glob("efficiency-*")}  # fmt: skip
    assert sorted(recipes) == ["efficiency-inpainting-30-seed0", "efficiency-random-30-seed0"]
    encoder = str((context.work / "inpainting" / "encoder.weights.h5").resolve())
    for name, recipe in recipes.items():
        assert (recipe.label_share, recipe.passes) == (0.3, 3)
        assert recipe.initial_weights == (encoder if "inpainting" in name else None)
        assert recipe.labels == ("normal", "cap", "covid") and recipe.leaks == "drop"
    systems = {(c.system, c.metric) for c in result.comparisons}
    assert ("random start, 30% of the labels, test", "macro F1") in systems
    assert ("inpainting-CXR, 30% of the labels, val", "CAP called COVID") in systems
    assert all(0 <= c.ours.low <= c.ours.high <= 1 and c.verdict == "ours only" for c in result.comparisons)
    assert {row[1] for row in result.tables[1].rows} == {"inpainting-CXR"}
    assert result.figures[0].stat().st_size > 10_000
    assert any(note.startswith("inpainting: ") and "images of train" in note for note in result.notes)


@pytest.mark.slow
def test_finished_runs_are_measured_again_without_training(context, result):
    again = label_efficiency.label_efficiency(replace(context, train=False))
    assert again.comparisons == result.comparisons
    with pytest.raises(MissingDataError, match="seed"):
        label_efficiency.label_efficiency(replace(context, train=False, seed=5))


@pytest.mark.slow
def test_masks_and_reconstructions_are_drawn_and_measured(context, result):
    assert "17 to 32 of 224" in inpainting.figure_1(context).notes[0]
    found = inpainting.figure_2(replace(context, train=False))
    assert found.figures[0].stat().st_size > 10_000
    assert found.comparisons[0].ours.low > 0


def test_metrics_are_means_over_runs_and_differences_are_paired():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 20)
    right = np.eye(3)[truth]
    noisy = np.stack([right * 0.2 + 0.8 * rng.dirichlet(np.ones(3), 60) for _ in range(3)])
    patients = tuple(f"p{i // 2}" for i in range(60))
    labels = ("normal", "cap", "covid")
    first, second = Answers(labels, truth, patients, noisy), Answers(labels, truth, patients, noisy[:, ::-1])
    metrics, ones = first.metrics(), np.ones((1, 60))
    called = [(run.argmax(axis=1)[truth == 1] == 2).mean() for run in noisy]
    assert metrics["CAP called COVID"](ones)[0] == pytest.approx(np.mean(called))
    assert first.each("CAP called COVID") == pytest.approx(called)
    assert np.mean(first.each("macro F1")) == pytest.approx(metrics["macro F1"](ones)[0])
    context = Context(None, True, None, None, Budget("none", bootstrap=200))
    same, other = compared(first, first, context), compared(first, second, context)
    assert all((value.value, value.low, value.high) == (0, 0, 0) for value in same.values())
    assert other["macro F1"].value == pytest.approx(
        metrics["macro F1"](ones)[0] - second.metrics()["macro F1"](ones)[0]
    )
    assert other["macro F1"].low > 0
    # Of one class alone nothing can be said but where it goes.
    alone = Answers(labels, np.ones(60, int), patients, noisy)
    assert set(alone.metrics()) == {"CAP called COVID"}
