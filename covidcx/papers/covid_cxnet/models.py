"""The paper's models: their recipes, what they need, what they start from, and what the paper prints of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from covidcx.evaluation.classification import accuracy, f1, precision, recall, specificity
from covidcx.papers.item import Context
from covidcx.papers.trained import Cell, Trained, train_cell

BINARY, THREE = ("normal", "covid"), ("normal", "cap", "covid")
STARTS = {"chexnet": "CheXNet", "imagenet": "ImageNet"}


@dataclass(frozen=True)
class Confusion:
    """A published confusion matrix.

    Attributes:
        table: item that prints it.
        labels: of rows (true) and columns (predicted).
        counts: images.
    """

    table: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @cached_property
    def rates(self) -> dict[str, float]:
        """Accuracy and, per class, sensitivity, precision, specificity and F1, under this project's names."""
        matrix = np.array([self.counts], np.float64)
        found = {"accuracy": float(accuracy(matrix)[0])}
        for name, function in (("recall", recall), ("precision", precision), ("specificity", specificity), ("f1", f1)):
            found |= {f"{name}_{label}": float(v) for label, v in zip(self.labels, function(matrix)[0], strict=True)}
        return found


@dataclass(frozen=True)
class Model:
    """One of the paper's models.

    Attributes:
        name: as the paper writes it.
        recipe: its recipe, and the folder of its run.
        start: key of `STARTS` that the paper starts from; empty for a random start.
        needs: splits and labels the training needs beyond train and val.
        images: size of the paper's data set (Table 6).
        epochs: as Table 6 prints them.
        pediatric: whether its normals are mostly children.
        lungs: whether lungs are segmented.
        accuracy: Table 6, average of ten runs.
        range: Table 6, lowest and highest of ten runs.
        f1: Table 6, F-score of COVID-19.
        confusion: where the paper prints one.
    """

    name: str
    recipe: str
    start: str = ""
    needs: tuple[tuple[str, str], ...] = ()
    images: int | None = None
    epochs: str = ""
    pediatric: bool = False
    lungs: bool = False
    accuracy: float | None = None
    range: tuple[float, float] | None = None
    f1: float | None = None
    confusion: Confusion | None = None


BASE_V1 = Model(
    "Base Model v1", "base-model-v1", "", (("pediatric", "normal"),), 600, "100", True, False, 0.9610,
    (0.9140, 0.9710), 0.82, Confusion("table-1", BINARY, ((21, 9), (3, 27))),
)  # fmt: skip
BASE_V2 = Model(
    "Base Model v2", "base-model-v2", "", (), 3400, "120", False, False, 0.9868, (0.9400, 0.9930), 0.94,
    Confusion("table-2", BINARY, ((598, 5), (4, 76))),
)  # fmt: skip
CXNET_V1 = Model(
    "COVID-CXNet v1", "covid-cxnet-v1", "chexnet", (), 3628, "10", False, False, 0.9904, (0.9643, 0.9954), 0.96,
    Confusion("table-3", BINARY, ((641, 4), (3, 78))),
)  # fmt: skip
CXNET_V2 = Model(
    "COVID-CXNet v2", "covid-cxnet-v2", "chexnet", (), 3628, "10", False, True, 0.9862, (0.9714, 0.9928), 0.94
)
FLAT = Model(
    "Flat Multiclass COVID-CXNet", "covid-cxnet-flat", "chexnet", (), 7700, "30", False, True, 0.8104,
    (0.8025, 0.8486), 0.85, Confusion("table-4", THREE, ((671, 44, 9), (205, 451, 16), (6, 12, 126))),
)  # fmt: skip
HIERARCHICAL = Model(
    "Hierarchical Multiclass COVID-CXNet", "covid-cxnet-hierarchical", "chexnet", (), 7700, "10+20", False, True,
    0.8721, (0.8603, 0.8912), 0.92, Confusion("table-5", THREE, ((689, 32, 3), (143, 524, 5), (3, 11, 130))),
)  # fmt: skip
TABLE_6 = (BASE_V1, BASE_V2, CXNET_V1, CXNET_V2, FLAT, HIERARCHICAL)
DENSENET = Model("DenseNet-121, ImageNet", "imagenet-densenet121", "imagenet", BASE_V1.needs, epochs="20")
RESNET = Model("ResNet-50, ImageNet", "imagenet-resnet50", "imagenet", BASE_V1.needs, epochs="20")
PRETRAINED = (DENSENET, RESNET)
PHANTOM_START = "random"
CHILDREN = '{"normal": {"splits": ["pediatric"], "limit": %d}, "covid": {"splits": ["train"], "limit": %d}}'
"""Base model v1's rows as text, without the source that only the real data have."""


def cell_of(context: Context, model: Model, seed: int | None = None) -> Cell:
    """Return the training of a model: from the weights file given, from random on the phantom, else as its recipe says.

    Args:
        context: of the item.
        model: one of this module's.
        seed: another initialisation than the item's first.

    Raises:
        MissingDataError: the manifest lacks what the model is trained on.
    """
    for split, label in model.needs:
        context.rows(model.name, split=(split,), labels=(label,))
    overrides = {}
    if model.needs and context.phantom:
        overrides["selection.only"] = CHILDREN % (300, 300)
    if model.start and "initial_weights" not in context.budget.overrides:
        if model.start in context.weights:
            overrides["initial_weights"] = str(context.weights[model.start])
        elif context.phantom:
            overrides["initial_weights"] = PHANTOM_START
    if seed is None or seed == context.seed:
        return Cell(model.recipe, model.recipe, overrides)
    return Cell(model.recipe, f"{model.recipe}-seed{seed}", {**overrides, "seed": str(seed)})


def run_of(context: Context, model: Model, seed: int | None = None) -> Trained:
    """Train a model within the item's budget, or find it finished.

    Raises:
        MissingDataError: the manifest lacks what it needs, or it may not be trained.
        WeightsError: the weights it starts from cannot be had; the message says which file to give.
    """
    return train_cell(context, cell_of(context, model, seed))


def epochs_of(run: Trained) -> int:
    """Return how many epochs a run was to be trained for, over all its stages."""
    return sum(run.recipe.stages.values()) or run.recipe.epochs


def start_of(run: Trained) -> str:
    """Say what a run started from."""
    weights = run.recipe.initial_weights
    return "random" if weights in (None, PHANTOM_START) else weights.rpartition("/")[2]


def not_comparable(context: Context, model: Model, run: Trained) -> str:
    """Return why a run's figures cannot be set against the paper's, or an empty text."""
    wanted = model.start
    if not wanted or run.recipe.initial_weights in (wanted, str(context.weights.get(wanted))):
        return ""
    return f"started from {start_of(run)} weights, not from {STARTS[wanted]}'s"
