"""COMiT-Net (Malhotra et al. 2021): one VGG16 encoder, two decoders, two classifying branches (section 2, Fig. 3)."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from covidcx.errors import RecipeError, did_you_mean
from covidcx.models.unpooling import pool_with_places, unpool

TASKS = ("lung", "disease", "healthy", "infection")
"""The paper's tasks 1 to 4, by the name of their output."""
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Filters and convolutions of VGG16's blocks."""
FEATURES = "block5_relu"
"""The encoder's last map, pooled for the classifying branches; Grad-CAM looks here."""
EMBEDDING = "pool"


def comit_net(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    width: float = 1.0,
    tasks: Sequence[str] = TASKS,
    dropout: float = 0.0,
) -> keras.Model:
    """Build the multi-task network.

    Args:
        input_shape: height and width, multiples of 32, and channels.
        width: factor on all numbers of filters and units; 1 is the paper's network.
        tasks: which of `TASKS` to build; the rows of Table 5 all have task 4, `infection`.
        dropout: dropping rate before the branches' last layers; the paper has none.

    Returns:
        Model from float32 N x H x W x C in 0..1 to the tasks' outputs: `lung` N x H x W x 2 (softmax of background and
        lung), `disease` N x H x W x 1, `healthy` N x 2 (unhealthy, normal), `infection` N x 2 (sigmoids of COVID-19
        and of another disease); with the last, `probabilities` N x 3 of normal, other and covid, see
        `finding_probabilities`.

    Raises:
        RecipeError: a task is unknown, there is none, or a side is no multiple of 32.
    """
    for name in tasks:
        if name not in TASKS:
            raise RecipeError(f"COMiT-Net has no task {name!r}.{did_you_mean(name, TASKS)}")
    if not tasks:
        raise RecipeError(f"COMiT-Net needs a task; name some of {', '.join(TASKS)}")
    if any(side % 2 ** len(BLOCKS) for side in input_shape[:2]):
        raise RecipeError(f"COMiT-Net takes sides that are multiples of 32, received {tuple(input_shape)}")
    image = layers.Input(tuple(input_shape), name="image")
    x, places = encode(image, width)
    outputs = {}
    if "lung" in tasks:
        decoded = decode(x, places, width, "lung")
        outputs["lung"] = layers.Conv2D(
            2, 3, padding="same", activation="softmax", dtype="float32", name="lung"
        )(decoded)
    if "disease" in tasks:
        decoded = decode(x, places, width, "disease")
        outputs["disease"] = layers.Conv2D(
            1, 3, padding="same", activation="sigmoid", dtype="float32", name="disease"
        )(decoded)
    pooled = layers.GlobalAveragePooling2D(name=EMBEDDING)(x)
    if "healthy" in tasks:
        branch = _branch(pooled, width, dropout, "healthy")
        outputs["healthy"] = layers.Dense(2, activation="softmax", dtype="float32", name="healthy")(branch)
    if "infection" in tasks:
        branch = _branch(pooled, width, dropout, "infection")
        outputs["infection"] = layers.Dense(2, activation="sigmoid", dtype="float32", name="infection")(branch)
        outputs["probabilities"] = finding_probabilities(outputs["infection"], outputs.get("healthy"))
    return keras.Model(image, outputs, name="comit_net")


def finding_probabilities(infection: keras.KerasTensor, healthy: keras.KerasTensor | None) -> keras.KerasTensor:
    """Make one distribution of what tasks 3 and 4 say: what the COVID-19 sigmoid leaves is shared by the others.

    Not in the paper, which reports each task on its own; P(covid) is the sigmoid itself, so that thresholds on either
    are the same.

    Args:
        infection: N x 2: COVID-19, another disease.
        healthy: N x 2: unhealthy, normal; without it, normal is what is no other disease.

    Returns:
        N x 3, rows summing to one: normal, other, covid.
    """
    covid, other = _column(infection, 0), _column(infection, 1)
    normal = 1.0 - other if healthy is None else _column(healthy, 1)
    shares = layers.Concatenate(name="shares")([normal, other])
    # Both may be zero at once: then the two share alike.
    shares = (shares + 1e-4) / (normal + other + 2e-4)
    return layers.Concatenate(name="probabilities", dtype="float32")([shares * (1.0 - covid), covid])


def encode(image: keras.KerasTensor, width: float = 1.0) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Apply VGG16's convolutions, each with batch normalisation.

    A block's last ReLU follows its pooling, which gives the same numbers and lets the unpooling see maps without ties.

    Args:
        image: N x H x W x C, sides multiples of 32.
        width: factor on the numbers of filters.

    Returns:
        The last map, N x H/32 x W/32 x D, and the places of each block's maxima for `decode`.
    """
    x, places = image, []
    for b, (filters, convolutions) in enumerate(BLOCKS, 1):
        for c in range(1, convolutions):
            x = _conv(x, _scaled(filters, width), f"block{b}_conv{c}")
        x = _conv(x, _scaled(filters, width), f"block{b}_conv{convolutions}", relu=False)
        x, place = pool_with_places(x, f"block{b}")
        x = layers.ReLU(name=f"block{b}_relu")(x)
        places.append(place)
    return x, places


def decode(
    x: keras.KerasTensor, places: list[keras.KerasTensor], width: float, name: str
) -> keras.KerasTensor:
    """Mirror the encoder: unpool, then as many convolutions; the last of a block has the next one's filters."""
    for b in range(len(BLOCKS), 0, -1):
        filters, convolutions = BLOCKS[b - 1]
        x = unpool(x, places[b - 1], f"{name}{b}")
        # The output's own convolution is the last one of the last block.
        for c in range(1, convolutions if b > 1 else 2):
            x = _conv(x, _scaled(filters, width), f"{name}{b}_conv{c}")
        if b > 1:
            x = _conv(x, _scaled(BLOCKS[b - 2][0], width), f"{name}{b}_conv{convolutions}")
    return x


def _branch(x: keras.KerasTensor, width: float, dropout: float, name: str) -> keras.KerasTensor:
    """Two of the three fully connected layers; their sizes are not in the paper."""
    for i, units in enumerate((256, 64), 1):
        x = layers.Dense(max(round(units * width), 16), activation="relu", name=f"{name}_fc{i}")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def _conv(x: keras.KerasTensor, filters: int, name: str, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _scaled(filters: int, width: float) -> int:
    return max(round(filters * width), 4)


def _column(values: keras.KerasTensor, index: int) -> keras.KerasTensor:
    """Take one of two columns by a sum, N x 1: in int8, TFLite's slice asks for one scale on both sides and fails."""
    return ops.sum(values * np.eye(2, dtype=np.float32)[index], axis=-1, keepdims=True)
