"""The base model of COVID-CXNet (Haghanifar et al. 2020, section 4.1 and Fig. 5): a small network of its own."""

import keras
from keras import layers, ops

from covidcx.errors import RecipeError
from covidcx.models.covid_cxnet import add_heatmap

FILTERS, NODES, CONVOLUTIONS = 32, 10, 5
_LAST = f"conv{CONVOLUTIONS}"


def base_model(
    input_shape: tuple[int, int, int] = (320, 320, 3), classes: int = 2, first_kernel: int = 3, stride: int = 2
) -> keras.Model:
    """Build the base model: five convolutions of 32 filters, flatten, dense 10, 10, 1; no pooling or normalisation.

    The paper's text says 3 x 3 and nothing of strides. With stride 1 the flattened map alone would cost 30.8 million
    weights at 320 pixels; the authors' published graph (github.com/armiro/COVID-CXNet,
    `checkpoints/base_model/base_model.json`) has stride 2 in every convolution, no padding, and 5 x 5 in the first.
    Stride 2 is taken from there, 3 x 3 from the text: 63,939 parameters at 320 pixels and three channels, 40,899 at
    128. `first_kernel=5` gives the published graph.

    Args:
        input_shape: height, width and channels; sides of at least 63 with stride 2.
        classes: 2 gives one sigmoid output (probability of the second class), more give a softmax.
        first_kernel: side of the first convolution's kernel.
        stride: of every convolution.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x K}`.

    Raises:
        RecipeError: the image is too small for five convolutions without padding.
    """
    image = layers.Input(tuple(input_shape), name="image")
    x = image
    for number in range(1, CONVOLUTIONS + 1):
        kernel = first_kernel if number == 1 else 3
        if min(x.shape[1:3]) < kernel:
            raise RecipeError(
                f"a base model of stride {stride} needs larger images than {input_shape[0]} x {input_shape[1]}: "
                f"nothing is left before convolution {number}; set preprocessing.size=128,128 or more"
            )
        x = layers.Conv2D(FILTERS, kernel, stride, activation="relu", name=f"conv{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(NODES, activation="relu", name="fc1")(x)
    x = layers.Dense(NODES, activation="relu", name="fc2")(x)
    units, output = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    x = layers.Dense(units, activation=output, dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": x}, name="base_model")


def with_heatmap(model: keras.Model) -> keras.Model:
    """Add the Grad-CAM map of every class logit as a second output, computed in the graph without gradients.

    Behind the last convolution's map A stand three dense layers with kernels W1, W2 and W3. The gradient of a logit,
    averaged over positions, is mean(W1) diag(g1) W2 diag(g2) W3, with g the ReLUs' gates and the mean over the
    positions that W1 is flattened from. Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) is relu of A times this.

    Args:
        model: from `base_model`; its dense weights are copied at this moment.

    Returns:
        Inference model with outputs `{"probabilities": N x K, "heatmap": N x h x w x K}`, not normalised.
    """
    features = model.get_layer(_LAST).output
    first, second, head = (model.get_layer(name) for name in ("fc1", "fc2", "probabilities"))
    height, width, channels = features.shape[1:]
    kernel = ops.convert_to_numpy(first.kernel).reshape(height * width, channels, NODES).mean(axis=0)
    # One column per pair of a class and a node of fc1: diag(g2) W3 for each class, then W2 back to the nodes of fc1.
    last = ops.convert_to_numpy(head.kernel)
    middle = ops.convert_to_numpy(second.kernel)
    pairs = (middle.T[:, None, :] * last[:, :, None]).reshape(NODES, head.units * NODES)
    back = layers.Dense(head.units * NODES, use_bias=False, name="heatmap_back")
    importance = back(_gate(second.output, "heatmap_gate2"))
    importance = layers.Reshape((head.units, NODES), name="heatmap_importance")(importance)
    gate = layers.Reshape((1, NODES), name="heatmap_gate1_row")(_gate(first.output, "heatmap_gate1"))
    importance = layers.Multiply(name="heatmap_gated")([importance, gate])
    maps = layers.Conv2D(NODES, 1, use_bias=False, name="heatmap_fc")
    flat = layers.Reshape((height * width, NODES), name="heatmap_positions")(maps(features))
    heat = layers.Dot(axes=(2, 2), name="heatmap_sum")([flat, importance])
    heat = layers.Reshape((height, width, head.units), name="heatmap_map")(heat)
    heat = layers.ReLU(dtype="float32", name="heatmap")(heat)
    back.set_weights([pairs])
    maps.set_weights([kernel[None, None]])
    return add_heatmap(model, heat)


def _gate(hidden: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Return the derivative of ReLU from its output: 0 or 1, by a slope so steep that no comparison is needed."""
    return layers.ReLU(max_value=1.0, name=name)(layers.Rescaling(1e12, name=f"{name}_step")(hidden))
