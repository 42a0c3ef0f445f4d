"""Grad-CAM inside an exported graph, for networks whose heat map is no output of their own."""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from covidcx.bundle import Bundle
from covidcx.errors import BundleError

if TYPE_CHECKING:
    import keras

_FEATURES, _BEFORE = "gradcam_features", "gradcam_before"


class GradCam:
    """Grad-CAM of every class of a bundle, from the heads and the layer that `covidcx explain` takes.

    Args:
        bundle: labels and heads.
        model: its Keras model, with a dictionary of outputs.

    Raises:
        BundleError: a class comes from no dense layer, or the classes come from different feature maps.
    """

    def __init__(self, bundle: Bundle, model: "keras.Model") -> None:
        import keras

        from covidcx.explain.explain import Explainer
        from covidcx.explain.gradcam import find_layer

        explainer = Explainer(bundle, model, segment=None)
        self._channels = [explainer.channel(label) for label in bundle.labels]
        heads = {name for name, _ in self._channels}
        layers = {find_layer(model, None, name).name for name in heads}
        if len(layers) > 1:
            raise BundleError(
                f"the classes of bundle {bundle.name!r} come from several feature maps ({', '.join(sorted(layers))}), "
                "which the graph's Grad-CAM does not join; use covidcx explain"
            )
        self._heads = {name: model.output[name]._keras_history.operation for name in heads}
        for name, layer in self._heads.items():
            if not isinstance(layer, keras.layers.Dense | keras.layers.Softmax):
                raise BundleError(
                    f"output {name!r} of bundle {bundle.name!r} comes from a {type(layer).__name__} layer; the graph's "
                    "Grad-CAM needs a Dense or Softmax one"
                )
        before = {f"{_BEFORE}_{name}": layer.input for name, layer in self._heads.items()}
        (layer,) = layers
        self._model = keras.Model(
            model.input, {**model.output, **before, _FEATURES: model.get_layer(layer).output}, name="gradcam"
        )

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Run the network.

        Args:
            images: float32, N x H x W x C, 0..1.

        Returns:
            The network's outputs, and `heatmap`: float32, N x h x w x K, on the grid of the feature map.
        """
        with tf.GradientTape(persistent=True) as tape:
            answered = self._model(images, training=False)
            # Of the logit, before a softmax or sigmoid, so that a certain answer does not lose its map.
            logits = {name: self._logits(name, answered[f"{_BEFORE}_{name}"]) for name in self._heads}
            # In one sum for all images: none of them reaches another's feature map.
            scores = [tf.reduce_sum(logits[name][:, channel]) for name, channel in self._channels]
        features = answered[_FEATURES]
        importance = [tf.reduce_mean(tape.gradient(score, features), axis=[1, 2], keepdims=True) for score in scores]
        maps = tf.stack([tf.reduce_sum(weight * features, axis=-1) for weight in importance], axis=-1)
        return {**answered, "heatmap": tf.cast(maps, tf.float32)}

    def _logits(self, name: str, before: tf.Tensor) -> tf.Tensor:
        layer: Any = self._heads[name]
        return tf.matmul(before, layer.kernel) + layer.bias if hasattr(layer, "kernel") else before
