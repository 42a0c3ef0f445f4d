"""The second stage: class, box and mask of each proposal, and the detections made of them."""

from typing import Any

import keras
from keras import layers, ops

from covidcx.models.mask_rcnn import boxes as box
from covidcx.models.mask_rcnn.proposals import suppress, take
from covidcx.models.mask_rcnn.roi_align import paste, roi_align


class RegionHeads(layers.Layer):
    """Box, class and mask heads on pooled features (Mask R-CNN, Fig. 4 right).

    Args:
        shapes: rows and columns of levels P2 to P5.
        strides: pixels per cell of these levels.
        classes: number of classes, background not counted.
        units: of the two fully connected layers of the box head.
        filters: of the four convolutions of the mask head.
        samples: bilinear samples a side of a bin.
    """

    BOX, MASK = 7, 14
    """Bins a side for the box and the mask head."""

    def __init__(
        self,
        shapes: tuple[tuple[int, int], ...],
        strides: tuple[int, ...],
        classes: int,
        units: int,
        filters: int,
        samples: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.shapes, self.strides, self.samples, self.classes = shapes, strides, samples, classes
        own = {"dtype": "float32"}
        small = keras.initializers.RandomNormal
        self.fc = [layers.Dense(units, activation="relu", name=f"box_fc{i}", **own) for i in (1, 2)]
        self.logits = layers.Dense(classes + 1, kernel_initializer=small(stddev=0.01), name="box_class", **own)
        self.offsets = layers.Dense(4 * classes, kernel_initializer=small(stddev=0.001), name="box_offsets", **own)
        self.convolutions = [
            layers.Conv2D(
                filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"mask_conv{i}",
                **own,
            )
            for i in (1, 2, 3, 4)
        ]  # fmt: skip
        self.double = layers.Conv2DTranspose(
            filters, 2, 2, activation="relu", kernel_initializer="he_normal", name="mask_double", **own
        )
        self.masks = layers.Conv2D(classes, 1, name="mask_logits", **own)

    def build(self, input_shape: Any) -> None:
        """Make the weights; `input_shape` is that of the flattened pyramid, N x L x C."""
        channels = input_shape[-1]
        shape: tuple = (None, self.BOX * self.BOX * channels)
        for layer in self.fc:
            layer.build(shape)
            shape = (None, layer.units)
        self.logits.build(shape)
        self.offsets.build(shape)
        shape = (None, self.MASK, self.MASK, channels)
        for layer in (*self.convolutions, self.double, self.masks):
            layer.build(shape)
            shape = tuple(layer.compute_output_shape(shape))

    def classify(self, cells: Any, boxes: Any) -> tuple[Any, Any]:
        """Answer class and finer box.

        Args:
            cells: flattened pyramid, N x L x C.
            boxes: N x R x 4, in pixels.

        Returns:
            Logits, N x R x (K + 1), background first; offsets per class, N x R x K x 4.
        """
        x = roi_align(cells, boxes, self.shapes, self.strides, self.BOX, self.samples)
        x = ops.reshape(x, (-1, self.BOX * self.BOX * cells.shape[-1]))
        for layer in self.fc:
            x = layer(x)
        count = boxes.shape[1]
        logits = ops.reshape(self.logits(x), (-1, count, self.classes + 1))
        return logits, ops.reshape(self.offsets(x), (-1, count, self.classes, 4))

    def segment(self, cells: Any, boxes: Any) -> Any:
        """Answer mask logits per class, N x R x 28 x 28 x K.

        Args:
            cells: flattened pyramid, N x L x C.
            boxes: N x R x 4, in pixels.
        """
        x = roi_align(cells, boxes, self.shapes, self.strides, self.MASK, self.samples)
        x = ops.reshape(x, (-1, self.MASK, self.MASK, cells.shape[-1]))
        for layer in (*self.convolutions, self.double, self.masks):
            x = layer(x)
        return ops.reshape(x, (-1, boxes.shape[1], *x.shape[1:]))

    def call(self, cells: Any, proposals: Any) -> tuple[Any, Any, Any]:
        """Return class logits, box offsets and mask logits of proposals."""
        return *self.classify(cells, proposals), self.segment(cells, proposals)


class Detections(layers.Layer):
    """The final boxes with one class and one mask each, and the map of every class.

    Args:
        heads: the second stage.
        image_shape: height and width in pixels.
        count: detections an image; rows of zeros fill up.
        score: lowest probability of a detection.
        threshold: largest IoU of two detections of one class.
    """

    def __init__(
        self,
        heads: RegionHeads,
        image_shape: tuple[int, int],
        count: int,
        score: float = 0.05,
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.heads, self.image_shape = heads, image_shape
        self.count, self.score, self.threshold = count, score, threshold

    def build(self, input_shape: Any) -> None:
        """Make the heads' weights; `input_shape` is that of the flattened pyramid."""
        if not self.heads.built:
            self.heads.build(input_shape)
            self.heads.built = True

    def call(self, cells: Any, proposals: Any) -> tuple[Any, Any, Any, Any]:
        """Return boxes (shares), scores, masks and class maps; see `covidcx.models.mask_rcnn.model.mask_rcnn`.

        Args:
            cells: flattened pyramid, N x L x C.
            proposals: N x P x 4, in pixels.
        """
        kinds = self.heads.classes
        logits, offsets = self.heads.classify(cells, proposals)
        probabilities = ops.softmax(logits, axis=-1)[..., 1:]
        moved = box.clip(box.decode(offsets, proposals[:, :, None, :], box.HEAD_WEIGHTS), self.image_shape)
        total = proposals.shape[1] * kinds
        boxes = ops.reshape(moved, (-1, total, 4))
        scores = ops.reshape(probabilities, (-1, total))
        there = ops.logical_and(scores >= self.score, box.area(boxes) > 0.0)
        # Boxes of different classes must not suppress each other: each class gets a place of its own, far away.
        apart = ops.tile(ops.arange(kinds, dtype="float32") * 2.0 * max(self.image_shape), [proposals.shape[1]])
        kept, meant = suppress(
            ops.stop_gradient(boxes) + apart[None, :, None],
            ops.where(there, ops.stop_gradient(scores), -1e9),
            self.count,
            self.threshold,
        )
        meant = ops.cast(meant, "float32")
        boxes = take(boxes, kept) * meant[..., None]
        scores = take(scores, kept) * meant
        kind = ops.one_hot(ops.mod(kept, kinds), kinds, dtype="float32")
        masks = ops.sigmoid(self.heads.segment(cells, ops.stop_gradient(boxes)))
        masks = ops.sum(masks * kind[:, :, None, None, :], axis=-1) * meant[..., None, None]
        pasted = paste(masks, boxes, self.image_shape)
        # Foreground above 0.5 then means: a detection above 0.5 whose mask is above 0.5.
        certain = ops.minimum(pasted, scores[..., None, None])
        maps = ops.stack(
            [ops.max(certain * kind[:, :, None, None, k], axis=1) for k in range(kinds)], axis=-1
        )
        return box.to_shares(boxes, self.image_shape), scores[..., None] * kind, masks, maps
