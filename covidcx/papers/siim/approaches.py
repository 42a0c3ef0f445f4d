"""The approaches of Tables 1 and 2: what is trained, what it starts from, and what was published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from covidcx.papers.item import Context
from covidcx.papers.pretrained import encoder_file
from covidcx.papers.siim import studies
from covidcx.papers.trained import Cell, Trained, train_cell, trained

BASELINE, MULTITASK = "siim-baseline", "siim-multitask"


@dataclass(frozen=True)
class Approach:
    """A row of Table 1.

    Attributes:
        key: part of the names of its runs.
        title: as the paper calls it.
        recipe: what is trained on the four appearances.
        start: pre-trains what the recipe starts from, or finds it trained, and returns the settings that say so.
        published: macro F1 and accuracy of the 80/20 split (Table 1).
        folds: mean and standard deviation of macro F1 and of accuracy over five folds (Table 2), or None.
    """

    key: str
    title: str
    recipe: str
    start: Callable[[Context], Mapping[str, str]]
    published: tuple[float, float]
    folds: tuple[float, float, float, float] | None = None


def random_start(context: Context) -> Mapping[str, str]:
    """Start from random weights."""
    return {}


def encoder_start(context: Context) -> Mapping[str, str]:
    """Start the encoder from stage 2; the decoder stays random."""
    return {**full_start(context), "initial_layers": "encoder"}


def full_start(context: Context) -> Mapping[str, str]:
    """Start encoder and decoder from stage 2, whose encoder started from stage 1."""
    first = trained(studies.findings_set(context), "siim-findings")
    start = {"initial_weights": str(first.folder.path)}
    second = train_cell(studies.opacity_set(context), Cell("siim-opacity", "siim-opacity", start))
    return {"initial_weights": str(second.folder.path)}


def self_supervised(recipe: str) -> Callable[[Context], Mapping[str, str]]:
    """Return a start from an encoder that learnt the images of another data set without their labels.

    Args:
        recipe: a name of `covidcx.training.recipes.pretraining_names()`.
    """

    def start(context: Context) -> Mapping[str, str]:
        return {"initial_weights": str(encoder_file(studies.unlabelled_set(context), recipe, f"unlabelled-{recipe}"))}

    return start


def train_approach(approach: Approach, context: Context, split: Context) -> Trained:
    """Train an approach on a split, go on with it, or find it finished.

    Args:
        approach: what is trained.
        context: of the item, for the pre-training.
        split: the context on the split's table, from `studies`; its folder names the run.
    """
    name = f"{split.manifest_path.parent.name}-{approach.key}"
    return train_cell(split, Cell(approach.recipe, name, approach.start(context)))


APPROACHES = (
    Approach("baseline", "Baseline: DenseNet-121", BASELINE, random_start, (0.4205, 0.5734),
             (0.4205, 0.0149, 0.5734, 0.0279)),
    Approach("mt", "Multi-task (MT) without pre-training", MULTITASK, random_start, (0.4300, 0.6416)),
    Approach("mt-encoder", "MT pre-trained RSNA enc.", MULTITASK, encoder_start, (0.4401, 0.6223)),
    Approach("mt-full", "MT pre-trained RSNA enc. + dec.", MULTITASK, full_start, (0.4794, 0.6177),
             (0.4621, 0.0099, 0.6407, 0.0121)),
    Approach("moco-cxr", "SSL MoCo-CXR", BASELINE, self_supervised("moco-cxr"), (0.4305, 0.5869)),
    Approach("moco-cxr-modified", "SSL Modified MoCo-CXR", BASELINE, self_supervised("moco-cxr-modified"),
             (0.4325, 0.5971)),
    Approach("moco-v2", "SSL MoCo-V2", BASELINE, self_supervised("moco-v2"), (0.4583, 0.5860)),
    Approach("inpainting-centre", "SSL Center inpainting", BASELINE, self_supervised("inpainting-centre"),
             (0.4472, 0.5962)),
    Approach("inpainting", "SSL Inpainting-CXR", BASELINE, self_supervised("inpainting"), (0.4706, 0.6522),
             (0.4599, 0.0137, 0.5955, 0.0107)),
)  # fmt: skip


def by_key(key: str) -> Approach:
    """Return an approach by its key."""
    return next(approach for approach in APPROACHES if approach.key == key)
