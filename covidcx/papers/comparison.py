"""A published value beside ours, and what may be said of the two."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from covidcx.errors import MissingDataError, WeightsError
from covidcx.evaluation.intervals import Interval

Verdict = Literal["reproduced", "differs", "not comparable", "skipped", "ours only"]
SYNTHETIC = "synthetic radiographs and a reduced budget; pass --data MANIFEST for real ones"


@dataclass(frozen=True)
class Comparison:
    """One number of a table or figure.

    Attributes:
        system: whose number it is (a model, a class, a data set).
        metric: what is measured, e.g. `accuracy`.
        published: the paper's value, or None where the paper has none.
        ours: our value with its 95% interval, or None where it could not be measured.
        verdict: see `judge`.
        reason: why, in one sentence; empty for `reproduced` and `ours only`.
    """

    system: str
    metric: str
    published: float | None
    ours: Interval | None
    verdict: Verdict
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {**asdict(self), "ours": None if self.ours is None else self.ours.to_dict()}


@dataclass(frozen=True)
class Table:
    """A table that is shown as it is, a confusion matrix or counts.

    Attributes:
        title: heading.
        header: names of the columns.
        rows: cells as text or numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return f"**{self.title}**\n\n" + markdown(self.header, self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def judge(system: str, metric: str, published: float | None, ours: Interval, not_comparable: str = "") -> Comparison:
    """Compare a published value with ours.

    `reproduced`: the published value lies in our 95% interval. `differs`: it lies outside. `not comparable`: data,
    start or budget are too far from the paper's for either word; the reason says which. `ours only`: the paper has no
    such value.

    Args:
        system: whose number it is.
        metric: what is measured.
        published: the paper's value.
        ours: our value with its interval.
        not_comparable: the reason, where there is one.

    Returns:
        The comparison.

    Example:
        >>> judge("COVID-CXNet v1", "accuracy", 0.99, Interval(0.97, 0.95, 0.995, 1000, 0)).verdict
        'reproduced'
    """
    if published is None:
        return Comparison(system, metric, None, ours, "ours only")
    if not_comparable:
        return Comparison(system, metric, published, ours, "not comparable", not_comparable)
    if not ours.low <= ours.high:
        return Comparison(system, metric, published, ours, "not comparable", "our value has no interval on these rows")
    if ours.low <= published <= ours.high:
        return Comparison(system, metric, published, ours, "reproduced")
    side = "above" if published > ours.high else "below"
    return Comparison(system, metric, published, ours, "differs", f"the published value lies {side} our interval")


def skipped(system: str, metric: str, published: float | None, reason: str) -> Comparison:
    """Return a comparison that could not be made."""
    return Comparison(system, metric, published, None, "skipped", reason)


def attempt(
    system: str, published: dict[str, float | None], measure: Callable[[], Sequence[Comparison]]
) -> list[Comparison]:
    """Measure a row of a table; where data or weights that it needs are missing, skip the row and say which.

    Args:
        system: whose row it is.
        published: the row's metrics with the paper's values.
        measure: makes the row's comparisons; may raise `MissingDataError` or `WeightsError`.

    Returns:
        The measured comparisons, or one skipped comparison per metric.
    """
    try:
        return list(measure())
    except (MissingDataError, WeightsError) as error:
        return [skipped(system, metric, value, str(error)) for metric, value in published.items()]


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(map(str, header)) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def comparison_rows(comparisons: Sequence[Comparison]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of comparisons as people read them."""
    rows = [
        (
            c.system, c.metric, "" if c.published is None else f"{c.published:g}",
            "" if c.ours is None else str(c.ours), c.verdict + (f": {c.reason}" if c.reason else ""),
        )
        for c in comparisons
    ]  # fmt: skip
    return ("system", "metric", "published", "ours (95% interval)", "verdict"), rows
