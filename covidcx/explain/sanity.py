"""Sanity check of heat maps (Adebayo et al. 2018): a map that survives random weights explains nothing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import ExplainError, did_you_mean

if TYPE_CHECKING:
    import keras


def randomised(model: "keras.Model", seed: int, layers: Iterable[str] | None = None) -> "keras.Model":
    """Return a copy of a model whose kernels hold their own values in random order.

    Shuffling keeps each kernel's distribution, so activations keep their size and what changes is what was learned.

    Args:
        model: functional model; left as it is.
        seed: of the shuffles.
        layers: names of the layers to shuffle, such as the head alone for the cascading check; all by default.

    Returns:
        The copy.

    Raises:
        ExplainError: a layer's name is unknown or has no kernel.
    """
    import keras

    kernels = {w.path for w in model.trainable_weights if len(w.shape) >= 2}
    chosen = kernels
    if layers is not None:
        owners = {path.split("/")[0] for path in kernels}
        for name in (layers := list(layers)):
            if name not in owners:
                near = sorted(owners)[-8:]
                raise ExplainError(f"no layer {name!r} with a kernel in {model.name!r}.{did_you_mean(name, near)}")
        chosen = {path for path in kernels if path.split("/")[0] in layers}
    copy = keras.models.clone_model(model)
    rng = np.random.default_rng(seed)
    for source, target in zip(model.weights, copy.weights, strict=True):
        values = np.asarray(keras.ops.convert_to_numpy(source.value))
        if source.path in chosen:
            values = rng.permutation(values.ravel()).reshape(values.shape)
        target.assign(values)
    return copy
