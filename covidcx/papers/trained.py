"""Runs that an item trains or finds finished, and what they answer on a manifest's rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.decision import calibrate, decide
from covidcx.errors import MissingDataError, RecipeError
from covidcx.evaluation.classification import ClassificationResult, classification_metrics
from covidcx.evaluation.predictions import PredictionTable, column, patients_of
from covidcx.evaluation.subgroups import ATTRIBUTES
from covidcx.papers.item import Context
from covidcx.training import recipes, train
from covidcx.training.lungs import lung_masks
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import RunFolder, read_json
from covidcx.training.settings import differences
from covidcx.training.tasks import all_classes

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from covidcx.data.cache import PreparedSet

_BATCH = 32


@dataclass(frozen=True)
class Cell:
    """One training of a sweep.

    Attributes:
        recipe: a recipe's name.
        name: the run's folder in `Context.work`.
        overrides: settings of this cell alone; they win over the budget's.
    """

    recipe: str
    name: str
    overrides: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run.

    Attributes:
        folder: where it lies.
        recipe: with every override applied.
        best: `{"epoch", "metric", "value"}` on the validation rows.
        seconds: time its training took.
        departures: where its settings differ from the registered recipe, one text each.
    """

    folder: RunFolder
    recipe: Recipe
    best: Mapping[str, float | str]
    seconds: float
    departures: tuple[str, ...]

    @cached_property
    def model(self) -> "keras.Model":
        """The best epoch's network."""
        from covidcx.models import restore

        return restore(self.recipe.model_spec(), self.folder.weights)

    def prepare(self, manifest: Manifest) -> "PreparedSet":
        """Prepare a manifest's images as the run's own; kept in the run's cache."""
        from covidcx.data.cache import prepare_manifest

        preprocessing = self.recipe.preprocessing
        # Lungs that stand in for missing masks (`missing_lungs`) are for training alone.
        lungs, named = lung_masks(self.recipe, manifest) if preprocessing.needs_lungs else (None, "")
        return prepare_manifest(manifest, preprocessing, self.folder.cache, lungs, key_extra=named)

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the network answers to prepared images, see `outputs_of`."""
        return outputs_of(self.model, images)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return float64 N x K for prepared images, uint8 N x H x W x C."""
        return all_classes(self.outputs(images)["probabilities"].astype(np.float64))

    def answers(self, manifest: Manifest) -> PredictionTable:
        """Return a classifier's answers; the most probable class is called, as the papers do."""
        done = self.prepare(manifest)
        return answer_table(self.recipe.labels, done.rows, self.probabilities(done.images))


def outputs_of(model: "keras.Model", images: np.ndarray) -> dict[str, np.ndarray]:
    """Ask a network in batches.

    Args:
        model: with named outputs.
        images: prepared, uint8, N x H x W x C.

    Returns:
        By output: float32, N x ...
    """
    parts = [
        model.predict_on_batch(images[start : start + _BATCH].astype(np.float32) / np.float32(255))
        for start in range(0, len(images), _BATCH)
    ]
    return {name: np.concatenate([np.asarray(part[name], np.float32) for part in parts]) for name in parts[0]}


def answer_table(labels: Sequence[str], rows: "pd.DataFrame", probabilities: np.ndarray) -> PredictionTable:
    """Return probabilities and manifest rows as the table that `covidcx.evaluation` measures.

    Args:
        labels: K names.
        rows: N rows of a manifest.
        probabilities: float, N x K.

    Returns:
        The table; the most probable class is called.
    """
    values = calibrate(probabilities, 1.0)
    return PredictionTable(
        labels=tuple(labels),
        images=tuple(rows["image"]),
        patients=patients_of(rows),
        truth=column(rows, "label"),
        splits=tuple(text or "" for text in column(rows, "split")),
        probabilities=values,
        predicted=tuple(decide(values, labels, {})),
        attributes={name: column(rows, name) for name in ATTRIBUTES if name in rows},
    )


def measure(table: PredictionTable, context: Context) -> ClassificationResult:
    """Return every classification metric of a table of answers with its patient-level interval."""
    return classification_metrics(
        table.probabilities, table.truth, table.predicted, table.labels, table.patients, context.budget.bootstrap,
        context.seed,
    )  # fmt: skip


def trained(context: Context, recipe: str) -> Trained:
    """Train a recipe in the folder of its own name, see `train_cell`."""
    return train_cell(context, Cell(recipe, recipe, {}))


def train_cell(context: Context, cell: Cell) -> Trained:
    """Train one cell of a sweep, go on with it, or find it finished.

    A finished run of the same recipe, seed and data is used as it is, also where its other settings differ from the
    item's budget, so that a long training done by `covidcx train` serves; `Trained.departures` names them.

    Raises:
        RecipeError: the folder holds a run of another recipe, seed or data.
        MissingDataError: the run is not finished and the item may not train.
    """
    folder = RunFolder(context.work / cell.name)
    settings = {"seed": str(context.seed), **context.budget.overrides, **cell.overrides}
    if folder.finished:
        _check_same(folder, cell, settings["seed"], split_hash(context.manifest.frame))
    elif not context.train:
        raise MissingDataError(f"{folder.path} holds no finished run; leave --finished-only out to train it")
    else:
        settings = _whole_training(recipes.get(cell.recipe), settings)
        train(cell.recipe, context.manifest_path, folder.path, settings, resume=True)
    record, recipe = read_json(folder.record), Recipe.from_dict(read_json(folder.recipe))
    departures = differences(recipes.get(cell.recipe).to_dict(), recipe.to_dict())
    told = tuple(text.replace(" there,", " in the recipe,").replace(" now", " here") for text in departures)
    return Trained(folder, recipe, record["best"], record["seconds"], told)


def _whole_training(recipe: Recipe, settings: dict[str, str]) -> dict[str, str]:
    """Let a changed number of epochs reach every part of a training: its stages, and its frozen share."""
    epochs = settings.get("epochs", "")
    if not epochs.isdigit():
        return settings
    if recipe.stages:
        parts = {f"stages.{name}": epochs for name in recipe.stages}
        return {**parts, **{key: text for key, text in settings.items() if key != "epochs"}}
    if recipe.freeze_epochs:
        return {"freeze_epochs": str(round(recipe.freeze_epochs * int(epochs) / recipe.epochs)), **settings}
    return settings


def _check_same(folder: RunFolder, cell: Cell, seed: str, data: str) -> None:
    record = read_json(folder.record)
    there = (record["recipe"]["name"], str(record["recipe"]["seed"]), record["data"]["split_hash"])
    if there != (cell.recipe, seed, data):
        raise RecipeError(
            f"{folder.path} holds a finished run of recipe {there[0]}, seed {there[1]}, split hash {there[2]}; needed "
            f"is {cell.recipe}, seed {seed}, split hash {data}; pass another --work"
        )
