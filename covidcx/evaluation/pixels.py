"""Pixel counts of predicted masks: lung IoU and the disease true positive rate of COMiT-Net (section 4.1).

The paper reports the mean IoU for lungs and, for disease, the true positive rate of foreground pixels of masks cut at
0.5, because missed disease is worse than a false alarm. It does not say whether pixels are pooled over the test images
or rates averaged; both are given here. A true positive rate alone is won by calling every pixel diseased: `precision`
and `false_positive_rate` stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.intervals import Interval, bootstrap_all, mean, ratio

THRESHOLD = 0.5
"""Probability above which a pixel is called foreground (section 4.1)."""


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Labelled pixels of each image by truth and prediction.

    Attributes:
        true_positive: float64, N, foreground called foreground.
        false_positive: float64, N, background called foreground.
        false_negative: float64, N, foreground called background.
        true_negative: float64, N, background called background.
    """

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    true_negative: np.ndarray

    def __len__(self) -> int:
        return len(self.true_positive)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union per image, float64, N; 1 where both masks are empty, NaN without a labelled pixel."""
        union = self.true_positive + self.false_positive + self.false_negative
        known = union + self.true_negative > 0
        return np.where(union > 0, ratio(self.true_positive, union), np.where(known, 1.0, np.nan))

    @property
    def dice(self) -> np.ndarray:
        """Dice per image, float64, N; 1 where both masks are empty, NaN without a labelled pixel."""
        return 2 * self.iou / (1 + self.iou)

    @property
    def true_positive_rate(self) -> np.ndarray:
        """Share of the true foreground that was found per image, float64, N; NaN where there is none."""
        return ratio(self.true_positive, self.true_positive + self.false_negative)


def count_pixels(
    predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], threshold: float = THRESHOLD
) -> PixelCounts:
    """Cut predicted masks at a threshold and count their pixels against the true ones.

    Args:
        predicted: float probabilities 0..1 or bool per image, H x W or H x W x 1; images may differ in size.
        truth: per image, as `predicted`: 1 foreground, 0 background, -1 ignored.
        threshold: foreground is what lies above it.

    Returns:
        The counts, one entry an image.

    Raises:
        CovidcxError: numbers or shapes of the masks differ, a probability is NaN, or the truth has another value.
    """
    if len(predicted) != len(truth):
        raise CovidcxError(f"{len(predicted)} predicted masks and {len(truth)} true ones; give one true mask an image")
    counts = np.zeros((4, len(truth)))
    for i, (found, true) in enumerate(zip(predicted, truth, strict=True)):
        found, true = np.asarray(found), np.asarray(true)
        if found.shape != true.shape:
            raise CovidcxError(f"mask {i} has shape {found.shape} and its truth {true.shape}; bring them to one size")
        if np.isnan(found).any():
            raise CovidcxError(f"mask {i} has NaN probabilities; check the model's output")
        if not np.isin(true, (1, 0, -1)).all():
            raise CovidcxError(f"the truth of mask {i} has other values than 1, 0 and -1: {np.unique(true)[:5]}")
        called = found > threshold
        counts[:, i] = [
            (called & (true == 1)).sum(), (called & (true == 0)).sum(),
            (~called & (true == 1)).sum(), (~called & (true == 0)).sum(),
        ]  # fmt: skip
    return PixelCounts(*counts)


def pixel_metrics(
    counts: PixelCounts, patients: Sequence[Any], repeats: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Compute what is reported about a set of masks, with patient-level intervals.

    Args:
        counts: of the images that have a true mask, N.
        patients: patient of each image, N.
        repeats: bootstrap resamples; 0 for none.
        seed: of the resampling.

    Returns:
        `iou_mean` and `dice_mean` over images; `true_positive_rate` of all pixels pooled and
        `true_positive_rate_mean` over the images that have foreground; pooled `precision` (share of the called pixels
        that are foreground) and `false_positive_rate` (share of the background called foreground). NaN where
        undefined.

    Raises:
        CovidcxError: there is no image, or the lengths differ.

    Source: COMiT-Net, section 4.1.
    """
    if len(counts) != len(patients):
        raise CovidcxError(f"{len(counts)} masks and {len(patients)} patients; give one patient an image")
    true, called = counts.true_positive, counts.true_positive + counts.false_positive
    foreground = true + counts.false_negative
    background = counts.false_positive + counts.true_negative
    return bootstrap_all(
        {
            "iou_mean": lambda w: mean(counts.iou, w),
            "dice_mean": lambda w: mean(counts.dice, w),
            "true_positive_rate": lambda w: ratio(w @ true, w @ foreground),
            "true_positive_rate_mean": lambda w: mean(counts.true_positive_rate, w),
            "precision": lambda w: ratio(w @ true, w @ called),
            "false_positive_rate": lambda w: ratio(w @ counts.false_positive, w @ background),
        },
        patients, repeats, seed,
    )  # fmt: skip
