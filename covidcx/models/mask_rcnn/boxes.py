"""Box arithmetic. A box here is (left, top, right, bottom) in pixels, right and bottom exclusive."""

import math

from keras import ops

# Boxes grow by at most this factor in one step (as in torchvision): exp of an untrained output must not overflow.
_MOST_GROWTH = math.log(1000.0 / 16)

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
HEAD_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors on the offsets a head learns, about their inverse deviation (Fast R-CNN, Detectron)."""


def area(boxes):
    """Return the boxes' area in square pixels, zero where a side is negative; ... x 4 to ...."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(first, second):
    """Compare every box of one list with every box of another.

    Args:
        first: float, ... x A x 4.
        second: float, ... x B x 4.

    Returns:
        Intersection over union, ... x A x B, 0..1; 0 where both boxes are empty.
    """
    corner = ops.maximum(first[..., :, None, :2], second[..., None, :, :2])
    opposite = ops.minimum(first[..., :, None, 2:], second[..., None, :, 2:])
    sides = ops.maximum(opposite - corner, 0.0)
    both = sides[..., 0] * sides[..., 1]
    either = area(first)[..., :, None] + area(second)[..., None, :] - both
    return both / ops.maximum(either, 1e-6)


def encode(boxes, reference, weights=RPN_WEIGHTS):
    """Express boxes as offsets from reference boxes (Faster R-CNN, eq. 2).

    Args:
        boxes: float, ... x 4.
        reference: float, ... x 4, with sides above zero.
        weights: factors on the four offsets.

    Returns:
        Offsets of the centre in units of the reference's sides, and log ratios of the sides, ... x 4.
    """
    # An empty box has no logarithm; its offsets are never learnt from, but must be numbers.
    side, own = ops.maximum(reference[..., 2:] - reference[..., :2], 1e-3), ops.maximum(
        boxes[..., 2:] - boxes[..., :2], 1e-3
    )
    shift = ((boxes[..., :2] + boxes[..., 2:]) - (reference[..., :2] + reference[..., 2:])) / 2.0 / side
    offsets = ops.concatenate([shift, ops.log(own / side)], axis=-1)
    return offsets * ops.convert_to_tensor(weights, offsets.dtype)


def decode(offsets, reference, weights=RPN_WEIGHTS):
    """Undo `encode`.

    Args:
        offsets: float, ... x 4.
        reference: float, ... x 4.
        weights: as given to `encode`.

    Returns:
        Boxes, ... x 4.
    """
    offsets = offsets / ops.convert_to_tensor(weights, offsets.dtype)
    side = reference[..., 2:] - reference[..., :2]
    centre = (reference[..., :2] + reference[..., 2:]) / 2.0 + offsets[..., :2] * side
    half = side * ops.exp(ops.minimum(offsets[..., 2:], _MOST_GROWTH)) / 2.0
    return ops.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes, image_shape):
    """Cut boxes at the image's border.

    Args:
        boxes: float, ... x 4.
        image_shape: height and width in pixels.
    """
    height, width = image_shape
    return ops.clip(boxes, 0.0, ops.convert_to_tensor([width, height, width, height], boxes.dtype))


def to_shares(boxes, image_shape):
    """Return boxes as (x, y, width, height) in shares of the image's width and height, ... x 4, 0..1."""
    height, width = image_shape
    scaled = boxes / ops.convert_to_tensor([width, height, width, height], boxes.dtype)
    return ops.concatenate([scaled[..., :2], scaled[..., 2:] - scaled[..., :2]], axis=-1)
