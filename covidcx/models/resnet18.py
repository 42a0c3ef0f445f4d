"""ResNet-18 (He et al. 2016, Table 1), which keras.applications does not have, in torchvision's layout."""

import keras
from keras import layers

STAGES = (64, 128, 256, 512)
"""Filters of the four stages, two basic blocks each."""

# torchvision averages normalisation statistics with momentum 0.1, which Keras calls 0.9.
_MOMENTUM = 0.9


def resnet18_stages(x: keras.KerasTensor, width: float = 1.0) -> tuple[keras.KerasTensor, ...]:
    """Apply the convolutional part of ResNet-18.

    Args:
        x: N x H x W x C; sides that are multiples of 32 give maps of exactly H / stride.
        width: factor on the number of filters; 1 is as published.

    Returns:
        The maps C2 to C5 after each stage, at strides 4, 8, 16 and 32.
    """
    filters = [max(8, round(count * width)) for count in STAGES]
    x = _conv(x, filters[0], 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    maps = []
    for stage, count in enumerate(filters):
        x = _block(x, count, 1 if stage == 0 else 2, f"stage{stage + 2}_a")
        x = _block(x, count, 1, f"stage{stage + 2}_b")
        maps.append(x)
    return tuple(maps)


def _block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, stride, f"{name}_shortcut")
    x = _conv(x, filters, 3, stride, f"{name}_first")
    x = layers.ReLU(name=f"{name}_first_relu")(x)
    x = _conv(x, filters, 3, 1, f"{name}_second")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    # Padded alike on both sides, as torchvision's weights expect; Keras's "same" shifts strided windows by a pixel.
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters, kernel, stride, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)  # fmt: skip
    return layers.BatchNormalization(momentum=_MOMENTUM, epsilon=1e-5, name=f"{name}_bn")(x)
