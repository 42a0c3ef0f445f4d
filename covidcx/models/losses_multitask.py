"""The two terms of the Dice-Weighted Cross Entropy of SIIM multi-class (eq. 1); silent where a label is missing.

The compound loss is W_CE * `WeightedCrossEntropy` on the classes plus W_Dice * `SoftDice` on the opacity mask. The
weights are those of a recipe's heads (0.4 and 0.6 on COVID-19, equal on RSNA), so either term can also stand alone.
"""

from collections.abc import Sequence

import keras
from keras import ops

from covidcx.errors import RecipeError


@keras.saving.register_keras_serializable("covidcx")
class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with a weight per class: -sum over c of w_c y_c log p_c; a row of NaN costs nothing.

    The sum is not divided by the weights' sum: four weights of 0.25 give a quarter of the plain cross-entropy, as
    eq. 1 is written.

    Args:
        class_weights: w_c in the order of the classes, not negative.
    """

    def __init__(self, class_weights: Sequence[float], name: str = "weighted_cross_entropy", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.class_weights = [float(weight) for weight in class_weights]
        if len(self.class_weights) < 2 or min(self.class_weights) < 0 or not sum(self.class_weights):
            raise RecipeError(f"class weights are two numbers or more, none negative; received {list(class_weights)}")

    def call(self, y_true, y_pred):
        """Return the loss per image, N; `y_true` N x K one-hot or NaN, `y_pred` N x K probabilities."""
        if y_pred.shape[-1] != len(self.class_weights):
            raise RecipeError(f"{len(self.class_weights)} class weights for {y_pred.shape[-1]} classes; give one each")
        known = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1, keepdims=True))
        target = ops.where(known, y_true, ops.zeros_like(y_true))
        weight = ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype)
        return -ops.sum(weight * target * ops.log(ops.clip(y_pred, 1e-7, 1.0)), axis=-1)

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "class_weights": self.class_weights}


@keras.saving.register_keras_serializable("covidcx")
class SoftDice(keras.losses.Loss):
    """One minus soft Dice over the labelled pixels of each image; an image without labelled pixels costs nothing.

    Args:
        smooth: added to numerator and denominator, in pixels: an empty mask that is predicted empty costs nothing.
    """

    def __init__(self, smooth: float = 1.0, name: str = "soft_dice", **kwargs) -> None:
        super().__init__(name=name, **kwargs)
        self.smooth = smooth

    def call(self, y_true, y_pred):
        """Return the loss per image, N; both N x H x W x 1, `y_true` 1 inside, 0 outside, -1 ignored."""
        axes = (1, 2, 3)
        known = ops.cast(y_true >= 0, y_pred.dtype)
        target = ops.maximum(y_true, 0.0) * known
        overlap = ops.sum(target * y_pred, axis=axes)
        total = ops.sum((target + y_pred) * known, axis=axes)
        labelled = ops.cast(ops.sum(known, axis=axes) > 0, y_pred.dtype)
        return labelled * (1.0 - (2.0 * overlap + self.smooth) / (total + self.smooth))

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "smooth": self.smooth}
