"""Figures 9, 11 and 13: learning curves and ROC of the base models and of DenseNet-121 from ImageNet."""

import numpy as np

from covidcx.data.splits import split_hash
from covidcx.evaluation.intervals import Interval
from covidcx.evaluation.plots import learning_figure, roc_figure, save_figure
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.covid_cxnet.models import (
    BASE_V1,
    BASE_V2,
    CHILDREN,
    DENSENET,
    Model,
    cell_of,
    not_comparable,
    run_of,
    start_of,
)
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Cell, Trained, measure, train_cell

_V2_AUC = 0.9984
_FIG_9 = (450, 600)
_PHANTOM_FIG_9 = (8, 16)
_KERMANY = CHILDREN.replace('["pediatric"]', '["pediatric"], "sources": ["kermany"]')
_NO_TRAINING_ACCURACY = "Accuracy is that of the validation images; on training images it is not logged."


def log_of(run: Trained) -> dict[str, list[float]]:
    """Return a run's log: one list per column, one value per epoch."""
    rows = run.folder.read_log()
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def fluctuation(values: list[float]) -> float:
    """Measure how much a curve jumps: mean absolute step between epochs over the curve's mean; NaN under 2 epochs."""
    steps = np.abs(np.diff(np.asarray(values, np.float64)))
    return float(steps.mean() / np.mean(values)) if len(steps) else float("nan")


def figure_9(context: Context) -> Result:
    """Draw the base model's loss on 450 and on 600 images, and measure how much the curves jump."""
    sizes = _PHANTOM_FIG_9 if context.phantom else _FIG_9
    figures = []

    def rows() -> list[Comparison]:
        largest = run_of(context, BASE_V1)
        found = []
        for panel, size in zip("ab", sizes, strict=True):
            run = largest if size == sizes[-1] else train_cell(context, _smaller(context, largest, size))
            log = log_of(run)
            title = f"({panel}) Base model, {'at most ' if context.phantom else ''}{size} images"
            curves = {"training": log["loss"], "validation": log["val_loss"]}
            figures.append(save_figure(learning_figure(curves, "Loss", title), context.out / f"figure-9{panel}.png"))
            found += [
                context.judge(
                    f"{size} images",
                    "fluctuation of the validation loss",
                    None,
                    plain_value(fluctuation(log["val_loss"])),
                ),
                context.judge(
                    f"{size} images", "best validation accuracy", None, plain_value(max(log["val_accuracy"]))
                ),
            ]
        return found

    comparisons = attempt("base model", {"fluctuation of the validation loss": None}, rows)
    note = (
        "Fluctuation: mean absolute step between epochs over the mean of the curve. The paper: less with more images."
    )
    return Result(
        tuple(comparisons), figures=tuple(figures), notes=(note,), split_hash=split_hash(context.manifest.frame)
    )


def figure_11(context: Context) -> Result:
    """Draw base model v2's loss, accuracy and ROC."""
    figures = []

    def rows() -> list[Comparison]:
        run = run_of(context, BASE_V2)
        context.rows(BASE_V2.name, split=("test",), labels=("covid",))
        log = log_of(run)
        for panel, quantity, curves, limits in (
            ("a", "Loss", {"training": log["loss"], "validation": log["val_loss"]}, None),
            ("b", "Accuracy", {"validation": log["val_accuracy"]}, (0.0, 1.02)),
        ):
            drawn = learning_figure(curves, quantity, f"({panel}) {BASE_V2.name}", limits)
            figures.append(save_figure(drawn, context.out / f"figure-11{panel}.png"))
        table = run.answers(context.manifest.subset(split="test", labels=run.recipe.labels))
        positive = np.array([truth == "covid" for truth in table.truth])
        scores = table.probabilities[:, table.labels.index("covid")]
        drawn = roc_figure(
            {"covid against normal": (positive, scores)}, f"(c) {BASE_V2.name}, {len(table)} test images"
        )
        figures.append(save_figure(drawn, context.out / "figure-11c.png"))
        metrics = measure(table, context).metrics
        why = not_comparable(context, BASE_V2, run)
        return [
            context.judge(BASE_V2.name, "AUC", _V2_AUC, metrics["auc_covid"], why),
            context.judge(BASE_V2.name, "accuracy", BASE_V2.accuracy, metrics["accuracy"], why),
            context.judge(BASE_V2.name, "F1, COVID-19", BASE_V2.f1, metrics["f1_covid"], why),
        ]

    comparisons = attempt(
        BASE_V2.name, {"AUC": _V2_AUC, "accuracy": BASE_V2.accuracy, "F1, COVID-19": BASE_V2.f1}, rows
    )
    return Result(tuple(comparisons), figures=tuple(figures), notes=(_NO_TRAINING_ACCURACY,),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def figure_13(context: Context) -> Result:
    """Draw the fine-tuning of DenseNet-121 from ImageNet: only its dense layers, then everything."""
    figures, notes = [], []

    def rows() -> list[Comparison]:
        run = run_of(context, DENSENET)
        log, frozen = log_of(run), run.recipe.freeze_epochs
        frozen_for = f"backbone frozen for {frozen} of {len(log['loss'])} epochs"
        told = f"{DENSENET.name}: {start_of(run)} start; {frozen_for}"
        for name, quantity, curves, limits in (
            ("figure-13a", "Loss", {"training": log["loss"], "validation": log["val_loss"]}, None),
            ("figure-13b", "Accuracy", {"validation": log["val_accuracy"]}, (0.0, 1.02)),
        ):
            drawn = learning_figure(curves, quantity, f"{DENSENET.name}\n{frozen_for}", limits, mark=frozen)
            figures.append(save_figure(drawn, context.out / f"{name}.png"))
        notes.append(f"{told}. The paper: frozen features learn nothing, longer training overfits.")
        parts = {"frozen": log["val_macro_f1"][:frozen], "all layers": log["val_macro_f1"][frozen:]}
        return [
            context.judge(DENSENET.name, f"best validation macro F1, {part}", None, plain_value(max(values)))
            for part, values in parts.items()
            if values
        ]

    comparisons = attempt(DENSENET.name, {"best validation macro F1": None}, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=(*notes, _NO_TRAINING_ACCURACY),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def _smaller(context: Context, like: Trained, images: int) -> Cell:
    """Return base model v1 on fewer images, otherwise trained as the run it is compared with."""
    text = (CHILDREN if context.phantom else _KERMANY) % (images // 2, images // 2)
    size = ",".join(map(str, like.recipe.preprocessing.size))
    first = cell_of(context, BASE_V1)
    settings = {
        "selection.only": text, "preprocessing.size": size, "epochs": str(like.recipe.epochs),
        "monitor": like.recipe.monitor,
    }  # fmt: skip
    return Cell(first.recipe, f"{first.name}-{images}", {**first.overrides, **settings})


def plain_value(value: float) -> Interval:
    """A value of one run that has no patients to resample."""
    return Interval(float(value), float("nan"), float("nan"), 0, 0)


def _item(name: str, title: str, run, model: Model) -> Item:
    needs = "splits train, val, test" + ("".join(f", {split} ({label})" for split, label in model.needs))
    return Item(name, title, run, needs + (f"; weights {model.start}" if model.start else ""), trains=True)


ITEMS = (
    _item("figure-9", "Learning curves of the base model on 450 and 600 images", figure_9, BASE_V1),
    _item("figure-11", "Base model v2: loss, accuracy, ROC", figure_11, BASE_V2),
    _item("figure-13", "Fine-tuning curve of DenseNet-121 from ImageNet", figure_13, DENSENET),
)
