"""COVID-CXNet (Haghanifar et al. 2020, section 4.3 and Fig. 8): DenseNet-121, FC 10, dropout 0.2."""

import keras
from keras import layers, ops

from covidcx.errors import RecipeError

FEATURES, LUNG_FEATURES = "relu", "lung_features"
STRIDE = 32
"""Input pixels per cell of DenseNet-121's last feature map."""


def covid_cxnet(
    input_shape: tuple[int, int, int] = (320, 320, 3),
    classes: int = 3,
    hidden: int = 10,
    dropout: float = 0.2,
    normalization: str | None = None,
    lung_pooling: bool = False,
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
            input sides that are multiples of 32.
        normalization: `"imagenet"` inserts the mean and deviation that CheXNet and ImageNet weights expect.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x K}`.
    """
    image = layers.Input(tuple(input_shape), name="image")
    x = image
    if normalization == "imagenet":
        x = layers.Normalization(
            mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2], name="imagenet_normalization"
        )(x)
    backbone = keras.applications.DenseNet121(include_top=False, weights=None, input_tensor=x)
    features = backbone.output
    x = _lung_pool(image, features) if lung_pooling else layers.GlobalAveragePooling2D(name="pool")(features)
    x = layers.Dense(hidden, activation="relu", name="fc")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    probabilities = layers.Dense(units, activation=activation, dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": probabilities}, name="covid_cxnet")


def _lung_pool(image: keras.KerasTensor, features: keras.KerasTensor) -> keras.KerasTensor:
    if image.shape[1] % STRIDE or image.shape[2] % STRIDE:
        raise RecipeError(
            f"lung_pooling needs sides that are multiples of {STRIDE}, received {image.shape[1]} x {image.shape[2]}; "
            "choose sizes such as 224 or 320"
        )
    # One grey level already counts as seen: only what preprocessing blanked is exactly zero in all channels.
    seen = ops.minimum(ops.max(image, axis=-1, keepdims=True) * 255.0, 1.0)
    coverage = layers.AveragePooling2D(STRIDE, name="lung_coverage")(seen)
    features = layers.Multiply(name=LUNG_FEATURES)([features, coverage])
    share = layers.GlobalAveragePooling2D(name="lung_share")(coverage)
    return layers.GlobalAveragePooling2D(name="pool")(features) / (share + 1e-6)


def heatmap_layer(model: keras.Model) -> str:
    """Return the name of the last feature map before pooling, where Grad-CAM looks by default."""
    return LUNG_FEATURES if any(layer.name == LUNG_FEATURES for layer in model.layers) else FEATURES


def with_heatmap(model: keras.Model) -> keras.Model:
    """Add the Grad-CAM map of every class logit as a second output, computed in the graph without gradients.

    Behind the last feature map A stand only average pooling and two dense layers, so the gradient of logit c is the
    same at every position: W1 masked by the active hidden nodes, times W2. Grad-CAM (Selvaraju et al. 2017, eq. 2)
    is then exactly relu(((A W1) * active) W2), which any runtime computes, TFLite included.

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
    # 1 where a hidden node is active: min(h * large, 1) needs no comparison, which not every delegate has.
    active = layers.ReLU(max_value=1.0, name="heatmap_active")(layers.Rescaling(1e12, name="heatmap_step")(fc.output))
    active = layers.Reshape((1, 1, fc.units), name="heatmap_gate")(active)
    heatmap = second(layers.Multiply(name="heatmap_masked")([first(features), active]))
    first.set_weights([fc.kernel.value[None, None] if hasattr(fc.kernel, "value") else fc.kernel[None, None]])
    second.set_weights([head.kernel.value[None, None] if hasattr(head.kernel, "value") else head.kernel[None, None]])
    return keras.Model(
        model.input, {"probabilities": model.output["probabilities"], "heatmap": heatmap}, name="covid_cxnet_heatmap"
    )
