"""The learning-rate range test: raise the rate exponentially and see where the loss falls most steeply.

Smith 2017 (Cyclical Learning Rates, section 3.3), with exponential steps as COVID-CXNet uses it (section 5.1: "the best
learning rate is where the highest decreasing slope happens").
"""

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.atomic import write_atomic
from covidcx.errors import RecipeError
from covidcx.training.recipe import Recipe

if TYPE_CHECKING:
    from covidcx.training.feed import Feed

log = logging.getLogger(__name__)

STOP = 4.0
"""The sweep ends where the loss is this many times its lowest value."""
_WIDTH = 25  # one standard deviation of the smoothing is this part of the sweep
_LEAST = 10


@dataclass(frozen=True, eq=False)
class LearningRates:
    """A finished sweep.

    Attributes:
        rates: float64, N, rising by one factor from step to step.
        losses: float64, N: loss of the batch of each step, before its update.
        smoothed: float64, N: losses averaged over neighbouring steps on both sides, so that nothing is moved.
        suggestion: rate at which `smoothed` falls most steeply over the logarithm of the rate.
        diverged: whether the sweep ended early because the loss rose.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    diverged: bool


def sweep(step: Callable[[float], float], low: float = 1e-7, high: float = 1.0, steps: int = 100) -> LearningRates:
    """Raise the learning rate from step to step and suggest one.

    Args:
        step: makes one training step at a rate and returns the loss before it.
        low: first rate.
        high: last rate.
        steps: steps from one to the other.

    Returns:
        What was seen; it ends early where the loss is `STOP` times its lowest value or no number.

    Raises:
        RecipeError: the range is none, the loss never falls, or it diverges at once.
    """
    if not 0 < low < high or steps < _LEAST:
        raise RecipeError(
            f"a sweep needs 0 < low < high and {_LEAST} steps or more, received {low:g}, {high:g} and {steps}"
        )
    rates, losses, diverged = np.geomspace(low, high, steps), [], False
    for rate in rates:
        loss = float(step(float(rate)))
        if not np.isfinite(loss) or (len(losses) >= _LEAST and loss > STOP * min(losses)):
            diverged = True
            break
        losses.append(loss)
    if len(losses) < _LEAST:
        where = f"after {len(losses)} steps at {rates[len(losses)]:g}"
        raise RecipeError(f"the loss is no number {where}; set a lower --low")
    seen, values = rates[: len(losses)], np.array(losses)
    smoothed = smooth(values, steps / _WIDTH)
    slopes = np.gradient(smoothed, np.log(seen))[: int(smoothed.argmin()) + 1]
    if slopes.size == 0 or slopes.min() >= 0:
        raise RecipeError(f"the loss never falls between {low:g} and {seen[-1]:g}; widen the range or check the data")
    return LearningRates(seen, values, smoothed, float(seen[slopes.argmin()]), diverged)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Average over neighbours with Gaussian weights; at the ends only over those that are there.

    Args:
        values: float, N.
        width: standard deviation in steps.

    Returns:
        float64, N.
    """
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places[None, :]) / max(width, 1e-9)) ** 2)
    return weights @ values / weights.sum(axis=1)


def find_learning_rate(
    recipe: str | Recipe,
    manifest: str | Path,
    out: str | Path,
    overrides: Mapping[str, str] | None = None,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
) -> LearningRates:
    """Sweep a recipe's learning rate on its own training images and loss.

    Args:
        recipe: a name of `covidcx.training.recipes.names()`, or the value itself; its seed decides weights, order and
            augmentation, so that the same call sees the same losses.
        manifest: table of studies.
        out: folder; gets `lr_find.csv` and `lr_find.json`. Prepared images are cached as `train` does.
        overrides: settings to replace, as text.
        low: see `sweep`.
        high: see `sweep`.
        steps: see `sweep`.

    Returns:
        The sweep.

    Raises:
        RecipeError: see `sweep`; or the recipe has stages, which learn at rates of their own.
        ManifestError: see `train`.
    """
    from covidcx.data.manifest import Manifest
    from covidcx.training import recipes
    from covidcx.training.feed import prepare_feed
    from covidcx.training.fit import build_model
    from covidcx.training.loop import reseed
    from covidcx.training.rows import select
    from covidcx.training.run_folder import RunFolder
    from covidcx.training.start import check_start
    from covidcx.training.tasks import task_of

    value = (recipes.get(recipe) if isinstance(recipe, str) else recipe).override(overrides or {})
    if value.stages:
        raise RecipeError(f"recipe {value.name!r} has two stages; find the rate of covid-cxnet-v2 or covid-cxnet-flat")
    constant = replace(value, optimizer=replace(value.optimizer, schedule="constant", warmup_epochs=0.0))
    check_start(value)
    task, folder = task_of(value), Path(out)
    rows = select(value, task, Manifest.read(manifest))
    feed = prepare_feed(value, task, rows, RunFolder(folder).cache)
    model = build_model(constant, constant.model_spec(), feed.steps, feed.task)
    reseed(model, value.seed, 0)
    batches = _batches(feed)

    def step(rate: float) -> float:
        model.optimizer.learning_rate.assign(rate)
        images, targets, weights = next(batches)
        model.reset_metrics()
        return model.train_on_batch(images, targets, weights, return_dict=True)["loss"]

    found = sweep(step, low, high, steps)
    _write(folder, value, found, {"manifest": str(manifest), "low": low, "high": high, "steps": steps})
    log.info("%s: steepest fall at %.3g", value.name, found.suggestion)
    return found


def _batches(feed: "Feed") -> Iterator[tuple[Any, Any, Any]]:
    epoch = 0
    while True:
        source = feed.train(epoch)
        if hasattr(source, "as_numpy_iterator"):
            yield from source.as_numpy_iterator()
        else:
            yield from (source[i] for i in range(feed.steps))
        epoch += 1


def _write(folder: Path, recipe: Recipe, found: LearningRates, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["learning_rate", "loss", "smoothed"])
    for row in zip(found.rates, found.losses, found.smoothed, strict=True):
        writer.writerow([f"{number:.6g}" for number in row])
    write_atomic(folder / "lr_find.csv", table.getvalue().encode())
    record = {
        "recipe": recipe.to_dict(), "recipe_hash": recipe.hash, "suggestion": found.suggestion,
        "recipe_rate": recipe.optimizer.learning_rate, "diverged": found.diverged, **settings,
    }  # fmt: skip
    write_atomic(folder / "lr_find.json", (json.dumps(record, indent=2) + "\n").encode())
