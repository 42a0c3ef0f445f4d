"""Batch normalisation moved into the convolution before it, so that 16 bits round what TFLite computes with.

The TFLite converter folds the two and rounds the product; Keras and the SavedModel round each and multiply. Rounding
the product in both makes them one network again: COMiT-Net's probabilities had differed by up to 0.0016.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


@contextmanager
def folded(model: "keras.Model") -> Iterator[None]:
    """Fold a model's normalisations while its weights are written; it computes the same and is then as before.

    Args:
        model: functional; a normalisation behind anything but a convolution without bias that it alone reads stays.

    Yields:
        Nothing.
    """
    before = model.get_weights()
    try:
        for convolution, norm in _pairs(model):
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            convolution.set_weights([convolution.get_weights()[0] * scale])
            # The scale that is left is one to 1e-5, less than half a step of 16 bits: folding again changes no kernel.
            left = np.full_like(variance, 1.0 - norm.epsilon)
            norm.set_weights([np.ones_like(gamma), beta - mean * scale, np.zeros_like(mean), left])
        yield
    finally:
        model.set_weights(before)


def _pairs(model: "keras.Model") -> "Iterator[tuple[keras.layers.Conv2D, keras.layers.BatchNormalization]]":
    import keras

    sources = {id(layer.output): layer for layer in model.layers if type(layer) is keras.layers.Conv2D}
    read = [id(tensor) for operation in model.operations for node in operation._inbound_nodes
            for tensor in node.input_tensors]  # fmt: skip
    for norm in model.layers:
        if not isinstance(norm, keras.layers.BatchNormalization) or not (norm.scale and norm.center):
            continue
        source = sources.get(id(norm.input))
        linear = source is not None and source.activation is keras.activations.linear
        if linear and not source.use_bias and read.count(id(norm.input)) == 1:
            yield source, norm
