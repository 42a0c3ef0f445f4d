"""Mask R-CNN as one functional model that also knows its losses."""

from typing import Any

import keras
from keras import layers, ops

from covidcx.errors import RecipeError
from covidcx.models.mask_rcnn import boxes as box
from covidcx.models.mask_rcnn import losses, targets
from covidcx.models.mask_rcnn.anchors import RATIOS, STRIDES, anchors, level_shapes
from covidcx.models.mask_rcnn.fpn import backbone_maps, pyramid
from covidcx.models.mask_rcnn.heads import Detections, RegionHeads
from covidcx.models.mask_rcnn.proposals import Proposals, rpn

_SIDE = 32


@keras.saving.register_keras_serializable("covidcx")
class MaskRCNN(keras.Model):
    """The model `mask_rcnn` returns.

    Called for inference it answers detections. Called with `training=True` it answers the first stage alone, from
    which `compute_loss` samples the boxes that the second stage learns from: these depend on the truth, which a
    forward pass does not see. `fit` therefore needs no training loop of its own: `model.compile(optimizer)`, then
    images and instance planes (see `covidcx.models.mask_rcnn.targets`).

    Args:
        image: the input.
        outputs: of inference.
        first: model of the first stage.
        heads: second stage.
        config: arguments of `mask_rcnn`, for serialisation.
    """

    def __init__(
        self,
        image: keras.KerasTensor,
        outputs: dict[str, keras.KerasTensor],
        first: keras.Model,
        heads: RegionHeads,
        config: dict[str, Any],
    ) -> None:
        super().__init__(inputs=image, outputs=outputs, name="mask_rcnn")
        self.first, self.heads = first, heads
        self.config = config
        self.generator = keras.random.SeedGenerator(config["seed"])

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict[str, Any]:
        """Return detections, or the first stage's answers while training."""
        if training:
            return self.first(inputs, training=True)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Return the sum of the five losses, averaged over the batch.

        Args:
            x: not used.
            y: instance planes of every label by its name, N x H x W x M each.
            y_pred: what the model answers with `training=True`.
            sample_weight: weight of each image, N; or the same by label, of which the first counts.
            training: not used.
        """
        each = sum(self.losses_of(y, y_pred).values())
        if isinstance(sample_weight, dict):
            sample_weight = sample_weight[self.config["labels"][0]]
        if sample_weight is not None:
            each = each * ops.cast(sample_weight, each.dtype)
        return ops.mean(each)

    def losses_of(self, planes: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
        """Compute the losses of a batch by name, each float32, N; zero where an image is not labelled.

        Args:
            planes: instance planes of every label by its name, N x H x W x M each.
            first: what the model answers with `training=True`.

        Returns:
            `objectness` and `anchor_box` of the first stage, `class`, `box` and `mask` of the second.
        """
        c, truth = self.config, targets.read_planes([planes[label] for label in self.config["labels"]])
        start = ops.convert_to_tensor(self.anchors)
        overlap = box.iou(ops.broadcast_to(start, (*ops.shape(first["logits"]), 4)), truth.boxes)
        hit, miss, match = targets.match_anchors(overlap, truth.classes)
        hit, miss = targets.sample_anchors(hit, miss, c["anchor_samples"], self.generator)
        goal = box.encode(ops.take_along_axis(truth.boxes, match[..., None], axis=1), start)
        found = {
            "objectness": losses.objectness_loss(first["logits"], hit, miss),
            "anchor_box": losses.anchor_box_loss(first["offsets"], goal, hit, miss),
        }
        total, positives = c["roi_samples"], max(1, c["roi_samples"] // 4)
        rois = targets.sample_rois(first["proposals"], truth, total, positives, self.generator)
        logits, offsets = self.heads.classify(first["cells"], rois.boxes)
        own = ops.take_along_axis(truth.boxes, rois.match[..., None], axis=1)
        goal = box.encode(own, rois.boxes, box.HEAD_WEIGHTS)
        masks = self.heads.segment(first["cells"], rois.boxes[:, :positives])
        target, weight = targets.mask_targets(rois, truth, positives, masks.shape[2])
        found |= {
            "class": losses.class_loss(logits, rois.classes, rois.used),
            "box": losses.box_loss(offsets, goal, rois.classes, rois.used),
            "mask": losses.mask_loss(masks, target, weight, rois.classes[:, :positives]),
        }
        return {name: value * truth.labelled for name, value in found.items()}

    @property
    def anchors(self) -> Any:
        """The anchors, float32, A x 4."""
        return anchors(self.input_shape[1:3], scale=self.config["anchor_scale"])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `mask_rcnn`."""
        return dict(self.config)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MaskRCNN":
        """Build the model anew."""
        return mask_rcnn(**{key: config[key] for key in _ARGUMENTS if key in config})


def mask_rcnn(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    labels: tuple[str, ...] = ("lung", "disease"),
    backbone: str = "resnet18",
    width: float = 1.0,
    filters: int = 128,
    units: int = 512,
    detections: int = 8,
    proposals: int = 64,
    candidates: int = 256,
    anchor_scale: float = 4.0,
    anchor_samples: int = 128,
    roi_samples: int = 32,
    seed: int = 0,
) -> MaskRCNN:
    """Build Mask R-CNN (He et al. 2017) with a feature pyramid; weights are random.

    Args:
        input_shape: height, width and channels; sides are multiples of 32.
        labels: names of the classes; class 1 is the first.
        backbone: `resnet18`, or `resnet50` as in the paper.
        width: factor on the filters of `resnet18`, on `filters` and on `units`.
        filters: of the pyramid, the region proposal network and the mask head (256 in the paper).
        units: of the box head's two fully connected layers (1024 in the paper).
        detections: rows of the answer.
        proposals: boxes that reach the second stage (1,000 in the paper, for photographs with dozens of objects).
        candidates: anchors that reach suppression.
        anchor_scale: side of a square anchor in cells of its level.
        anchor_samples: anchors an image that the first stage learns from (256 in the paper).
        roi_samples: boxes an image that the second stage learns from, a quarter of them positive (512 in the paper).
        seed: of the sampling.

    Returns:
        Model from float32 N x H x W x C in 0..1 to a dictionary:
        `boxes`, N x D x 4: x, y, width, height of each detection in shares of the image's sides, 0..1, best first;
        `scores`, N x D x K: probability in the column of the detection's class, 0 in the others and in unused rows;
        `masks`, N x D x 28 x 28: probabilities inside the box;
        and per label its map, N x H x W x 1: at each pixel the surest detection, where a detection is as sure as the
        lesser of its score and its mask.

    Raises:
        RecipeError: a side is no multiple of 32, there is no label, or the backbone is unknown.
    """
    # Everything passed, as JSON-ready values, so that a saved model can be built again.
    config = {key: value for key, value in locals().items() if key in _ARGUMENTS}
    config |= {"input_shape": list(input_shape), "labels": list(labels)}
    height, columns = input_shape[:2]
    if height % _SIDE or columns % _SIDE:
        raise RecipeError(f"mask-rcnn takes sides that are multiples of {_SIDE}, received {height} x {columns}")
    if not labels:
        raise RecipeError("mask-rcnn needs one label at least, received none; set labels, such as ('lung',)")
    filters, units = max(round(filters * width), 8), max(round(units * width), 8)
    image = layers.Input(tuple(input_shape), name="image")
    levels = pyramid(backbone_maps(image, backbone, width), filters)
    logits, offsets = rpn(levels, len(RATIOS), filters)
    start = anchors((height, columns), scale=anchor_scale)
    found = Proposals(start, (height, columns), candidates, proposals, name="proposals")(logits, offsets)
    pooled = levels[:-1]
    cells = layers.Concatenate(axis=1, dtype="float32", name="cells")(
        [layers.Reshape((-1, filters), name=f"cells{i}")(level) for i, level in enumerate(pooled, start=2)]
    )
    first = keras.Model(
        image, {"cells": cells, "logits": logits, "offsets": offsets, "proposals": found}, name="first_stage"
    )
    strides = STRIDES[: len(pooled)]
    heads = RegionHeads(
        level_shapes((height, columns), strides), strides, len(labels), units, filters, name="heads"
    )  # fmt: skip
    boxes, scores, masks, maps = Detections(heads, (height, columns), detections, name="detections")(cells, found)
    outputs = {"boxes": boxes, "scores": scores, "masks": masks}
    for k, label in enumerate(labels):
        outputs[label] = layers.Identity(dtype="float32", name=label)(maps[..., k : k + 1])
    return MaskRCNN(image, outputs, first, heads, config)


_ARGUMENTS = tuple(name for name in mask_rcnn.__annotations__ if name != "return")
