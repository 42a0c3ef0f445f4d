"""`Pretraining`: everything that decides a self-supervised run, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from covidcx.data.augment import Augmentation
from covidcx.data.contrast_views import ContrastViews
from covidcx.data.holes import InpaintingMasks
from covidcx.errors import RecipeError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import OptimizerSettings, within
from covidcx.training.settings import Settings, apply_overrides


@dataclass(frozen=True)
class ContrastSettings:
    """Momentum contrast.

    Attributes:
        views: how the two views of an image are drawn.
        dim: length of the embedding.
        mlp: a hidden layer before the projection (MoCo-v2).
        queue: keys of other images that a query is compared with; at most one per image of the data.
        momentum: share of its weights that the key encoder keeps at a step.
        temperature: divides the cosines in the InfoNCE loss.
        bn_splits: parts of a batch with batch statistics of their own; keys are shuffled among them.
    """

    views: ContrastViews
    dim: int = 128
    mlp: bool = False
    queue: int = 512
    momentum: float = 0.99
    temperature: float = 0.2
    bn_splits: int = 2

    def __post_init__(self) -> None:
        within("contrast.dim", self.dim, 1, 65_536)
        within("contrast.queue", self.queue, 1, 10_000_000)
        within("contrast.momentum", self.momentum, 0, 1)
        within("contrast.temperature", self.temperature, 1e-3, 100)
        within("contrast.bn_splits", self.bn_splits, 1, 1024)


@dataclass(frozen=True)
class HoleSettings:
    """Inpainting.

    Attributes:
        masks: where the holes are.
        context: weight of the visible pixels' squared error beside that of the holes.
        filters: of the decoder's five levels.
    """

    masks: InpaintingMasks
    context: float = 0.1
    filters: tuple[int, ...] = (256, 128, 64, 32, 16)

    def __post_init__(self) -> None:
        within("inpainting.context", self.context, 0, 1000)


@dataclass(frozen=True)
class Pretraining(Settings):
    """A self-supervised run as a value; saved as `recipe.json` in the run's folder. It uses images and no labels.

    Attributes:
        name: name of the recipe.
        preprocessing: how a radiograph becomes an image; take the classifier's that is to be started.
        contrast: settings of momentum contrast, or None.
        inpainting: settings of inpainting, or None; exactly one of the two is set.
        augmentation: random changes of an image before holes are cut (inpainting only).
        backbone: a key of `covidcx.models.encoders.LAST`.
        backbone_kwargs: the backbone's own arguments (`blocks`, `growth`).
        optimizer: how weights are changed.
        epochs: passes over the images.
        batch: images per step.
        splits: values of the manifest's column `split` to learn from.
        leaks: patients that also stand in another split: `refuse` the manifest, or `drop` their rows here.
        initial_weights: weights file to start from, or None for a random start.
        seed: of initial weights, order, views and holes.
        mixed_precision: `auto` is float16 on a GPU and float32 on the CPU.
    """

    name: str
    preprocessing: Preprocessing
    contrast: ContrastSettings | None = None
    inpainting: HoleSettings | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    backbone: str = "densenet121"
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    epochs: int = 30
    batch: int = 32
    splits: tuple[str, ...] = ("train",)
    leaks: Literal["refuse", "drop"] = "refuse"
    initial_weights: str | None = None
    seed: int = 0
    mixed_precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"

    def __post_init__(self) -> None:
        within("epochs", self.epochs, 1, 100_000)
        within("batch", self.batch, 1, 65_536)
        within("seed", self.seed, 0, 2**31 - 1)
        if (self.contrast is None) == (self.inpainting is None):
            raise RecipeError("a pretraining has settings of contrast or of inpainting, and not of both")
        if not self.splits:
            raise RecipeError("splits is empty; name the splits whose images are learnt from, such as splits=train")
        if self.contrast is not None and self.batch % self.contrast.bn_splits:
            raise RecipeError(
                f"contrast.bn_splits={self.contrast.bn_splits} does not divide batch={self.batch}; change one of them"
            )
        if self.preprocessing.roi is not None:
            raise RecipeError("pretraining sees whole images; set preprocessing.roi=none")

    @property
    def metric(self) -> str:
        """What picks the checkpoint: the last epoch, as no labelled image may choose."""
        return "epoch"

    @property
    def early_stop(self) -> int | None:
        """Pretraining runs to its last epoch."""
        return None

    def override(self, overrides: Mapping[str, str]) -> "Pretraining":
        """Return the recipe with settings replaced by text, as `--set key=value` gives them.

        Args:
            overrides: dotted key to text, e.g. `{"epochs": "3", "contrast.temperature": "0.1"}`.

        Raises:
            RecipeError: a key is unknown or a text does not fit the setting's type.
        """
        for key in overrides:
            part = key.partition(".")[0]
            if "." in key and part in ("contrast", "inpainting") and getattr(self, part) is None:
                raise RecipeError(f"recipe {self.name!r} has no {part}; {key} cannot be set")
        return apply_overrides(self, overrides)
