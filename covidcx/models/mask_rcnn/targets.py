"""What the two stages should answer: boxes and classes from instance planes, matching, sampling.

The truth is given per class as instance planes, N x H x W x M: plane m of an image is 1 on the pixels of its m-th
instance of the class, 0 elsewhere and -1 where nobody knows; planes of zeros fill up. An image in which nobody looked
for the class has -1 everywhere. Boxes and masks follow from the planes, which can be augmented like any mask.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from covidcx.models.mask_rcnn import boxes as box
from covidcx.models.mask_rcnn.roi_align import crop


class Instances(NamedTuple):
    """True instances of a batch.

    Attributes:
        boxes: float32, N x M x 4, in pixels; zeros where there is none.
        classes: int32, N x M: 1 ..., 0 where there is none.
        planes: float32, N x M x H x W: 1 inside, 0 outside, -1 unknown.
        labelled: float32, N: 1 where every class was looked for, else 0. An image with some classes unknown teaches
            nothing: what is unknown would be learnt as background.
    """

    boxes: Any
    classes: Any
    planes: Any
    labelled: Any


class Rois(NamedTuple):
    """Boxes to learn the second stage from; the first rows of an image are its positives.

    Attributes:
        boxes: float32, N x R x 4.
        used: float32, N x R: 1 where the row counts, 0 for padding.
        classes: int32, N x R: the class to answer, 0 for background.
        match: int32, N x R: the true instance that overlaps most.
    """

    boxes: Any
    used: Any
    classes: Any
    match: Any


def read_planes(planes: Sequence[Any]) -> Instances:
    """Read instances off their planes.

    Args:
        planes: for each class N x H x W x M, M may differ.
    """
    planes = [ops.transpose(ops.cast(own, "float32"), (0, 3, 1, 2)) for own in planes]
    looked = [ops.any(own > -0.5, axis=(1, 2, 3)) for own in planes]
    numbers = np.repeat(np.arange(1, len(planes) + 1), [own.shape[1] for own in planes]).astype(np.int32)
    planes = ops.concatenate(planes, axis=1)
    height, width = planes.shape[2:]
    inside = planes > 0.5
    ends = []
    for axis, count in ((3, height), (2, width)):
        line = ops.any(inside, axis=axis)
        place = ops.arange(count, dtype="float32")
        first = ops.min(ops.where(line, place, float(count)), axis=-1)
        last = ops.max(ops.where(line, place + 1.0, 0.0), axis=-1)
        ends.append((first, last))
    (top, bottom), (left, right) = ends
    there = ops.cast(ops.any(inside, axis=(2, 3)), "int32")
    boxes = ops.stack([left, top, right, bottom], axis=-1) * ops.cast(there, "float32")[..., None]
    labelled = ops.cast(ops.all(ops.stack(looked, axis=1), axis=1), "float32")
    return Instances(boxes, there * numbers, planes, labelled)


def match_anchors(overlap: Any, classes: Any, positive: float = 0.7, negative: float = 0.3) -> tuple[Any, Any, Any]:
    """Decide which anchors hold an instance (Faster R-CNN, section 3.1.2).

    Args:
        overlap: IoU of anchors and instances, N x A x M.
        classes: int32, N x M, 0 where there is no instance.
        positive: anchors of at least this IoU hold one; the best anchors of an instance always do.
        negative: anchors below this IoU with every instance hold none; those between are not learnt from.

    Returns:
        Positive and negative anchors, bool, N x A, and the instance that overlaps most, int32, N x A.
    """
    there = ops.cast(classes > 0, overlap.dtype)[:, None, :]
    overlap = overlap * there
    best = ops.max(overlap, axis=-1)
    highest = ops.max(overlap, axis=1, keepdims=True)
    own = ops.any(ops.logical_and(overlap >= highest - 1e-6, highest > 1e-3), axis=-1)
    hit = ops.logical_or(best >= positive, own)
    miss = ops.logical_and(best < negative, ops.logical_not(hit))
    # An instance's best anchor may overlap another instance more; it then stands for that other one, as in torchvision.
    return hit, miss, ops.cast(ops.argmax(overlap, axis=-1), "int32")


def sample(mask: Any, count: Any, most: int, seed: Any) -> Any:
    """Choose some of the marked entries at random.

    Args:
        mask: bool, N x B.
        count: how many an image at most: a number or int32, N.
        most: upper bound of `count`, static.
        seed: as the functions of `keras.random` take it.

    Returns:
        bool, N x B.
    """
    drawn = keras.random.uniform(ops.shape(mask), seed=seed)
    drawn = ops.where(mask, drawn, -1.0)
    ranked = ops.top_k(drawn, min(most, mask.shape[1]))[0]
    count = ops.broadcast_to(ops.cast(count, "int32"), ops.shape(drawn)[:1])
    last = ops.take_along_axis(ranked, ops.clip(count[:, None] - 1, 0, ranked.shape[1] - 1), axis=1)
    chosen = ops.logical_and(mask, drawn >= last)
    return ops.logical_and(chosen, (count > 0)[:, None])


def sample_anchors(hit: Any, miss: Any, total: int, seed: Any) -> tuple[Any, Any]:
    """Choose at most `total` anchors an image, at most half of them positive (Faster R-CNN, section 3.1.3).

    Args:
        hit: positive anchors, bool, N x A.
        miss: negative anchors, bool, N x A.
        total: anchors an image.
        seed: as the functions of `keras.random` take it.

    Returns:
        The chosen positives and negatives, bool, N x A each.
    """
    positives = sample(hit, total // 2, total // 2, seed)
    left = total - ops.sum(ops.cast(positives, "int32"), axis=1)
    return positives, sample(miss, left, total, seed)


def sample_rois(
    proposals: Any, truth: Instances, total: int, positives: int, seed: Any, threshold: float = 0.5
) -> Rois:
    """Choose the boxes the second stage learns from (Fast R-CNN, section 2.3): proposals and the true boxes.

    Args:
        proposals: N x P x 4, rows of zeros are padding.
        truth: of the batch.
        total: boxes an image.
        positives: of these, at most so many that hold an instance.
        seed: as the functions of `keras.random` take it.
        threshold: IoU from which a box holds an instance.

    Returns:
        The boxes; the first `positives` rows hold every positive one.
    """
    candidates = ops.concatenate([proposals, truth.boxes], axis=1)
    overlap = box.iou(candidates, truth.boxes) * ops.cast(truth.classes > 0, "float32")[:, None, :]
    there = box.area(candidates) > 0.0
    hit = ops.logical_and(ops.max(overlap, axis=-1) >= threshold, there)
    chosen = sample(hit, positives, positives, seed)
    miss = ops.logical_and(there, ops.logical_not(hit))
    left = total - ops.sum(ops.cast(chosen, "int32"), axis=1)
    others = sample(miss, left, total, seed)
    key = 2.0 * ops.cast(chosen, "float32") + ops.cast(others, "float32")
    ranked, rows = ops.top_k(key, min(total, key.shape[1]))
    boxes = ops.take_along_axis(candidates, rows[..., None], axis=1)
    match = ops.take_along_axis(ops.cast(ops.argmax(overlap, axis=-1), "int32"), ops.cast(rows, "int32"), axis=1)
    classes = ops.take_along_axis(truth.classes, match, axis=1) * ops.cast(ranked > 1.5, "int32")
    return Rois(ops.stop_gradient(boxes), ops.cast(ranked > 0.5, "float32"), classes, match)


def mask_targets(rois: Rois, truth: Instances, positives: int, size: int) -> tuple[Any, Any]:
    """Cut the true masks of the positive boxes.

    Args:
        rois: from `sample_rois`.
        truth: of the batch.
        positives: rows that can be positive.
        size: side of the mask.

    Returns:
        Target 0..1 and weight 0 or 1 of every pixel, float32, N x positives x size x size.
    """
    match = rois.match[:, :positives, None, None]
    planes = ops.take_along_axis(truth.planes, match, axis=1)
    boxes = rois.boxes[:, :positives]
    inside = crop(ops.cast(planes > 0.5, "float32"), boxes, size)
    known = crop(ops.cast(planes > -0.5, "float32"), boxes, size)
    counts = ops.cast(rois.classes[:, :positives] > 0, "float32")[..., None, None]
    return inside, ops.cast(known > 0.999, "float32") * counts
