"""Table 5: COMiT-Net with any subset of its tasks that has the fourth."""

from covidcx.data.splits import split_hash
from covidcx.evaluation.intervals import bootstrap_all
from covidcx.evaluation.roc import sensitivity_at_specificity
from covidcx.papers.comit_net.protocol import COMIT, SPECIFICITY, covid_scores, described, not_comparable, subset
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Cell, train_cell
from covidcx.progress import track
from covidcx.training import recipes

ROWS: dict[str, tuple[tuple[int, ...], float]] = {
    "All 4 Tasks": ((1, 2, 3, 4), 0.968),
    "Task 4 Only": ((4,), 0.844),
    "Task 1 and 4": ((1, 4), 0.944),
    "Task 2 and 4": ((2, 4), 0.576),
    "Task 3 and 4": ((3, 4), 0.678),
    "Task 1, 2 and 4": ((1, 2, 4), 0.928),
    "Task 1, 3 and 4": ((1, 3, 4), 0.872),
    "Task 2, 3 and 4": ((2, 3, 4), 0.544),
}
"""The table's rows: numbers of the tasks and the published sensitivity."""
_METRIC = "COVID-19 sensitivity at 90% specificity"


def cells() -> dict[str, Cell]:
    """Return one training per row; that of all tasks is the one the other items use."""
    found, tasks = {}, recipes.get(COMIT).heads
    for row, (numbers, _) in ROWS.items():
        if len(numbers) == len(tasks):
            found[row] = Cell(COMIT, COMIT, {})
        else:
            named = ",".join(tasks[number - 1] for number in numbers)
            found[row] = Cell(COMIT, f"{COMIT}-tasks-{''.join(map(str, numbers))}", {"heads": named})
    return found


def table_5(context: Context) -> Result:
    """Train the eight subsets, each resumable, and measure the sensitivity to COVID-19 at 90% specificity."""
    test, notes = subset(context, "Table 5", ("test",), "infection"), []

    def measure(row: str, cell: Cell) -> list[Comparison]:
        run = train_cell(context, cell)
        found = covid_scores(run, test)
        ours = bootstrap_all(
            {_METRIC: lambda w: sensitivity_at_specificity(found.positive, found.score, SPECIFICITY, w)},
            found.patients, context.budget.bootstrap, context.seed,
        )[_METRIC]  # fmt: skip
        notes.append(f"{row}: {described(run)}")
        return [context.judge(row, _METRIC, ROWS[row][1], ours, not_comparable(context))]

    rows = cells()
    found = [
        attempt(row, {_METRIC: ROWS[row][1]}, lambda row=row, cell=cell: measure(row, cell))
        for row, cell in track(rows.items(), f"{len(rows)} subsets of the tasks", total=len(rows))
    ]
    comparisons = tuple(comparison for part in found for comparison in part)
    return Result(comparisons, notes=tuple(notes), split_hash=split_hash(context.manifest.frame))


ITEMS = (Item("table-5", "Ablation of the tasks", table_5, "labels, masks", trains=True),)
