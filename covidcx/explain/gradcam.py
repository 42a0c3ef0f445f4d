"""Grad-CAM (Selvaraju et al. 2017) for any layer and any output of a Keras model, on any backend with gradients."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import ExplainError, did_you_mean

if TYPE_CHECKING:
    import keras

_SATURATING = ("softmax", "sigmoid", "two_stage")


def grad_cam(
    model: "keras.Model",
    images: np.ndarray,
    label: int,
    layer: str | None = None,
    output: str | None = None,
    *,
    batch_size: int = 8,
) -> np.ndarray:
    """Compute Grad-CAM of one class: relu(sum over channels of mean gradient times feature map), eq. 1 and 2.

    The gradient is that of the logit, before a softmax or sigmoid, so that a certain answer does not lose its map.

    Args:
        model: functional model with one input.
        images: float32, N x H x W x C, as the model takes them.
        label: index of the class. With a single sigmoid, 1 is its class and 0 the opposite (the negative logit). With
            an output that is itself a map, a channel, whose mean over positions is explained.
        layer: name of a layer with a feature map; the one nearest to the output by default.
        output: name of the output where the model has several.
        batch_size: images per gradient computation.

    Returns:
        float32, N x h x w on the layer's grid, >= 0, not normalised; all zero where nothing speaks for the class.

    Raises:
        ExplainError: the layer or output is unknown, the layer has no spatial extent or does not reach the output,
            the label is out of range, or the backend computes no gradients.

    Example:
        >>> from covidcx.models import build
        >>> grad_cam(build("lung-unet", filters=2, size=32), np.zeros((1, 32, 32, 1)), 0).shape
        (1, 32, 32)
    """
    images = np.asarray(images, dtype=np.float32)
    expected = tuple(model.input.shape)
    if images.ndim != len(expected) or images.shape[-1] != expected[-1]:
        raise ExplainError(f"the model takes images of shape {expected}, received {images.shape}")
    name, tensor = _output(model, output)
    chosen = find_layer(model, layer, name)
    sign, column = _column(tensor, label)
    maps = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        features, gradient = _features_and_gradient(model, part, chosen, name, tensor, sign, column)
        importance = gradient.mean(axis=(1, 2), keepdims=True)
        maps.append(np.maximum((importance * features).sum(axis=-1), 0.0))
    height, width = chosen.output.shape[1:3]
    return np.concatenate(maps).astype(np.float32) if maps else np.zeros((0, height or 0, width or 0), np.float32)


def find_layer(model: "keras.Model", layer: str | None = None, output: str | None = None) -> "keras.layers.Layer":
    """Find the layer to look at.

    Args:
        model: functional model.
        layer: its name; the feature map nearest to the output by default.
        output: name of the output, for the default.

    Returns:
        A layer of the model whose output is N x h x w x channels.

    Raises:
        ExplainError: there is no such layer, or it has no spatial extent.
    """
    if layer is None:
        return _nearest_feature_map(model, _output(model, output)[1])
    layers = {entry.name: entry for entry in model.layers}
    spatial = [name for name, entry in layers.items() if _is_spatial(entry)]
    if layer not in layers:
        near = difflib.get_close_matches(layer, layers, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ExplainError(
            f"model {model.name!r} has no layer {layer!r}.{hint} Its last feature maps are {', '.join(spatial[-4:])}"
        )
    if layer not in spatial:
        raise ExplainError(
            f"layer {layer!r} has the output shape {_shape(layers[layer])}, Grad-CAM needs N x h x w x channels; "
            f"choose a feature map such as {spatial[-1]!r}"
        )
    return layers[layer]


def _output(model: "keras.Model", name: str | None) -> tuple[str | None, Any]:
    outputs = model.output
    if not isinstance(outputs, dict):
        if name is not None or isinstance(outputs, list | tuple):
            raise ExplainError(f"model {model.name!r} has no output called {name!r}; its outputs have no names")
        return None, outputs
    if name is None and len(outputs) == 1:
        name = next(iter(outputs))
    if name is None:
        # The classification is meant where a model also gives maps of its own.
        flat = [key for key, tensor in outputs.items() if len(tensor.shape) == 2]
        if len(flat) != 1:
            raise ExplainError(f"model {model.name!r} has several outputs, say which: {', '.join(sorted(outputs))}")
        name = flat[0]
    if name not in outputs:
        raise ExplainError(f"model {model.name!r} has no output {name!r}.{did_you_mean(name, outputs)}")
    return name, outputs[name]


def _column(tensor: Any, label: int) -> tuple[float, int]:
    """Return sign and column of the output that speak for a label."""
    single = len(tensor.shape) == 2 and tensor.shape[-1] == 1
    count = 2 if single else int(tensor.shape[-1])
    if not 0 <= label < count:
        raise ExplainError(f"label index {label} is out of range: this output has {count} classes, 0 to {count - 1}")
    return (1.0 if label else -1.0, 0) if single else (1.0, label)


def _nearest_feature_map(model: "keras.Model", tensor: Any) -> "keras.layers.Layer":
    """Walk back from an output, breadth first, to the first layer with a feature map."""
    own = {id(layer) for layer in model.layers}
    queue, seen = list(_inputs(tensor._keras_history.operation)), set()
    while queue:
        operation = queue.pop(0)._keras_history.operation
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        if id(operation) in own and _is_spatial(operation):
            return operation
        queue += _inputs(operation)
    raise ExplainError(f"model {model.name!r} has no feature map before its output; Grad-CAM cannot explain it")


def _inputs(operation: Any) -> list[Any]:
    return [tensor for node in operation._inbound_nodes for tensor in node.input_tensors]


def _shape(layer: "keras.layers.Layer") -> Any:
    try:
        output = layer.output
    except (AttributeError, ValueError):
        return None  # a layer that is called several times, or never
    return getattr(output, "shape", None)


def _is_spatial(layer: "keras.layers.Layer") -> bool:
    from keras import layers

    shape = _shape(layer)
    return shape is not None and len(shape) == 4 and not isinstance(layer, layers.InputLayer)


def _features_and_gradient(
    model: "keras.Model",
    images: np.ndarray,
    layer: "keras.layers.Layer",
    name: str | None,
    tensor: Any,
    sign: float,
    column: int,
) -> tuple[np.ndarray, np.ndarray]:
    from keras import ops

    inputs = ops.convert_to_tensor(images)
    shape = tuple(layer.output.shape)
    if None in shape[1:]:
        with _tapped(layer, None) as seen:
            model(inputs, training=False)
        shape = tuple(seen[0].shape)

    def score(offset: Any) -> tuple[Any, Any]:
        with _tapped(layer, offset) as seen, _linear(tensor._keras_history.operation):
            outputs = model(inputs, training=False)
        values = outputs if name is None else outputs[name]
        values = ops.cast(values[..., column], "float32")
        if len(values.shape) > 1:
            values = ops.mean(values, axis=tuple(range(1, len(values.shape))))
        return sign * ops.sum(values), seen[0]

    gradient, features = _gradient(score, np.zeros((len(images), *shape[1:]), np.float32))
    if gradient is None:
        raise ExplainError(f"layer {layer.name!r} does not reach the output {name!r}; choose a layer before it")
    return _numpy(features), _numpy(gradient)


@contextlib.contextmanager
def _tapped(layer: "keras.layers.Layer", offset: Any) -> Iterator[list[Any]]:
    """Add an offset to a layer's output and note the output, while the block runs.

    The gradient with respect to a zero offset is the gradient with respect to the feature map, also where later
    layers reach around it (DenseNet's concatenations), which cutting the model in two would lose. The instance's own
    `call` is set aside and comes back by deleting the substitute.
    """
    from keras import ops

    original, seen = layer.call, []

    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        seen.append(result)
        return result if offset is None else result + ops.cast(offset, result.dtype)

    layer.call = call
    try:
        yield seen
    finally:
        del layer.call


@contextlib.contextmanager
def _linear(operation: Any) -> Iterator[None]:
    """Take a softmax or sigmoid off an output layer while the block runs."""
    from keras import activations, layers

    if isinstance(operation, layers.Softmax):
        operation.call = lambda inputs, mask=None: inputs
        try:
            yield
        finally:
            del operation.call
        return
    activation = getattr(operation, "activation", None)
    if getattr(activation, "__name__", None) not in _SATURATING:
        yield
        return
    operation.activation = activations.linear
    try:
        yield
    finally:
        operation.activation = activation


def _gradient(score: Callable[[Any], tuple[Any, Any]], zeros: np.ndarray) -> tuple[Any, Any]:
    """Return the gradient of `score(offset)[0]` at zero, and `score`'s second value."""
    import keras

    backend = keras.backend.backend()
    offset = keras.ops.convert_to_tensor(zeros)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(offset)
            value, features = score(offset)
        return tape.gradient(value, offset), features
    if backend == "jax":
        import jax

        gradient, features = jax.grad(score, has_aux=True)(offset)
        return gradient, features
    if backend == "torch":
        import torch

        offset.requires_grad_(True)
        value, features = score(offset)
        (gradient,) = torch.autograd.grad(value, [offset], allow_unused=True)
        return gradient, features
    raise ExplainError(f"Keras backend {backend!r} computes no gradients; use tensorflow, jax or torch")


def _numpy(tensor: Any) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor), dtype=np.float32)
