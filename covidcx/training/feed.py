"""Prepared images as batches for `fit`, and the measuring of the validation rows."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from covidcx.atomic import write_atomic
from covidcx.data.augment import swap_texture
from covidcx.data.cache import PreparedSet, prepare_manifest, prepare_masks
from covidcx.data.copies import COPIES, change
from covidcx.data.manifest import Manifest
from covidcx.data.pipeline import Augment, AugmentPair, evaluation_dataset, steps, training_dataset
from covidcx.errors import RecipeError
from covidcx.training.lungs import enhancement_of, lung_masks
from covidcx.training.recipe import Recipe
from covidcx.training.rows import Rows
from covidcx.training.tasks import Classification, Several, Task

log = logging.getLogger(__name__)

_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one part, train or val.

    Attributes:
        images: uint8, N x H x W x C.
        targets: what the losses compare with, by output, N first.
        weights: float32, N, weight of each image in the losses.
        lungs: bool, N x H x W, or None.
        rows: the manifest's rows, in the images' order.
        items: int, M x 2: row and copy of everything seen in an epoch, or None where that is every row once.
    """

    images: np.ndarray
    targets: dict[str, np.ndarray]
    weights: np.ndarray
    lungs: np.ndarray | None
    rows: pd.DataFrame
    items: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images) if self.items is None else len(self.items)


class Batches(keras.utils.PyDataset):
    """The batches of `covidcx.data.pipeline.training_dataset` without TensorFlow, for the other backends.

    Args:
        part: the training images.
        recipe: seed, batch and augmentation.
        epoch: 0-based epoch.
    """

    def __init__(self, part: Part, recipe: Recipe, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._part, self._recipe, self._epoch = part, recipe, epoch
        self._order = np.random.default_rng([recipe.seed, epoch]).permutation(len(part))

    @property
    def num_batches(self) -> int:
        """Steps of the epoch."""
        return steps(len(self._order), self._recipe.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return images float32 0..1, targets and weights of one batch."""
        size, part = self._recipe.batch, self._part
        rows, copies = self._order[index * size : (index + 1) * size], ()
        if part.items is not None:
            rows, copies = part.items[rows, 0], (part.items[rows, 1],)
        rng = np.random.default_rng([self._recipe.seed, self._epoch, index + 1])
        images, targets = part.images[rows], {name: values[rows] for name, values in part.targets.items()}
        if self._recipe.task == "classify":
            lungs = {} if part.lungs is None else {"lungs": part.lungs[rows]}
            images = augment_images(self._recipe)(images, rng, **lungs)
        else:
            images, targets = augment_pairs(self._recipe)(images, targets, rng, *copies)
        truth = {name: values.astype(np.float32) for name, values in targets.items()}
        return _network(images), truth, dict.fromkeys(truth, part.weights[rows])


def augment_images(recipe: Recipe) -> Augment:
    """Return a recipe's augmentation in the form that pipelines take."""

    def augment(images: np.ndarray, rng: np.random.Generator, lungs: np.ndarray | None = None) -> np.ndarray:
        return recipe.augmentation.apply_batch(images, lungs, rng)

    return augment


def augment_pairs(recipe: Recipe) -> AugmentPair:
    """Return a recipe's augmentation of images and all their masks alike, in the form that pipelines take."""

    def augment(
        images: np.ndarray, targets: dict[str, np.ndarray], rng: np.random.Generator, copies: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        masks = {name: values for name, values in targets.items() if values.ndim == 4}
        missing = {name: (values < 0).all(axis=(1, 2, 3)) for name, values in masks.items()}
        joined = np.concatenate(list(masks.values()), axis=-1) if masks else np.zeros((*images.shape[:3], 0), np.int8)
        done, swap = [], recipe.augmentation.texture_swap
        for i in range(len(images)):
            image, mask = change(images[i], joined[i], 0 if copies is None else int(copies[i]))
            # Nothing is drawn where nothing is swapped: runs without it see what they always saw.
            if swap and rng.random() < swap:
                image = swap_texture(image, images[rng.integers(len(images))], rng.uniform(1.5, 5.0))
            done.append(recipe.augmentation.apply_pair(image, mask, rng))
        joined, changed, start = np.stack([mask for _, mask in done]), dict(targets), 0
        for name, values in masks.items():
            changed[name] = joined[..., start : start + values.shape[-1]]
            # A missing mask stays missing: what moves in from outside the image must not become a label.
            changed[name][missing[name]] = -1
            start += values.shape[-1]
        return np.stack([image for image, _ in done]), changed

    return augment


@dataclass(frozen=True, eq=False)
class Feed:
    """Training and validation images of a run.

    Attributes:
        recipe: the run.
        task: what is trained, with the losses that the training rows decide.
        training: images learnt from.
        validation: images the checkpoint is chosen on.
        segmenter: names what the lungs came from.
        failures: image and reason of every row whose files could not be read.
    """

    recipe: Recipe
    task: Task
    training: Part
    validation: Part
    segmenter: str
    failures: tuple[tuple[str, str], ...]

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps(len(self.training), self.recipe.batch)

    def train(self, epoch: int) -> Any:
        """Return one epoch's batches: a tf.data pipeline under TensorFlow, a `PyDataset` otherwise."""
        part, recipe = self.training, self.recipe
        if keras.backend.backend() != "tensorflow":
            return Batches(part, recipe, epoch)
        if recipe.task == "classify":
            companions = {} if part.lungs is None else {"lungs": part.lungs}
            augmentation: dict[str, Any] = {"augment": augment_images(recipe), "companions": companions}
        else:
            augmentation = {"augment_pair": augment_pairs(recipe)}
        return training_dataset(
            part.images, part.targets, recipe.batch, recipe.seed,
            sample_weight=part.weights, epoch=epoch, items=part.items, **augmentation,
        )  # fmt: skip

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Return `val_loss` and the task's scores."""
        part, losses, weights, total = self.validation, self.task.losses(), self.task.loss_weights(), 0.0
        figures = []
        for loss in losses.values():
            loss.reduction = None
        for where, predictions in self._predict(model):
            targets = {name: values[where] for name, values in part.targets.items()}
            for name, loss in losses.items():
                each = ops.convert_to_numpy(loss(targets[name].astype(np.float32), predictions[name]))
                total += weights[name] * float((each * part.weights[where]).sum())
            figures.append(self.task.figures(targets, predictions))
        return {"val_loss": total / len(part.images), **self.task.scores(self._table(figures))}

    def write_predictions(self, model: keras.Model, path: Path) -> None:
        """Write the model's predictions on the validation rows as a table."""
        figures = [
            self.task.figures({name: values[where] for name, values in self.validation.targets.items()}, predictions)
            for where, predictions in self._predict(model)
        ]
        text = self._table(figures).to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_atomic(path, text.encode())

    def _table(self, figures: list[dict[str, np.ndarray]]) -> pd.DataFrame:
        columns = {name: np.concatenate([part[name] for part in figures]) for name in figures[0]}
        return self.validation.rows[["image", "patient_id", "label"]].reset_index(drop=True).assign(**columns)

    def _predict(self, model: keras.Model) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        part, batch = self.validation, self.recipe.batch
        for start in range(0, len(part.images), _CHUNK):
            where = slice(start, start + _CHUNK)
            images = part.images[where]
            # Under TensorFlow Keras would make a pipeline of the array by itself, with the tuning thread that
            # `covidcx.data.pipeline` switches off because it can hang.
            tensorflow = keras.backend.backend() == "tensorflow"
            source = evaluation_dataset(images, batch) if tensorflow else _network(images)
            found = model.predict(source, batch_size=None if tensorflow else batch, verbose=0)
            yield where, {name: np.asarray(values, np.float32) for name, values in found.items()}


def prepare_feed(recipe: Recipe, task: Task, rows: Rows, cache: Path) -> Feed:
    """Prepare the images of a run, or take them from the cache.

    Args:
        recipe: the run.
        task: what is trained.
        rows: from `covidcx.training.rows.select`.
        cache: folder of the cache.

    Returns:
        The feed.

    Raises:
        RecipeError: the segmenter does not suit the recipe.
        ManifestError: no image could be prepared, or a class has none.
    """
    log.info("prepared images are kept in %s", cache)
    if isinstance(task, Classification):
        return _classification(recipe, task, rows, cache)
    if isinstance(task, Several):
        return _several(recipe, task, rows, cache)
    size, enhance = recipe.preprocessing.size, enhancement_of(recipe.preprocessing)
    if size[0] != size[1]:
        raise RecipeError(f"a lung segmenter takes square images, received preprocessing.size={size}")
    parts, failures = [], ()
    for manifest in (rows.train, rows.val):
        done = prepare_masks(manifest, size[0], enhance, cache)
        weights = np.ones(len(done), np.float32)
        parts.append(Part(done.images, {task.output: done.targets}, weights, None, done.rows))
        failures += done.failures
    return Feed(recipe, task, *parts, "", failures)


def _classification(recipe: Recipe, task: Classification, rows: Rows, cache: Path) -> Feed:
    done, named = _prepared(recipe, rows, cache)
    weights = task.weights(done[0].rows["label"])
    log.info("loss weights: %s", ", ".join(f"{label} {weight:.3g}" for label, weight in weights.items()))
    parts = []
    for prepared, manifest in zip(done, (rows.train, rows.val), strict=True):
        kept = Manifest(prepared.rows, manifest.root, manifest.path)
        each = prepared.rows["label"].map(weights).to_numpy(np.float32)
        items = None
        if recipe.passes > 1 and manifest is rows.train:
            rows_seen = np.tile(np.arange(len(kept)), recipe.passes)
            items = np.stack([rows_seen, np.zeros_like(rows_seen)], axis=1)
        targets = {task.output: task.targets(kept)}
        parts.append(Part(prepared.images, targets, each, prepared.lungs, prepared.rows, items))
    return Feed(recipe, task, *parts, named, done[0].failures + done[1].failures)


def _several(recipe: Recipe, task: Several, rows: Rows, cache: Path) -> Feed:
    done, named = _prepared(recipe, rows, cache)
    parts = []
    for prepared, manifest in zip(done, (rows.train, rows.val), strict=True):
        kept = Manifest(prepared.rows, manifest.root, manifest.path)
        targets, weights, items = task.targets(kept, prepared), np.ones(len(kept), np.float32), None
        if manifest is rows.train:
            each = np.where(prepared.rows["label"].isin(recipe.copies), len(COPIES), 1)
            weights, task = task.weights(kept, each), task.balanced(targets, each)
            numbers = np.concatenate([np.arange(count) for count in each])
            items = np.stack([np.repeat(np.arange(len(kept)), each), numbers], axis=1)
            known = {name: task.taught(name, kept).sum() for name in task.heads}
            log.info("images with a target: %s", ", ".join(f"{name} {count}" for name, count in known.items()))
            for name, head in task.weighted.items():
                log.info("loss weights of %s: %s", name, np.round(head.class_weights, 3).tolist())
        parts.append(Part(prepared.images, targets, weights, prepared.lungs, prepared.rows, items))
    return Feed(recipe, task, *parts, named, done[0].failures + done[1].failures)


def _prepared(recipe: Recipe, rows: Rows, cache: Path) -> tuple[list[PreparedSet], str]:
    lung_mask, named = lung_masks(recipe, rows.manifest)
    parts = (rows.train, rows.val)
    return [prepare_manifest(part, recipe.preprocessing, cache, lung_mask, key_extra=named) for part in parts], named


def _network(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255.0)
