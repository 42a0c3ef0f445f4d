"""COVID-CXNet (Haghanifar et al. 2020, section 4.3 and Fig. 8): DenseNet-121, FC 10, dropout 0.2."""

import keras
import numpy as np
from keras import layers, ops

from covidcx.errors import RecipeError, did_you_mean

FEATURES, LUNG_FEATURES, STAGE_FEATURES = "relu", "lung_features", "stage_features"
STRIDE = 32
"""Input pixels per cell of the last feature map unless `output_stride` says otherwise."""
BACKBONES = {"densenet121": "DenseNet121", "mobilenet_v2": "MobileNetV2", "resnet50": "ResNet50"}
"""Name in a recipe to the function of keras.applications."""
_LAST_MAPS = {"densenet121": FEATURES, "mobilenet_v2": "out_relu", "resnet50": "conv5_block3_out"}


_LAST_HALVING = {
    "densenet121": {"pool4_pool": {"pool_size": (1, 1), "strides": (1, 1)}},
    "mobilenet_v2": {
        "block_13_pad": {"padding": ((1, 1), (1, 1))},
        "block_13_depthwise": {"strides": (1, 1)},
    },
    "resnet50": {"conv5_block1_0_conv": {"strides": (1, 1)}, "conv5_block1_1_conv": {"strides": (1, 1)}},
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
        backbone: `densenet121` as the paper, `resnet50` (section 4.2) or `mobilenet_v2`.
        output_stride: input pixels per cell of the last feature map: 32 as published, or 16, which leaves out the last
            halving. The same weights fit; heat maps are twice as fine, the last stage costs four times as much.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x K}`.
    """
    if activation not in _GATES:
        raise RecipeError(f"unknown activation {activation!r}.{did_you_mean(activation, _GATES)}")
    image = layers.Input(tuple(input_shape), name="image")
    features = last_map(image, normalization, backbone, output_stride)
    x = pooled(image, features, output_stride, lung_pooling)
    x = layers.Dense(hidden, activation=activation, name="fc")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    units, output = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    probabilities = layers.Dense(units, activation=output, dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": probabilities}, name="covid_cxnet")


def last_map(
    image: keras.KerasTensor, normalization: str | None, backbone: str, output_stride: int, prefix: str = ""
) -> keras.KerasTensor:
    """Build a backbone on an image and return its last feature map.

    Args:
        image: N x H x W x C in 0..1.
        normalization: see `covid_cxnet`, as are the others.
        backbone: see there.
        output_stride: see there.
        prefix: put before the name of every layer, where a model has two backbones.

    Returns:
        N x h x w x channels.

    Raises:
        RecipeError: the backbone or stride does not exist.
    """
    if backbone not in BACKBONES:
        raise RecipeError(f"unknown backbone {backbone!r}.{did_you_mean(backbone, BACKBONES)}")
    own = layers.Input(tuple(image.shape[1:]), name="image") if prefix else image
    x = own
    if normalization == "imagenet":
        x = layers.Normalization(
            mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2], name="imagenet_normalization"
        )(x)
    network = keras.Model(own, _features(backbone, x, output_stride))
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    if not prefix:
        return network.output

    def renamed(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config({**layer.get_config(), "name": prefix + layer.name})

    return keras.models.clone_model(network, input_tensors=image, clone_function=renamed).output


def pooled(
    image: keras.KerasTensor, features: keras.KerasTensor, output_stride: int, lung_pooling: bool
) -> keras.KerasTensor:
    """Average a feature map over all positions, or over the lungs (see `covid_cxnet`): N x channels."""
    if lung_pooling:
        return _lung_pool(image, features, output_stride)
    return layers.GlobalAveragePooling2D(name="pool")(features)


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
    return next(name for name in (LUNG_FEATURES, STAGE_FEATURES, *_LAST_MAPS.values()) if name in names)


def backbone_of(model: keras.Model) -> str | None:
    """Return which of `BACKBONES` a model has, None where it has none of them."""
    names = {layer.name for layer in model.layers}
    # DenseNet's last layer has a name that other models use as well.
    signs = {**_LAST_MAPS, "densenet121": "conv5_block16_concat"}
    return next((backbone for backbone, layer in signs.items() if layer in names), None)


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
    fc, head = model.get_layer("fc"), model.get_layer("probabilities")
    return gated_heatmap(
        model, model.get_layer(heatmap_layer(model)).output, fc.output, fc.activation.__name__,
        ops.convert_to_numpy(fc.kernel), ops.convert_to_numpy(head.kernel),
    )  # fmt: skip


def gated_heatmap(
    model: keras.Model,
    features: keras.KerasTensor,
    hidden: keras.KerasTensor,
    activation: str,
    first_kernel: np.ndarray,
    second_kernel: np.ndarray,
) -> keras.Model:
    """Add relu(((A W1) * slope) W2) as the output `heatmap`, see `with_heatmap`.

    Args:
        model: the classifier.
        features: its last feature map A.
        hidden: output of the hidden layer, N x M.
        activation: name of its activation.
        first_kernel: W1, channels x M.
        second_kernel: W2, M x K.

    Returns:
        Inference model with the outputs `probabilities` and `heatmap`.
    """
    first = layers.Conv2D(first_kernel.shape[1], 1, use_bias=False, name="heatmap_fc")
    second = layers.Conv2D(
        second_kernel.shape[1], 1, use_bias=False, activation="relu", dtype="float32", name="heatmap"
    )
    scale, offset = _GATES[activation]
    active = layers.Rescaling(scale, offset, name="heatmap_step")(hidden)
    active = layers.ReLU(max_value=1.0, name="heatmap_active")(active)
    active = layers.Reshape((1, 1, first_kernel.shape[1]), name="heatmap_gate")(active)
    heatmap = second(layers.Multiply(name="heatmap_masked")([first(features), active]))
    first.set_weights([first_kernel[None, None]])
    second.set_weights([second_kernel[None, None]])
    return add_heatmap(model, heatmap)


def add_heatmap(model: keras.Model, heatmap: keras.KerasTensor) -> keras.Model:
    """Return a classifier with one more output, `heatmap`: N x h x w x K."""
    outputs = {"probabilities": model.output["probabilities"], "heatmap": heatmap}
    return keras.Model(model.input, outputs, name=f"{model.name}_heatmap")
