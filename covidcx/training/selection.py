"""Which rows of the training splits a run learns from, beyond their split: by label, source and number, or merged."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import ManifestError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from covidcx.data.manifest import Manifest


@dataclass(frozen=True)
class RowFilter:
    """Which rows of one label are learned from.

    Attributes:
        splits: splits to take them from, of those that are trained on; all where empty.
        sources: values of the column `source`; all where empty.
        limit: at most so many images, whole patients in the order of a hash of their id; None takes all.
    """

    splits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise RecipeError(f"limit must be 1 or more, received {self.limit}")


@dataclass(frozen=True)
class Selection:
    """Which rows are learned from, and what validation is where no split of its own can serve.

    Attributes:
        only: filter by label of the manifest; labels that are not named keep all rows.
        merge: classes that are made of several labels, e.g. `{"pneumonia": ("cap", "covid")}`.
        holdout: share of the patients of every class that is set aside of the training rows for validation, the same in
            every run; the recipe's `val_splits` must then be empty.
    """

    only: dict[str, RowFilter] = field(default_factory=dict)
    merge: dict[str, tuple[str, ...]] = field(default_factory=dict)
    holdout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.holdout < 1.0:
            raise RecipeError(f"selection.holdout is a share of the patients below 1, received {self.holdout}")
        merged = [label for labels in self.merge.values() for label in labels]
        twice = sorted({label for label in merged if merged.count(label) > 1} | set(merged) & set(self.merge))
        if twice:
            raise RecipeError(f"selection.merge names {', '.join(twice)} twice; a label belongs to one class")

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuse merged classes that are none of a recipe's labels."""
        for name in self.merge:
            if name not in labels:
                raise RecipeError(f"selection.merge makes {name!r}.{did_you_mean(name, labels)}")

    def kept(self, manifest: "Manifest") -> np.ndarray:
        """Say which rows pass the filters of their label: bool, N.

        Args:
            manifest: rows of the training splits.

        Raises:
            ManifestError: a label's filter leaves nothing, with the splits and sources that are there.
        """
        frame = manifest.frame
        keep = np.ones(len(frame), bool)
        for label, wanted in self.only.items():
            of_label = (frame["label"] == label).to_numpy()
            passed = of_label.copy()
            for column, values in (("split", wanted.splits), ("source", wanted.sources)):
                if values:
                    passed &= frame[column].isin(values).to_numpy()
            if not passed.any():
                there = frame[of_label].groupby(["split", "source"], dropna=False).size()
                found = ", ".join(f"{split}/{source} {n}" for (split, source), n in there.items()) or "none"
                raise ManifestError(
                    f"{manifest.path} has no image of {label!r} in split {', '.join(wanted.splits) or 'any'} from "
                    f"source {', '.join(wanted.sources) or 'any'}; of that label there are: {found}"
                )
            if wanted.limit is not None:
                passed = _limited(frame["patient_id"].astype(str).to_numpy(), passed, wanted.limit)
            keep &= passed | ~of_label
        return keep

    def relabelled(self, manifest: "Manifest") -> "Manifest":
        """Give every row the label of the class that its label belongs to."""
        if not self.merge:
            return manifest
        classes = {label: name for name, labels in self.merge.items() for label in labels}
        frame = manifest.frame.copy()
        frame["label"] = frame["label"].replace(classes)
        return replace(manifest, frame=frame)

    def held_out(self, manifest: "Manifest") -> np.ndarray:
        """Say which rows are set aside for validation: bool, N.

        Patients are drawn class by class in the order of a hash of their id, so that neither the order of the table nor
        the seed of a run changes who is validated on.

        Args:
            manifest: training rows, relabelled and usable.
        """
        frame = manifest.frame
        chosen: set[str] = set()
        seen: set[str] = set()
        for label in sorted(frame["label"].dropna().unique()):
            patients = set(frame["patient_id"][frame["label"] == label].dropna().astype(str)) - seen
            seen |= patients
            chosen |= set(sorted(patients, key=_hash)[: round(self.holdout * len(patients))])
        return frame["patient_id"].astype(str).isin(chosen).to_numpy()


def _limited(patients: np.ndarray, passed: np.ndarray, limit: int) -> np.ndarray:
    kept, count = np.zeros_like(passed), 0
    for patient in sorted(set(patients[passed]), key=_hash):
        rows = passed & (patients == patient)
        if count + rows.sum() <= limit:
            kept |= rows
            count += int(rows.sum())
    return kept


def _hash(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()

