"""Choices made on the validation split: operating point and temperature; and how good probabilities are."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from covidcx.errors import CovidcxError, RecipeError
from covidcx.evaluation.roc import roc_points
from covidcx.evaluation.subgroups import label_index

logger = logging.getLogger(__name__)

RULES = "sensitivity>=S, specificity>=S (S within 0..1), youden"
TEMPERATURES = (0.05, 20.0)
_TINY = 1e-12


def choose_operating_point(
    probabilities: np.ndarray,
    truth: Sequence[Any],
    labels: Sequence[str],
    rule: str = "sensitivity>=0.95",
    label: str = "covid",
) -> dict[str, Any]:
    """Choose the threshold of one class on validation images, class against all other labelled images.

    An image is called `label` when its probability is at least the threshold. The threshold lies halfway between
    two neighbouring scores, so that rounding on another machine does not move an image across it.

    Args:
        probabilities: float, N x K, calibrated with the temperature that will be used.
        truth: label name per image; images without one of `labels` are left out.
        labels: K names in the order of the columns.
        rule: `sensitivity>=S`: the highest threshold that keeps this sensitivity; `specificity>=S`: the lowest that
            keeps this specificity; `youden`: largest sensitivity + specificity, the higher threshold at a tie.
        label: class the threshold is for.

    Returns:
        `{"threshold": t, "rule": text}` as `bundle.json` holds it; the text names what was reached, on how many images.

    Raises:
        RecipeError: the rule cannot be understood.
        CovidcxError: the label is unknown, the images do not hold both the class and others, or no threshold
            within 0..1 meets the rule.
    """
    name, target = _parse(rule)
    if label not in labels:
        raise CovidcxError(f"no label {label!r} to choose a threshold for; labels are {', '.join(labels)}")
    index, _ = label_index(truth, labels)
    keep = index >= 0
    positive = index[keep] == list(labels).index(label)
    score = np.asarray(probabilities, np.float64)[keep, list(labels).index(label)]
    if not positive.any() or positive.all():
        raise CovidcxError(
            f"an operating point needs images with and without {label!r}, received {int(positive.sum())} and "
            f"{int((~positive).sum())}; check the validation split"
        )
    fpr, tpr, thresholds = (np.squeeze(values) for values in roc_points(positive, score))
    if name == "sensitivity":
        chosen = int(np.flatnonzero(tpr >= target - _TINY)[0])
    elif name == "specificity":
        chosen = int(np.flatnonzero(fpr <= 1 - target + _TINY)[-1])
    else:
        chosen = int(np.argmax(np.round(tpr - fpr, 12)))
    return {
        "threshold": _between(thresholds, chosen),
        "rule": (
            f"{rule} for {label} against the other labels on {int(keep.sum())} validation images "
            f"({int(positive.sum())} {label}): sensitivity {tpr[chosen]:.3f}, specificity {1 - fpr[chosen]:.3f}"
        ),
    }


def fit_temperature(probabilities: np.ndarray, truth: Sequence[Any], labels: Sequence[str]) -> float:
    """Find the temperature T for which p ** (1 / T), renormalised, has the lowest negative log-likelihood.

    Args:
        probabilities: float, N x K, of the uncalibrated model on validation images.
        truth: label name per image; images without one of `labels` are left out.
        labels: K names in the order of the columns.

    Returns:
        T within `TEMPERATURES`; above one softens, below one sharpens.

    Raises:
        CovidcxError: no image has a known label.

    Source: Guo et al. 2017, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    index, _ = label_index(truth, labels)
    keep = index >= 0
    if not keep.any():
        raise CovidcxError(f"no validation image has one of the labels {', '.join(labels)}; check the split")
    logits, index = _logits(np.asarray(probabilities, np.float64)[keep]), index[keep]
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda t: _nll(logits / np.exp(t), index), bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    # The loss of separable images flattens out before the end of the range, so near it is close enough.
    if min(found.x - low, high - found.x) < np.log(2):
        logger.warning(
            "temperature %.3g lies near the end of the search range; the images may be separable", np.exp(found.x)
        )
    return float(np.exp(found.x))


def negative_log_likelihood(probabilities: np.ndarray, index: np.ndarray) -> float:
    """Mean of -log p(true class); probabilities N x K, index int N."""
    return _nll(_logits(np.asarray(probabilities, np.float64)), np.asarray(index))


def expected_calibration_error(probabilities: np.ndarray, index: np.ndarray, bins: int = 15) -> float:
    """Mean gap between the largest probability and how often its class is right, over bins of equal width.

    Args:
        probabilities: float, N x K.
        index: int, N, true class.
        bins: number of bins over 0..1.

    Returns:
        0..1, each bin weighted by its images; NaN without images.

    Source: Guo et al. 2017, equation 3.
    """
    confidence, share, count = reliability(probabilities, index, bins)
    if count.sum() == 0:
        return float("nan")
    filled = count > 0
    return float((count[filled] * np.abs(confidence[filled] - share[filled])).sum() / count.sum())


def reliability(
    probabilities: np.ndarray, index: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the points of a reliability diagram of the largest probability.

    Args:
        probabilities: float, N x K.
        index: int, N, true class.
        bins: number of bins of equal width over 0..1; a value on an edge falls into the bin below.

    Returns:
        Mean confidence, share right (both NaN in an empty bin) and number of images, each of length `bins`.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if len(probabilities) == 0:
        return np.full(bins, np.nan), np.full(bins, np.nan), np.zeros(bins, np.int64)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(index)
    place = np.clip(np.ceil(confidence * bins - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return (
            np.bincount(place, confidence, bins) / count,
            np.bincount(place, right.astype(np.float64), bins) / count,
            count,
        )


def _parse(rule: str) -> tuple[str, float]:
    compact = rule.replace(" ", "").lower()
    if compact == "youden":
        return "youden", 0.0
    match = re.fullmatch(r"(sensitivity|specificity)>=(\d*\.?\d+)", compact)
    if match is None or not 0 <= float(match[2]) <= 1:
        raise RecipeError(f"operating point rule {rule!r} is not understood; use one of {RULES}")
    return match[1], float(match[2])


def _between(thresholds: np.ndarray, chosen: int) -> float:
    """Middle between the chosen score and the next lower one; above every score where none may be called."""
    if np.isinf(thresholds[chosen]):
        if thresholds[chosen + 1] >= 1:
            raise CovidcxError(
                "no threshold within 0..1 meets the operating point rule: an image of another class has probability "
                f"{thresholds[chosen + 1]:g}; ask for less, or soften the probabilities with fit_temperature first"
            )
        return float((thresholds[chosen + 1] + 1) / 2)
    lower = thresholds[chosen + 1] if chosen + 1 < len(thresholds) else 0.0
    return float((thresholds[chosen] + lower) / 2)


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, _TINY, 1.0))


def _nll(logits: np.ndarray, index: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sum - shifted[np.arange(len(index)), index]).mean())
