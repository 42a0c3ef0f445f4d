"""ROC analysis over weighted images: value and resamples from the same code.

Called positive means score >= threshold, everywhere. A metric that cannot be computed is NaN, never zero or one.
"""

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.intervals import ratio

_TINY = 1e-12


def roc_points(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the ROC curve of every row of weights; tied scores move together.

    Args:
        positive: bool, N.
        score: float, N, higher is more positive.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        False positive rate and true positive rate, float64, r x M, starting at (0, 0), NaN in rows where a class is
        missing; and the M thresholds, falling from infinity.
    """
    false, true, thresholds = _counts(positive, score, weights)
    return ratio(false, false[:, -1:]), ratio(true, true[:, -1:]), thresholds


def auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: chance that a positive scores above a negative, ties counting half.

    Args:
        positive: bool, N.
        score: float, N.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        float64, r; NaN where one of the classes is missing.

    Source: Hanley and McNeil 1982.
    """
    fpr, tpr, _ = roc_points(positive, score, weights)
    area = (np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1)
    # Without any image there is no step to sum, and an empty sum would be zero.
    return np.where(np.isnan(fpr[:, -1] + tpr[:, -1]), np.nan, area)


def precision_recall_points(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the precision-recall curve of every row of weights; tied scores move together.

    Args:
        positive: bool, N.
        score: float, N.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        Precision and recall, float64, r x M, from the highest threshold down. The first point has recall 0 and the
        precision of the second, since nothing is called there.
    """
    false, true, _ = _counts(positive, score, weights)
    precision = np.nan_to_num(ratio(true, true + false))
    precision[:, :1] = precision[:, 1:2] if precision.shape[1] > 1 else np.nan
    return precision, ratio(true, true[:, -1:])


def average_precision(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean precision over recall steps, without interpolation.

    Args:
        positive: bool, N.
        score: float, N.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        float64, r; NaN where there is no positive.
    """
    precision, recall = precision_recall_points(positive, score, weights)
    area = (np.diff(recall, axis=1) * precision[:, 1:]).sum(axis=1)
    return np.where(np.isnan(recall[:, -1]), np.nan, area)


def sensitivity_at_specificity(
    positive: np.ndarray, score: np.ndarray, specificity: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Sensitivity at the lowest threshold that still has the asked specificity on these very negatives.

    Conservative at ties: equal scores are called alike, so the specificity reached is never below the one asked.
    With fewer than 1 / (1 - specificity) negatives no false positive is allowed at all.

    Args:
        positive: bool, N.
        score: float, N.
        specificity: share of negatives that must be called negative, 0..1.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        float64, r; NaN where one of the classes is missing.
    """
    fpr, tpr, _ = roc_points(positive, score, weights)
    reached = np.where(fpr <= 1 - specificity + _TINY, tpr, 0.0).max(axis=1)
    return np.where(np.isnan(fpr[:, -1] + tpr[:, -1]), np.nan, reached)


def threshold_at_specificity(positive: np.ndarray, score: np.ndarray, specificity: float) -> float:
    """Return the threshold that `sensitivity_at_specificity` uses; infinity where no image may be called positive."""
    fpr, _, thresholds = roc_points(positive, score)
    if np.isnan(fpr[0, -1]):
        return float("nan")
    return float(thresholds[np.flatnonzero(fpr[0] <= 1 - specificity + _TINY)[-1]])


def equal_error_rate(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Error rate where false positive and false negative rate meet, on the straight line between ROC points.

    Args:
        positive: bool, N.
        score: float, N.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        float64, r, 0..1 (0.5 is chance); NaN where one of the classes is missing.
    """
    fpr, tpr, _ = roc_points(positive, score, weights)
    gap = fpr - (1 - tpr)
    known = ~np.isnan(gap[:, -1])
    result = np.full(len(gap), np.nan)
    rows = np.flatnonzero(known)
    # The gap never falls: -1 at the first point, +1 at the last.
    after = np.argmax(gap[rows] >= 0, axis=1)
    before = after - 1
    step = gap[rows, after] - gap[rows, before]
    share = -gap[rows, before] / step
    result[rows] = fpr[rows, before] + share * (fpr[rows, after] - fpr[rows, before])
    return result


def _counts(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cumulative false and true positives at every distinct score, from the highest down, after a leading zero."""
    score = np.asarray(score, np.float64)
    positive = np.asarray(positive, bool)
    weights = np.ones((1, len(score))) if weights is None else weights
    if np.isnan(score).any():
        raise CovidcxError(f"{int(np.isnan(score).sum())} of {len(score)} scores are NaN; check the model's output")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.empty(0, np.int64)
    drawn = weights[:, order]
    zero = np.zeros((len(weights), 1))
    true = np.hstack([zero, np.cumsum(drawn * positive[order], axis=1)[:, last]])
    false = np.hstack([zero, np.cumsum(drawn * ~positive[order], axis=1)[:, last]])
    return false, true, np.concatenate([[np.inf], ranked[last]])
