"""The five losses of Mask R-CNN, each per image, float32, N; and how its maps are judged on validation rows."""

from typing import Any

import keras
from keras import ops

from covidcx.models.losses import DiceCrossEntropy


def smooth_l1(difference: Any, beta: float) -> Any:
    """Return 0.5 d^2 / beta below `beta` and |d| - 0.5 beta above (Fast R-CNN, eq. 3), elementwise."""
    size = ops.abs(difference)
    return ops.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def binary_entropy(target: Any, logits: Any) -> Any:
    """Return the cross-entropy of sigmoids, elementwise, computed from logits."""
    return ops.maximum(logits, 0.0) - logits * target + ops.log(1.0 + ops.exp(-ops.abs(logits)))


def objectness_loss(logits: Any, positives: Any, negatives: Any) -> Any:
    """Mean binary cross-entropy over the chosen anchors (Faster R-CNN, eq. 1).

    Args:
        logits: N x A.
        positives: bool, N x A.
        negatives: bool, N x A.
    """
    target = ops.cast(positives, "float32")
    chosen = target + ops.cast(negatives, "float32")
    return ops.sum(binary_entropy(target, logits) * chosen, axis=1) / _at_least_one(ops.sum(chosen, axis=1))


def anchor_box_loss(offsets: Any, target: Any, positives: Any, negatives: Any) -> Any:
    """Smooth L1 of the positive anchors' offsets, over the number of chosen anchors (Faster R-CNN, eq. 1).

    Args:
        offsets: N x A x 4.
        target: N x A x 4.
        positives: bool, N x A.
        negatives: bool, N x A.
    """
    weight = ops.cast(positives, "float32")
    each = ops.sum(smooth_l1(offsets - target, 1.0 / 9), axis=-1) * weight
    count = ops.sum(weight + ops.cast(negatives, "float32"), axis=1)
    return ops.sum(each, axis=1) / _at_least_one(count)


def class_loss(logits: Any, classes: Any, used: Any) -> Any:
    """Mean cross-entropy over the boxes that count (Fast R-CNN, eq. 1).

    Args:
        logits: N x R x (K + 1), background first.
        classes: int32, N x R, 0 for background.
        used: float32, N x R.
    """
    each = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    return ops.sum(each * used, axis=1) / _at_least_one(ops.sum(used, axis=1))


def box_loss(offsets: Any, target: Any, classes: Any, used: Any) -> Any:
    """Smooth L1 of the true class's offsets, over all boxes that count (Fast R-CNN, eq. 1).

    Args:
        offsets: N x R x K x 4.
        target: N x R x 4.
        classes: int32, N x R, 0 for background, which has no box.
        used: float32, N x R.
    """
    own = ops.one_hot(classes - 1, offsets.shape[2], dtype="float32")[..., None]
    each = ops.sum(smooth_l1(offsets - target[:, :, None, :], 1.0) * own, axis=(2, 3))
    return ops.sum(each * used, axis=1) / _at_least_one(ops.sum(used, axis=1))


def mask_loss(logits: Any, target: Any, weight: Any, classes: Any) -> Any:
    """Mean binary cross-entropy over the pixels of the positive boxes, on the true class's mask only (section 3).

    Args:
        logits: N x R x S x S x K.
        target: N x R x S x S, 0..1.
        weight: N x R x S x S, 0 or 1.
        classes: int32, N x R, 0 for background.
    """
    own = ops.one_hot(classes - 1, logits.shape[-1], dtype="float32")[:, :, None, None, :]
    each = binary_entropy(target, ops.sum(logits * own, axis=-1)) * weight
    return ops.sum(each, axis=(1, 2, 3)) / _at_least_one(ops.sum(weight, axis=(1, 2, 3)))


@keras.saving.register_keras_serializable("covidcx")
class DiceOfInstances(DiceCrossEntropy):
    """Cross-entropy plus Dice of a class's map against the union of its instances; what a run's `val_loss` is.

    Training minimises the five losses above instead, see `covidcx.models.mask_rcnn.model.MaskRCNN.compute_loss`.
    """

    def call(self, y_true, y_pred):
        """Return the loss per image, N; `y_true` N x H x W x M planes of 1, 0, -1, `y_pred` N x H x W x 1."""
        inside, ignored = ops.max(y_true, axis=-1, keepdims=True), ops.min(y_true, axis=-1, keepdims=True)
        return super().call(ops.where(inside > 0.5, inside, ignored), y_pred)


def _at_least_one(count: Any) -> Any:
    return ops.maximum(count, 1.0)
