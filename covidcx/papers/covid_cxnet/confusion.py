"""Tables 1 to 5: confusion matrices, and every rate that follows from them."""

from functools import partial

import numpy as np

from covidcx.data.splits import split_hash
from covidcx.evaluation.classification import ClassificationResult, share_called
from covidcx.evaluation.plots import confusion_figure, save_figure
from covidcx.evaluation.predictions import PredictionTable
from covidcx.papers.comparison import Comparison, Table, attempt
from covidcx.papers.covid_cxnet.models import (
    BASE_V1,
    BASE_V2,
    CXNET_V1,
    FLAT,
    HIERARCHICAL,
    Model,
    epochs_of,
    not_comparable,
    run_of,
    start_of,
)
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Trained, measure

NAMES = {"normal": "normal", "cap": "CAP", "covid": "COVID-19"}
CONTROL = "control: CAP of the COVID source called COVID-19"
CAP_CALLED = "test: CAP called COVID-19"
_RATES = {"recall": "sensitivity", "precision": "precision", "specificity": "specificity", "f1": "F1"}


def metric_title(name: str) -> str:
    """Spell `accuracy` or `f1_covid` out as these tables do."""
    kind, _, label = name.partition("_")
    return f"{_RATES[kind]}, {NAMES[label]}" if kind in _RATES else name


def published_rates(model: Model) -> dict[str, float | None]:
    """Return what the paper's confusion matrix says, by this project's metric names."""
    return dict(model.confusion.rates) if model.confusion is not None else {}


def confusion_table(context: Context, model: Model) -> Result:
    """Set a model's published confusion matrix beside ours on the test rows.

    Args:
        context: of the item.
        model: one with a published matrix.

    Returns:
        Rates with intervals, both matrices, and what the model calls CAP images of the COVID source.
    """
    published = published_rates(model)
    tables, figures, notes = (
        [_matrix(f"{model.name}, published", model.confusion.labels, model.confusion.counts)],
        [],
        [],
    )
    hashes: list[str] = []

    def rows() -> list[Comparison]:
        run = run_of(context, model)
        context.rows(model.name, split=("test",), labels=("covid",))
        context.rows(model.name, split=("test",), labels=("normal",))
        table = run.answers(context.manifest.subset(split=("test", "control")))
        of_test = table.take([i for i, split in enumerate(table.splits) if split == "test"])
        found = measure(of_test, context)
        tables.append(_matrix(f"{model.name}, ours: split test", found.labels, found.confusion.tolist()))
        title = f"{model.name} on {found.images} test images"
        figure = confusion_figure(found.confusion, [NAMES[name] for name in found.labels], title)
        figures.append(save_figure(figure, context.out / "confusion.png"))
        notes.extend([_told(model, run, found), *_departures(run)])
        hashes.append(split_hash(context.manifest.frame))
        why = not_comparable(context, model, run)
        judged = [
            context.judge(model.name, metric_title(name), value, found.metrics[name], why)
            for name, value in published.items()
        ]
        return judged + called_covid(context, model.name, table)

    comparisons = attempt(model.name, {metric_title(name): value for name, value in published.items()}, rows)
    return Result(tuple(comparisons), tuple(tables), tuple(figures), tuple(notes), hashes[0] if hashes else None)


def called_covid(context: Context, name: str, table: PredictionTable) -> list[Comparison]:
    """Say how many CAP images are called COVID-19, those of the test split and those of the COVID source.

    Args:
        context: of the item.
        name: whose row it is.
        table: answers on the rows of test and control.

    Returns:
        One comparison per split that has CAP images; without a published value, since the paper has none.
    """
    found = []
    for split, title in (("test", CAP_CALLED), ("control", CONTROL)):
        rows = [i for i, truth in enumerate(table.truth) if truth == "cap" and table.splits[i] == split]
        if rows:
            part = table.take(rows)
            share = share_called(part.predicted, part.patients, "covid", context.budget.bootstrap, context.seed)
            found.append(context.judge(name, title, None, share))
    return found


def table_1(context: Context) -> Result:
    """Test base model v1, whose normals are children, on adults."""
    found = confusion_table(context, BASE_V1)
    note = (
        "The paper's external set has 60 images (30 adult normals, 30 COVID-19); ours is the whole test split, whose "
        "normals are adults of NIH ChestX-ray14, a hospital the model has never seen."
    )
    return Result(found.comparisons, found.tables, found.figures, (note, *found.notes), found.split_hash)


def _matrix(title: str, labels, counts) -> Table:
    rows = [
        (f"true {NAMES[name]}", *map(int, row)) for name, row in zip(labels, np.asarray(counts).tolist(), strict=True)
    ]
    return Table(title, ("", *(f"called {NAMES[name]}" for name in labels)), tuple(rows))


def _told(model: Model, run: Trained, found: ClassificationResult) -> str:
    counts = ", ".join(f"{count} {NAMES[name]}" for name, count in found.per_label.items())
    return (
        f"{model.name}: {start_of(run)} start, best epoch {run.best['epoch']} of {epochs_of(run)} chosen on validation "
        f"rows, trained for {run.seconds:.0f} s; tested on {counts} of {found.patients} patients; the most probable "
        "class is called"
    )


def _departures(run: Trained) -> list[str]:
    return [f"Where this run differs from the recipe: {'; '.join(run.departures)}"] if run.departures else []


ITEMS = tuple(
    Item(model.confusion.table, title, function, needs, trains=True)
    for model, title, function, needs in (
        (BASE_V1, "Confusion matrix of base model v1 on an external set of adults", table_1,
         "splits test and pediatric (normal)"),
        (BASE_V2, "Confusion matrix of base model v2", partial(confusion_table, model=BASE_V2),
         "splits train, val, test"),
        (CXNET_V1, "Confusion matrix of COVID-CXNet v1", partial(confusion_table, model=CXNET_V1),
         "splits train, val, test; weights chexnet"),
        (FLAT, "Confusion matrix of flat multiclass COVID-CXNet", partial(confusion_table, model=FLAT),
         "splits train, val, test with CAP; weights chexnet"),
        (HIERARCHICAL, "Confusion matrix of hierarchical COVID-CXNet", partial(confusion_table, model=HIERARCHICAL),
         "splits train, val, test with CAP; weights chexnet"),
    )
)  # fmt: skip
