"""Region proposal network and non-maximum suppression, all in static shapes."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from covidcx.models.mask_rcnn import boxes as box

_NEVER = -1e9


def rpn(
    levels: tuple[keras.KerasTensor, ...], ratios: int, filters: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Score every anchor and move it (Faster R-CNN, section 3.1); one head for all levels.

    Args:
        levels: N x h x w x C, P2 to P6.
        ratios: anchors a cell.
        filters: of the shared convolution.

    Returns:
        Objectness logits, N x A, and offsets, N x A x 4, in the order of `anchors.anchors`.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
    shared = layers.Conv2D(filters, 3, padding="same", activation="relu", name="rpn_conv")
    objectness = layers.Conv2D(ratios, 1, kernel_initializer=small, dtype="float32", name="rpn_objectness")
    offsets = layers.Conv2D(4 * ratios, 1, kernel_initializer=small, dtype="float32", name="rpn_offsets")
    logits, moved = [], []
    for number, level in enumerate(levels, start=2):
        x = shared(level)
        logits.append(layers.Reshape((-1,), dtype="float32", name=f"rpn_logits{number}")(objectness(x)))
        moved.append(layers.Reshape((-1, 4), dtype="float32", name=f"rpn_moves{number}")(offsets(x)))
    return (
        layers.Concatenate(axis=1, dtype="float32", name="rpn_logits")(logits),
        layers.Concatenate(axis=1, dtype="float32", name="rpn_moves")(moved),
    )


def suppress(boxes: Any, scores: Any, count: int, threshold: float) -> tuple[Any, Any]:
    """Keep the best boxes that do not overlap a better one: greedy non-maximum suppression.

    Args:
        boxes: float, N x B x 4.
        scores: float, N x B; boxes of a score below -1e8 are never kept.
        count: how many to keep, at most.
        threshold: boxes with a larger IoU than this with a kept one are dropped.

    Returns:
        Indices, int32, N x count, best first, and whether each is meant, bool, N x count; the rest of the indices is
        padding and points to box 0.
    """
    numbers = ops.arange(boxes.shape[1])

    def keep_one(i, state):
        left, kept, meant = state
        # Not argmax, whose care for negative zeros does not convert to TFLite.
        best = ops.top_k(left, 1)[1]
        there = ops.take_along_axis(left, best, axis=1) > _NEVER / 10
        chosen = ops.take_along_axis(boxes, best[..., None], axis=1)
        overlap = box.iou(boxes, chosen)[..., 0]
        # The box itself goes by number: an empty one does not overlap even itself.
        gone = ops.logical_or(overlap > threshold, ops.equal(numbers, ops.cast(best, numbers.dtype)))
        slot = ops.equal(ops.arange(count), i)
        kept = ops.where(ops.logical_and(slot, there), ops.cast(best, "int32"), kept)
        meant = ops.logical_or(meant, ops.logical_and(slot, there))
        return ops.where(gone, ops.full_like(left, _NEVER), left), kept, meant

    start = ops.zeros_like(scores[:, :1])
    nothing = ops.cast(ops.repeat(start, count, axis=1), "int32")
    _, kept, meant = ops.fori_loop(0, count, keep_one, (scores, nothing, nothing > 0))
    return kept, meant


def take(values: Any, indices: Any) -> Any:
    """Take rows of each image: values N x B x ..., indices N x R, to N x R x ... ."""
    extra = len(values.shape) - 2
    return ops.take_along_axis(values, ops.reshape(indices, (*_dynamic(indices), *(1,) * extra)), axis=1)


def _dynamic(x: Any) -> tuple[Any, ...]:
    return tuple(ops.shape(x))


class Proposals(layers.Layer):
    """The boxes most likely to hold something, from anchors, objectness and offsets.

    The best anchors are taken over all levels together, where FPN takes some of each: at the few thousand anchors of
    a radiograph of 224 pixels the difference is small, and the shapes stay static.

    Args:
        anchors: float32, A x 4.
        image_shape: height and width in pixels.
        candidates: anchors of the highest objectness that go into suppression.
        count: proposals an image.
        threshold: largest IoU of two proposals.
    """

    def __init__(
        self,
        anchors: np.ndarray,
        image_shape: tuple[int, int],
        candidates: int = 256,
        count: int = 64,
        threshold: float = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.anchors, self.image_shape = anchors, image_shape
        self.candidates, self.count = min(candidates, len(anchors)), count
        self.threshold = threshold

    def call(self, logits, offsets):
        """Return proposals, N x count x 4, without gradient; rows of zeros fill up where there are fewer.

        Args:
            logits: N x A.
            offsets: N x A x 4.
        """
        scores, best = ops.top_k(ops.stop_gradient(logits), self.candidates)
        start = ops.take(ops.convert_to_tensor(self.anchors), best, axis=0)
        moved = box.decode(take(ops.stop_gradient(offsets), best), start)
        moved = box.clip(moved, self.image_shape)
        # Slivers at the border have nothing to pool.
        wide = ops.min(moved[..., 2:] - moved[..., :2], axis=-1) >= 1.0
        kept, meant = suppress(moved, ops.where(wide, scores, _NEVER), self.count, self.threshold)
        return take(moved, kept) * ops.cast(meant, "float32")[..., None]
