"""tf.data pipelines over prepared arrays; an epoch is a function of the seed and its number alone."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import ManifestError

if TYPE_CHECKING:
    import tensorflow as tf

# uint8 batch, generator and the batch's companions by name -> uint8 batch of the same shape
Augment = Callable[..., np.ndarray]
# uint8 batch, targets by name, generator (and copy numbers, where there are items) -> both, changed alike
AugmentPair = Callable[..., tuple[np.ndarray, dict[str, np.ndarray]]]


def training_dataset(
    images: np.ndarray,
    targets: Mapping[str, np.ndarray],
    batch: int,
    seed: int,
    augment: Augment | None = None,
    sample_weight: np.ndarray | None = None,
    shuffle: bool = True,
    epoch: int = 0,
    epochs: int = 1,
    augment_pair: AugmentPair | None = None,
    companions: Mapping[str, np.ndarray] | None = None,
    drop_remainder: bool | None = None,
    workers: int = 1,
    items: np.ndarray | None = None,
) -> "tf.data.Dataset":
    """Feed prepared images to `fit`, shuffled and augmented.

    Order and augmentation of a batch are drawn from (seed, epoch, batch number) and nothing else, so a training that
    resumes at epoch e with `epoch=e` sees what an uninterrupted one sees. Iterating twice gives the same twice: pass
    `epochs=E` and `steps_per_epoch=steps(...)` to one `fit` of several epochs, or make a dataset per epoch.

    Args:
        images: uint8, N x H x W x C, memory-mapped or not.
        targets: arrays of N rows by the model's output names.
        batch: images per step.
        seed: source of order and augmentation.
        augment: `augment(images, rng, **companions)` returns the changed uint8 batch.
        sample_weight: N weights; ones by default.
        shuffle: draw a new order every epoch.
        epoch: number of the first epoch, counted from 0.
        epochs: how many epochs follow each other in the dataset.
        augment_pair: `augment_pair(images, targets, rng)` changes images and targets alike; instead of `augment`.
        companions: arrays of N rows that `augment` takes by name, such as `{"lungs": prepared.lungs}`.
        drop_remainder: leave out an epoch's last incomplete batch; by default where shuffled, as another epoch leaves
            out other images. A single incomplete batch is always kept.
        workers: batches prepared at once; more than one needs an augmentation that threads may share.
        items: int, M x 2: row and copy number of everything seen in an epoch; `augment_pair` gets the copy numbers as
            a fourth argument. Every row once by default.

    Returns:
        Dataset of (float32 images 0..1, {name: float32 targets}, float32 weights).

    Raises:
        ManifestError: arrays disagree in length, there is no image, or a number is out of range.
    """
    import tensorflow as tf

    _check(images, targets, sample_weight, companions)
    if batch < 1 or epoch < 0 or epochs < 1:
        raise ManifestError(
            f"batch and epochs must be at least 1 and epoch at least 0, received {batch}, {epochs} and {epoch}"
        )
    if augment is not None and augment_pair is not None:
        raise ManifestError("pass augment or augment_pair, not both")
    drop_remainder = shuffle if drop_remainder is None else drop_remainder
    chosen_rows = np.arange(len(images)) if items is None else items[:, 0]
    count = steps(len(chosen_rows), batch, drop_remainder)
    names = sorted(targets)
    arrays = [np.asarray(targets[name]) for name in names]
    weights = np.ones(len(images), np.float32) if sample_weight is None else np.asarray(sample_weight, np.float32)

    def load(position: np.ndarray) -> list[np.ndarray]:
        number, step = divmod(int(position), count)
        order = np.arange(len(chosen_rows))
        if shuffle:
            order = np.random.default_rng([seed, number]).permutation(len(chosen_rows))
        places = order[step * batch : (step + 1) * batch]
        rows = chosen_rows[places]
        rng = np.random.default_rng([seed, number, step + 1])
        picked = images[rows]
        chosen = {name: array[rows] for name, array in zip(names, arrays, strict=True)}
        if augment is not None:
            beside = {name: array[rows] for name, array in (companions or {}).items()}
            picked = augment(picked, rng, **beside)
        elif augment_pair is not None:
            copies = () if items is None else (items[places, 1],)
            picked, chosen = augment_pair(picked, chosen, rng, *copies)
        return [picked, *(np.asarray(chosen[name], np.float32) for name in names), weights[rows]]

    kinds = [tf.uint8, *([tf.float32] * (len(names) + 1))]
    shapes = [images.shape[1:], *(array.shape[1:] for array in arrays), ()]

    # Plain tensor code; AutoGraph would read this file's source again at run time.
    @tf.autograph.experimental.do_not_convert
    def batches(position: "tf.Tensor") -> tuple:
        tensors = tf.numpy_function(load, [position], kinds)
        for tensor, shape in zip(tensors, shapes, strict=True):
            tensor.set_shape((None, *shape))
        return _scaled(tensors[0]), dict(zip(names, tensors[1:-1], strict=True)), tensors[-1]

    dataset = tf.data.Dataset.range(epoch * count, (epoch + epochs) * count)
    dataset = dataset.map(batches, num_parallel_calls=workers, deterministic=True).prefetch(4)
    # Nothing here is left to tune, and tf.data's tuning thread was seen to hang the end of an epoch (TensorFlow 2.21).
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def evaluation_dataset(
    images: np.ndarray,
    batch: int,
    targets: Mapping[str, np.ndarray] | None = None,
    sample_weight: np.ndarray | None = None,
) -> "tf.data.Dataset":
    """Feed prepared images to `predict` or `evaluate`: all of them, in order, unchanged.

    Args:
        images: uint8, N x H x W x C.
        batch: images per step.
        targets: arrays of N rows by the model's output names; none for `predict`.
        sample_weight: N weights; ones by default.

    Returns:
        Dataset of float32 images 0..1, or of (images, targets, weights) as `training_dataset` gives.

    Raises:
        ManifestError: arrays disagree in length, or there is no image.
    """
    dataset = training_dataset(images, targets or {}, batch, 0, sample_weight=sample_weight, shuffle=False)
    return dataset if targets else dataset.map(lambda image, _, __: image)


def steps(count: int, batch: int, drop_remainder: bool = True) -> int:
    """Return the steps of an epoch of `training_dataset`; at least 1."""
    return max(1, count // batch if drop_remainder else -(-count // batch))


def class_weights(labels: np.ndarray) -> dict:
    """Return weights that give every class the same say: N / (K x images of the class).

    Args:
        labels: a label per image, text or number; None and NaN are missing and count for nothing.

    Returns:
        Weight by label, in sorted order.

    Raises:
        ManifestError: no image has a label.
    """
    # NaN is the only value that differs from itself.
    known = [label for label in np.asarray(labels, dtype=object).ravel() if label is not None and label == label]
    values, counts = np.unique(np.array(known), return_counts=True)
    if not len(values):
        raise ManifestError(f"class weights need at least one label, received {len(labels)} rows without one")
    return {
        value.item(): len(known) / (len(values) * int(count)) for value, count in zip(values, counts, strict=True)
    }


def _scaled(images: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    return tf.cast(images, tf.float32) / 255.0


def _check(images: np.ndarray, targets: Mapping, weight: np.ndarray | None, companions: Mapping | None) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ManifestError(
            f"images are uint8, N x H x W x C, at least one; received {images.dtype} of shape {images.shape}"
        )
    beside = {**targets, **(companions or {}), **({} if weight is None else {"sample_weight": weight})}
    for name, array in beside.items():
        if len(array) != len(images):
            raise ManifestError(f"{name} has {len(array)} rows for {len(images)} images; align them")
