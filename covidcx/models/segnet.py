"""SegNet (Badrinarayanan et al. 2017): VGG16 and its mirror image, joined by the places of maxima alone."""

import keras
from keras import layers

from covidcx.errors import RecipeError
from covidcx.models.comit_net import BLOCKS, decode, encode


def segnet(
    input_shape: tuple[int, int, int] = (224, 224, 3), width: float = 1.0, output: str = "lung"
) -> keras.Model:
    """Build the segmenter: COMiT-Net's encoder and one of its decoders, alone.

    Args:
        input_shape: height and width, multiples of 32, and channels.
        width: factor on all numbers of filters; 1 is as published.
        output: name of the output, `lung` or `disease`.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{output: N x H x W x 1}` probabilities.

    Raises:
        RecipeError: a side is no multiple of 32.
    """
    if any(side % 2 ** len(BLOCKS) for side in input_shape[:2]):
        raise RecipeError(f"SegNet takes sides that are multiples of 32, received {tuple(input_shape)}")
    image = layers.Input(tuple(input_shape), name="image")
    x = decode(*encode(image, width), width, f"decoder_{output}")
    mask = layers.Conv2D(1, 3, padding="same", activation="sigmoid", dtype="float32", name=output)(x)
    return keras.Model(image, {output: mask}, name="segnet")
