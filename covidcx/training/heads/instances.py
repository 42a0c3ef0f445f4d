"""Masks taken apart into instances, for a detector (`covidcx.models.mask_rcnn`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.instances import join_instances, split_instances
from covidcx.training.heads.head import MaskHead

if TYPE_CHECKING:
    import keras

    from covidcx.data.cache import PreparedSet
    from covidcx.data.manifest import Manifest
    from covidcx.training.recipe import LossSettings


@dataclass(frozen=True)
class InstanceHead(MaskHead):
    """A mask whose connected pieces are instances of one class; the output is the class's map, N x H x W x 1.

    Attributes:
        output: name of the model's output and of the class.
        region: what says where it is.
        most: instances an image at most; smaller ones beyond are ignored.
    """

    most: int = 2

    def targets(self, manifest: "Manifest", prepared: "PreparedSet") -> np.ndarray:
        """Return int8, N x H x W x most: 1 inside an instance, 0 outside, -1 ignored or missing."""
        masks = super().targets(manifest, prepared)
        return np.stack([split_instances(mask[..., 0], self.most) for mask in masks])

    def loss(self, settings: "LossSettings") -> "keras.losses.Loss":
        """Return what `val_loss` measures; the model minimises losses of its own."""
        from covidcx.models.mask_rcnn.losses import DiceOfInstances

        return DiceOfInstances(dice_weight=settings.dice_weight)

    def figures(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """Return the Dice of each image's map at 0.5."""
        return super().figures(join_instances(targets), predictions)
