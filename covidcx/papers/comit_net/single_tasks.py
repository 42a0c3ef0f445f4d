"""Is one network for all tasks better than one for each? Not in the paper, whose Table 5 looks at task 4 alone.

The networks differ by their heads only: the same encoder, rows, budget and seed. Both answer the same test images and
are resampled together, so that the interval of a difference is that of the pair.
"""

from collections.abc import Sequence
from functools import partial

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.evaluation.intervals import WeightedMetric, bootstrap_all, mean
from covidcx.evaluation.pixels import count_pixels
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.roc import sensitivity_at_specificity
from covidcx.papers.comit_net import ablation
from covidcx.papers.comit_net.protocol import COMIT, SPECIFICITY, covid_scores, described, subset, targets
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Cell, Trained, train_cell, trained

SMALL = "comit-net-small"
SYSTEMS = ("all tasks", "single task", "difference")
_METRICS = {
    "lung": ("lung IoU, mean over images",),
    "disease": ("disease true positive rate at 0.5, mean over images", "disease Dice, mean over images"),
    "infection": ("COVID-19 sensitivity at 90% specificity",),
}


def cells(recipe: str = COMIT) -> dict[str, Cell]:
    """Return the network of each task that is measured, by its head; the paper's of COVID-19 is Table 5's."""
    found = {head: Cell(recipe, f"{recipe}-{head}", {"heads": head}) for head in _METRICS}
    return found if recipe == SMALL else {**found, "infection": ablation.cells()["Task 4 Only"]}


def single_tasks(context: Context, recipe: str = COMIT) -> Result:
    """Train a network for each task alone and compare it with the one for all tasks on the test rows."""
    rows, notes = [], []

    def measure(head: str, cell: Cell) -> list[Comparison]:
        several, single = trained(context, recipe), train_cell(context, cell)
        notes.append(f"{head} alone: {described(single)}")
        test = subset(context, "single tasks", ("test",), head)
        answers = _classes if head == "infection" else _masks
        (patients, ours), (_, alone) = (answers(run, head, test) for run in (several, single))
        found = []
        for title, first, second in zip(_METRICS[head], ours, alone, strict=True):
            both = (first, second, lambda w, a=first, b=second: a(w) - b(w))
            metrics = dict(zip(SYSTEMS, both, strict=True))
            values = bootstrap_all(metrics, patients, context.budget.bootstrap, context.seed)
            found += [context.judge(system, title, None, value) for system, value in values.items()]
        return found

    for head, cell in cells(recipe).items():
        rows += attempt(cell.name, dict.fromkeys(_METRICS[head]), lambda head=head, cell=cell: measure(head, cell))
    return Result(tuple(rows), notes=tuple(notes), split_hash=split_hash(context.manifest.frame))


def _masks(run: Trained, head: str, test: Manifest) -> tuple[Sequence[str], list[WeightedMetric]]:
    prepared = run.prepare(test)
    counts = count_pixels(run.outputs(prepared.images)[head][..., -1], targets(prepared, test, head)[..., 0])
    figures = (counts.iou,) if head == "lung" else (counts.true_positive_rate, counts.dice)
    return patients_of(prepared.rows), [lambda w, v=values: mean(v, w) for values in figures]


def _classes(run: Trained, head: str, test: Manifest) -> tuple[Sequence[str], list[WeightedMetric]]:
    found = covid_scores(run, test)
    return found.patients, [lambda w: sensitivity_at_specificity(found.positive, found.score, SPECIFICITY, w)]


ITEMS = (
    Item("single-tasks", "Each task alone against all together (ours)", single_tasks, "labels, masks", trains=True),
    Item("single-tasks-small", "The same with the settings of the shipped network (ours)",
         partial(single_tasks, recipe=SMALL), "labels, masks", trains=True),
)
