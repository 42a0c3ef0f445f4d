"""Overlap and boundary error of lung masks, with pixels that nobody labelled left out.

Conventions: both masks empty is full agreement (Dice and IoU 1, boundary error 0); one empty is none (Dice and IoU
0, boundary error undefined, NaN); without any labelled pixel everything is NaN.
"""

from dataclasses import asdict, dataclass

import numpy as np

from covidcx.errors import CovidcxError

LUNG, IGNORE = 255, 127


@dataclass(frozen=True)
class MaskScore:
    """How well one mask agrees with another.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|), 0..1.
        iou: |A and B| / |A or B|, 0..1.
        surface_distance: mean symmetric surface distance in pixels of the image.
        hausdorff95: 95% Hausdorff distance in pixels of the image.
        surface_distance_mm: the former in mm; NaN where the pixel spacing is unknown.
        hausdorff95_mm: the former in mm; NaN where the pixel spacing is unknown.
    """

    dice: float
    iou: float
    surface_distance: float
    hausdorff95: float
    surface_distance_mm: float = float("nan")
    hausdorff95_mm: float = float("nan")

    def to_dict(self) -> dict[str, float]:
        """Return the scores by name."""
        return asdict(self)


def score_mask(
    predicted: np.ndarray,
    truth: np.ndarray,
    ignore: np.ndarray | None = None,
    spacing: tuple[float, float] | None = None,
) -> MaskScore:
    """Compare a predicted mask with the true one.

    Args:
        predicted: bool, H x W.
        truth: bool, H x W.
        ignore: bool, H x W, pixels that do not count, or None.
        spacing: row and column spacing in mm, or None.

    Returns:
        All scores of the pair.

    Raises:
        CovidcxError: the shapes differ.
    """
    predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
    known = np.ones(truth.shape, bool) if ignore is None else ~np.asarray(ignore, bool)
    if not predicted.shape == truth.shape == known.shape:
        raise CovidcxError(
            f"masks of one image must have one shape, received {predicted.shape}, {truth.shape} and {known.shape}; "
            "restore the prediction to the image's own pixels first"
        )
    if not known.any():
        return MaskScore(*(float("nan"),) * 6)
    both = int((predicted & truth & known).sum())
    total = int((predicted & known).sum()) + int((truth & known).sum())
    dice = 2 * both / total if total else 1.0
    iou = both / (total - both) if total else 1.0
    pixels = boundary_error(predicted, truth, ~known)
    millimetres = boundary_error(predicted, truth, ~known, spacing) if spacing else (float("nan"),) * 2
    return MaskScore(dice, iou, *pixels, *millimetres)


def boundary_error(
    predicted: np.ndarray,
    truth: np.ndarray,
    ignore: np.ndarray | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> tuple[float, float]:
    """Measure how far two masks' boundaries lie apart.

    A boundary pixel belongs to the mask and touches its outside with an edge, the image's border included. Inside
    ignored pixels the truth is taken to be what was predicted, and no distance is measured from there.

    Args:
        predicted: bool, H x W.
        truth: bool, H x W.
        ignore: bool, H x W, or None.
        spacing: row and column spacing; the distances come in its unit.

    Returns:
        Mean symmetric surface distance (over the boundary pixels of both masks together) and 95% Hausdorff distance
        (the larger of the two directed 95th percentiles). Zero where both masks are empty, NaN where one is.

    Source: Taha and Hanbury 2015, sections on ASD and HD quantiles.
    """
    from scipy.ndimage import distance_transform_edt

    ignore = np.zeros(truth.shape, bool) if ignore is None else ignore
    truth = np.where(ignore, predicted, truth)
    if not (predicted & ~ignore).any() and not (truth & ~ignore).any():
        return 0.0, 0.0
    first, second = boundary(predicted), boundary(truth)
    start_first, start_second = first & ~ignore, second & ~ignore
    if not start_first.any() or not start_second.any():
        return float("nan"), float("nan")
    forth = distance_transform_edt(~second, sampling=spacing)[start_first]
    back = distance_transform_edt(~first, sampling=spacing)[start_second]
    average = (forth.sum() + back.sum()) / (forth.size + back.size)
    return float(average), float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def boundary(mask: np.ndarray) -> np.ndarray:
    """Return the mask's pixels that touch the outside with an edge; bool, H x W."""
    padded = np.pad(np.asarray(mask, bool), 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def read_mask(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a mask file's grey levels into lung and ignored pixels.

    Args:
        values: uint8, H x W: 255 lung, 127 ignored, 0 background. Other levels, as lossy files have, go to the
            nearest of the three.

    Returns:
        Lung and ignored pixels, both bool, H x W.
    """
    values = np.asarray(values)
    return values > (LUNG + IGNORE) // 2, (values > IGNORE // 2) & (values <= (LUNG + IGNORE) // 2)
