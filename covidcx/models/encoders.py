"""Backbones for self-supervision: the same layers, by the same names, as in the classifiers they are to start."""

import keras
from keras import layers

from covidcx.errors import RecipeError, did_you_mean
from covidcx.models.densenet import GROWTH, densenet_features
from covidcx.models.densenet_names import BLOCKS

LAST = {"densenet121": "relu", "mobilenet_v2": "out_relu"}
"""Name of the last feature map by backbone."""
_MOMENTUM = 0.97


def features(
    backbone: str, x: keras.KerasTensor, blocks: tuple[int, ...] = BLOCKS, growth: int = GROWTH
) -> keras.KerasTensor:
    """Add a backbone behind a tensor.

    Args:
        backbone: a key of `LAST`.
        x: N x H x W x C.
        blocks: DenseNet's dense layers per block; the default is DenseNet-121.
        growth: DenseNet's growth rate; 32 in DenseNet-121.

    Returns:
        The last feature map, stride 32.

    Raises:
        RecipeError: the backbone is unknown, or the size does not suit it.
    """
    if backbone not in LAST:
        raise RecipeError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, LAST)}")
    if backbone == "densenet121":
        return densenet_features(x, blocks, growth)[32]
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=x)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            # As for DenseNet: the published momentum averages over more steps than a short training has.
            layer.momentum = _MOMENTUM
    return network.output


def encoder_of(model: keras.Model) -> keras.Model:
    """Return a model's backbone alone, sharing its weights.

    Args:
        model: a functional model whose backbone came from `features`.

    Returns:
        Model from the image to the last feature map; its layers are the backbone's and the input.
    """
    names = {layer.name for layer in model.layers}
    last = next(name for name in LAST.values() if name in names)
    return keras.Model(model.input, model.get_layer(last).output, name=f"{model.name}_encoder")
