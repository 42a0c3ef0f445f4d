"""How much of a score survives without the lungs: what is left then is the hospital, not the disease.

COVID-CXNet (Haghanifar et al. 2020, section 6.2) saw in heat maps that high scores can come from outside the lungs.
Here the same is a number: the images are shown again with the lungs blacked out, or with nothing but their border.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from covidcx.errors import CovidcxError, ImageError
from covidcx.evaluation.intervals import Interval, WeightedMetric, bootstrap_all, ratio
from covidcx.evaluation.roc import auc

WHOLE = "whole"
BORDER = 0.1
"""Width of the border that stays visible, as a share of each side."""

Cover = Callable[[np.ndarray, np.ndarray], np.ndarray]


def without_lungs(pixels: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Black the lungs out.

    Args:
        pixels: float32, H x W, 0..1.
        lungs: bool, H x W.

    Returns:
        float32, H x W: 0 inside the lungs.

    Raises:
        ImageError: the shapes differ.
    """
    if np.shape(lungs) != np.shape(pixels):
        raise ImageError(f"the lung mask has shape {np.shape(lungs)}, the image {np.shape(pixels)}; bring it there")
    return np.where(lungs, np.float32(0), pixels).astype(np.float32)


def border_only(pixels: np.ndarray, lungs: np.ndarray | None = None, share: float = BORDER) -> np.ndarray:
    """Black out everything but the image's border.

    Args:
        pixels: float32, H x W, 0..1.
        lungs: not looked at; so that every cover is called alike.
        share: width of the border as a share of each side, above 0 and below 0.5.

    Returns:
        float32, H x W.

    Raises:
        ImageError: the share is out of range.
    """
    if not 0.0 < share < 0.5:
        raise ImageError(f"the border is a share of each side, above 0 and below 0.5, received {share}")
    rows, columns = (max(1, round(share * side)) for side in pixels.shape)
    shown = np.array(pixels, np.float32)
    shown[rows:-rows, columns:-columns] = 0.0
    return shown


COVERS: dict[str, Cover] = {"lungs_black": without_lungs, "border_only": border_only}
"""What is hidden, by name; each takes pixels and lungs."""


def survival(
    positive: np.ndarray, scores: Mapping[str, np.ndarray], groups: Sequence[Any], repeats: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Measure how much of a classifier's discrimination is left on covered images.

    Args:
        positive: bool, N.
        scores: float N per condition; `whole` for the images as they are, and one entry per cover.
        groups: patient per image.
        repeats: bootstrap resamples; whole and covered images of a patient are drawn together.
        seed: of the resampling.

    Returns:
        `auc_whole`, and per cover `auc_COVER` and `survives_COVER`: the share (AUC - 0.5) / (AUC whole - 0.5). 1 says
        that the score does not need what was hidden, 0 that all of it came from there; it may lie outside 0..1.
        Undefined (NaN) where the whole images are not told apart better than by chance.

    Raises:
        CovidcxError: `whole` is missing, or a condition has another number of images.

    Example:
        >>> truth, seen = np.array([True, False]), np.array([0.9, 0.1])
        >>> found = survival(truth, {"whole": seen, "lungs_black": seen}, ["a", "b"], repeats=0)
        >>> found["survives_lungs_black"].value
        1.0
    """
    lengths = {name: len(values) for name, values in scores.items()}
    if WHOLE not in scores or set(lengths.values()) != {len(positive)}:
        raise CovidcxError(
            f"survival compares covered images with the same {len(positive)} images as they are ({WHOLE!r}), received "
            f"{lengths}"
        )
    metrics: dict[str, WeightedMetric] = {
        f"auc_{name}": lambda w, s=values: auc(positive, np.asarray(s), w) for name, values in scores.items()
    }
    whole = metrics[f"auc_{WHOLE}"]
    for name in scores:
        if name != WHOLE:
            metrics[f"survives_{name}"] = lambda w, m=metrics[f"auc_{name}"]: ratio(m(w) - 0.5, whole(w) - 0.5)
    return bootstrap_all(metrics, groups, repeats, seed)
