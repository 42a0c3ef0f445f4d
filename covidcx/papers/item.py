"""A table or figure of a paper as a function, and what it is given to work with."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from covidcx.errors import CovidcxError, MissingDataError, did_you_mean
from covidcx.papers.comparison import SYNTHETIC, Comparison, Table, judge

if TYPE_CHECKING:
    import pandas as pd

    from covidcx.data.manifest import Manifest
    from covidcx.evaluation.intervals import Interval


@dataclass(frozen=True)
class Budget:
    """How much is spent on an item.

    Attributes:
        name: what it is called, `phantom, reduced` say; stated in every result.
        overrides: settings that replace those of every recipe the item trains, as text (`--set`).
        seeds: initialisations of an item that repeats its trainings.
        bootstrap: resamples per interval.
    """

    name: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 1
    bootstrap: int = 1000

    def text(self) -> str:
        """Return the budget in one line."""
        settings = ", ".join(f"{key}={value}" for key, value in self.overrides.items()) or "the recipes' own settings"
        return f"{self.name}: {settings}; {self.seeds} initialisation{'s' * (self.seeds != 1)} where repeated"


@dataclass(frozen=True)
class Context:
    """What an item is given.

    Attributes:
        manifest_path: the table of studies.
        phantom: whether its images are synthetic.
        out: existing folder of this item's figures.
        work: folder of trained runs and bundles, shared by the items of a paper.
        budget: how much is spent.
        seed: of data, initial weights and resampling.
        weights: published weights files by name (`chexnet`), for models that start from them.
        train: whether runs that are not finished may be trained; rows that need one are skipped otherwise.
    """

    manifest_path: Path
    phantom: bool
    out: Path
    work: Path
    budget: Budget
    seed: int = 0
    weights: Mapping[str, Path] = field(default_factory=dict)
    train: bool = True

    @cached_property
    def manifest(self) -> "Manifest":
        """The table of studies, read once."""
        from covidcx.data.manifest import Manifest

        return Manifest.read(self.manifest_path)

    def rows(
        self,
        what: str,
        split: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        column: str | None = None,
    ) -> "pd.DataFrame":
        """Return the manifest's rows that an item needs.

        Args:
            what: what the rows are needed for, for the message.
            split: splits, or None for all.
            labels: labels, or None for all.
            column: a column that must be filled.

        Returns:
            At least one row.

        Raises:
            MissingDataError: there is none.
        """
        frame, missing = self.manifest.frame, []
        if split is not None:
            missing.append(f"split {' or '.join(split)}")
            frame = frame[frame["split"].isin(list(split))]
        if labels is not None:
            missing.append(f"label {' or '.join(labels)}")
            frame = frame[frame["label"].isin(list(labels))]
        if column is not None:
            missing.append(f"column {column!r} filled")
            frame = frame[frame[column].notna()] if column in frame else frame.iloc[:0]
        if frame.empty:
            raise MissingDataError(f"{what} needs rows with {', '.join(missing)}; {self.manifest_path.name} has none")
        return frame

    def judge(
        self, system: str, metric: str, published: float | None, ours: "Interval", not_comparable: str = ""
    ) -> Comparison:
        """Compare a published value with ours; on the phantom nothing is comparable, and the reason says so."""
        return judge(system, metric, published, ours, SYNTHETIC if self.phantom else not_comparable)


@dataclass(frozen=True)
class Result:
    """What an item found.

    Attributes:
        comparisons: published values beside ours.
        tables: tables shown as they are.
        figures: pictures, in the item's folder.
        notes: what a reader must know, one sentence each.
        split_hash: of the manifest used, or None where none was.
    """

    comparisons: tuple[Comparison, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    split_hash: str | None = None


@dataclass(frozen=True)
class Item:
    """A table or figure that can be rerun.

    Attributes:
        name: `table-4` or `figure-12`, or a word of our own (`shortcuts`).
        title: the paper's caption in short.
        run: makes the result.
        needs: what the manifest must have, for `--list`.
        trains: whether models are trained (minutes instead of seconds).
    """

    name: str
    title: str
    run: Callable[[Context], Result]
    needs: str = "images and labels"
    trains: bool = False


@dataclass(frozen=True)
class Paper:
    """A paper's items.

    Attributes:
        name: as on the command line.
        citation: authors, title, year.
        items: in the order of the paper.
        labels: the phantom's set of labels that suits the paper (`covidcx.data.phantom`).
        phantom_overrides: settings of the reduced budget on the phantom.
        seeds: initialisations that the paper reports.
        patients: size of the default phantom.
        splits: share of the phantom's patients per split; `covidcx.data.phantom`'s own by default.
        weights: names of the published weights files that `--weights NAME=FILE` takes.
    """

    name: str
    citation: str
    items: tuple[Item, ...]
    labels: str = "covid-cxnet"
    phantom_overrides: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 1
    patients: int = 60
    splits: Mapping[str, float] | None = None
    weights: tuple[str, ...] = ()

    def item(self, name: str) -> Item:
        """Return an item by name; `Table 4`, `table4`, `tab. 4`, `fig-12` are understood.

        Raises:
            CovidcxError: there is no such item.
        """
        items = {item.name: item for item in self.items}
        wanted = canonical(name)
        if wanted not in items:
            raise CovidcxError(f"{self.name} has no {name!r} to reproduce.{did_you_mean(wanted, items)}")
        return items[wanted]


def in_order(*groups: Sequence[Item]) -> tuple[Item, ...]:
    """Return items as a reader looks for them: tables by number, figures by number, then words of our own."""

    def place(item: Item) -> tuple[int, int]:
        kind, _, number = item.name.partition("-")
        kinds = ("table", "figure")
        return (kinds.index(kind), int(number)) if kind in kinds and number.isdigit() else (len(kinds), 0)

    return tuple(sorted((item for group in groups for item in group), key=place))


def canonical(name: str) -> str:
    """Return an item's name as it is registered.

    Example:
        >>> canonical("Fig. 12")
        'figure-12'
    """
    text = name.strip().lower()
    match = re.fullmatch(r"(tab(?:le)?|fig(?:ure)?)s?[\s._-]*(\w+)", text)
    if not match or not any(letter.isdigit() for letter in match[2]):
        return text.replace(" ", "-").replace("_", "-")
    return f"{'table' if match[1].startswith('tab') else 'figure'}-{match[2]}"
