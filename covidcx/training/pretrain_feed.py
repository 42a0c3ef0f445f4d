"""Images as two views, or as images with holes, for `fit`; the same batches under every Keras backend."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from covidcx.data.cache import prepare_manifest
from covidcx.data.manifest import Manifest
from covidcx.data.pipeline import steps, training_dataset
from covidcx.models.inpainting import OUTPUT
from covidcx.training.pretraining import Pretraining

Change = Callable[
    [np.ndarray, dict[str, np.ndarray], np.random.Generator], tuple[np.ndarray, dict[str, np.ndarray]]
]


@dataclass(frozen=True, eq=False)
class PretrainFeed:
    """The images of a pretraining.

    Attributes:
        recipe: the run.
        images: uint8, N x H x W x C.
        failures: image and reason of every row whose file could not be read.
    """

    recipe: Pretraining
    images: np.ndarray
    failures: tuple[tuple[str, str], ...] = ()

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps(len(self.images), self.recipe.batch)

    def train(self, epoch: int) -> Any:
        """Return one epoch's batches: a tf.data pipeline under TensorFlow, a `PyDataset` otherwise."""
        if keras.backend.backend() != "tensorflow":
            return Batches(self, epoch)
        return training_dataset(
            self.images, self.targets(), self.recipe.batch, self.recipe.seed, augment_pair=change(self.recipe),
            epoch=epoch,
        )  # fmt: skip

    def targets(self) -> dict[str, np.ndarray]:
        """Return arrays of N rows whose shapes are the targets'; `change` fills them in batch by batch."""
        count, *shape = self.images.shape
        if self.recipe.contrast is not None:
            return {"key": self.images, "order": np.zeros(count, np.float32)}
        empty = np.broadcast_to(np.zeros((), np.float32), (count, *shape[:2], shape[2] + 1))
        return {OUTPUT: empty}

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Return how often the contrast found the positive key; nothing is held out."""
        if self.recipe.contrast is None:
            return {}
        return {"contrast_accuracy": float(keras.ops.convert_to_numpy(model.accuracy.result()))}


class Batches(keras.utils.PyDataset):
    """The batches of `PretrainFeed.train` without TensorFlow.

    Args:
        feed: the images.
        epoch: 0-based epoch.
    """

    def __init__(self, feed: PretrainFeed, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self._feed, self._epoch, self._targets, self._change = feed, epoch, feed.targets(), change(feed.recipe)
        self._order = np.random.default_rng([feed.recipe.seed, epoch]).permutation(len(feed.images))

    @property
    def num_batches(self) -> int:
        """Steps of the epoch."""
        return self._feed.steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return images float32 0..1 and targets of one batch."""
        size, recipe = self._feed.recipe.batch, self._feed.recipe
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng([recipe.seed, self._epoch, index + 1])
        targets = {name: array[rows] for name, array in self._targets.items()}
        images, targets = self._change(self._feed.images[rows], targets, rng)
        return images.astype(np.float32) / np.float32(255), {k: v.astype(np.float32) for k, v in targets.items()}


def change(recipe: Pretraining) -> Change:
    """Return what makes a batch of images into network input and targets."""
    if recipe.contrast is not None:
        return _two_views(recipe)
    return _with_holes(recipe)


def prepare_pretraining(recipe: Pretraining, manifest: Manifest, cache: Path | None) -> PretrainFeed:
    """Prepare the images of a run, or take them from the cache.

    Args:
        recipe: the run.
        manifest: its rows.
        cache: folder of the cache; None prepares in memory.
    """
    done = prepare_manifest(manifest, recipe.preprocessing, cache)
    return PretrainFeed(recipe, done.images, done.failures)


def _two_views(recipe: Pretraining) -> Change:
    views = recipe.contrast.views

    def two_views(
        images: np.ndarray, targets: dict[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        query, key = views.apply_batch(images, rng), views.apply_batch(images, rng)
        order = rng.permutation(len(images)).astype(np.float32)
        return query, {"key": key.astype(np.float32) / np.float32(255), "order": order}

    return two_views


def _with_holes(recipe: Pretraining) -> Change:
    masks, augmentation = recipe.inpainting.masks, recipe.augmentation

    def with_holes(
        images: np.ndarray, targets: dict[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        whole = augmentation.apply_batch(images, None, rng)
        masked, holes = masks.apply_batch(whole, rng)
        truth = np.concatenate([whole.astype(np.float32) / np.float32(255), holes[..., None]], axis=-1)
        return masked, {OUTPUT: truth.astype(np.float32)}

    return with_holes
