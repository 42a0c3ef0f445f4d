"""`Recipe`: everything that decides a training run, as one frozen value."""

import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from covidcx.data.augment import Augmentation
from covidcx.errors import RecipeError, did_you_mean
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.models.stage_names import STAGES
from covidcx.training.selection import Selection
from covidcx.training.settings import Settings, apply_overrides, parse

_METRICS = {"segment": "val_dice", "classify": "val_macro_f1", "multi": "val_score"}
_OF_LUNGS = {"lung_as": "mask", "missing_lungs": "silent"}


@dataclass(frozen=True)
class ModelSettings:
    """Which model is built.

    Attributes:
        name: one of `covidcx.models.names()`.
        kwargs: the builder's own arguments. Input size and number of classes follow from the recipe where absent.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossSettings:
    """What is minimised: set cross-entropy for classification, cross-entropy plus Dice for segmentation.

    Attributes:
        smoothing: share of the target spread over all classes (classification).
        dice_weight: weight of the Dice term; the cross-entropy has one minus this (segmentation).
        head_weights: weight of each head's loss in the sum, 1 where absent (`multi`).
        balanced: heads in whose cross-entropy every class weighs alike, whatever its number of training images; of a
            mask, what lies inside and outside, whatever its number of pixels (`multi`). `Recipe.class_weights` balances
            labels, which a head may join: three of four are unhealthy.
    """

    smoothing: float = 0.0
    dice_weight: float = 0.5
    head_weights: dict[str, float] = field(default_factory=dict)
    balanced: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        within("loss.smoothing", self.smoothing, 0, 1)
        within("loss.dice_weight", self.dice_weight, 0, 1)
        for name, weight in self.head_weights.items():
            within(f"loss.head_weights.{name}", weight, 0, 1e6)


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are changed.

    Attributes:
        name: `adam`, `adamw` for decoupled weight decay, or `sgd` with momentum 0.9.
        learning_rate: the highest learning rate.
        weight_decay: decay per step relative to the learning rate (`adamw` only).
        schedule: `constant`, or `cosine` down to a hundredth of `learning_rate`.
        warmup_epochs: epochs over which the rate first rises linearly from zero.
        clip_norm: largest norm of each weight's gradient, or None.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        within("optimizer.learning_rate", self.learning_rate, 1e-12, 10)
        within("optimizer.weight_decay", self.weight_decay, 0, 1)
        within("optimizer.warmup_epochs", self.warmup_epochs, 0, 1000)
        if self.weight_decay and self.name != "adamw":
            raise RecipeError(f"weight_decay {self.weight_decay} needs optimizer.name=adamw, received {self.name!r}")


@dataclass(frozen=True)
class Recipe(Settings):
    """A training run as a value; saved as `recipe.json` in the run's folder.

    Attributes:
        name: name of the recipe.
        model: what is built.
        preprocessing: how a radiograph becomes its input.
        task: `segment` (lung masks), `classify`, or `multi`: several heads on one encoder.
        labels: classes in output order; `("lung",)` for segmentation; for `multi` the classes of the model's output
            `probabilities`, from which a finding is made.
        augmentation: random changes of the training images.
        loss: what is minimised.
        optimizer: how weights are changed.
        epochs: passes over the training rows at most.
        batch: images per step.
        early_stop: epochs without a better `monitor` after which training stops, or None.
        monitor: what picks the checkpoint on the validation rows; `auto` is `val_macro_f1`, `val_dice` or `val_score`
            (the mean of the heads' scores), by task. `epoch` takes the last one, as papers do that name a number.
        class_weights: weigh every class (`multi`: every label) alike in the loss, whatever its number of images.
        train_splits: values of the manifest's column `split` to learn from.
        val_splits: values to choose the checkpoint on.
        leaks: patients that also stand in a split outside this run's (test, control ...): `refuse` the manifest, or
            `drop` their training and validation rows, which the log names.
        label_sets: partial labels: manifest label to the classes it leaves open, e.g. `{"other": ("normal", "cap")}`
            for images known not to be COVID-19. Labels in neither `labels` nor here are left out.
        label_share: share of the training patients that is learnt from, per label; with one seed a smaller share is
            part of a larger one.
        passes: how often an epoch sees each training image (`classify`), so that a share of 0.1 with ten passes takes
            as many steps as all images with one.
        initial_weights: what the model starts from: a weights file, filled in by layer name; `imagenet`, the backbone's
            weights by keras.applications (downloaded); `chexnet`, which only a file can give; `random`; or None, which
            is random too, for models that the literature starts so.
        initial_layers: which layers take part in that: `all` that are in the file, or the `encoder`'s alone.
        heads: names of `covidcx.training.heads` that are trained together (`multi`).
        head_splits: training splits that a head learns from, all of `train_splits` where it is absent: for images
            that are to teach some heads and not others.
        copies: labels whose training images are seen six times an epoch, as they are and in the five changed copies of
            `covidcx.data.copies` (COMiT-Net section 3.1; `multi`).
        view_balance: weigh AP and PA images of a label alike in the loss (`multi`).
        lung_as: what the heads of the lungs learn from a lung mask: the `mask`, or its two solid `boxes` (COMiT-Net
            section 3.2). Validation scores follow it; `covidcx evaluate` compares with the mask.
        missing_lungs: what a head of the lungs learns from a training image without a lung mask: `silent` is nothing,
            as COMiT-Net has it, `segmenter` the lungs that `segmenter` finds in it. Validation keeps to known lungs.
        segmenter: where lung masks come from when `preprocessing.roi` is set, or `missing_lungs`: a bundle's name, the
            folder of a bundle or of a finished run, or (ROI) `manifest` for the manifest's column `lung_mask`.
        seed: of initial weights, order, augmentation and dropout.
        mixed_precision: `auto` is float16 on a GPU and float32 on the CPU.
        selection: which rows of the training splits are learned from, and merged classes.
        freeze_epochs: epochs at the start in which only the dense layers learn; everything before them keeps its
            weights and normalisation statistics. As many as `epochs` or more never lets it learn.
        stages: epochs of each stage of a hierarchical classifier, `{"pneumonia": 10, "covid": 20}`: its first stage
            learns the first label against the others, its second tells these apart; `epochs` is the most for each.
            Empty trains one model.
    """

    name: str
    model: ModelSettings
    preprocessing: Preprocessing
    task: Literal["segment", "classify", "multi"]
    labels: tuple[str, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    epochs: int = 10
    batch: int = 16
    early_stop: int | None = None
    monitor: Literal["auto", "val_loss", "val_macro_f1", "val_dice", "val_score", "epoch"] = "auto"
    class_weights: bool = True
    train_splits: tuple[str, ...] = ("train",)
    val_splits: tuple[str, ...] = ("val",)
    leaks: Literal["refuse", "drop"] = "refuse"
    label_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label_share: float = 1.0
    passes: int = 1
    initial_weights: str | None = None
    initial_layers: Literal["all", "encoder"] = "all"
    heads: tuple[str, ...] = ()
    head_splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    copies: tuple[str, ...] = ()
    view_balance: bool = False
    lung_as: Literal["mask", "boxes"] = "mask"
    missing_lungs: Literal["silent", "segmenter"] = "silent"
    segmenter: str = "lung-unet"
    seed: int = 0
    mixed_precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    selection: Selection = field(default_factory=Selection)
    freeze_epochs: int = 0
    stages: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within("epochs", self.epochs, 1, 100_000)
        within("batch", self.batch, 1, 65_536)
        within("seed", self.seed, 0, 2**31 - 1)
        within("label_share", self.label_share, 1e-6, 1)
        within("passes", self.passes, 1, 100_000)
        if self.passes > 1 and self.task != "classify":
            raise RecipeError(f"passes={self.passes} is for task 'classify', not {self.task!r}; set epochs instead")
        if self.early_stop is not None:
            within("early_stop", self.early_stop, 1, 100_000)
        if self.task == "segment" and len(self.labels) != 1:
            raise RecipeError(f"a segmenter has one label, received {self.labels}; set labels=lung")
        if self.task == "classify" and len(self.labels) < 2:
            raise RecipeError(f"a classifier needs two labels or more, received {self.labels}")
        if len(set(self.labels)) != len(self.labels):
            raise RecipeError(f"labels must differ, received {self.labels}")
        if self.monitor not in ("auto", "val_loss", "epoch", _METRICS[self.task]):
            raise RecipeError(
                f"monitor {self.monitor!r} does not exist for task {self.task!r}; use auto, val_loss or epoch"
            )
        shared = set(self.train_splits) & set(self.val_splits)
        if shared or not self.train_splits or bool(self.val_splits) == bool(self.selection.holdout):
            raise RecipeError(
                f"train_splits {self.train_splits} and val_splits {self.val_splits} must be non-empty and disjoint; "
                f"with selection.holdout, now {self.selection.holdout:g}, val_splits must be empty"
            )
        within("freeze_epochs", self.freeze_epochs, 0, 100_000)
        self._check_label_sets()
        self._check_heads()
        self.selection.check(self.labels)
        self._check_stages()

    def _check_heads(self) -> None:
        if self.task != "multi":
            used = [name for name in ("heads", "head_splits", "copies", "view_balance") if getattr(self, name)]
            used += [f"loss.{name}" for name in ("head_weights", "balanced") if getattr(self.loss, name)]
            used += [name for name, plain in _OF_LUNGS.items() if getattr(self, name) != plain]
            if used:
                named = ", ".join(used)
                raise RecipeError(f"{named} belongs to task 'multi', not {self.task!r}; set task=multi or leave it out")
            return
        from covidcx.training import heads
        from covidcx.training.heads.head import ClassHead, MaskHead

        if not self.heads or len(set(self.heads)) != len(self.heads):
            raise RecipeError(f"task 'multi' needs heads, each once, received {self.heads}; known: {heads.names()}")
        for name in self.heads:
            heads.get(name)
        for name, plain in _OF_LUNGS.items():
            value = getattr(self, name)
            if value != plain and not _lung_head(self.heads):
                raise RecipeError(f"{name}={value} needs a head of the lungs, received {self.heads}; leave it out")
        other = self.preprocessing.needs_lungs or self.lung_as == "boxes" or self.selection.holdout
        if self.missing_lungs == "segmenter" and other:
            raise RecipeError(
                "missing_lungs=segmenter gives masks of whole training images; it goes with preprocessing.roi=none, "
                "lung_as=mask and a validation split of its own (selection.holdout=0)"
            )
        for where, named in (
            ("head_splits", self.head_splits), ("loss.head_weights", self.loss.head_weights),
            ("loss.balanced", self.loss.balanced),
        ):  # fmt: skip
            for name in named:
                if name not in self.heads:
                    raise RecipeError(f"{where} names {name!r}.{did_you_mean(name, self.heads)}")
        for name in self.loss.balanced:
            # A kind of its own brings fixed weights, or losses of its own.
            if type(heads.get(name)) not in (ClassHead, MaskHead):
                raise RecipeError(f"loss.balanced names {name!r}, whose loss has no classes to balance; leave it out")
        for name, splits in self.head_splits.items():
            for split in splits:
                if split not in self.train_splits:
                    raise RecipeError(f"head_splits.{name} names {split!r}.{did_you_mean(split, self.train_splits)}")

    def _check_stages(self) -> None:
        if not self.stages:
            return
        if tuple(self.stages) != STAGES or self.task != "classify" or len(self.labels) != 3 or self.label_sets:
            raise RecipeError(
                f"stages are {' and '.join(STAGES)}, of a classifier of three labels without label_sets; received "
                f"{self.stages} for {self.labels}"
            )
        for name, epochs in self.stages.items():
            within(f"stages.{name}", epochs, 1, 100_000)

    def _check_label_sets(self) -> None:
        for name, allowed in self.label_sets.items():
            if name in self.labels:
                raise RecipeError(f"label {name!r} is a class of its own and cannot also be a label set")
            for label in allowed:
                if label not in self.labels:
                    raise RecipeError(f"label_sets.{name} names {label!r}.{did_you_mean(label, self.labels)}")
            if not 1 <= len(allowed) < len(self.labels):
                raise RecipeError(
                    f"label_sets.{name} must leave open some of the classes {self.labels} but not all, "
                    f"received {allowed}"
                )

    @property
    def metric(self) -> str:
        """The monitored column of the log, `auto` resolved."""
        if self.monitor != "auto":
            return self.monitor
        return _METRICS[self.task]

    def override(self, overrides: Mapping[str, str]) -> "Recipe":
        """Return the recipe with settings replaced by text, as `--set key=value` gives them.

        Args:
            overrides: dotted key to text, e.g. `{"epochs": "3", "optimizer.learning_rate": "3e-4",
                "preprocessing.roi.blank": "true", "model.kwargs.filters": "8"}`.

        Returns:
            A new recipe.

        Raises:
            RecipeError: a key is unknown or a text does not fit the setting's type.

        Example:
            >>> from covidcx.training.recipes import get
            >>> get("lung-unet").override({"epochs": "3"}).epochs
            3
        """
        head = "model.kwargs."
        arguments = {key[len(head) :]: text for key, text in overrides.items() if key.startswith(head)}
        start = self._without_other_heads(overrides["heads"]) if "heads" in overrides else self
        recipe = apply_overrides(start, {k: v for k, v in overrides.items() if not k.startswith(head)})
        if not arguments:
            return recipe
        kwargs = {**recipe.model.kwargs, **_parse_arguments(recipe.model.name, arguments)}
        return replace(recipe, model=replace(recipe.model, kwargs=kwargs))

    def _without_other_heads(self, text: str) -> "Recipe":
        """Drop what is set for heads that a text leaves out, so that one setting takes some of the tasks."""
        kept = parse(tuple[str, ...], text, "heads")
        splits, weights = (
            {name: value for name, value in table.items() if name in kept}
            for table in (self.head_splits, self.loss.head_weights)
        )
        balanced = tuple(name for name in self.loss.balanced if name in kept)
        loss = replace(self.loss, head_weights=weights, balanced=balanced)
        return replace(self, head_splits=splits, loss=loss, **({} if _lung_head(kept) else _OF_LUNGS))

    def model_spec(self) -> dict[str, Any]:
        """Return the model with all its arguments, as a bundle records it.

        Returns:
            `{"name": ..., "kwargs": {...}}`; input size and classes follow from preprocessing and labels.

        Raises:
            RecipeError: the model is unknown, takes no such argument, or contradicts the preprocessing.
        """
        size, channels = self.preprocessing.size, len(self.preprocessing.channels)
        derived = {"input_shape": [*size, channels], "size": size[0], "classes": len(self.labels)}
        if self.heads:
            derived["tasks"] = list(self.heads)
        known = _arguments(self.model.name)
        kwargs = json.loads(json.dumps(self.model.kwargs))
        for name in kwargs:
            if name not in known:
                raise RecipeError(f"model {self.model.name!r} takes no {name!r}.{did_you_mean(name, known)}")
        for name, value in derived.items():
            if name in known and kwargs.setdefault(name, value) != value:
                raise RecipeError(
                    f"model.kwargs.{name}={kwargs[name]} contradicts preprocessing size {size}, {channels} channels, "
                    f"labels {self.labels} and heads {self.heads}; leave it out, it follows from them"
                )
        if "size" in known and "input_shape" not in known and size[0] != size[1]:
            raise RecipeError(f"model {self.model.name!r} takes a square input, received preprocessing.size={size}")
        return {"name": self.model.name, "kwargs": kwargs}


def _lung_head(names: tuple[str, ...]) -> bool:
    from covidcx.training import heads

    return any(heads.get(name).output == "lung" for name in names)


def _arguments(model: str) -> dict[str, Any]:
    from covidcx.models.registry import builder

    function = builder(model)
    hints = typing.get_type_hints(function)
    return {name: hints.get(name, Any) for name in inspect.signature(function).parameters}


def _parse_arguments(model: str, texts: dict[str, str]) -> dict[str, Any]:
    known = _arguments(model)
    for name in texts:
        if name not in known:
            raise RecipeError(f"model {model!r} takes no {name!r}.{did_you_mean(name, known)}")
    return {name: parse(known[name], text, f"model.kwargs.{name}") for name, text in texts.items()}


def within(key: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside its range with a `RecipeError` that names the setting."""
    if not low <= value <= high:
        raise RecipeError(f"setting {key!r} must lie within {low:g} and {high:g}, received {value!r}")
