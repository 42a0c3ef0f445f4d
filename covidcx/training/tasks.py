"""What differs between classification and segmentation: targets, loss, validation scores, the table of predictions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import ManifestError
from covidcx.training.recipe import Recipe

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from covidcx.data.manifest import Manifest


@dataclass(frozen=True)
class Classification:
    """Image labels; see `covidcx.models.losses.SetCrossEntropy` for partial ones.

    Attributes:
        recipe: the run.
    """

    recipe: Recipe
    output = "probabilities"

    def usable(self, frame: "pd.DataFrame") -> np.ndarray:
        """Return bool N: rows whose label is a class or a label set."""
        return frame["label"].isin([*self.recipe.labels, *self.recipe.label_sets]).to_numpy()

    def targets(self, manifest: "Manifest") -> np.ndarray:
        """Return float32 N x K: 1 for every class a label leaves open; N x 1 for two classes."""
        table = manifest.allowed_matrix(self.recipe.labels, self.recipe.label_sets)
        return table[:, 1:] if len(self.recipe.labels) == 2 else table

    def weights(self, train_labels: Iterable[str]) -> dict[str, float]:
        """Return the loss weight of each label.

        Args:
            train_labels: labels of the training rows.

        Returns:
            Weight by label: inverse to the class's number of images, mean 1 over the images of a class; a label set
            weighs as the mean of its classes.

        Raises:
            ManifestError: a class has no training image.
        """
        labels = list(train_labels)
        counts = {name: labels.count(name) for name in self.recipe.labels}
        empty = [name for name, count in counts.items() if not count]
        if empty:
            raise ManifestError(
                f"no training image of {', '.join(empty)} in split {', '.join(self.recipe.train_splits)}; "
                "add some or take the label out with --set labels=..."
            )
        if not self.recipe.class_weights:
            return dict.fromkeys([*self.recipe.labels, *self.recipe.label_sets], 1.0)
        total = sum(counts.values())
        weights = {name: total / (len(counts) * count) for name, count in counts.items()}
        sets = {name: float(np.mean([weights[c] for c in allowed])) for name, allowed in self.recipe.label_sets.items()}
        return weights | sets

    def loss(self) -> "keras.losses.Loss":
        """Return the loss."""
        import keras

        from covidcx.models.losses import SetCrossEntropy

        if len(self.recipe.labels) == 2:
            return keras.losses.BinaryCrossentropy(label_smoothing=self.recipe.loss.smoothing)
        return SetCrossEntropy(smoothing=self.recipe.loss.smoothing)

    def scores(self, labels: list[str], predictions: np.ndarray) -> dict[str, float]:
        """Measure the validation rows.

        Args:
            labels: label of each row; label sets are left out of the scores.
            predictions: float N x K, or N x 1 for two classes.

        Returns:
            `val_macro_f1` and `val_accuracy` of the most probable class.
        """
        classes = self.recipe.labels
        known = np.array([label in classes for label in labels])
        truth = np.array([classes.index(label) for label in labels if label in classes])
        predicted = all_classes(predictions)[known].argmax(axis=1)
        accuracy = float((truth == predicted).mean())
        return {"val_macro_f1": macro_f1(truth, predicted, len(classes)), "val_accuracy": accuracy}

    def table(self, frame: "pd.DataFrame", predictions: np.ndarray, targets: np.ndarray) -> "pd.DataFrame":
        """Return the table written as `val_predictions.csv`: image, patient, label, one `p_CLASS` per class."""
        table = frame[["image", "patient_id", "label"]].reset_index(drop=True).copy()
        probabilities = all_classes(predictions)
        for k, name in enumerate(self.recipe.labels):
            table[f"p_{name}"] = [f"{p:.6g}" for p in probabilities[:, k]]
        return table


@dataclass(frozen=True)
class Segmentation:
    """Lung masks.

    Attributes:
        recipe: the run.
    """

    recipe: Recipe
    output = "lung"

    def usable(self, frame: "pd.DataFrame") -> np.ndarray:
        """Return bool N: rows with a lung mask."""
        if "lung_mask" not in frame:
            raise ManifestError("training a lung segmenter needs the column 'lung_mask' in the manifest")
        return frame["lung_mask"].notna().to_numpy()

    def loss(self) -> "keras.losses.Loss":
        """Return the loss."""
        from covidcx.models.losses import DiceCrossEntropy

        return DiceCrossEntropy(dice_weight=self.recipe.loss.dice_weight)

    def scores(self, targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Measure the validation rows: `val_dice`, the mean over images."""
        return {"val_dice": float(dice(targets, predictions).mean())}

    def table(self, frame: "pd.DataFrame", predictions: np.ndarray, targets: np.ndarray) -> "pd.DataFrame":
        """Return the table written as `val_predictions.csv`: image, patient, label, Dice at 0.5."""
        table = frame[["image", "patient_id", "label"]].reset_index(drop=True).copy()
        table["dice"] = [f"{d:.6g}" for d in dice(targets, predictions)]
        return table


Task = Classification | Segmentation


def task_of(recipe: Recipe) -> Task:
    """Return what the recipe's task needs."""
    return Segmentation(recipe) if recipe.task == "segment" else Classification(recipe)


def all_classes(predictions: np.ndarray) -> np.ndarray:
    """Return N x K probabilities, also from the single sigmoid of a two-class model."""
    return np.concatenate([1 - predictions, predictions], axis=1) if predictions.shape[1] == 1 else predictions


def macro_f1(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Mean F1 over the classes that occur in truth or prediction.

    Args:
        truth: int, N, class indices.
        predicted: int, N.
        classes: number of classes.

    Returns:
        0 to 1.
    """
    scores = []
    for k in range(classes):
        hits = np.sum((truth == k) & (predicted == k))
        total = np.sum(truth == k) + np.sum(predicted == k)
        if total:
            scores.append(2.0 * hits / total)
    return float(np.mean(scores)) if scores else 0.0


def dice(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Dice of each mask at threshold 0.5 over labelled pixels; 1 where both are empty.

    Args:
        targets: N x H x W x 1: 1 inside, 0 outside, -1 ignored.
        predictions: float, N x H x W x 1, 0..1.

    Returns:
        float64, N.
    """
    axes = (1, 2, 3)
    found = (predictions > 0.5) & (targets >= 0)
    inside = targets == 1
    total = found.sum(axis=axes) + inside.sum(axis=axes)
    overlap = (found & inside).sum(axis=axes)
    return np.where(total > 0, 2.0 * overlap / np.maximum(total, 1), 1.0)
