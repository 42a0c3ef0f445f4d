"""From a network's probabilities to a class: temperature scaling and operating points."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covidcx.errors import BundleError, did_you_mean


def calibrate(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Apply temperature scaling (Guo et al. 2017) to probabilities: p' = p ** (1 / T), renormalised.

    Args:
        probabilities: float, N x K, rows of a softmax; or N x 1, a sigmoid's probability of the second class.
        temperature: above 1 softens, below 1 sharpens.

    Returns:
        float64, N x K (N x 2 for a sigmoid), rows summing to one.

    Raises:
        BundleError: the probabilities are no N x K array of finite values, or the temperature is not positive.

    Example:
        >>> calibrate(np.array([[0.2, 0.8]]), 1.0)
        array([[0.2, 0.8]])
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise BundleError(f"probabilities are a finite N x K array, received shape {values.shape}")
    if not temperature > 0:
        raise BundleError(f"temperature must be positive, received {temperature}")
    if values.shape[1] == 1:
        values = np.concatenate([1.0 - values, values], axis=1)
    logits = np.log(np.maximum(values, 1e-30)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def own_label(label: Any, labels: Sequence[str]) -> Any:
    """Name a label as a model with these classes would: pneumonia that is not COVID-19 is another disease.

    Args:
        label: the label in a table, or a missing value.
        labels: the model's classes.

    Returns:
        `other` for `cap` where the model has a class for other diseases and none for pneumonia; else the label.
    """
    return "other" if label == "cap" and "cap" not in labels and "other" in labels else label


def decide(
    probabilities: np.ndarray, labels: Sequence[str], operating_points: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Turn calibrated probabilities into classes at the operating points.

    A label with an operating point is called where its probability reaches the threshold (the one furthest above
    its threshold where several do). Otherwise the most probable of the labels without an operating point is called,
    or of all labels where each has one.

    Args:
        probabilities: float, N x K, from `calibrate`.
        labels: K labels, in the order of the columns.
        operating_points: `{label: {"threshold": t}}`.

    Returns:
        N labels.

    Raises:
        BundleError: columns and labels differ in number, or an operating point's label is unknown.

    Example:
        >>> decide(np.array([[0.5, 0.2, 0.3]]), ("normal", "cap", "covid"), {"covid": {"threshold": 0.25}})
        ['covid']
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise BundleError(f"expected N x {len(labels)} probabilities for the labels {labels}, received {values.shape}")
    thresholds = np.full(len(labels), np.inf)
    for label, point in operating_points.items():
        if label not in labels:
            raise BundleError(f"operating point for the unknown label {label!r}.{did_you_mean(label, labels)}")
        thresholds[list(labels).index(label)] = float(point["threshold"])
    free = np.array([label not in operating_points for label in labels])
    rest = np.where(free if free.any() else np.ones_like(free), values, -1.0).argmax(axis=1)
    reached = values - thresholds
    best = reached.argmax(axis=1)
    called = np.where(reached.max(axis=1, initial=-np.inf) >= 0, best, rest)
    return [labels[index] for index in called]
