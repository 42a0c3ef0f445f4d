"""A bundle as TensorFlow functions that need no covidcx: picture bytes or pixels in, a finding's numbers out.

Every step is the twin of what `covidcx.edge.runtime.Predictor` does: decode, check the projection, find the lungs,
prepare, classify, calibrate, decide, and bring the heat map back.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from covidcx.bundle import DISEASE_OUTPUTS, Bundle
from covidcx.deploy.graph import mostly_graph, prepare_graph, resize_area_graph, restore_graph, segmenter_input_graph
from covidcx.deploy.graph_decode import decode_graph
from covidcx.deploy.graph_gradcam import GradCam
from covidcx.deploy.write import deployed
from covidcx.errors import BundleError
from covidcx.imaging.roi import NO_LUNGS, SEGMENTER_SIZE, VAGUE_LUNGS, enhancement_of_channel

WEIGHTS_FILE = "weights.h5"
MAP_SIDE = SEGMENTER_SIZE
"""Side of the maps that `predict_tensor` and `explain` return; they cover the whole image, whatever its shape."""


class _Flat(NamedTuple):
    """A batch of images of any size: pixels in a row each, and their shapes."""

    pixels: tf.RaggedTensor
    shapes: tf.Tensor


class _Maps(NamedTuple):
    """Probabilities of a batch on the network's grid, the pictures' shapes, and which part of each they cover."""

    probability: tf.Tensor
    shapes: tf.Tensor
    boxes: tf.Tensor


class ServingGraph:
    """The signatures of a classifier bundle.

    Args:
        bundle: of task `classify` or `multi`.

    Raises:
        BundleError: the bundle is of another task, or no heat map can be made for it.
    """

    def __init__(self, bundle: Bundle) -> None:
        from covidcx.models import restore

        if not bundle.classifies:
            raise BundleError(
                f"bundle {bundle.name!r} is of task {bundle.task!r}; a SavedModel for serving is made of a classifier "
                "such as covid-cxnet, which brings its lung segmenter along"
            )
        self.bundle, self._segmenter_bundle, self._gate_bundle = bundle, bundle.open_segmenter(), bundle.open_gate()
        self.classifier = deployed(bundle.model["name"], restore(bundle.model, bundle.path(WEIGHTS_FILE)))
        self.segmenter = self._restored(self._segmenter_bundle)
        self.gate = self._restored(self._gate_bundle)
        outputs = self.classifier.output
        # A network with a heat map of its own needs no gradients.
        self._explained = self.classifier if "heatmap" in outputs else GradCam(bundle, self.classifier)
        self._own_lungs = self.segmenter is None and "lung" in outputs
        self._disease = next((name for name in DISEASE_OUTPUTS if name in outputs), None)

    @property
    def models(self) -> list[Any]:
        """The Keras models whose variables the SavedModel holds."""
        return [model for model in (self.classifier, self.segmenter, self.gate) if model is not None]

    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer for picture files.

        Args:
            image_bytes: string, N: PNG (8 or 16 bits) or JPEG files, upright.

        Returns:
            `classes` (string, N x K), `probabilities` (float32, N x K, calibrated), `label` (string, N, the class at
            the operating point), `refused` (bool, N), `refusal_score` (float32, N, 0 good to 1 bad: how little
            this looks like an upright frontal chest radiograph), `lung_area` and `lung_certainty` (float32, N),
            `lungs_png_bytes` (string, N: the lung mask in the picture's own pixels, 0 and 255), and the same of what
            a network marks as diseased: `disease_png_bytes`.
        """
        outputs, masks = self._answer(_decode(image_bytes), _encoded, tf.TensorSpec([], tf.string))
        return outputs | {f"{name}_png_bytes": mask for name, mask in masks.items()}

    def predict_tensor(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer for pixels.

        Args:
            image: float32, N x H x W, 0 = black to 1 = white.

        Returns:
            As `serving_default`, with `lungs` and `disease` (bool, N x H x W) instead of the PNG bytes.
        """
        shape = tf.shape(image, out_type=tf.int64)
        flat = _Flat(
            tf.RaggedTensor.from_tensor(tf.reshape(image, [shape[0], -1])), tf.tile(shape[None, 1:], [shape[0], 1])
        )
        outputs, masks = self._answer(flat, tf.identity, tf.TensorSpec([None, None], tf.bool))
        return outputs | masks

    def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answer for picture files, with Grad-CAM of the called class.

        Args:
            image_bytes: as for `serving_default`.

        Returns:
            As `serving_default`, with `heatmap` (float32, N x 256 x 256, at least 0, over the whole picture), `lungs`
            and `disease` (bool, N x 256 x 256) instead of the PNG bytes.
        """
        outputs, masks = self._answer(_decode(image_bytes), _small, tf.TensorSpec([MAP_SIDE] * 2, tf.bool), heat=True)
        return outputs | masks

    def _restored(self, bundle: Bundle | None) -> Any:
        from covidcx.models import restore

        return None if bundle is None else restore(bundle.model, bundle.path(WEIGHTS_FILE))

    def _answer(
        self, flat: _Flat, show: Callable[[tf.Tensor], tf.Tensor], shown: tf.TensorSpec, *, heat: bool = False
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Return the outputs that every signature has, and what `show` makes of each mask, by name.

        Args:
            flat: the pictures.
            show: from a mask in the picture's own pixels, bool H x W.
            shown: its result.
            heat: add `heatmap`.
        """
        found = self._segmented(flat)
        image_type = tf.TensorSpec((*self.bundle.preprocessing.size, len(self.bundle.preprocessing.channels)), tf.uint8)
        images, boxes = tf.map_fn(
            lambda one: self._prepare(*one),
            (flat.pixels, flat.shapes, found),
            fn_output_signature=(image_type, tf.TensorSpec([4], tf.int64)),
        )
        answered = self._explained(_network(images)) if heat else self.classifier(_network(images), training=False)
        probabilities = calibrate_graph(answered["probabilities"], self.bundle.temperature)
        called = decide_graph(probabilities, self.bundle)
        classes = tf.constant(self.bundle.labels)
        zeros = tf.zeros_like(flat.shapes[:, 0])
        whole = tf.stack([zeros, flat.shapes[:, 0], zeros, flat.shapes[:, 1]], axis=1)
        lungs = _Maps(answered["lung"][..., -1] if self._own_lungs else found, flat.shapes, whole)

        def measured(one: _Maps) -> tuple[tf.Tensor, tf.Tensor]:
            mask = _mask(one)
            return tf.reduce_mean(tf.cast(mask, tf.float32)), show(mask)

        masks = {}
        areas, masks["lungs"] = tf.map_fn(
            measured, lungs, fn_output_signature=(tf.TensorSpec([], tf.float32), shown)
        )
        certainty = _certainty(lungs.probability)
        refused, score = self._refusal(flat)
        if self.segmenter is not None or self._own_lungs:
            refused = refused | (areas < NO_LUNGS) | (certainty < VAGUE_LUNGS)
        outputs = {
            "classes": tf.tile(classes[None], [tf.shape(probabilities)[0], 1]),
            "probabilities": probabilities,
            "label": tf.gather(classes, called),
            "refused": refused,
            "refusal_score": score,
            "lung_area": areas,
            "lung_certainty": certainty,
        }
        if heat:
            maps = answered["heatmap"]
            if maps.shape[-1] == 1 and len(self.bundle.labels) == 2:
                # A single sigmoid has evidence for its second class only.
                maps = tf.concat([tf.zeros_like(maps), maps], axis=-1)
            maps = tf.gather(tf.transpose(maps, [0, 3, 1, 2]), called, axis=1, batch_dims=1)
            outputs["heatmap"] = tf.map_fn(
                _small_map, (maps, flat.shapes, boxes), fn_output_signature=tf.TensorSpec([MAP_SIDE] * 2, tf.float32)
            )
        if self._disease is not None:
            disease = _Maps(answered[self._disease][..., -1], flat.shapes, boxes)
            masks["disease"] = tf.map_fn(lambda one: show(_mask(one)), disease, fn_output_signature=shown)
        return outputs, masks

    def _segmented(self, flat: _Flat) -> tf.Tensor:
        """Return the segmenter's lung probabilities, float32 N x 256 x 256; all one without a segmenter."""
        side = SEGMENTER_SIZE
        if self.segmenter is None:
            return tf.ones([tf.shape(flat.shapes)[0], side, side])
        enhance = enhancement_of_channel(self._segmenter_bundle.preprocessing.channels[0])
        images = tf.map_fn(
            lambda one: segmenter_input_graph(tf.reshape(*one), enhance),
            (flat.pixels, flat.shapes),
            fn_output_signature=tf.TensorSpec([side, side], tf.uint8),
        )
        return self.segmenter(_network(images[..., None]), training=False)["lung"][..., 0]

    def _prepare(self, flat: tf.Tensor, shape: tf.Tensor, probability: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the classifier's image and its box."""
        lungs = None
        if self.segmenter is not None:
            lungs = _mask((probability, shape, tf.stack([0, shape[0], 0, shape[1]])))
        prepared = prepare_graph(tf.reshape(flat, shape), self.bundle.preprocessing, lungs)
        return prepared.image, prepared.box

    def _refusal(self, flat: _Flat) -> tuple[tf.Tensor, tf.Tensor]:
        """Return whether the gate refuses and its score, N each."""
        count = tf.shape(flat.shapes)[0]
        if self.gate is None:
            return tf.zeros([count], tf.bool), tf.zeros([count])
        bundle = self._gate_bundle
        spec = bundle.preprocessing
        images = tf.map_fn(
            lambda one: prepare_graph(tf.reshape(*one), spec).image,
            (flat.pixels, flat.shapes),
            fn_output_signature=tf.TensorSpec((*spec.size, len(spec.channels)), tf.uint8),
        )
        probabilities = calibrate_graph(
            self.gate(_network(images), training=False)["probabilities"], bundle.temperature
        )
        ((label, point),) = bundle.operating_points.items()
        accepted = probabilities[:, bundle.labels.index(label)]
        return accepted < point["threshold"], 1.0 - accepted


def calibrate_graph(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Apply temperature scaling, the twin of `covidcx.bundle.calibrate`.

    Args:
        probabilities: float32, N x K, or N x 1 from a sigmoid.
        temperature: above 1 softens.

    Returns:
        float32, N x K, or N x 2 from a sigmoid.
    """
    values = tf.cast(probabilities, tf.float64)
    if values.shape[1] == 1:
        values = tf.concat([1.0 - values, values], axis=1)
    return tf.cast(tf.nn.softmax(tf.math.log(tf.maximum(values, 1e-30)) / temperature), tf.float32)


def decide_graph(probabilities: tf.Tensor, bundle: Bundle) -> tf.Tensor:
    """Call a class at the operating points, the twin of `covidcx.bundle.decide`.

    Args:
        probabilities: float32, N x K, calibrated.
        bundle: labels and operating points.

    Returns:
        int32, N: index of the label.
    """
    never = np.float32(np.inf)
    points = [bundle.operating_points.get(label) for label in bundle.labels]
    thresholds = np.array([never if point is None else point["threshold"] for point in points], np.float32)
    rest = np.array([point is None for point in points])
    if not rest.any():
        rest[:] = True
    above = probabilities - thresholds
    others = tf.argmax(tf.where(rest, probabilities, -never), axis=1, output_type=tf.int32)
    reached = tf.reduce_max(above, axis=1) >= 0.0
    return tf.where(reached, tf.argmax(above, axis=1, output_type=tf.int32), others)


def _decode(image_bytes: tf.Tensor) -> _Flat:
    def one(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decode_graph(data)
        return tf.reshape(pixels, [-1]), tf.shape(pixels, out_type=tf.int64)

    kinds = (tf.RaggedTensorSpec([None], tf.float32, 0), tf.TensorSpec([2], tf.int64))
    return _Flat(*tf.map_fn(one, image_bytes, fn_output_signature=kinds))


def _network(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images, tf.float32) / np.float32(255.0)


def _certainty(probability: tf.Tensor) -> tf.Tensor:
    """Return the mean probability inside each mask: float32, N."""
    inside = probability > 0.5
    total = tf.reduce_sum(tf.where(inside, probability, 0.0), axis=[1, 2])
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(inside, tf.float32), axis=[1, 2]))


def _mask(one: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Return a mask in the picture's own pixels: bool, H x W."""
    return restore_graph(*one) > 0.5


def _encoded(mask: tf.Tensor) -> tf.Tensor:
    return tf.io.encode_png(tf.cast(mask, tf.uint8)[..., None] * 255)


def _small(mask: tf.Tensor) -> tf.Tensor:
    return mostly_graph(mask, MAP_SIDE, MAP_SIDE)


def _small_map(one: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
    heat, shape, box = one
    whole = restore_graph(tf.maximum(heat, 0.0), shape, box)
    return tf.cast(resize_area_graph(whole, MAP_SIDE, MAP_SIDE), tf.float32)
