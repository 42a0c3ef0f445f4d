"""What a head of a multi-task network is: an output, its targets, its loss and what is measured on validation rows.

Targets say what is known and no more: NaN is a missing class, -1 a missing pixel. The loss of an image is exactly zero
where its target is missing (the switches T of COMiT-Net, equation 8).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from covidcx.errors import ManifestError
from covidcx.training.scores import dice, macro_f1, ranking

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from covidcx.data.cache import PreparedSet
    from covidcx.data.manifest import Manifest
    from covidcx.data.regions import Region
    from covidcx.training.recipe import LossSettings


class Head(Protocol):
    """One output of a multi-task network.

    Attributes:
        output: name of the model's output.
        classes: what its channels are, or, of a mask, what its last channel is.
        spatial: whether the targets are masks, which move with the image.
    """

    output: str
    classes: tuple[str, ...]
    spatial: bool

    def known(self, manifest: "Manifest") -> np.ndarray:
        """Return bool, N: which rows have a target."""

    def targets(self, manifest: "Manifest", prepared: "PreparedSet") -> np.ndarray:
        """Return the targets, N first: int8 N x H x W x 1 (-1 missing) if `spatial`, else float32 (NaN missing)."""

    def loss(self, settings: "LossSettings") -> "keras.losses.Loss":
        """Return the loss, which is zero for an image without target."""

    def figures(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return what `val_predictions.csv` tells about each image, by column: float, N, NaN where undefined."""

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Measure the validation rows from their figures: the log's columns, all better when larger; 0 to 1."""


@dataclass(frozen=True)
class MaskHead:
    """A mask of something; its last channel is the probability (sigmoid, or a softmax of background and inside).

    Attributes:
        output: name of the model's output, float N x H x W x 1 or 2.
        region: what says where it is.
        class_weights: factors on the cross-entropy of pixels outside and inside; None is 1.
    """

    output: str
    region: "Region"
    class_weights: Sequence[float] | None = None
    spatial = True

    @property
    def classes(self) -> tuple[str, ...]:
        """What the mask is of."""
        return (self.output,)

    def known(self, manifest: "Manifest") -> np.ndarray:
        """Return bool, N: which rows have a mask."""
        return self.region.known(manifest)

    def targets(self, manifest: "Manifest", prepared: "PreparedSet") -> np.ndarray:
        """Return int8, N x H x W x 1: 1 inside, 0 outside, -1 ignored or missing."""
        return self.region.on_grid(manifest, prepared)

    def loss(self, settings: "LossSettings") -> "keras.losses.Loss":
        """Return cross-entropy plus Dice over the labelled pixels (COMiT-Net equations 2 and 3 at dice_weight 0)."""
        from covidcx.models.losses import DiceCrossEntropy

        return DiceCrossEntropy(dice_weight=settings.dice_weight, class_weights=self.class_weights)

    def balanced(self, targets: np.ndarray, copies: np.ndarray) -> "MaskHead":
        """Return the head with a cross-entropy in which what lies inside weighs as much as what lies outside.

        Args:
            targets: int8, N x H x W x 1: what is learnt from; -1 does not count.
            copies: int, N: how often each image is seen in an epoch.

        Returns:
            The head; its weights are inverse to the numbers of pixels and have mean 1 over those with a target.

        Raises:
            ManifestError: no pixel lies inside, or none outside.
        """
        counts = np.array([copies @ (targets == value).sum(axis=(1, 2, 3)) for value in (0, 1)], np.float64)
        missing = f"head {self.output!r} has no training pixel inside, or none outside"
        return replace(self, class_weights=_inverse(counts, missing))

    def figures(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the Dice of each image at 0.5."""
        known = (targets >= 0).any(axis=(1, 2, 3))
        return {f"{self.output}_dice": np.where(known, dice(targets, predictions[..., -1:]), np.nan)}

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Return the mean Dice of the images with a mask."""
        values = table[f"{self.output}_dice"].dropna()
        return {f"val_{self.output}_dice": float(values.mean())} if len(values) else {}


@dataclass(frozen=True)
class ClassHead:
    """Classes of an image: one of them (softmax), or each on its own (sigmoids).

    Attributes:
        output: name of the model's output, float N x K.
        classes: its K classes.
        truth: float32, N x K from a manifest: 1, 0, or NaN where missing; an exclusive row is all known or all NaN.
        exclusive: one class excludes the others.
        class_weights: factors on the loss, K of exclusive classes, else K pairs of absent and present; None is 1.
    """

    output: str
    classes: tuple[str, ...]
    truth: "Callable[[Manifest], np.ndarray]"
    exclusive: bool = True
    class_weights: Sequence[float] | Sequence[Sequence[float]] | None = None
    spatial = False

    def known(self, manifest: "Manifest") -> np.ndarray:
        """Return bool, N: of which rows at least one class is known."""
        return ~np.isnan(self.truth(manifest)).all(axis=1)

    def targets(self, manifest: "Manifest", prepared: "PreparedSet") -> np.ndarray:
        """Return float32, N x K: 1, 0 or NaN."""
        return self.truth(manifest).astype(np.float32)

    def loss(self, settings: "LossSettings") -> "keras.losses.Loss":
        """Return the cross-entropy: COMiT-Net equation 5 for exclusive classes, equation 7 for the others."""
        from covidcx.models.losses import SetCrossEntropy, SigmoidCrossEntropy

        kind = SetCrossEntropy if self.exclusive else SigmoidCrossEntropy
        return kind(smoothing=settings.smoothing, class_weights=self.class_weights)

    def balanced(self, targets: np.ndarray, copies: np.ndarray) -> "ClassHead":
        """Return the head with a loss in which the classes weigh alike, however many images each has.

        Args:
            targets: float, N x K: what is learnt from; NaN does not count.
            copies: int, N: how often each image is seen in an epoch.

        Returns:
            The head; its weights are inverse to the classes' images and have mean 1 over the images with a target.

        Raises:
            ManifestError: a class has no image.
        """
        counts = np.stack([copies @ (targets == value) for value in (0, 1)], axis=1).astype(np.float64)
        missing = f"head {self.output!r} has no training image of one side of its classes {', '.join(self.classes)}"
        return replace(self, class_weights=_inverse(counts[:, 1] if self.exclusive else counts, missing))

    def figures(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the truth and the probability of every class."""
        values = np.concatenate([targets, predictions], axis=1).astype(np.float64)
        return dict(zip([*self._columns("true_"), *self._columns()], values.T, strict=True))

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Return macro F1 of exclusive classes, otherwise the area under the ROC curve of each class."""
        truth, found = (table[self._columns(kind)].to_numpy(np.float64) for kind in ("true_", ""))
        if self.exclusive:
            known = ~np.isnan(truth).any(axis=1)
            if not known.any():
                return {}
            classes = [values[known].argmax(axis=1) for values in (truth, found)]
            return {f"val_{self.output}_macro_f1": macro_f1(*classes, len(self.classes))}
        known = ~np.isnan(truth)
        areas = {
            f"val_{self.output}_{name}_auc": ranking(truth[known[:, k], k] > 0.5, found[known[:, k], k])
            for k, name in enumerate(self.classes)
        }
        return {name: area for name, area in areas.items() if not np.isnan(area)}

    def _columns(self, kind: str = "") -> list[str]:
        # A bundle's temperature and threshold are chosen on the columns `p_LABEL` of the output `probabilities`.
        stem = "p" if self.output == "probabilities" else self.output
        return [f"{kind}{stem}_{name}" for name in self.classes]


def _inverse(counts: np.ndarray, missing: str) -> list:
    """Return weights inverse to counts along the last axis, of mean 1 over what was counted.

    Raises:
        ManifestError: a count is zero; `missing` says of what.
    """
    if not counts.all():
        raise ManifestError(f"{missing}; add some or take the head out of loss.balanced")
    return (counts.sum(axis=-1, keepdims=True) / (counts.shape[-1] * counts)).tolist()
