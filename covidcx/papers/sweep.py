"""Many trainings as one resumable piece of work: seeds, folds, ablations."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from covidcx.evaluation.intervals import Interval
from covidcx.papers.item import Context
from covidcx.papers.trained import Cell, Trained, train_cell
from covidcx.progress import track

T = TypeVar("T")
log = logging.getLogger(__name__)


def seeds(context: Context, recipe: str, count: int | None = None, name: str | None = None) -> list[Cell]:
    """Return one cell per initialisation of a recipe.

    Args:
        context: of the item; its seed is the first.
        recipe: a recipe's name.
        count: initialisations; the budget's by default.
        name: the first run's folder; the others get `-seed1`, `-seed2` ... behind it.

    Returns:
        The cells; the first is the run that `trained(context, recipe)` finds.
    """
    first = name or recipe
    cells = [Cell(recipe, first, {})]
    for seed in range(context.seed + 1, context.seed + (count or context.budget.seeds)):
        cells.append(Cell(recipe, f"{first}-seed{seed}", {"seed": str(seed)}))
    return cells


def sweep(context: Context, cells: Sequence[Cell], measure: Callable[[Trained], T]) -> dict[str, T]:
    """Train every cell and measure it; what is finished is found again, so an interrupted sweep goes on.

    Args:
        context: of the item.
        cells: their names must differ.
        measure: called with each finished run.

    Returns:
        Per cell's name what `measure` returned.
    """
    found: dict[str, T] = {}
    for cell in track(cells, f"{len(cells)} trainings", total=len(cells)):
        run = train_cell(context, cell)
        log.info("%s: best %s", cell.name, run.best)
        found[cell.name] = measure(run)
    return found


def spread(values: Sequence[float]) -> Interval:
    """Return mean and range of a figure over initialisations, as COVID-CXNet's Table 6 gives them.

    Args:
        values: one per initialisation.

    Returns:
        The mean; low and high are the smallest and largest value, `repeats` their number.
    """
    known = np.asarray(values, np.float64)
    return Interval(float(known.mean()), float(known.min()), float(known.max()), len(known), 0)
