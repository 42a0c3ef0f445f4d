"""The epoch loop: train, measure, keep, so that a run can stop anywhere and go on where it was.

Order of images, augmentation and dropout of an epoch follow from (seed, epoch) alone; weights, optimiser and the best
value come from the state. An epoch is thus repeated alike however often the process was killed.
"""

import logging
import math
import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from covidcx.errors import RecipeError
from covidcx.models import save_weights
from covidcx.training import checkpoint
from covidcx.training.callbacks import EpochBar, TensorBoardLog
from covidcx.training.freeze import freeze
from covidcx.training.pretraining import Pretraining
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import RunFolder

log = logging.getLogger(__name__)


class Feed(Protocol):
    """Where the loop gets its images from."""

    steps: int

    def train(self, epoch: int) -> Any:
        """Return what `keras.Model.fit` takes for one epoch (0-based)."""

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Return `val_loss` and the task's scores."""


@dataclass
class Progress:
    """What has happened so far; kept in the state's record.

    Attributes:
        rows: columns of the log, one dictionary per finished epoch.
        times: seconds since 1970 at each epoch's end.
        seconds: time spent in all processes.
        best_epoch: 1-based epoch of the best monitored value, 0 before the first.
        best_value: that value.
    """

    rows: list[dict[str, float]]
    times: list[float]
    seconds: float = 0.0
    best_epoch: int = 0
    best_value: float | None = None

    def stopped(self, patience: int | None) -> bool:
        """Whether early stopping ends the run."""
        return patience is not None and len(self.rows) - self.best_epoch >= patience

    def better(self, metric: str, value: float) -> bool:
        """Whether a monitored value beats the best so far; on a tie the earlier epoch stays."""
        if self.best_value is None:
            return True
        return value < self.best_value if metric == "val_loss" else value > self.best_value


def run(
    recipe: Recipe | Pretraining,
    model: keras.Model,
    feed: Feed,
    folder: RunFolder,
    exported: keras.Model | None = None,
    freeze_epochs: int = 0,
) -> Progress:
    """Train until the last epoch or early stopping; the model ends with the best epoch's weights.

    Args:
        recipe: the run.
        model: compiled, with its optimiser built.
        feed: the images.
        folder: where state and logs go; a state found there is gone on from.
        exported: the part of the model whose weights are written as the run's; the whole model by default.
        freeze_epochs: epochs at the start in which only the dense layers learn.

    Returns:
        What happened.

    Raises:
        RecipeError: the loss is no number, or the state does not fit the model.
    """
    exported = model if exported is None else exported
    state = checkpoint.read_state(folder.state)
    progress, best = Progress([], []), {}
    if state is not None:
        progress = Progress(**state.record)
        checkpoint.restore(model, state.arrays)
        best = {key: values for key, values in state.arrays.items() if key.startswith("best/")}
        log.info("resuming after epoch %d of %d", state.epoch, recipe.epochs)
    events = TensorBoardLog(folder.tensorboard)
    try:
        for row, wall_time in zip(progress.rows, progress.times, strict=True):
            events.add(row, wall_time)
        while len(progress.rows) < recipe.epochs and not progress.stopped(recipe.early_stop):
            started = time.monotonic()
            if freeze_epochs:
                freeze(model, len(progress.rows) < freeze_epochs)
            row = _one_epoch(recipe, model, feed, len(progress.rows))
            improved = progress.better(recipe.metric, row[recipe.metric])
            if improved:
                best = checkpoint.capture_best(model)
                progress.best_epoch, progress.best_value = int(row["epoch"]), row[recipe.metric]
            progress.rows.append(row)
            progress.times.append(time.time())
            progress.seconds += time.monotonic() - started
            # Everything after this line can be made again from the state.
            checkpoint.write_state(
                folder.state, checkpoint.State(len(progress.rows), checkpoint.capture(model) | best, vars(progress))
            )
            folder.write_log(progress.rows)
            events.add(row, progress.times[-1])
            if improved:
                save_weights(exported, folder.weights, dtype="float32")
            log.info("epoch %d/%d: %s%s", row["epoch"], recipe.epochs, _shown(row), " (best)" if improved else "")
    finally:
        events.close()
    folder.write_log(progress.rows)
    checkpoint.restore_best(model, best)
    save_weights(exported, folder.weights, dtype="float32")
    return progress


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Set every generator inside a model (dropout) to a state that follows from seed and epoch.

    Args:
        model: the model.
        seed: the run's seed.
        epoch: 0-based epoch.
    """
    generators = [v for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]
    for i, variable in enumerate(generators):
        values = np.random.default_rng([seed, epoch, i]).integers(0, 2**31 - 1, 2)
        variable.assign(values.astype(np.uint32))


def _one_epoch(recipe: Recipe | Pretraining, model: keras.Model, feed: Feed, epoch: int) -> dict[str, float]:
    reseed(model, recipe.seed, epoch)
    bar = [EpochBar(recipe.epochs)] if sys.stderr.isatty() else []
    history = model.fit(
        feed.train(epoch),
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=feed.steps,
        shuffle=False,
        verbose=0,
        callbacks=bar,
    )
    row = {
        "epoch": epoch + 1,
        "learning_rate": float(ops.convert_to_numpy(model.optimizer.learning_rate)),
        "loss": float(history.history["loss"][-1]),
        **feed.validate(model),
    }
    bad = [f"{name} is {value}" for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise RecipeError(
            f"{', '.join(bad)} in epoch {epoch + 1}; try a lower optimizer.learning_rate, received "
            f"{recipe.optimizer.learning_rate:g}, or mixed_precision=float32. The state of epoch {epoch} is kept"
        )
    return row


def _shown(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
