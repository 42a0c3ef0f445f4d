"""COVID-CXNet (Haghanifar et al. 2020, section 4.3 and Fig. 8): DenseNet-121, FC 10, dropout 0.2."""

import keras
from keras import layers, ops

from covidcx.errors import RecipeError, did_you_mean

FEATURES, LUNG_FEATURES = "relu", "lung_features"
STRIDE = 32
"""Input pixels per cell of the last feature map unless `output_stride` says otherwise."""
BACKBONES = {"densenet121": "DenseNet121", "mobilenet_v2": "MobileNetV2"}


_LAST_HALVING = {
    "densenet121": {"pool4_pool": {"pool_size": (1, 1), "strides": (1, 1)}},
    "mobilenet_v2": {
        "block_13_pad": {"padding": ((1, 1), (1, 1))},
        "block_13_depthwise": {"strides": (1, 1)},
    },
}


# The activation's derivative as min(max(scale * h + offset, 0), 1) of its own output h, which needs no comparison that
# some delegate lacks: a step for ReLU; for ELU, 1 above zero and exp(z) = h + 1 below.
_GATES = {"relu": (1e12, 0.0), "elu": (1.0, 1.0)}


# No lungs, no division by zero; in 8 bits this is still some levels above zero. Cropped lungs fill far more.
_LEAST_SHARE = 0.02


# keras.applications averages normalisation statistics over 100 to 1,000 steps, which is longer than the epochs of a
# data set of this size: validation would see statistics of weights long gone.
_MOMENTUM = 0.97


def covid_cxnet(
    input_shape: tuple[int, int, int] = (320, 320, 3),
    classes: int = 3,
    hidden: int = 10,
    dropout: float = 0.2,
    normalization: str | None = None,
    lung_pooling: bool = False,
    activation: str = "relu",
    backbone: str = "densenet121",
    output_stride: int = STRIDE,
) -> keras.Model:
    """Build COVID-CXNet; the weights are random until filled (see `covidcx.models.weights`).

    The paper counts 431 layers and about 7 M parameters: DenseNet-121 without top has 427 Keras layers, and
    pooling, FC, dropout and output make 431; 7,047,787 parameters with three classes.

    Args:
        input_shape: height, width and channels.
        classes: 2 gives one sigmoid output (probability of the second class), more give a softmax.
        hidden: nodes of the fully connected layer.
        dropout: dropping rate after it.
        lung_pooling: average the last feature map over the lungs only, weighting each cell by its share of pixels that
            preprocessing did not blank. What lies outside can then move neither the answer nor the heat map. Needs
            input sides that are multiples of `output_stride`.
        normalization: `"imagenet"` inserts the mean and deviation that CheXNet and PyTorch's ImageNet weights expect.
        activation: of the fully connected layer, `relu` as the paper or `elu`, whose nodes cannot die.
        backbone: `densenet121` as the paper, or `mobilenet_v2`.
        output_stride: input pixels per cell of the last feature map: 32 as published, or 16, which leaves out the last
            halving. The same weights fit; heat maps are twice as fine, the last stage costs four times as much.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x K}`.
    """
    if activation not in _GATES:
        raise RecipeError(f"unknown activation {activation!r}.{did_you_mean(activation, _GATES)}")
    image = layers.Input(tuple(input_shape), name="image")
    x = image
    if normalization == "imagenet":
        x = layers.Normalization(
            mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2], name="imagenet_normalization"
        )(x)
    if backbone not in BACKBONES:
        raise RecipeError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, BACKBONES)}")
    features = _features(backbone, x, output_stride)
    if lung_pooling:
        x = _lung_pool(image, features, output_stride)
    else:
        x = layers.GlobalAveragePooling2D(name="pool")(features)
    x = layers.Dense(hidden, activation=activation, name="fc")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    units, output = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    probabilities = layers.Dense(units, activation=output, dtype="float32", name="probabilities")(x)
    model = keras.Model(image, {"probabilities": probabilities}, name="covid_cxnet")
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    return model


def _features(backbone: str, x: keras.KerasTensor, output_stride: int) -> keras.KerasTensor:
    network = getattr(keras.applications, BACKBONES[backbone])
    if output_stride == STRIDE:
        return network(include_top=False, weights=None, input_tensor=x).output
    if output_stride != STRIDE // 2:
        raise RecipeError(f"output_stride is {STRIDE // 2} or {STRIDE}, received {output_stride}")
    # The published graph with its last halving taken out, by configuration: names and weights stay those of the files.
    config = network(include_top=False, weights=None, input_shape=tuple(x.shape[1:])).get_config()
    changed = {layer["name"]: layer["config"] for layer in config["layers"] if layer["name"] in _LAST_HALVING[backbone]}
    for name, settings in _LAST_HALVING[backbone].items():
        changed[name].update(settings)
    finer = keras.Model.from_config(config)
    # `call` runs layer by layer, where calling the model would nest it as one layer and change every name.
    return finer.call(x)


def _lung_pool(image: keras.KerasTensor, features: keras.KerasTensor, stride: int) -> keras.KerasTensor:
    if image.shape[1] % stride or image.shape[2] % stride:
        raise RecipeError(
            f"lung_pooling needs sides that are multiples of {stride}, received {image.shape[1]} x {image.shape[2]}; "
            "choose sizes such as 224 or 320"
        )
    # One grey level already counts as seen: only what preprocessing blanked is exactly zero in all channels.
    seen = ops.minimum(ops.max(image, axis=-1, keepdims=True) * 255.0, 1.0)
    coverage = layers.AveragePooling2D(stride, name="lung_coverage")(seen)
    features = layers.Multiply(name=LUNG_FEATURES)([features, coverage])
    share = layers.GlobalAveragePooling2D(name="lung_share")(coverage)
    return layers.GlobalAveragePooling2D(name="pool")(features) / ops.maximum(share, _LEAST_SHARE)


def heatmap_layer(model: keras.Model) -> str:
    """Return the name of the last feature map before pooling, where Grad-CAM looks by default."""
    names = [layer.name for layer in model.layers]
    return next(name for name in (LUNG_FEATURES, FEATURES, "out_relu") if name in names)


def with_heatmap(model: keras.Model) -> keras.Model:
    """Add the Grad-CAM map of every class logit as a second output, computed in the graph without gradients.

    Behind the last feature map A stand only average pooling and two dense layers, so the gradient of logit c is the
    same at every position: W1 times the slope of each hidden node, times W2. Grad-CAM (Selvaraju et al. 2017, eq. 2)
    is then exactly relu(((A W1) * slope) W2), which any runtime computes, TFLite included.

    Args:
        model: from `covid_cxnet`; its head's weights are copied at this moment.

    Returns:
        Inference model with outputs `{"probabilities": N x K, "heatmap": N x h x w x K}`, the heat map up to the
        constant 1 / (h w) of Grad-CAM and not normalised.
    """
    features = model.get_layer(heatmap_layer(model)).output
    fc, head = model.get_layer("fc"), model.get_layer("probabilities")
    first = layers.Conv2D(fc.units, 1, use_bias=False, name="heatmap_fc")
    second = layers.Conv2D(head.units, 1, use_bias=False, activation="relu", dtype="float32", name="heatmap")
    scale, offset = _GATES[fc.activation.__name__]
    active = layers.Rescaling(scale, offset, name="heatmap_step")(fc.output)
    active = layers.ReLU(max_value=1.0, name="heatmap_active")(active)
    active = layers.Reshape((1, 1, fc.units), name="heatmap_gate")(active)
    heatmap = second(layers.Multiply(name="heatmap_masked")([first(features), active]))
    first.set_weights([ops.convert_to_numpy(fc.kernel)[None, None]])
    second.set_weights([ops.convert_to_numpy(head.kernel)[None, None]])
    return keras.Model(
        model.input, {"probabilities": model.output["probabilities"], "heatmap": heatmap}, name="covid_cxnet_heatmap"
    )
