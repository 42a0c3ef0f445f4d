"""What is measured on validation rows."""

import numpy as np


def macro_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Mean F1 over the classes that occur in truth or prediction.

    Args:
        truth: int, N, class indices.
        predicted: int, N.
        classes: number of classes.

    Returns:
        0 to 1.
    """
    scores = []
    for k in range(classes):
        hits = np.sum((truth == k) & (predicted == k))
        total = np.sum(truth == k) + np.sum(predicted == k)
        if total:
            scores.append(2.0 * hits / total)
    return float(np.mean(scores)) if scores else 0.0


def dice(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Dice of each mask at threshold 0.5 over labelled pixels; 1 where both are empty.

    Args:
        targets: N x H x W x 1: 1 inside, 0 outside, -1 ignored.
        predictions: float, N x H x W x 1, 0..1.

    Returns:
        float64, N.
    """
    axes = (1, 2, 3)
    found = (predictions > 0.5) & (targets >= 0)
    inside = targets == 1
    total = found.sum(axis=axes) + inside.sum(axis=axes)
    overlap = (found & inside).sum(axis=axes)
    return np.where(total > 0, 2.0 * overlap / np.maximum(total, 1), 1.0)


def ranking(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative, ties counting half.

    `covidcx.evaluation.roc.auc` gives the same with resampling weights; training may not import it.

    Args:
        positive: bool, N.
        score: float, N.

    Returns:
        0 to 1; NaN where one of the classes is missing.
    """
    above, below = score[positive], score[~positive]
    if not len(above) or not len(below):
        return float("nan")
    difference = above[:, None] - below[None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def all_classes(predictions: np.ndarray) -> np.ndarray:
    """Return N x K probabilities, also from the single sigmoid of a two-class model."""
    return np.concatenate([1 - predictions, predictions], axis=1) if predictions.shape[1] == 1 else predictions
