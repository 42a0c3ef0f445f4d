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
from covidcx.data.cache import prepare_manifest, prepare_masks
from covidcx.data.manifest import Manifest
from covidcx.data.pipeline import Augment, AugmentPair, evaluation_dataset, steps, training_dataset
from covidcx.errors import RecipeError
from covidcx.training.lungs import enhancement_of, lung_masks
from covidcx.training.recipe import Recipe
from covidcx.training.rows import Rows
from covidcx.training.tasks import Classification, Task

log = logging.getLogger(__name__)

_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one part, train or val.

    Attributes:
        images: uint8, N x H x W x C.
        targets: what the loss compares with, N first.
        weights: float32, N, weight of each image in the loss.
        lungs: bool, N x H x W, or None.
        rows: the manifest's rows, in the images' order.
    """

    images: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    lungs: np.ndarray | None
    rows: pd.DataFrame


class Batches(keras.utils.PyDataset):
    """The batches of `covidcx.data.pipeline.training_dataset` without TensorFlow, for the other backends.

    Args:
        part: the training images.
        recipe: seed, batch and augmentation.
        output: name of the model's output.
        epoch: 0-based epoch.
    """

    def __init__(self, part: Part, recipe: Recipe, output: str, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._part, self._recipe, self._output, self._epoch = part, recipe, output, epoch
        self._order = np.random.default_rng([recipe.seed, epoch]).permutation(len(part.images))

    @property
    def num_batches(self) -> int:
        """Steps of the epoch."""
        return steps(len(self._order), self._recipe.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return images float32 0..1, targets and weights of one batch."""
        size, part = self._recipe.batch, self._part
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng([self._recipe.seed, self._epoch, index + 1])
        images, targets = part.images[rows], {self._output: part.targets[rows]}
        if self._recipe.task == "segment":
            images, targets = augment_pairs(self._recipe)(images, targets, rng)
        else:
            lungs = {} if part.lungs is None else {"lungs": part.lungs[rows]}
            images = augment_images(self._recipe)(images, rng, **lungs)
        truth = {name: values.astype(np.float32) for name, values in targets.items()}
        return _network(images), truth, {self._output: part.weights[rows]}


def augment_images(recipe: Recipe) -> Augment:
    """Return a recipe's augmentation in the form that pipelines take."""

    def augment(images: np.ndarray, rng: np.random.Generator, lungs: np.ndarray | None = None) -> np.ndarray:
        return recipe.augmentation.apply_batch(images, lungs, rng)

    return augment


def augment_pairs(recipe: Recipe) -> AugmentPair:
    """Return a recipe's augmentation of images and masks in the form that pipelines take."""

    def augment(
        images: np.ndarray, targets: dict[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        ((name, masks),) = targets.items()
        pairs = [recipe.augmentation.apply_pair(i, m, rng) for i, m in zip(images, masks, strict=True)]
        return np.stack([image for image, _ in pairs]), {name: np.stack([mask for _, mask in pairs])}

    return augment


@dataclass(frozen=True, eq=False)
class Feed:
    """Training and validation images of a run.

    Attributes:
        recipe: the run.
        task: what is trained.
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
        return steps(len(self.training.images), self.recipe.batch)

    def train(self, epoch: int) -> Any:
        """Return one epoch's batches: a tf.data pipeline under TensorFlow, a `PyDataset` otherwise."""
        part, recipe, output = self.training, self.recipe, self.task.output
        if keras.backend.backend() != "tensorflow":
            return Batches(part, recipe, output, epoch)
        if recipe.task == "segment":
            augmentation: dict[str, Any] = {"augment_pair": augment_pairs(recipe)}
        else:
            companions = {} if part.lungs is None else {"lungs": part.lungs}
            augmentation = {"augment": augment_images(recipe), "companions": companions}
        return training_dataset(
            part.images, {output: part.targets}, recipe.batch, recipe.seed,
            sample_weight=part.weights, epoch=epoch, **augmentation,
        )  # fmt: skip

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Return `val_loss` and the task's scores."""
        part, loss, total, outputs = self.validation, self.task.loss(), 0.0, []
        loss.reduction = None
        for where, predictions in self._predict(model):
            each = ops.convert_to_numpy(loss(part.targets[where].astype(np.float32), predictions))
            total += float((each * part.weights[where]).sum())
            outputs.append(predictions)
        truth = part.rows["label"].tolist() if isinstance(self.task, Classification) else part.targets
        return {"val_loss": total / len(part.images), **self.task.scores(truth, np.concatenate(outputs))}

    def write_predictions(self, model: keras.Model, path: Path) -> None:
        """Write the model's predictions on the validation rows as a table."""
        predictions = np.concatenate([found for _, found in self._predict(model)])
        table = self.task.table(self.validation.rows, predictions, self.validation.targets)
        write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())

    def _predict(self, model: keras.Model) -> Iterator[tuple[slice, np.ndarray]]:
        part, batch = self.validation, self.recipe.batch
        for start in range(0, len(part.images), _CHUNK):
            where = slice(start, start + _CHUNK)
            images = part.images[where]
            # Under TensorFlow Keras would make a pipeline of the array by itself, with the tuning thread that
            # `covidcx.data.pipeline` switches off because it can hang.
            tensorflow = keras.backend.backend() == "tensorflow"
            source = evaluation_dataset(images, batch) if tensorflow else _network(images)
            found = model.predict(source, batch_size=None if tensorflow else batch, verbose=0)[self.task.output]
            yield where, np.asarray(found, np.float32)


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
    size, enhance = recipe.preprocessing.size, enhancement_of(recipe.preprocessing)
    if size[0] != size[1]:
        raise RecipeError(f"a lung segmenter takes square images, received preprocessing.size={size}")
    parts, failures = [], ()
    for manifest in (rows.train, rows.val):
        done = prepare_masks(manifest, size[0], enhance, cache)
        weights = np.ones(len(done), np.float32)
        parts.append(Part(done.images, done.targets, weights, None, done.rows))
        failures += done.failures
    return Feed(recipe, task, *parts, "", failures)


def _classification(recipe: Recipe, task: Classification, rows: Rows, cache: Path) -> Feed:
    lung_mask, named = lung_masks(recipe, rows.manifest)
    done = [
        prepare_manifest(manifest, recipe.preprocessing, cache, lung_mask, key_extra=named)
        for manifest in (rows.train, rows.val)
    ]
    weights = task.weights(done[0].rows["label"])
    log.info("loss weights: %s", ", ".join(f"{label} {weight:.3g}" for label, weight in weights.items()))
    parts = []
    for prepared, manifest in zip(done, (rows.train, rows.val), strict=True):
        kept = Manifest(prepared.rows, manifest.root, manifest.path)
        each = prepared.rows["label"].map(weights).to_numpy(np.float32)
        parts.append(Part(prepared.images, task.targets(kept), each, prepared.lungs, prepared.rows))
    return Feed(recipe, task, *parts, named, done[0].failures + done[1].failures)


def _network(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255.0)
