"""A tiny network that tells upright frontal chest radiographs from everything else, in a few milliseconds."""

import keras
from keras import layers

_WIDTHS = ((24,), (32, 48), (64,), (64,))


def frontal_gate(
    input_shape: tuple[int, int, int] = (64, 64, 1), classes: int = 6, width: float = 1.0, dropout: float = 0.2
) -> keras.Model:
    """Build the gate: six plain convolutions; the last map is not pooled away, so that up and down stay apart.

    Args:
        input_shape: height, width and channels; sides are multiples of 16.
        classes: number of outputs, 3 or more.
        width: factor on the number of filters; 1 gives about 93,000 parameters.
        dropout: dropping rate before the output.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x classes}`.
    """
    image = layers.Input(tuple(input_shape), name="image")
    x = _conv(image, round(16 * width), "stem", strides=2)
    for level, widths in enumerate(_WIDTHS):
        if level:
            x = layers.MaxPooling2D(2, name=f"level{level}_pool")(x)
        for i, filters in enumerate(widths):
            x = _conv(x, round(filters * width), f"level{level}_{'abc'[i]}")
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": probabilities}, name="frontal_gate")


def _conv(x: keras.KerasTensor, filters: int, name: str, strides: int = 1) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
