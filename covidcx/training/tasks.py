"""What differs between the tasks: rows, targets, losses, what is measured on each validation image and on all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from covidcx.errors import ManifestError
from covidcx.training import heads
from covidcx.training.recipe import Recipe
from covidcx.training.scores import all_classes, dice, macro_f1

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from covidcx.data.cache import PreparedSet
    from covidcx.data.manifest import Manifest
    from covidcx.training.heads.head import Head

MOST_WEIGHT = 5.0
"""Largest weight of an image by `view_weights`."""

Arrays = dict[str, np.ndarray]


class Task(Protocol):
    """What the fit loop needs to know of a task. Targets, losses and predictions go by the model's outputs."""

    recipe: Recipe

    def usable(self, manifest: "Manifest") -> np.ndarray:
        """Return bool, N: rows that have what is learnt."""

    def losses(self) -> "dict[str, keras.losses.Loss]":
        """Return the loss of each trained output."""

    def loss_weights(self) -> dict[str, float]:
        """Return the weight of each loss in the sum."""

    def figures(self, targets: Arrays, predictions: Arrays) -> Arrays:
        """Return what is told about each image, by column of `val_predictions.csv`."""

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Measure the validation rows: image, patient_id, label and the columns of `figures`."""


@dataclass(frozen=True)
class Classification:
    """Image labels; see `covidcx.models.losses.SetCrossEntropy` for partial ones.

    Attributes:
        recipe: the run.
    """

    recipe: Recipe
    output = "probabilities"

    def usable(self, manifest: "Manifest") -> np.ndarray:
        """Return bool N: rows whose label is a class or a label set."""
        return manifest.frame["label"].isin([*self.recipe.labels, *self.recipe.label_sets]).to_numpy()

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

    def losses(self) -> "dict[str, keras.losses.Loss]":
        """Return the loss."""
        import keras

        from covidcx.models.losses import SetCrossEntropy

        kind = keras.losses.BinaryCrossentropy if len(self.recipe.labels) == 2 else SetCrossEntropy
        smooth = "label_smoothing" if len(self.recipe.labels) == 2 else "smoothing"
        return {self.output: kind(**{smooth: self.recipe.loss.smoothing})}

    def loss_weights(self) -> dict[str, float]:
        """Return one for the only loss."""
        return {self.output: 1.0}

    def figures(self, targets: Arrays, predictions: Arrays) -> Arrays:
        """Return `p_CLASS` of every class."""
        return probability_columns(self.recipe.labels, predictions[self.output])

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Return `val_macro_f1` and `val_accuracy` of the most probable class; label sets are left out."""
        classes = self.recipe.labels
        known = table[table["label"].isin(classes)]
        truth = known["label"].map(classes.index).to_numpy()
        predicted = known[[f"p_{name}" for name in classes]].to_numpy().argmax(axis=1)
        accuracy = float((truth == predicted).mean())
        return {"val_macro_f1": macro_f1(truth, predicted, len(classes)), "val_accuracy": accuracy}


@dataclass(frozen=True)
class Segmentation:
    """Lung masks.

    Attributes:
        recipe: the run.
    """

    recipe: Recipe
    output = "lung"

    def usable(self, manifest: "Manifest") -> np.ndarray:
        """Return bool N: rows with a lung mask."""
        return manifest.frame["lung_mask"].notna().to_numpy()

    def losses(self) -> "dict[str, keras.losses.Loss]":
        """Return the loss."""
        from covidcx.models.losses import DiceCrossEntropy

        return {self.output: DiceCrossEntropy(dice_weight=self.recipe.loss.dice_weight)}

    def loss_weights(self) -> dict[str, float]:
        """Return one for the only loss."""
        return {self.output: 1.0}

    def figures(self, targets: Arrays, predictions: Arrays) -> Arrays:
        """Return the Dice at 0.5."""
        return {"dice": dice(targets[self.output], predictions[self.output])}

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Return `val_dice`, the mean over images."""
        return {"val_dice": float(table["dice"].mean())}


@dataclass(frozen=True)
class Several:
    """Several heads on one encoder, each silent for the images whose target is missing (COMiT-Net equation 8).

    Attributes:
        recipe: the run.
        weighted: heads of `loss.balanced` once the training rows are known, by name; see `balanced`.
    """

    recipe: Recipe
    weighted: "Mapping[str, Head]" = field(default_factory=dict)

    @property
    def heads(self) -> "dict[str, Head]":
        """The heads by name."""
        return {name: self.weighted.get(name) or self._head(name) for name in self.recipe.heads}

    def usable(self, manifest: "Manifest") -> np.ndarray:
        """Return bool N: rows of which at least one head has a target."""
        return np.any([self.taught(name, manifest) for name in self.heads], axis=0)

    def targets(self, manifest: "Manifest", prepared: "PreparedSet") -> Arrays:
        """Return every head's targets by its output, missing where the row's split does not teach the head.

        Args:
            manifest: the rows of `prepared`, in its order.
            prepared: the images.
        """
        found = {}
        for name, head in self.heads.items():
            values = head.targets(manifest, prepared)
            if self._guesses(name):
                guessed = ~head.known(manifest) & prepared.lungs.any(axis=(1, 2))
                values[guessed, ..., 0] = prepared.lungs[guessed]
            values[~self.taught(name, manifest)] = -1 if head.spatial else np.nan
            found[head.output] = values
        return found

    def weights(self, manifest: "Manifest", copies: np.ndarray) -> np.ndarray:
        """Return each image's weight in all losses, of mean 1 over an epoch.

        Args:
            manifest: training rows.
            copies: int, N: how often each is seen in an epoch.

        Returns:
            float32, N.
        """
        label = manifest.frame["label"].fillna("").to_numpy()
        weights = np.ones(len(label))
        if self.recipe.class_weights:
            weights /= _total(label, copies)
        if self.recipe.view_balance:
            view = manifest.frame["view"].where(manifest.frame["view"].isin(["AP", "PA"]))
            share = view_weights(label, view.to_numpy(object), copies)
            weights *= share
        return (weights * copies.sum() / (weights * copies).sum()).astype(np.float32)

    def balanced(self, targets: Arrays, copies: np.ndarray) -> "Several":
        """Return the task with the losses that the recipe's `loss.balanced` asks for.

        Args:
            targets: from `targets`, of the training rows.
            copies: int, N: how often each is seen in an epoch.

        Raises:
            ManifestError: a class to balance has no image.
        """
        plain = {name: self.heads[name] for name in self.recipe.loss.balanced}
        return replace(self, weighted={n: head.balanced(targets[head.output], copies) for n, head in plain.items()})

    def losses(self) -> "dict[str, keras.losses.Loss]":
        """Return the loss of each head's output."""
        return {head.output: head.loss(self.recipe.loss) for head in self.heads.values()}

    def loss_weights(self) -> dict[str, float]:
        """Return the weight of each head's loss."""
        return {head.output: self.recipe.loss.head_weights.get(name, 1.0) for name, head in self.heads.items()}

    def figures(self, targets: Arrays, predictions: Arrays) -> Arrays:
        """Return every head's columns, and `p_LABEL` where the model has an output `probabilities`."""
        columns = {}
        if "probabilities" in predictions:
            columns = probability_columns(self.recipe.labels, predictions["probabilities"])
        for head in self.heads.values():
            columns |= head.figures(targets[head.output], predictions[head.output])
        return columns

    def scores(self, table: "pd.DataFrame") -> dict[str, float]:
        """Return every head's scores and `val_score`, the mean over the heads of the mean of each one's scores."""
        each = {name: head.scores(table) for name, head in self.heads.items()}
        silent = [name for name, found in each.items() if not found]
        if silent:
            raise ManifestError(
                f"no validation image tells anything about head {', '.join(silent)}; add labels to split "
                f"{', '.join(self.recipe.val_splits)} or take the head out with --set heads=..."
            )
        mean = float(np.mean([np.mean(list(found.values())) for found in each.values()]))
        return {name: value for found in each.values() for name, value in found.items()} | {"val_score": mean}

    def taught(self, name: str, manifest: "Manifest") -> np.ndarray:
        """Return bool, N: rows that have a target of a head and lie in a split that teaches it."""
        split, known = manifest.frame["split"], self.heads[name].known(manifest)
        teaching = split.isin(self.recipe.head_splits.get(name, self.recipe.train_splits)).to_numpy()
        return (known & (teaching | split.isin(self.recipe.val_splits))) | (teaching & self._guesses(name))

    def _guesses(self, name: str) -> bool:
        return self.recipe.missing_lungs == "segmenter" and self.heads[name].output == "lung"

    def _head(self, name: str) -> "Head":
        head = heads.get(name)
        if self.recipe.lung_as == "boxes" and head.output == "lung":
            return replace(head, region=replace(head.region, boxed=True))
        return head


def task_of(recipe: Recipe) -> Task:
    """Return what the recipe's task needs."""
    return {"segment": Segmentation, "classify": Classification, "multi": Several}[recipe.task](recipe)


def probability_columns(labels: tuple[str, ...], predictions: np.ndarray) -> Arrays:
    """Return `p_LABEL` of every label, float64 N, also from the single sigmoid of a two-class model."""
    return {f"p_{name}": column for name, column in zip(labels, all_classes(predictions).T, strict=True)}


def view_weights(label: np.ndarray, view: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Weigh AP and PA images of each label alike (COMiT-Net section 3.1), so that the view does not tell the label.

    Args:
        label: N labels.
        view: N of `AP`, `PA` or a missing value; such an image keeps weight 1.
        copies: int, N: how often each is seen.

    Returns:
        float64, N, at most `MOST_WEIGHT`: a handful of images must not carry half of a label.
    """
    weights = np.ones(len(label))
    for name in set(label.tolist()):
        sides = [(label == name) & (view == side) for side in ("AP", "PA")]
        counts = [int(copies[side].sum()) for side in sides]
        if all(counts):
            for side, count in zip(sides, counts, strict=True):
                weights[side] = min(sum(counts) / (2 * count), MOST_WEIGHT)
    return weights


def _total(label: np.ndarray, copies: np.ndarray) -> np.ndarray:
    names, where = np.unique(label, return_inverse=True)
    return np.bincount(where, copies, len(names))[where]
