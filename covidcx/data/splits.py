"""Parts of a table that share no patient: splits, folds, and a hash that names a split."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np

from covidcx.data.manifest import pd
from covidcx.errors import ManifestError

logger = logging.getLogger(__name__)

_UNLABELLED = ""


def split_by_patient(
    frame: pd.DataFrame, fractions: Mapping[str, float], seed: int, stratify: str = "label"
) -> pd.DataFrame:
    """Divide a table into parts that share no patient.

    Patients are taken whole, in an order drawn from the seed and their id, so the order of the rows does not matter.
    Each goes to the part that lacks most images of the patient's most frequent label.

    Args:
        frame: one row an image, with `patient_id`.
        fractions: share of the images per part, such as `{"train": 0.7, "val": 0.1, "test": 0.2}`; sums to 1.
        seed: another seed, another division.
        stratify: column whose proportions every part keeps.

    Returns:
        A copy of the frame with the column `split` filled.

    Raises:
        ManifestError: a fraction is not positive, they do not sum to 1, or a row has no patient.
    """
    shares = {str(name): float(share) for name, share in fractions.items()}
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ManifestError(f"fractions must be positive and sum to 1, received {shares}")
    part = _assign(frame, list(shares.values()), seed, stratify)
    result = frame.copy()
    result["split"] = np.asarray(list(shares), dtype=object)[part]
    for (name, label), count in _counts(frame[stratify], part, list(shares)).items():
        if count == 0:
            logger.warning("split %r holds no image with %s %r", name, stratify, label)
    return result


def folds(frame: pd.DataFrame, k: int, seed: int) -> pd.Series:
    """Divide a table into k folds that share no patient, stratified by label.

    Args:
        frame: one row an image, with `patient_id` and `label`.
        k: number of folds, at least 2.
        seed: another seed, another division.

    Returns:
        Fold of every row, int 0 .. k-1, on the frame's index.

    Raises:
        ManifestError: k is under 2, a row has no patient, or a label is absent from a fold (all counts are shown).
    """
    if k < 2:
        raise ManifestError(f"cross-validation needs at least 2 folds, received {k}")
    part = _assign(frame, [1 / k] * k, seed, "label")
    counts = _counts(frame["label"], part, list(range(k)))
    if any(count == 0 for count in counts.values()):
        labels = sorted({label for _, label in counts})
        table = "; ".join(f"{label}: {', '.join(str(counts[fold, label]) for fold in range(k))}" for label in labels)
        raise ManifestError(
            f"not every label is in each of {k} folds (images per fold: {table}); "
            "use fewer folds or leave the rare label out"
        )
    return pd.Series(part, index=frame.index, name="fold")


def share_of_patients(frame: pd.DataFrame, share: float, seed: int, stratify: str = "label") -> np.ndarray:
    """Choose some patients of every label, so that a smaller share is part of a larger one.

    Args:
        frame: one row an image, with `patient_id`.
        share: of the images of each label, within 0 and 1; at least one patient of every label is chosen.
        seed: another seed, other patients.
        stratify: column whose values are drawn from alike; a patient counts for its most frequent one.

    Returns:
        bool, N: rows of the chosen patients.

    Raises:
        ManifestError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise ManifestError(f"a share of the patients lies within 0 and 1, received {share}")
    _, votes, majority = _majority(frame, stratify)
    chosen = set()
    for label in set(majority.values()):
        patients = [patient for patient in votes if majority[patient] == label]
        wanted, taken = share * sum(votes[patient].total() for patient in patients), 0
        for patient in sorted(patients, key=lambda patient: (_draw(seed, patient), patient)):
            if taken >= wanted:
                break
            chosen.add(patient)
            taken += votes[patient].total()
    return frame["patient_id"].astype(str).isin(chosen).to_numpy()


def split_hash(frame: pd.DataFrame) -> str:
    """Name what a model was trained and tested on.

    Args:
        frame: with the columns image, patient_id, label and split.

    Returns:
        Twelve hexadecimal digits over the sorted rows of those columns; the order of the rows does not matter.
    """
    cells = frame[["image", "patient_id", "label", "split"]].itertuples(index=False)
    rows = sorted(json.dumps([None if pd.isna(cell) else str(cell) for cell in row]) for row in cells)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def _assign(frame: pd.DataFrame, shares: list[float], seed: int, stratify: str) -> np.ndarray:
    """Return the part of every row, int N."""
    if frame["patient_id"].isna().any():
        count = int(frame["patient_id"].isna().sum())
        raise ManifestError(f"{count} rows have no patient_id; a split by patient needs one in every row")
    patients, votes, majority = _majority(frame, stratify)
    total = Counter()
    for patient, count in votes.items():
        total[majority[patient]] += count.total()
    lacking = {label: np.array(shares) * count for label, count in total.items()}
    overall = np.array(shares) * len(frame)
    home = {}
    for patient in sorted(votes, key=lambda patient: (_draw(seed, patient), patient)):
        lack, size = lacking[majority[patient]], votes[patient].total()
        # Equal need within the label (folds) is settled by the need of the whole part.
        part = max(range(len(shares)), key=lambda i: (round(lack[i], 9), round(overall[i], 9), -i))
        lack[part] -= size
        overall[part] -= size
        home[patient] = part
    return np.array([home[patient] for patient in patients], dtype=np.int64)


def _majority(frame: pd.DataFrame, stratify: str) -> tuple[np.ndarray, dict[str, Counter], dict[str, str]]:
    """Return the patient of every row, and per patient its labels' counts and its most frequent label."""
    patients = frame["patient_id"].astype(str).to_numpy()
    labels = frame[stratify].astype(object).where(frame[stratify].notna(), _UNLABELLED).astype(str)
    votes: dict[str, Counter] = {}
    for patient, label in zip(patients, labels, strict=True):
        votes.setdefault(patient, Counter())[label] += 1
    # Ties go to the label that is first in the alphabet, so that the order of the rows cannot matter.
    majority = {patient: min(count, key=lambda label: (-count[label], label)) for patient, count in votes.items()}
    return patients, votes, majority


def _draw(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}|{patient}".encode()).hexdigest()


def _counts(labels: pd.Series, part: np.ndarray, names: list) -> dict[tuple, int]:
    known = labels.notna().to_numpy()
    seen = Counter(zip(part[known].tolist(), labels[known], strict=True))
    return {(name, label): seen[i, label] for i, name in enumerate(names) for label in sorted(set(labels[known]))}
