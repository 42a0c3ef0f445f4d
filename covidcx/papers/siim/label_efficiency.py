"""What self-supervision is worth where labels are few: one classifier, three starts, shares of the labels.

The paper compares starts on all labels of one data set (Table 1); it claims that self-supervision spares labels, and
this measures that claim: the same training from a random start, from modified MoCo-CXR and from inpainting, with 10,
30 and 100% of the training patients' labels. Labels chosen for one share are part of those for the next.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidcx.atomic import write_atomic
from covidcx.data.manifest import pd
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError
from covidcx.evaluation.classification import confusion_matrix, macro_f1, pair_score
from covidcx.evaluation.intervals import Interval, WeightedMetric, bootstrap_all, ratio
from covidcx.evaluation.plots import add_disclaimer, save_figure
from covidcx.evaluation.roc import auc
from covidcx.papers.comparison import Table
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.pretrained import encoder_file, pretrained
from covidcx.papers.sweep import sweep
from covidcx.papers.trained import Cell, Trained
from covidcx.progress import track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECIPE = "label-efficiency"
STARTS = {"random": None, "moco": "moco-cxr-modified", "inpainting": "inpainting"}
TITLES = {"random": "random start", "moco": "modified MoCo-CXR", "inpainting": "inpainting-CXR"}
SHARES = (0.1, 0.3, 1.0)
SEEDS = 3
SPLITS = ("val", "test", "control")
_COLOURS = {"random": "#666666", "moco": "#0072B2", "inpainting": "#D55E00"}
_MARKERS = {"random": "o", "moco": "s", "inpainting": "^"}
_ANSWERS = "answers.csv"
_SOURCES = ("normal", "cap", "covid")
_RSNA = ("negative", "typical", "indeterminate", "atypical")


@dataclass(frozen=True, eq=False)
class Answers:
    """What the runs of one start and share say about one split, one row a run.

    Attributes:
        labels: K names.
        truth: int, N.
        patients: N.
        probabilities: float, R x N x K.
    """

    labels: tuple[str, ...]
    truth: np.ndarray
    patients: tuple[str, ...]
    probabilities: np.ndarray

    def metrics(self) -> dict[str, WeightedMetric]:
        """Return each metric as the mean over the runs, of image weights."""
        found: dict[str, WeightedMetric] = {}
        count, classes = len(self.labels), set(self.truth.tolist())
        if classes == set(range(count)):
            found["macro F1"] = lambda w: self._mean(lambda p: macro_f1(self._confusion(p, w)))
        if self.labels != _SOURCES:
            return found
        pair = np.isin(self.truth, (0, 2))
        if {0, 2} <= classes:
            found["AUC covid / normal"] = lambda w: self._mean(
                lambda p: auc(self.truth[pair] == 2, pair_score(p, 2, 0)[pair], w[:, pair])
            )
        if 1 in classes:
            found["CAP called COVID"] = lambda w: self._mean(lambda p: _share(self._confusion(p, w), 1, 2))
        return found

    def each(self, name: str) -> list[float]:
        """Return a metric of each run."""
        ones = np.ones((1, len(self.truth)))
        return [float(replace(self, probabilities=run[None]).metrics()[name](ones)[0]) for run in self.probabilities]

    def _confusion(self, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return confusion_matrix(self.truth, probabilities.argmax(axis=1), len(self.labels), weights)

    def _mean(self, metric) -> np.ndarray:
        return np.mean([metric(run) for run in self.probabilities], axis=0)


def label_efficiency(context: Context) -> Result:
    """Train every start on every share, seed by seed, and compare them on val, test and control."""
    labels, shares = _labels(context), SHARES[1:] if context.phantom else SHARES
    seeds = range(context.seed, context.seed + (1 if context.phantom else context.budget.seeds))
    starts = {name: None if recipe is None else encoder_file(context, recipe) for name, recipe in STARTS.items()}
    parts: dict[tuple[str, float], list[dict[str, Answers]]] = {}
    done, missing = [], []
    # Seed by seed, so that what an interrupted sweep has finished is a whole comparison.
    for seed in seeds:
        cells = {
            (name, share): _cell(name, file, share, seed, labels) for share in shares for name, file in starts.items()
        }
        try:
            found = sweep(context, list(cells.values()), lambda run: answers(context, run))
        except MissingDataError:
            if context.train:
                raise
            missing.append(seed)
            continue
        done.append(seed)
        for key, cell in cells.items():
            parts.setdefault(key, []).append(found[cell.name])
    if not done:
        raise MissingDataError(f"no seed of {RECIPE} is finished in {context.work}; leave --finished-only out")
    runs = {key: {split: _joined([run[split] for run in own]) for split in own[0]} for key, own in parts.items()}
    return _result(context, runs, done, missing)


def answers(context: Context, run: Trained) -> dict[str, Answers]:
    """Return what a run says about val, test and control; kept beside its weights."""
    path = run.folder.path / _ANSWERS
    if not path.is_file() or path.stat().st_mtime < run.folder.weights.stat().st_mtime:
        frame, labels = context.manifest.frame, run.recipe.labels
        rows = (frame["split"].isin(SPLITS) & frame["label"].isin(labels)).to_numpy()
        write_atomic(path, run.answers(context.manifest.take(rows)).to_csv().encode())
    table = pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")), dtype={"patient_id": str})
    labels, found = run.recipe.labels, {}
    for split, part in table.groupby("split"):
        truth = np.array([labels.index(name) for name in part["label"]])
        probabilities = part[[f"p_{name}" for name in labels]].to_numpy(np.float64)
        found[str(split)] = Answers(labels, truth, tuple(part["patient_id"]), probabilities[None])
    return found


def compared(first: Answers, second: Answers, context: Context) -> dict[str, Interval]:
    """Return first minus second of every metric, on the same resampled patients."""
    ours, theirs = first.metrics(), second.metrics()
    differences = {name: lambda w, n=name: ours[n](w) - theirs[n](w) for name in ours}
    return bootstrap_all(differences, first.patients, context.budget.bootstrap, context.seed)


def _cell(start: str, file: Path | None, share: float, seed: int, labels: tuple[str, ...]) -> Cell:
    settings = {"labels": ",".join(labels), "label_share": f"{share:g}", "passes": str(round(1 / share)),
                "seed": str(seed)}  # fmt: skip
    if file is not None:
        settings["initial_weights"] = str(file)
    return Cell(RECIPE, f"efficiency-{start}-{round(share * 100)}-seed{seed}", settings)


def _labels(context: Context) -> tuple[str, ...]:
    present = set(context.rows("label efficiency", split=("train",), column="label")["label"])
    for labels in (_SOURCES, _RSNA):
        if set(labels) <= present:
            return labels
    raise MissingDataError(
        f"label efficiency needs training images of {', '.join(_SOURCES)} or of {', '.join(_RSNA)}; "
        f"{context.manifest_path.name} has {', '.join(sorted(present))}"
    )


def _joined(parts: list[Answers]) -> Answers:
    first = parts[0]
    return Answers(first.labels, first.truth, first.patients, np.concatenate([part.probabilities for part in parts]))


def _share(matrix: np.ndarray, truth: int, called: int) -> np.ndarray:
    return ratio(matrix[:, truth, called], matrix[:, truth].sum(axis=1))


def _result(
    context: Context, runs: Mapping[tuple[str, float], dict[str, Answers]], seeds: list[int], missing: list[int]
) -> Result:
    measured: dict[tuple[str, float, str], dict[str, Interval]] = {}
    comparisons, rows, versus = [], [], []
    for (start, share), splits in track(runs.items(), "intervals"):
        for split, found in splits.items():
            place = (f"{share:.0%}", TITLES[start], split)
            values = bootstrap_all(found.metrics(), found.patients, context.budget.bootstrap, context.seed)
            measured[start, share, split] = values
            for name, value in values.items():
                comparisons.append(context.judge(f"{place[1]}, {place[0]} of the labels, {split}", name, None, value))
                rows.append((*place, name, str(value), " ".join(f"{x:.3f}" for x in found.each(name))))
            if start == "random":
                continue
            base = runs["random", share][split]
            for name, value in compared(found, base, context).items():
                higher = sum(a > b for a, b in zip(found.each(name), base.each(name), strict=True))
                text = f"{value.value:+.3f} ({value.low:+.3f} to {value.high:+.3f})"
                versus.append((*place, name, text, f"{higher} of {len(seeds)}"))
    figure = _figure(measured, len(seeds))
    tables = (
        Table("Mean over the seeds with its patient-level 95% interval, and each seed",
              ("labels", "start", "split", "metric", "value", "seeds"), tuple(rows)),
        Table("Difference to the random start on the same patients",
              ("labels", "start", "split", "metric", "difference (95% interval)", "seeds in which it is higher"),
              tuple(versus)),
    )  # fmt: skip
    notes = _notes(context, len(seeds))
    if missing:
        notes += (f"Not finished and left out: seed {', '.join(map(str, missing))}.",)
    picture = save_figure(figure, context.out / "label-efficiency.png")
    return Result(tuple(comparisons), tables, (picture,), notes, split_hash(context.manifest.frame))


def _notes(context: Context, seeds: int) -> tuple[str, ...]:
    told = [
        f"{seeds} of {SEEDS} seeds. The same steps for every start and share: a share of 10% is seen ten times as "
        "often. Checkpoints are chosen on val.",
        "Intervals resample patients of the split; how much the training's own chance moves a value shows in the "
        "seeds, and a difference counts for little where they disagree.",
    ]
    for done in (pretrained(context, name) for name in STARTS.values() if name is not None):
        size = done.recipe.preprocessing.size[0]
        told.append(
            f"{done.recipe.name}: {done.images} images of {', '.join(done.recipe.splits)} without labels, "
            f"{done.epochs} epochs of batch {done.recipe.batch} at {size} pixels, last loss {done.loss:.4f}."
        )
    if not context.phantom:
        told.append("CAP images of `control` come from the COVID source: called COVID, it is the source they show.")
    return tuple(told)


def _figure(measured: Mapping[tuple[str, float, str], dict[str, Interval]], seeds: int) -> "Figure":
    from matplotlib.figure import Figure

    panels = [(split, name) for split in SPLITS for name in ("macro F1", "CAP called COVID")
              if any(s == split and name in values for (_, _, s), values in measured.items())]  # fmt: skip
    # Where the macro F1 can be had, the share of CAP called COVID is for control alone.
    panels = [(split, name) for split, name in panels if name == "macro F1" or split == "control"] or panels
    figure = Figure(figsize=(3.4 * len(panels), 3.6), dpi=150, layout="constrained")
    shares = sorted({share for _, share, _ in measured})
    for axes, (split, name) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        for i, start in enumerate(STARTS):
            values = [measured[start, share, split][name] for share in shares]
            middle = np.array([value.value for value in values])
            spread = np.array([(v.value - v.low, v.high - v.value) for v in values]).T
            at = np.arange(len(shares)) + 0.12 * (i - 1)
            axes.errorbar(at, middle, np.maximum(spread, 0), color=_COLOURS[start], marker=_MARKERS[start], capsize=3,
                          linewidth=1, label=TITLES[start])  # fmt: skip
        axes.set_xticks(range(len(shares)), [f"{share:.0%}" for share in shares])
        axes.set_ylim(0, 1)
        axes.set_xlabel("share of the training labels")
        axes.set_title(f"{name}, {split}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    title = f"Mean of {seeds} seed{'s' * (seeds != 1)}, 95% interval over patients"
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8,
                  frameon=False, title=title)  # fmt: skip
    add_disclaimer(figure)
    return figure


ITEMS = (
    Item(
        "label-efficiency", "Self-supervised starts against a random one, with 10, 30 and 100% of the labels",
        label_efficiency, needs="labels of train, val and test", trains=True,
    ),
)  # fmt: skip
