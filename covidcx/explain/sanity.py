"""Sanity check of heat maps (Adebayo et al. 2018): a map that survives random weights explains nothing."""

from collections.abc import Callable, Iterable
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


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Return how alike two maps are: Spearman's rank correlation over their pixels.

    Args:
        first: float, any shape.
        second: float, same shape.

    Returns:
        -1 to 1; 1 for the same order of pixels; NaN where a map has one value everywhere.

    Raises:
        ExplainError: the shapes differ.
    """
    from scipy.stats import rankdata

    if np.shape(first) != np.shape(second):
        raise ExplainError(f"maps of shapes {np.shape(first)} and {np.shape(second)} cannot be compared")
    ranks = [rankdata(np.ravel(values)) for values in (first, second)]
    if any(np.ptp(values) == 0 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def randomisation_agreement(
    model: "keras.Model", explain: Callable[["keras.Model"], np.ndarray], seeds: Iterable[int] = (0, 1, 2)
) -> float:
    """Return how much of an explainer's map survives random weights; near 1 the map does not come from the model.

    Args:
        model: trained functional model.
        explain: makes the map of one image (or a stack of maps) from a model.
        seeds: one copy with shuffled weights each, see `randomised`.

    Returns:
        Mean `agreement` with the maps of the shuffled copies; a copy whose map is empty counts as 0, since nothing
        survived. NaN where the model's own map is empty.
    """
    own = explain(model)
    if np.ptp(own) == 0:
        return float("nan")
    found = [agreement(own, explain(randomised(model, seed))) for seed in seeds]
    return float(np.mean(np.nan_to_num(found)))
