"""Classification metrics over weighted images: value and patient-level interval from the same code.

Called positive means score >= threshold, everywhere. A metric that cannot be computed is NaN, never zero or one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.calibration import expected_calibration_error
from covidcx.evaluation.intervals import Interval, WeightedMetric, bootstrap_all, mean, ratio
from covidcx.evaluation.roc import auc, average_precision, equal_error_rate, sensitivity_at_specificity
from covidcx.evaluation.subgroups import label_index

SPECIFICITIES = (0.90, 0.99)


@dataclass(frozen=True)
class ClassificationResult:
    """Metrics of one set of images.

    Attributes:
        metrics: an `Interval` per metric name (see `title`).
        confusion: int64, K x K, rows true, columns predicted, in the order of `labels`.
        labels: K names.
        images: images with one of these labels; the only ones the metrics count.
        patients: patients of these images.
        per_label: images per true label.
        excluded: images left out, per reason: `missing` for NaN, or the foreign label's name.
        calibration_error: expected calibration error of the largest probability, without an interval: a resample's
            error is biased upwards, so its percentiles would not be one.
    """

    metrics: dict[str, Interval]
    confusion: np.ndarray
    labels: tuple[str, ...]
    images: int
    patients: int
    per_label: dict[str, int]
    excluded: dict[str, int] = field(default_factory=dict)
    calibration_error: float = float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        error = self.calibration_error
        return {
            "images": self.images,
            "patients": self.patients,
            "per_label": self.per_label,
            "excluded": self.excluded,
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "calibration_error": None if np.isnan(error) else error,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Count true against predicted class.

    Args:
        truth: int, N, 0..K-1.
        predicted: int, N, 0..K-1.
        classes: K.
        weights: float64, r x N; one row of ones when omitted.

    Returns:
        float64, r x K x K; rows true, columns predicted.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights
    cell = np.zeros((len(truth), classes * classes))
    cell[np.arange(len(truth)), truth * classes + predicted] = 1.0
    return (weights @ cell).reshape(len(weights), classes, classes)


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Share on the diagonal of r x K x K confusion matrices; r values."""
    return ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)))


def recall(matrix: np.ndarray) -> np.ndarray:
    """Sensitivity per class, r x K; NaN where the class has no image."""
    return ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=2))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Positive predictive value per class, r x K; NaN where the class was never predicted or has no image.

    Without an image of the class precision could only be zero, which says something about the set, not the model.
    """
    value = ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=1))
    return np.where(matrix.sum(axis=2) > 0, value, np.nan)


def specificity(matrix: np.ndarray) -> np.ndarray:
    """Share of the other classes' images not called the class, r x K; NaN where there is no other image."""
    negatives = matrix.sum(axis=(1, 2))[:, None] - matrix.sum(axis=2)
    false = matrix.sum(axis=1) - np.diagonal(matrix, axis1=1, axis2=2)
    return ratio(negatives - false, negatives)


def f1(matrix: np.ndarray) -> np.ndarray:
    """F1 per class, r x K: 2 TP / (2 TP + FP + FN); NaN where the class has no image in the truth."""
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    actual = matrix.sum(axis=2)
    return np.where(actual > 0, ratio(2 * hits, actual + matrix.sum(axis=1)), np.nan)


def macro_f1(matrix: np.ndarray) -> np.ndarray:
    """Mean F1 of all classes, r values; NaN where any class has no image, so that sets stay comparable."""
    return f1(matrix).mean(axis=1)


def pair_score(probabilities: np.ndarray, first: int, second: int) -> np.ndarray:
    """Probability of class `first` given that it is `first` or `second`: p1 / (p1 + p2); 0.5 where both are zero."""
    one, two = probabilities[:, first], probabilities[:, second]
    return np.where(one + two > 0, np.nan_to_num(ratio(one, one + two)), 0.5)


def classification_metrics(
    probabilities: np.ndarray,
    truth: Sequence[Any],
    predicted: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[Any],
    repeats: int = 1000,
    seed: int = 0,
) -> ClassificationResult:
    """Compute every classification metric of a set of images, with patient-level intervals.

    Args:
        probabilities: float, N x K, calibrated.
        truth: label name per image; None or NaN where it is missing.
        predicted: class at the operating point per image (`covidcx.bundle.decide`).
        labels: K names in the order of the columns.
        groups: patient per image.
        repeats: bootstrap resamples.
        seed: of the resampling.

    Returns:
        The metrics of the images whose label is one of `labels`; the others are counted in `excluded`.

    Raises:
        CovidcxError: shapes disagree, a predicted class is unknown, or no image has a known label.
    """
    labels = tuple(labels)
    _check_shapes(probabilities, truth, predicted, labels, groups)
    index, excluded = label_index(truth, labels)
    keep = index >= 0
    if not keep.any():
        raise CovidcxError(
            f"none of the {len(truth)} images has one of the labels {', '.join(labels)} (found {excluded}); "
            "choose another split or check the label column"
        )
    index = index[keep]
    scores = np.asarray(probabilities, np.float64)[keep]
    called = np.array([labels.index(name) for name in predicted], np.int64)[keep]
    patients = [str(group) for group, kept in zip(groups, keep, strict=True) if kept]
    metrics = {
        **_decision_metrics(index, called, labels),
        **_score_metrics(index, scores, labels),
    }
    onehot = np.eye(len(labels))[index]
    brier = ((scores - onehot) ** 2).sum(axis=1)
    metrics["brier"] = lambda w: mean(brier, w)
    return ClassificationResult(
        metrics=bootstrap_all(metrics, patients, repeats, seed),
        confusion=confusion_matrix(index, called, len(labels))[0].astype(np.int64),
        labels=labels,
        images=len(index),
        patients=len(set(patients)),
        per_label={name: int((index == i).sum()) for i, name in enumerate(labels)},
        excluded=excluded,
        calibration_error=expected_calibration_error(scores, index),
    )


def share_called(
    predicted: Sequence[str], groups: Sequence[Any], label: str = "covid", repeats: int = 1000, seed: int = 0
) -> Interval:
    """Share of a set of images that is called `label`, whatever their own label; for false alarm rates."""
    called = np.array([name == label for name in predicted], np.float64)
    return bootstrap_all({"share": lambda w: mean(called, w)}, groups, repeats, seed)["share"]


def title(name: str) -> str:
    """Spell a metric's name out for tables and figures; unknown names come back with spaces."""
    for prefix, text in _TITLES.items():
        if name == prefix:
            return text
        if prefix.endswith("_") and name.startswith(prefix):
            return text.format(name.removeprefix(prefix).replace("_vs_", " against ").replace("_", " "))
    return name.replace("_", " ")


_SET = "threshold found on this set's own negatives"
# Longer prefixes first: the first that fits wins.
_TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "brier": "Brier score (0 best, 2 worst)",
    "auc_covid_vs_normal_by_p_covid": "ROC AUC, covid against normal, score p(covid)",
    "auc_covid_vs_normal": "ROC AUC, covid against normal, score p(covid) / (p(covid) + p(normal))",
    "auc_": "ROC AUC, {} against rest",
    "average_precision_": "Average precision, {} against rest",
    "sensitivity_at_90_specificity_": f"Sensitivity at 90% specificity, {{}} ({_SET})",
    "sensitivity_at_99_specificity_": f"Sensitivity at 99% specificity, {{}} ({_SET})",
    "eer_": "Equal error rate, {}",
    "precision_": "Precision, {}",
    "recall_": "Recall (sensitivity), {}",
    "specificity_": "Specificity, {}",
    "f1_": "F1, {}",
    "cap_called_covid": "CAP called COVID (false COVID rate)",
}


def _decision_metrics(index: np.ndarray, called: np.ndarray, labels: tuple[str, ...]) -> dict[str, WeightedMetric]:
    def matrix(weights: np.ndarray) -> np.ndarray:
        return confusion_matrix(index, called, len(labels), weights)

    metrics: dict[str, WeightedMetric] = {
        "accuracy": lambda w: accuracy(matrix(w)),
        "macro_f1": lambda w: macro_f1(matrix(w)),
    }
    for name, function in (("precision", precision), ("recall", recall), ("specificity", specificity), ("f1", f1)):
        for i, label in enumerate(labels):
            metrics[f"{name}_{label}"] = lambda w, f=function, i=i: f(matrix(w))[:, i]
    return metrics


def _score_metrics(index: np.ndarray, scores: np.ndarray, labels: tuple[str, ...]) -> dict[str, WeightedMetric]:
    metrics: dict[str, WeightedMetric] = {}
    for i, label in enumerate(labels):
        metrics[f"auc_{label}"] = lambda w, i=i: auc(index == i, scores[:, i], w)
        metrics[f"average_precision_{label}"] = lambda w, i=i: average_precision(index == i, scores[:, i], w)
    if "covid" not in labels:
        return metrics
    covid = labels.index("covid")
    if len(labels) > 2:
        metrics |= _detection("covid_vs_rest", index == covid, scores[:, covid], np.ones(len(index), bool))
    if "normal" in labels:
        normal = labels.index("normal")
        pair = (index == covid) | (index == normal)
        score = pair_score(scores, covid, normal)
        metrics["auc_covid_vs_normal"] = lambda w: auc(index[pair] == covid, score[pair], w[:, pair])
        metrics["auc_covid_vs_normal_by_p_covid"] = lambda w: auc(
            index[pair] == covid, scores[pair, covid], w[:, pair]
        )
        metrics |= _detection("covid_vs_normal", index == covid, score, pair)
    return metrics


def _detection(name: str, positive: np.ndarray, score: np.ndarray, keep: np.ndarray) -> dict[str, WeightedMetric]:
    positive, score = positive[keep], score[keep]
    metrics: dict[str, WeightedMetric] = {
        f"sensitivity_at_{round(100 * s)}_specificity_{name}": lambda w, s=s: sensitivity_at_specificity(
            positive, score, s, w[:, keep]
        )
        for s in SPECIFICITIES
    }
    metrics[f"eer_{name}"] = lambda w: equal_error_rate(positive, score, w[:, keep])
    return metrics


def _check_shapes(
    probabilities: np.ndarray, truth: Sequence, predicted: Sequence, labels: tuple[str, ...], groups: Sequence
) -> None:
    shape = np.shape(probabilities)
    if shape != (len(truth), len(labels)) or len(predicted) != len(truth) or len(groups) != len(truth):
        raise CovidcxError(
            f"expected probabilities of shape ({len(truth)}, {len(labels)}) with one prediction and one patient an "
            f"image, received shape {shape}, {len(predicted)} predictions and {len(groups)} patients"
        )
    unknown = sorted(set(predicted) - set(labels))
    if unknown:
        raise CovidcxError(f"predicted classes {unknown} are not among the labels {', '.join(labels)}")
