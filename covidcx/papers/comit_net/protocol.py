"""What the items of COMiT-Net share: the systems, their answers on a manifest's rows, the operating point."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.errors import MissingDataError
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.roc import threshold_at_specificity
from covidcx.papers.item import Context
from covidcx.papers.trained import Trained
from covidcx.training import heads

if TYPE_CHECKING:
    from covidcx.data.cache import PreparedSet

COMIT = "comit-net"
NETWORKS = {
    "DenseNet121 + FC": "comit-densenet121",
    "MobileNetv2 + FC": "comit-mobilenet-v2",
    "ResNet18 + FC": "comit-resnet18",
    "VGG19 + FC": "comit-vgg19",
    "COMiT-Net": COMIT,
}
"""Recipe of every network of Table 4, by the table's name."""
SPECIFICITY = 0.9
"""Where the paper operates (sections 4.2 and 4.4)."""


@dataclass(frozen=True, eq=False)
class Scored:
    """COVID-19 scores of some images, one system's.

    Attributes:
        positive: bool, N.
        score: float, N.
        patients: patient of each image, N.
    """

    positive: np.ndarray
    score: np.ndarray
    patients: Sequence[str]


def subset(context: Context, what: str, splits: Sequence[str], head: str | None = None) -> Manifest:
    """Return the rows of some splits on which something is known.

    Args:
        context: of the item.
        what: what the rows are needed for, for the message.
        splits: splits.
        head: name of a head that must have a target there, or None.

    Raises:
        MissingDataError: there is no such row.
    """
    context.rows(what, splits)
    chosen = context.manifest.subset(split=list(splits))
    if head is None:
        return chosen
    known = heads.get(head).known(chosen)
    if not known.any():
        raise MissingDataError(f"{what} needs rows of split {' or '.join(splits)} with a target of head {head!r}")
    return chosen.take(known)


def targets(prepared: "PreparedSet", manifest: Manifest, head: str) -> np.ndarray:
    """Return a head's targets of prepared rows of a manifest; NaN where they are unknown."""
    return heads.get(head).targets(Manifest(prepared.rows, manifest.root, manifest.path), prepared)


def covid_scores(run: Trained, manifest: Manifest) -> Scored:
    """Return a network's COVID-19 sigmoid (task 4) on rows of which it is known whether they show COVID-19."""
    prepared = run.prepare(manifest)
    score = run.outputs(prepared.images)["infection"][:, 0]
    truth = targets(prepared, manifest, "infection")[:, 0]
    known = ~np.isnan(truth)
    patients = [patient for patient, kept in zip(patients_of(prepared.rows), known, strict=True) if kept]
    return Scored(truth[known] > 0.5, score[known].astype(np.float64), patients)


def operating_point(run: Trained, context: Context) -> float:
    """Return the threshold of 90% specificity on the validation rows; infinite where none may be called."""
    found = covid_scores(run, subset(context, "the operating point", run.recipe.val_splits, "infection"))
    return threshold_at_specificity(found.positive, found.score, SPECIFICITY)


def described(run: Trained) -> str:
    """Return one sentence about how a run was trained."""
    height, width = run.recipe.preprocessing.size
    return (
        f"{run.recipe.name}: {run.recipe.epochs} epochs at {height} x {width}, learning rate "
        f"{run.recipe.optimizer.learning_rate:g}, in {run.seconds:.0f} s, checkpoint of epoch {run.best['epoch']} "
        f"({run.best['metric']} {run.best['value']:.3f})"
    )


def not_comparable(context: Context) -> str:
    """Return why our values are not the paper's, on real data, in a sentence."""
    return (
        "other data (the paper's subsets and its lung boxes are not published), a random start"
        + (" and a reduced budget" if context.budget.overrides else "")
    )
