"""Training of hierarchical COVID-CXNet: two ordinary runs one after the other, joined into one model."""

from dataclasses import replace
from pathlib import Path

import keras

from covidcx.models import restore
from covidcx.models.hierarchical import fill_stages
from covidcx.models.stage_names import STAGES
from covidcx.training.feed import Feed
from covidcx.training.loop import Progress
from covidcx.training.recipe import ModelSettings, Recipe
from covidcx.training.run_folder import RunFolder
from covidcx.training.selection import Selection
from covidcx.training.start import seeded_build


def stage_recipes(recipe: Recipe) -> dict[str, Recipe]:
    """Return the two recipes that a hierarchical one is trained by.

    Args:
        recipe: with `stages`; its labels are normal, CAP and COVID-19 in this order.

    Returns:
        By stage: `pneumonia` tells the first label from the others merged, `covid` the second from the third.
    """
    normal, cap, covid = recipe.labels
    only, holdout = recipe.selection.only, recipe.selection.holdout
    shared = {
        "model": ModelSettings("covid-cxnet", {k: v for k, v in recipe.model.kwargs.items() if k != "classes"}),
        "stages": {},
    }
    first = Selection(only, {**recipe.selection.merge, STAGES[0]: (cap, covid)}, holdout)
    second = Selection(only, dict(recipe.selection.merge), holdout)
    return {
        name: replace(
            recipe, name=f"{recipe.name}-{name}", labels=labels, selection=selection,
            epochs=min(recipe.stages[name], recipe.epochs), **shared,
        )
        for name, labels, selection in zip(
            STAGES, ((normal, STAGES[0]), (cap, covid)), (first, second), strict=True
        )
    }  # fmt: skip


def run_stages(
    recipe: Recipe, manifest: Path, feed: Feed, folder: RunFolder, cache: Path
) -> tuple[keras.Model, Progress, dict[str, float]]:
    """Train both stages in `stages/` of the run's folder, or go on with them, and join them.

    Args:
        recipe: the run.
        manifest: table of studies.
        feed: images of all three classes, to measure the joined model on the validation rows.
        folder: the run's folder.
        cache: folder of prepared images.

    Returns:
        The joined model; what happened, with the log rows of both stages; the joined model's validation scores.
    """
    from covidcx.training.fit import train

    models, progress = {}, Progress([], [])
    for number, (name, value) in enumerate(stage_recipes(recipe).items(), 1):
        done = train(value, manifest, folder.path / "stages" / name, resume=True, cache=cache)
        models[name] = restore(value.model_spec(), done.weights)
        progress.best_epoch = len(progress.rows) + done.best_epoch
        rows = RunFolder(done.out).read_log()
        progress.rows += [
            {**row, "epoch": len(progress.rows) + int(row["epoch"]), "stage": number} for row in rows
        ]
        progress.seconds += done.seconds
    model = seeded_build(recipe.model_spec(), recipe.seed)
    fill_stages(model, models)
    scores = feed.validate(model)
    progress.best_value = scores[recipe.metric]
    return model, progress, scores
