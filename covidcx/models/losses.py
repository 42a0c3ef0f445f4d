"""Losses that stay silent where a label is missing."""

from collections.abc import Sequence

import keras
from keras import ops

from covidcx.errors import RecipeError


@keras.saving.register_keras_serializable("covidcx")
class SetCrossEntropy(keras.losses.Loss):
    """Cross-entropy against a set of allowed classes: -log of the probability that falls into the set.

    One allowed class is the ordinary cross-entropy, with label smoothing if asked. Several allowed classes say what
    is known and no more (another finding than COVID-19: `[1, 1, 0]`). All classes allowed, or a row of NaN, is a
    missing label and gives exactly zero loss and gradient.

    Args:
        smoothing: share of a single-class target spread evenly over all classes (COVID-CXNet section 5.3).
        class_weights: factor on an image's loss by its class, K; a set has the mean of its classes. None is 1.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        name: str = "set_cross_entropy",
        **kwargs,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing, self.class_weights = smoothing, class_weights

    def call(self, y_true, y_pred):
        """Return the loss per image, N; `y_true` N x K of 0, 1 or NaN, `y_pred` N x K probabilities."""
        known = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1, keepdims=True))
        allowed = ops.where(known, y_true, ops.ones_like(y_true))
        probability = ops.clip(y_pred, 1e-7, 1.0)
        inside = ops.sum(allowed * probability, axis=-1)
        # Clipped above as well: rounding may sum all classes to slightly over one.
        loss = -ops.log(ops.minimum(inside, 1.0))
        single = ops.cast(ops.sum(allowed, axis=-1) < 1.5, loss.dtype)
        smoothed = -ops.mean(ops.log(probability), axis=-1)
        missing = ops.all(allowed > 0.5, axis=-1)
        loss = loss * (1.0 - self.smoothing * single) + smoothed * self.smoothing * single
        if self.class_weights is not None:
            weights = ops.convert_to_tensor(self.class_weights, dtype=loss.dtype)
            loss = loss * ops.sum(allowed * weights, axis=-1) / ops.sum(allowed, axis=-1)
        return ops.where(missing, ops.zeros_like(loss), loss)

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "smoothing": self.smoothing, "class_weights": self.class_weights}


@keras.saving.register_keras_serializable("covidcx")
class SigmoidCrossEntropy(keras.losses.Loss):
    """Sum of binary cross-entropies over labels that do not exclude each other (COMiT-Net equation 7).

    A label that is NaN gives exactly zero loss and gradient.

    Args:
        smoothing: how far targets are drawn towards one half.
        class_weights: factors on a label's loss where it is 0 and where it is 1, K x 2. None is 1.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        class_weights: Sequence[Sequence[float]] | None = None,
        name: str = "sigmoid_cross_entropy",
        **kwargs,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing, self.class_weights = smoothing, class_weights

    def call(self, y_true, y_pred):
        """Return the loss per image, N; `y_true` N x K of 0, 1 or NaN, `y_pred` N x K probabilities."""
        missing = ops.isnan(y_true)
        truth = ops.where(missing, ops.zeros_like(y_true), y_true)
        target = truth * (1.0 - self.smoothing) + self.smoothing / 2.0
        probability = ops.clip(y_pred, 1e-6, 1.0 - 1e-6)
        loss = -(target * ops.log(probability) + (1.0 - target) * ops.log(1.0 - probability))
        if self.class_weights is not None:
            weights = ops.convert_to_tensor(self.class_weights, dtype=loss.dtype)
            loss = loss * ops.where(truth > 0.5, weights[:, 1], weights[:, 0])
        return ops.sum(ops.where(missing, ops.zeros_like(loss), loss), axis=-1)

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "smoothing": self.smoothing, "class_weights": self.class_weights}


@keras.saving.register_keras_serializable("covidcx")
class WeightedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with a weight per class: -sum over c of w_c y_c log p_c; a row of NaN costs nothing.

    With `DiceCrossEntropy(dice_weight=1)` on a mask it makes the Dice-Weighted Cross Entropy of SIIM multi-class
    (eq. 1), whose W_CE and W_Dice are the weights of the two heads. The sum is not divided by the weights' sum: four
    weights of 0.25 give a quarter of the plain cross-entropy.

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
class DiceCrossEntropy(keras.losses.Loss):
    """Binary cross-entropy plus soft Dice over the pixels that are labelled.

    Args:
        dice_weight: weight of the Dice term; the cross-entropy has one minus this.
        class_weights: factors on the cross-entropy of pixels outside and inside. None is 1.
    """

    def __init__(
        self,
        dice_weight: float = 0.5,
        class_weights: Sequence[float] | None = None,
        name: str = "dice_cross_entropy",
        **kwargs,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.dice_weight, self.class_weights = dice_weight, class_weights

    def call(self, y_true, y_pred):
        """Return the loss per image, N; both N x H x W x C, `y_true` 1 inside, 0 outside, -1 ignored.

        The last channel counts: of a softmax over background and inside it says all (COMiT-Net equations 2 and 3).
        """
        y_true, y_pred = y_true[..., -1:], y_pred[..., -1:]
        known = ops.cast(y_true >= 0, y_pred.dtype)
        target = ops.maximum(y_true, 0.0) * known
        probability = ops.clip(y_pred, 1e-6, 1.0 - 1e-6)
        outside, inside = self.class_weights or (1.0, 1.0)
        entropy = inside * target * ops.log(probability) + outside * (1.0 - target) * ops.log(1.0 - probability)
        entropy = -entropy * known
        axes = (1, 2, 3)
        count = ops.maximum(ops.sum(known, axis=axes), 1.0)
        overlap = ops.sum(target * probability * known, axis=axes)
        total = ops.sum((target + probability) * known, axis=axes)
        dice = 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)
        labelled = ops.cast(ops.sum(known, axis=axes) > 0, y_pred.dtype)
        return labelled * (
            (1.0 - self.dice_weight) * ops.sum(entropy, axis=axes) / count + self.dice_weight * dice
        )

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "dice_weight": self.dice_weight, "class_weights": self.class_weights}
