"""U-Net (Ronneberger et al. 2015) for lung masks, COVID-CXNet section 3.2 and Fig. 4."""

import keras
from keras import layers


def lung_unet(
    filters: int = 32,
    depth: int = 5,
    size: int = 256,
    dropout: float = 0.1,
    output: str = "lung",
    width: float = 1.0,
) -> keras.Model:
    """Build the segmenter.

    Args:
        filters: filters of the first level, doubled at each level below: 32 gives 32 to 512, as the reference.
        depth: number of levels.
        size: side of the square input in pixels, a multiple of 2 ** (depth - 1).
        dropout: dropping rate at the lowest level.
        output: name of the output: `lung`, or `disease` for what COMiT-Net compares with (section 4.1).
        width: factor on `filters`.

    Returns:
        Model from float32 N x size x size x 1 in 0..1 to `{output: N x size x size x 1}` probabilities.
    """
    filters = max(round(filters * width), 2)
    image = layers.Input((size, size, 1), name="image")
    skips, x = [], image
    for level in range(depth):
        if level:
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        x = _double_conv(x, filters * 2**level, f"down{level}")
        skips.append(x)
    x = layers.Dropout(dropout, name="bottom_dropout")(x)
    for level in reversed(range(depth - 1)):
        x = layers.UpSampling2D(name=f"up{level}_upsample")(x)
        x = _conv(x, filters * 2**level, 2, f"up{level}_shrink")
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _double_conv(x, filters * 2**level, f"up{level}")
    mask = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name=output)(x)
    return keras.Model(image, {output: mask}, name="lung_unet")


def _double_conv(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    return _conv(_conv(x, filters, 3, f"{name}_a"), filters, 3, f"{name}_b")


def _conv(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
