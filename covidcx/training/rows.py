"""Which rows of a manifest a run uses, and whether they are sound."""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

from covidcx.data.manifest import Manifest, Problem
from covidcx.data.splits import share_of_patients, split_hash
from covidcx.errors import ManifestError
from covidcx.training.recipe import Recipe
from covidcx.training.tasks import Task

log = logging.getLogger(__name__)

_IDENTITY = ("image", "patient_id", "label", "split", "lung_mask")
# What heads take their targets from besides.
_MULTI = ("lung_mask_2", "disease_mask", "findings", "rsna_class", "view")
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a run.

    Attributes:
        train: rows learnt from.
        val: rows the checkpoint is chosen on.
        manifest: the table without the rows of leaking patients.
        split_hash: of the whole table.
        columns: what two runs on the same rows agree in.
    """

    train: Manifest
    val: Manifest
    manifest: Manifest
    split_hash: str
    columns: tuple[str, ...] = _IDENTITY

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and label, of the rows used."""
        found: dict[str, Counter] = {}
        for part in (self.train, self.val):
            for split, label in zip(part.frame["split"], part.frame["label"], strict=True):
                found.setdefault(str(split), Counter())[str(label)] += 1
        return {split: dict(sorted(labels.items())) for split, labels in found.items()}

    def identity(self) -> dict[str, Any]:
        """Return what says that two runs saw the same data; paths do not matter, contents of files are not read."""
        digest = hashlib.sha256()
        for part in (self.train, self.val):
            for row in part.frame[list(self.columns)].itertuples(index=False):
                digest.update("\x1f".join(map(str, row)).encode() + b"\n")
        boxes = self.manifest.root / "boxes.csv"
        if self.columns != _IDENTITY and boxes.is_file():
            digest.update(boxes.read_bytes())
        named = {"split_hash": self.split_hash, "rows_hash": digest.hexdigest()[:12]}
        return {**named, "rows": self.counts}


def select(recipe: Recipe, task: Task, manifest: Manifest) -> Rows:
    """Take the rows a recipe trains and validates on, and refuse unsound ones.

    Args:
        recipe: the run.
        task: what its rows need.
        manifest: the table.

    Returns:
        The rows.

    Raises:
        ManifestError: a used row has a problem (every kind is named, with its line), or a part is empty.
    """
    whole = split_hash(manifest.frame)
    manifest = _without_leaks(recipe.leaks, (*recipe.train_splits, *recipe.val_splits), manifest)
    parts = {}
    selection, drawn = recipe.selection, [("train", recipe.train_splits)]
    if not selection.holdout:
        drawn.append(("val", recipe.val_splits))
    for name, splits in drawn:
        part = manifest.subset(split=splits)
        if name == "train":
            part = part.take(selection.kept(part))
        part = selection.relabelled(part)
        usable = task.usable(part)
        left_out = part.frame["label"][~usable].fillna("no label").value_counts().to_dict()
        if left_out and recipe.task == "classify":
            log.info("%s: rows left out, of no class: %s", name, _counted(left_out))
        if name == "train" and recipe.label_share < 1:
            usable = usable & share_of_patients(part.frame, recipe.label_share, recipe.seed)
        parts[name] = part.without_lines(
            line for line, used in zip(part.lines, usable, strict=True) if not used
        )
        if not len(parts[name]):
            what = {
                "segment": "lung mask",
                "classify": f"label among {', '.join(recipe.labels)}",
                "multi": f"target of a head among {', '.join(recipe.heads)}",
            }[recipe.task]
            raise ManifestError(
                f"{manifest.path} has no row with a {what} in split {', '.join(splits)}; "
                f"fill the column 'split' (covidcx data split) or set {name}_splits"
            )
    if selection.holdout:
        held = selection.held_out(parts["train"])
        parts = {"train": parts["train"].take(~held), "val": parts["train"].take(held)}
    columns = (*_IDENTITY, *_MULTI) if recipe.task == "multi" else _IDENTITY
    rows = Rows(parts["train"], parts["val"], manifest, whole, columns)
    if recipe.task == "classify":
        classes = rows.val.frame["label"].isin(recipe.labels)
        if not classes.any():
            raise ManifestError(f"split {', '.join(recipe.val_splits)} has no image of {', '.join(recipe.labels)}")
    _check(rows.manifest, (rows.train, rows.val), set(recipe.train_splits))
    for split, labels in rows.counts.items():
        log.info("split %s: %d images (%s)", split, sum(labels.values()), _counted(labels))
    return rows


def select_images(splits: tuple[str, ...], leaks: str, manifest: Manifest) -> Manifest:
    """Take the rows whose images are learnt from without labels, and refuse unsound ones.

    Args:
        splits: values of the column `split`.
        leaks: `refuse`, or `drop` rows of patients that are also in another split.
        manifest: the table.

    Returns:
        The rows, labelled or not.

    Raises:
        ManifestError: a used row has a problem, or there is none.
    """
    manifest = _without_leaks(leaks, splits, manifest)
    used = manifest.subset(split=splits)
    if not len(used):
        raise ManifestError(
            f"{manifest.path} has no image in split {', '.join(splits)}; "
            "fill the column 'split' (covidcx data split) or set splits"
        )
    _check(manifest, (used,), set(splits))
    return used


def _without_leaks(leaks: str, splits: tuple[str, ...], manifest: Manifest) -> Manifest:
    if leaks == "refuse":
        return manifest
    frame = manifest.frame
    used = frame["split"].isin(splits)
    leaking = used & frame["patient_id"].isin(set(frame["patient_id"][~used].dropna()))
    if leaking.any():
        patients = sorted(set(frame["patient_id"][leaking]))
        log.warning(
            "%d rows left out: their patients are also in a split that is not trained on (%s)",
            leaking.sum(), ", ".join(patients[:_SHOWN]),
        )  # fmt: skip
    return manifest.without_lines(line for line, out in zip(manifest.lines, leaking, strict=True) if out)


def _check(manifest: Manifest, parts: tuple[Manifest, ...], trained: set[str]) -> None:
    lines = {line for part in parts for line in part.lines}
    cells = {name: {cell for part in parts for cell in part.frame[name]} for name in ("image", "patient_id")}
    frame = manifest.frame

    def matters(problem: Problem) -> bool:
        # A doubled image or a patient in two splits is reported once, on the other row's line.
        if problem.row not in lines and problem.value not in cells.get(problem.column, ()):
            return False
        # A patient in two splits that are both learned from gives nothing away.
        splits = set(frame["split"][frame["patient_id"] == problem.value]) if problem.column == "patient_id" else set()
        return not splits or not splits <= trained

    found = [problem for problem in manifest.problems() if matters(problem)]
    if found:
        first = "; ".join(str(problem) for problem in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ManifestError(
            f"{manifest.path} has {len(found)} problem{'s' * (len(found) > 1)} in rows that training uses: "
            f"{first}{more}. To see all: covidcx data validate {manifest.path}; "
            "a patient in a split that is not trained on can be left out by --set leaks=drop"
        )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
