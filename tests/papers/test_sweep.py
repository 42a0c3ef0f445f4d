"""A sweep goes on where it stopped, and a finished run is used only for what it is."""

from dataclasses import replace

import pytest

from covidcx.data.phantom import write_phantom
from covidcx.errors import MissingDataError, RecipeError
from covidcx.papers import trained as module
from covidcx.papers.item import Budget, Context
from covidcx.papers.sweep import seeds, spread, sweep
from covidcx.papers.trained import Cell, measure, train_cell, trained
from covidcx.training import recipes

pytest.importorskip("tensorflow")

@pytest.fixture(scope="module")
def context(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tiny", "tiny_recipe")
        patch.setitem(recipes.RECIPES, "also-tiny", "tiny_recipe")
        folder = tmp_path_factory.mktemp("sweep")
        manifest = write_phantom(folder / "phantom", patients=18, size=128, seed=3)
        yield Context(manifest, True, folder, folder / "runs", Budget("tiny", {"batch": "8"}, 2, 50))


def test_a_sweep_trains_each_cell_once_and_goes_on(context, monkeypatch):
    calls = []
    original = module.train

    def counted(*args, **kwargs):
        calls.append(args[2].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "train", counted)
    cells = seeds(context, "tiny")
    assert [cell.name for cell in cells] == ["tiny", "tiny-seed1"]
    with pytest.raises(KeyboardInterrupt):
        sweep(context, cells, lambda run: run.recipe.seed)
    assert sweep(context, cells, lambda run: run.recipe.seed) == {"tiny": 0, "tiny-seed1": 1}
    assert calls == ["tiny", "tiny-seed1", "tiny-seed1"]


def test_a_finished_run_answers_the_test_rows_and_names_its_departures(context):
    run = trained(context, "tiny")
    table = run.answers(context.manifest.subset(split="test"))
    found = measure(table, context)
    assert found.images == len(table) == len(context.manifest.subset(split="test"))
    assert 0 <= found.metrics["accuracy"].low <= found.metrics["accuracy"].high <= 1
    assert any(text.startswith("batch: 4 in the recipe, 8 here") for text in run.departures)


def test_a_run_of_another_seed_or_recipe_is_refused(context):
    with pytest.raises(RecipeError, match=r"seed 0.*seed 7.*--work"):
        train_cell(context, Cell("tiny", "tiny", {"seed": "7"}))
    with pytest.raises(RecipeError, match="finished run of recipe tiny"):
        train_cell(context, Cell("also-tiny", "tiny", {}))


def test_fewer_epochs_reach_stages_and_frozen_epochs():
    staged, frozen = recipes.get("covid-cxnet-hierarchical"), recipes.get("imagenet-resnet50")
    assert module._whole_training(staged, {"epochs": "3"}) == {"stages.pneumonia": "3", "stages.covid": "3"}
    changed = frozen.override(module._whole_training(frozen, {"epochs": "4"}))
    assert (changed.epochs, changed.freeze_epochs) == (4, 2)
    assert staged.override(module._whole_training(staged, {"epochs": "3"})).stages == {"pneumonia": 3, "covid": 3}
    assert module._whole_training(recipes.get("base-model-v2"), {"epochs": "3"}) == {"epochs": "3"}


def test_where_nothing_may_be_trained_an_unfinished_run_is_missing_data(context):
    with pytest.raises(MissingDataError, match=r"no finished run.*--finished-only"):
        train_cell(replace(context, train=False), Cell("tiny", "never-trained", {}))


def test_spread_is_mean_and_range():
    found = spread([0.9, 0.8, 1.0])
    assert (round(found.value, 6), found.low, found.high, found.repeats) == (0.9, 0.8, 1.0, 3)
