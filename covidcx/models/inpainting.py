"""Inpainting: a DenseNet-121 encoder-decoder that fills holes (Pathak et al. 2016; SIIM multi-class, section 2.3).

The decoder sees the encoder's last map alone, as in Pathak's network: joined to the early maps it could copy what is
visible, and the encoder would learn nothing from that.
"""

import keras
from keras import layers, ops

from covidcx.models.densenet import GROWTH
from covidcx.models.densenet_names import BLOCKS
from covidcx.models.encoders import features
from covidcx.models.multitask_unet import FILTERS, decoder

OUTPUT = "image_filled"


def inpainting(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    backbone: str = "densenet121",
    filters: tuple[int, ...] = FILTERS,
    blocks: tuple[int, ...] = BLOCKS,
    growth: int = GROWTH,
) -> keras.Model:
    """Build the encoder-decoder.

    Args:
        input_shape: height and width, multiples of 32, and channels.
        backbone: a key of `covidcx.models.encoders.LAST`.
        filters: of the decoder's five levels.
        blocks: DenseNet's dense layers per block.
        growth: DenseNet's growth rate.

    Returns:
        Model from float32 N x H x W x C in 0..1, with holes, to `{"image_filled": N x H x W x C}` in 0..1.
    """
    image = layers.Input(tuple(input_shape), name="image")
    x = decoder(features(backbone, image, blocks, growth), filters, {})
    filled = layers.Conv2D(input_shape[-1], 1, activation="sigmoid", dtype="float32", name=OUTPUT)(x)
    return keras.Model(image, {OUTPUT: filled}, name="inpainting")


@keras.saving.register_keras_serializable("covidcx")
class HoleError(keras.losses.Loss):
    """Mean squared error inside the holes, plus a share of the error outside.

    Args:
        context: weight of the mean squared error of the visible pixels.
    """

    def __init__(self, context: float = 0.0, name: str = "hole_error", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.context = context

    def call(self, y_true, y_pred):
        """Return the loss per image, N; `y_true` N x H x W x (C + 1): the whole image, then 1 in the holes."""
        hole = y_true[..., -1]
        error = ops.mean(ops.square(y_true[..., :-1] - y_pred), axis=-1)
        inside = _mean(error, hole)
        return inside + self.context * _mean(error, 1.0 - hole) if self.context else inside

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "context": self.context}


def _mean(values, weights):
    return ops.sum(values * weights, axis=(1, 2)) / ops.maximum(ops.sum(weights, axis=(1, 2)), 1.0)
