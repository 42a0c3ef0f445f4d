"""RSNA's four appearances of COVID-19 pneumonia, the rare ones weighing more (SIIM multi-class, section 4)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.training.heads.head import ClassHead

if TYPE_CHECKING:
    import keras

    from covidcx.training.recipe import LossSettings

CLASSES = ("negative", "typical", "indeterminate", "atypical")
WEIGHTS = (0.2, 0.2, 0.3, 0.3)


@dataclass(frozen=True)
class WeightedClassHead(ClassHead):
    """Exclusive classes with a fixed weight each.

    Attributes:
        weights: weight of each class in the cross-entropy.
    """

    weights: tuple[float, ...] = ()

    def loss(self, settings: "LossSettings") -> "keras.losses.Loss":
        """Return the weighted cross-entropy (SIIM multi-class, eq. 1)."""
        from covidcx.models.losses import WeightedCrossEntropy

        return WeightedCrossEntropy(self.weights)


def truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 4, one-hot; NaN for other labels and studies that were not read."""
    return manifest.label_matrix(CLASSES)


HEAD = WeightedClassHead("probabilities", CLASSES, truth, weights=WEIGHTS)
