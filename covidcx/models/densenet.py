"""DenseNet (Huang et al. 2017) whose feature maps can be tapped, layer by layer as keras.applications names them."""

import keras
from keras import layers

from covidcx.errors import RecipeError
from covidcx.models.densenet_names import BLOCKS

GROWTH = 32
_EPSILON = 1.001e-5
# keras.applications averages normalisation statistics over 100 to 1,000 steps, longer than an epoch of small data.
_MOMENTUM = 0.97


def densenet_features(
    x: keras.KerasTensor, blocks: tuple[int, ...] = BLOCKS, growth: int = GROWTH
) -> dict[int, keras.KerasTensor]:
    """Add DenseNet's convolutions behind a tensor.

    With the default arguments this is `keras.applications.DenseNet121` without its top, weight for weight and under
    the same names, so every published file and every importer of `covidcx.models.weights` fits.

    Args:
        x: N x H x W x C; H and W multiples of 32.
        blocks: dense layers in each of four blocks. Fewer layers make a small network for tests and drawn images.
        growth: feature maps that each dense layer adds; the stem has twice as many.

    Returns:
        Feature maps by stride: 2 (stem), 4, 8, 16 (behind the first three blocks, before they are halved), 32 (last).

    Raises:
        RecipeError: there are not four blocks, or H or W is no multiple of 32.
    """
    if len(blocks) != 4 or min(blocks) < 1 or growth < 1:
        raise RecipeError(f"DenseNet has four blocks of one layer or more, received {list(blocks)}, growth {growth}")
    if x.shape[1] % 32 or x.shape[2] % 32:
        raise RecipeError(
            f"DenseNet halves its input five times; {x.shape[1]} x {x.shape[2]} are no multiples of 32, take 64 or 224"
        )
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(2 * growth, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _normalised(x, "conv1_bn", "conv1_relu")
    found = {2: x}
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for number, count in enumerate(blocks, 2):
        for layer in range(1, count + 1):
            x = _dense_layer(x, growth, f"conv{number}_block{layer}")
        if number <= 4:
            x = _normalised(x, f"pool{number}_bn", f"pool{number}_relu")
            found[2**number] = x
            x = layers.Conv2D(x.shape[-1] // 2, 1, use_bias=False, name=f"pool{number}_conv")(x)
            x = layers.AveragePooling2D(2, strides=2, name=f"pool{number}_pool")(x)
    found[32] = _normalised(x, "bn", "relu")
    return found


def _dense_layer(x: keras.KerasTensor, growth: int, name: str) -> keras.KerasTensor:
    new = _normalised(x, f"{name}_0_bn", f"{name}_0_relu")
    new = layers.Conv2D(4 * growth, 1, use_bias=False, name=f"{name}_1_conv")(new)
    new = _normalised(new, f"{name}_1_bn", f"{name}_1_relu")
    new = layers.Conv2D(growth, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(new)
    return layers.Concatenate(name=f"{name}_concat")([x, new])


def _normalised(x: keras.KerasTensor, name: str, activation: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=name)(x)
    return layers.Activation("relu", name=activation)(x)
