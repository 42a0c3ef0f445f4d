"""Rerun tables and figures, and leave what was found beside what was published."""

import csv
import io
import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.data.phantom import write_phantom
from covidcx.errors import CovidcxError, ManifestError, WeightsError, did_you_mean
from covidcx.finding import DISCLAIMER
from covidcx.papers.comparison import comparison_rows, markdown
from covidcx.papers.item import Budget, Context, Item, Paper, Result

log = logging.getLogger(__name__)

RESULT, REPORT, TABLE = "result.json", "README.md", "comparisons.csv"
_PHANTOM_SIZE = 256


@dataclass(frozen=True)
class Job:
    """What is rerun, and with what.

    Attributes:
        paper: whose items.
        items: which; all by default.
        out: folder of the results, one folder per item below it.
        data: the table of studies, or None for the phantom.
        work: folder of trained runs; `out / "runs"` by default.
        overrides: settings for every training, as text; on the phantom they win over the reduced budget's.
        seeds: initialisations where an item repeats its trainings; the paper's number by default, two on the phantom.
        bootstrap: resamples per interval.
        seed: of phantom, initial weights and resampling.
        weights: published weights files by name.
        train: whether unfinished runs may be trained.
    """

    paper: Paper
    items: tuple[Item, ...]
    out: Path
    data: Path | None = None
    work: Path | None = None
    overrides: Mapping[str, str] | None = None
    seeds: int | None = None
    bootstrap: int = 1000
    seed: int = 0
    weights: Mapping[str, Path] | None = None
    train: bool = True

    def __post_init__(self) -> None:
        for name, path in (self.weights or {}).items():
            if name not in self.paper.weights:
                known = did_you_mean(name, self.paper.weights) if self.paper.weights else " It takes none."
                raise CovidcxError(f"{self.paper.name} takes no weights {name!r}.{known}")
            if not path.is_file():
                raise WeightsError(f"weights file {path} does not exist; check --weights {name}=FILE")

    @property
    def budget(self) -> Budget:
        """What the items may spend."""
        given = dict(self.overrides or {})
        if self.data is None:
            settings = {**self.paper.phantom_overrides, **given}
            return Budget("phantom, reduced", settings, self.seeds or min(2, self.paper.seeds), self.bootstrap)
        name = "changed by --set" if given else "the paper's"
        return Budget(name, given, self.seeds or self.paper.seeds, self.bootstrap)

    def command(self, item: Item) -> str:
        """Return the command that reruns one item."""
        words = ["covidcx", "reproduce", self.paper.name, item.name, "--out", str(self.out)]
        words += ["--data", str(self.data)] if self.data else []
        words += ["--work", str(self.work)] if self.work else []
        for key, text in (self.overrides or {}).items():
            words += ["--set", f"{key}={text}"]
        for name, path in (self.weights or {}).items():
            words += ["--weights", f"{name}={path}"]
        words += [] if self.train else ["--finished-only"]
        words += ["--seeds", str(self.seeds)] if self.seeds else []
        words += ["--seed", str(self.seed)] if self.seed else []
        return shlex.join(words)


def reproduce(job: Job) -> dict[str, Result | CovidcxError]:
    """Rerun items; one that fails is recorded and the others go on.

    Args:
        job: what is rerun.

    Returns:
        Per item its result, or the error that ended it. Every item's folder holds `result.json`, `comparisons.csv`,
        `README.md` and its figures.

    Raises:
        ManifestError: the table of studies is not there.
    """
    if job.data is not None and not job.data.is_file():
        raise ManifestError(f"{job.data} is no file; pass the manifest.csv of your images as --data")
    manifest = job.data or phantom_manifest(job)
    found: dict[str, Result | CovidcxError] = {}
    for item in job.items:
        folder = job.out / item.name
        folder.mkdir(parents=True, exist_ok=True)
        work = job.work or job.out / "runs"
        context = Context(manifest, job.data is None, folder, work, job.budget, job.seed, job.weights or {}, job.train)
        log.info("%s of %s: %s", item.name, job.paper.name, item.title)
        try:
            result = item.run(context)
        except CovidcxError as error:
            log.debug("%s failed", item.name, exc_info=True)
            found[item.name] = error
            continue
        write_result(folder, job, item, result)
        found[item.name] = result
    return found


def phantom_manifest(job: Job) -> Path:
    """Write the paper's default phantom, or find it written."""
    paper = job.paper
    return write_phantom(
        job.out / "phantom", patients=paper.patients, size=_PHANTOM_SIZE, seed=job.seed, labels=paper.labels,
        splits=None if paper.splits is None else dict(paper.splits),
    )  # fmt: skip


def write_result(folder: Path, job: Job, item: Item, result: Result) -> None:
    """Write an item's report; `result.json` comes last, so that it vouches for the others."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", "metric", "published", "ours", "low", "high", "verdict", "reason"])
    for c in result.comparisons:
        ours = ("", "", "") if c.ours is None else (c.ours.value, c.ours.low, c.ours.high)
        writer.writerow([c.system, c.metric, "" if c.published is None else c.published, *ours, c.verdict, c.reason])
    write_atomic(folder / TABLE, text.getvalue().encode())
    write_atomic(folder / REPORT, report(job, item, result).encode())
    record = {
        "paper": job.paper.name,
        "item": item.name,
        "title": item.title,
        "command": job.command(item),
        "covidcx": __version__,
        "data": "phantom" if job.data is None else job.data.name,
        "split_hash": result.split_hash,
        "seed": job.seed,
        "budget": job.budget.text(),
        "bootstrap": job.bootstrap,
        "comparisons": [c.to_dict() for c in result.comparisons],
        "tables": [table.to_dict() for table in result.tables],
        "figures": [path.name for path in result.figures],
        "notes": list(result.notes),
        "disclaimer": DISCLAIMER,
    }
    write_atomic(folder / RESULT, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


def report(job: Job, item: Item, result: Result) -> str:
    """Return an item's result as Markdown."""
    data = "phantom (synthetic radiographs)" if job.data is None else job.data.name
    lines = [
        f"# {item.name.replace('-', ' ').capitalize()} of {job.paper.name}: {item.title}",
        "",
        f"> {DISCLAIMER}",
        "",
        f"- command: `{job.command(item)}`",
        f"- data: {data}; split hash `{result.split_hash or 'none used'}`; seed {job.seed}",
        f"- budget: {job.budget.text()}",
        "",
    ]
    if result.comparisons:
        lines += [markdown(*comparison_rows(result.comparisons))]
    for table in result.tables:
        lines += [table.markdown()]
    lines += [f"![{path.stem}]({path.name})\n" for path in result.figures]
    lines += [f"- {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def state(paper: Paper, out: Path) -> Sequence[tuple[Item, bool]]:
    """Return a paper's items and whether each has a finished result in a folder."""
    return [(item, (out / item.name / RESULT).is_file()) for item in paper.items]
