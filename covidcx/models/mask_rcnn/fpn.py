"""Backbone and feature pyramid (Lin et al. 2017, section 3)."""

import keras
from keras import layers

from covidcx.errors import RecipeError, did_you_mean
from covidcx.models.resnet18 import resnet18_stages

_RESNET50 = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
BACKBONES = ("resnet18", "resnet50")


def backbone_maps(
    image: keras.KerasTensor, backbone: str = "resnet18", width: float = 1.0
) -> tuple[keras.KerasTensor, ...]:
    """Apply a backbone.

    Args:
        image: N x H x W x C.
        backbone: `resnet18`, or `resnet50` from keras.applications (its ImageNet file fits).
        width: factor on the filters of `resnet18`.

    Returns:
        The maps C2 to C5, at strides 4, 8, 16 and 32.

    Raises:
        RecipeError: the backbone is unknown, or `resnet50` is asked for in another width.
    """
    if backbone == "resnet18":
        return resnet18_stages(image, width)
    if backbone not in BACKBONES:
        raise RecipeError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, BACKBONES)}")
    if width != 1.0:
        raise RecipeError(f"backbone 'resnet50' has one width, received width={width}; use 1.0, or resnet18")
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=image)
    return tuple(network.get_layer(name).output for name in _RESNET50)


def pyramid(maps: tuple[keras.KerasTensor, ...], filters: int = 128) -> tuple[keras.KerasTensor, ...]:
    """Join coarse meaning and fine place: each level is its own map plus the upsampled level above.

    Args:
        maps: C2 to C5, each half the size of the one before.
        filters: of every level.

    Returns:
        P2 to P6; P6 is every second cell of P5 and serves proposals only.
    """
    above, levels = None, []
    for number, own in reversed(list(enumerate(maps, start=2))):
        x = layers.Conv2D(filters, 1, name=f"fpn_lateral{number}")(own)
        if above is not None:
            x = layers.Add(name=f"fpn_merge{number}")([x, layers.UpSampling2D(name=f"fpn_up{number}")(above)])
        above = x
        levels.append(layers.Conv2D(filters, 3, padding="same", name=f"fpn_p{number}")(x))
    levels = levels[::-1]
    levels.append(layers.MaxPooling2D(1, 2, padding="same", name=f"fpn_p{len(maps) + 2}")(levels[-1]))
    return tuple(levels)
