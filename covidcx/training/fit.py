"""`train`: from a recipe and a manifest to a run's folder."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidcx.data.manifest import Manifest
from covidcx.errors import MissingDependencyError, RecipeError, did_you_mean
from covidcx.training import recipes
from covidcx.training.recipe import Recipe
from covidcx.training.rows import select
from covidcx.training.run_folder import RunFolder, command_line, now, read_json, write_json
from covidcx.training.tasks import Task, task_of

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a run ended with.

    Attributes:
        out: the run's folder.
        recipe: with every override applied.
        epochs: epochs trained.
        best_epoch: 1-based epoch whose weights were kept.
        metric: what it was chosen on.
        best_value: its value there.
        scores: the best epoch's row of the log.
        weights: float32 weights file of the best epoch.
        predictions: table of the best epoch's predictions on the validation rows.
        seconds: time spent, in all processes.
    """

    out: Path
    recipe: Recipe
    epochs: int
    best_epoch: int
    metric: str
    best_value: float
    scores: dict[str, float]
    weights: Path
    predictions: Path
    seconds: float


def train(
    recipe: str | Recipe,
    manifest: str | Path,
    out: str | Path,
    overrides: Mapping[str, str] | None = None,
    resume: bool = False,
    cache: Path | None = None,
) -> TrainingResult:
    """Train a model and leave everything about it in one folder.

    Args:
        recipe: a name of `covidcx.training.recipes.names()`, or the value itself.
        manifest: table of studies.
        out: the run's folder; gets `recipe.json`, `run.json`, `log.csv`, `tensorboard/`, `best.weights.h5`,
            `val_predictions.csv` and `state/`. Prepared images are cached beside it in `.prepared/`, or in the folder
            that the environment variable `COVIDCX_CACHE` names.
        overrides: settings to replace, as text: `{"epochs": "3", "optimizer.learning_rate": "3e-4"}`.
        resume: go on with a run that was stopped; it ends as if it had not been.
        cache: folder of prepared images; see `out` where None.

    Returns:
        What the run ended with.

    Raises:
        RecipeError: the recipe or a setting is unknown, the folder holds another run, or training diverged.
        ManifestError: rows that would be used have problems, or a class or split has none.
    """
    try:
        import keras  # noqa: F401 - told before any work is done
    except ImportError as error:
        raise MissingDependencyError("training needs Keras; run: pip install 'covidcx[train]'") from error
    value = (recipes.get(recipe) if isinstance(recipe, str) else recipe).override(overrides or {})
    spec = value.model_spec()
    folder = RunFolder(Path(out))
    task = task_of(value)
    rows = select(value, task, Manifest.read(manifest))
    folder.check(value, rows.identity(), resume)
    if resume and folder.finished:
        log.info("%s is finished; nothing to do", folder.path)
        return _result(folder, value)

    from covidcx.models import save_weights
    from covidcx.training.device import precision, replicas
    from covidcx.training.feed import prepare_feed
    from covidcx.training.loop import run
    from covidcx.training.record import begin
    from covidcx.training.start import check_start

    check_start(value)
    # Images before the folder: a wrong file or segmenter must not leave half a run behind.
    cache = cache or folder.cache
    feed = prepare_feed(value, task, rows, cache)
    identity = {**rows.identity(), "segmenter": feed.segmenter}
    folder.check(value, identity, resume)
    command = command_line(value.name, Path(manifest), folder.path, overrides or {})
    record = begin(folder, value, command, Path(manifest), identity, feed.failures, model=spec)
    if value.stages:
        from covidcx.training.hierarchical import run_stages

        model, progress, scores = run_stages(value, Path(manifest), feed, folder, cache)
        folder.write_log(progress.rows)
        save_weights(model, folder.weights, dtype="float32")
    else:
        with precision(record["precision"]), replicas():
            model = build_model(value, spec, feed.steps, feed.task)
        log.info("%s: %d parameters, %d steps an epoch", value.model.name, model.count_params(), feed.steps)
        progress = run(value, model, feed, folder, freeze_epochs=value.freeze_epochs)
        scores = progress.rows[progress.best_epoch - 1]
    feed.write_predictions(model, folder.predictions)
    record |= {
        "status": "finished",
        "finished": now(),
        "seconds": round(progress.seconds, 1),
        "epochs": len(progress.rows),
        "best": {"epoch": progress.best_epoch, "metric": value.metric, "value": progress.best_value},
        "scores": scores,
    }
    write_json(folder.record, record)
    return _result(folder, value)


def build_model(recipe: Recipe, spec: dict[str, Any], steps: int, task: Task) -> "keras.Model":
    """Build, fill and compile a run's model.

    Args:
        recipe: the run.
        spec: from `recipe.model_spec()`.
        steps: steps of an epoch, for the schedule.
        task: says the losses.

    Returns:
        Compiled Keras model with its optimiser built.
    """
    from covidcx.training.optimize import optimizer
    from covidcx.training.start import seeded_build, start_from

    model = seeded_build(spec, recipe.seed)
    start_from(model, recipe.initial_weights, recipe.initial_layers)
    losses, weights = task.losses(), task.loss_weights()
    for name in losses:
        if name not in model.output:
            raise RecipeError(f"model {recipe.model.name!r} has no output {name!r}.{did_you_mean(name, model.output)}")
    model.compile(optimizer=optimizer(recipe, steps), loss=losses, loss_weights=weights)
    model.optimizer.build(model.trainable_variables)
    return model


def _result(folder: RunFolder, recipe: Recipe) -> TrainingResult:
    record = read_json(folder.record)
    best = record["best"]
    return TrainingResult(
        folder.path, recipe, record["epochs"], best["epoch"], best["metric"], best["value"], record["scores"],
        folder.weights, folder.predictions, record["seconds"],
    )  # fmt: skip
