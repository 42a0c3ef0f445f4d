"""Classification and segmentation from one network: U-Net with a DenseNet-121 encoder (SIIM multi-class, section 2.2).

The encoder's layers carry the names of `keras.applications.DenseNet121`, the decoder's the same names in every stage:
weights pass from stage to stage by name.
"""

from collections.abc import Mapping

import keras
from keras import layers

from covidcx.models.densenet import GROWTH, densenet_features
from covidcx.models.densenet_names import BLOCKS

FILTERS = (256, 128, 64, 32, 16)
"""Filters of the decoder's levels, from stride 16 to the input's own pixels."""


def multitask_unet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 4,
    dropout: float = 0.2,
    blocks: tuple[int, ...] = BLOCKS,
    growth: int = GROWTH,
    filters: tuple[int, ...] = FILTERS,
    activation: str = "softmax",
) -> keras.Model:
    """Build the encoder-decoder with two outputs.

    The encoder's last map is pooled for the classes; the decoder upsamples it five times and joins the encoder's maps
    of strides 16, 8, 4 and 2 on the way. At the input's own resolution the encoder has no map to join.

    Args:
        input_shape: height and width, multiples of 32, and channels.
        classes: appearances, in the order of the labels; 2 or more.
        dropout: dropping rate before the classes.
        blocks: dense layers of the encoder's blocks; the default is DenseNet-121.
        growth: the encoder's growth rate; 32 in DenseNet-121.
        filters: of the decoder's five levels.
        activation: `softmax` for appearances that exclude each other, `sigmoid` for findings that do not.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x classes, "opacity": N x H x W x 1}`.
    """
    image = layers.Input(tuple(input_shape), name="image")
    maps = densenet_features(image, blocks, growth)
    pooled = layers.GlobalAveragePooling2D(name="pool")(maps[32])
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    probabilities = layers.Dense(classes, activation=activation, dtype="float32", name="probabilities")(pooled)
    x = decoder(maps[32], filters, maps)
    opacity = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="opacity")(x)
    return keras.Model(image, {"probabilities": probabilities, "opacity": opacity}, name="multitask_unet")


def decoder(
    x: keras.KerasTensor, filters: tuple[int, ...], maps: Mapping[int, keras.KerasTensor]
) -> keras.KerasTensor:
    """Add five levels of upsampling and convolutions.

    Args:
        x: the encoder's last map, stride 32.
        filters: of the levels, from stride 16 to the input's own pixels.
        maps: the encoder's maps by stride; those of strides 16, 8, 4 and 2 that are there are joined.

    Returns:
        N x H x W x the last of `filters`, at the input's resolution.
    """
    for stride, width in zip((16, 8, 4, 2, 1), filters, strict=True):
        x = layers.UpSampling2D(name=f"decoder{stride}_upsample")(x)
        if stride in maps:
            x = layers.Concatenate(name=f"decoder{stride}_concat")([x, maps[stride]])
        x = _conv(_conv(x, width, f"decoder{stride}_a"), width, f"decoder{stride}_b")
    return x


def _conv(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
