"""CNNs with one head: the baselines of SIIM multi-class (section 2.1 and Table 3) and COMiT-Net (Table 4).

The SIIM paper names no size of EfficientNet [36] and no version of MobileNet [14]; the papers it cites are EfficientNet
(Tan and Le 2019), whose smallest is B0, and the first MobileNet (Howard et al. 2017). COMiT-Net compares with
DenseNet-121, MobileNetV2, ResNet-18 and VGG-19, each with fully connected layers behind the pooling.
"""

import re

import keras
from keras import layers

from covidcx.errors import RecipeError, did_you_mean
from covidcx.models.densenet import GROWTH, densenet_features
from covidcx.models.densenet_names import BLOCKS
from covidcx.models.resnet18 import resnet18_stages

BACKBONES = ("mobilenet", "mobilenet_v2", "efficientnet_b0", "resnet18", "resnet50", "vgg19", "densenet121")
_MOMENTUM = 0.97
_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


def cnn_baseline(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 4,
    backbone: str = "densenet121",
    dropout: float = 0.0,
    blocks: tuple[int, ...] = BLOCKS,
    growth: int = GROWTH,
    width: float = 1.0,
    activation: str = "softmax",
    hidden: tuple[int, ...] = (),
    output: str = "probabilities",
) -> keras.Model:
    """Build a backbone, average pooling, dense layers where asked for, and the output.

    Args:
        input_shape: height, width and channels; multiples of 32 for DenseNet.
        classes: number of outputs; 2 with `softmax` gives one sigmoid (probability of the second class).
        backbone: one of `BACKBONES`.
        dropout: dropping rate before the output.
        blocks: DenseNet's dense layers per block; the default is DenseNet-121.
        growth: DenseNet's growth rate; 32 in DenseNet-121.
        width: factor on the filters of both MobileNets, ResNet-18, VGG-19 and on DenseNet's growth rate.
        activation: `softmax` for classes that exclude each other, `sigmoid` for findings that do not.
        hidden: units of fully connected layers with ReLU between pooling and output.
        output: name of the output, such as `infection` where one of `covidcx.training.heads` teaches it.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{output: N x classes}`.

    Raises:
        RecipeError: the backbone is unknown.
    """
    if backbone not in BACKBONES:
        raise RecipeError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, BACKBONES)}")
    image = layers.Input(tuple(input_shape), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(_features(backbone, image, blocks, growth, width))
    for i, units in enumerate(hidden, 1):
        x = layers.Dense(units, activation="relu", name=f"fc{i}")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    units, kind = (1, "sigmoid") if classes == 2 and activation == "softmax" else (classes, activation)
    found = layers.Dense(units, activation=kind, dtype="float32", name=output)(x)
    model = keras.Model(image, {output: found}, name="cnn_baseline")
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    return keras.models.clone_model(model, clone_function=_named) if backbone == "efficientnet_b0" else model


def _named(layer: keras.Layer) -> keras.Layer:
    """Copy a layer without the number that Keras gives to the second of its kind in a process.

    EfficientNet's scaling layers have no names of their own; weights are found by name.
    """
    config = layer.get_config()
    if isinstance(layer, layers.Rescaling | layers.Normalization):
        config["name"] = re.sub(r"_\d+$", "", config["name"])
    return type(layer).from_config(config)


def _features(
    backbone: str, image: keras.KerasTensor, blocks: tuple[int, ...], growth: int, width: float
) -> keras.KerasTensor:
    if backbone == "densenet121":
        return densenet_features(image, blocks, max(round(growth * width), 1))[32]
    if backbone == "resnet18":
        return resnet18_stages(image, width)[-1]
    settings = {"include_top": False, "weights": None}
    if backbone == "resnet50":
        return keras.applications.ResNet50(input_tensor=image, **settings).output
    if backbone == "vgg19":
        return _vgg19(image, width)
    if backbone in ("mobilenet", "mobilenet_v2"):
        # Both were published for -1..1.
        x = layers.Rescaling(2.0, -1.0, name="mobilenet_scaling")(image)
        network = keras.applications.MobileNet if backbone == "mobilenet" else keras.applications.MobileNetV2
        return network(input_tensor=x, alpha=width, **settings).output
    # keras.applications' EfficientNet scales 0..255 itself.
    x = layers.Rescaling(255.0, name="efficientnet_scaling")(image)
    return keras.applications.EfficientNetB0(input_tensor=x, **settings).output


def _vgg19(x: keras.KerasTensor, width: float) -> keras.KerasTensor:
    # Layers and names of keras.applications.VGG19, whose numbers of filters cannot be changed.
    for block, (filters, count) in enumerate(_VGG19, 1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            filters_here = max(round(filters * width), 4)
            x = layers.Conv2D(
                filters_here, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name
            )(x)  # fmt: skip
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x
