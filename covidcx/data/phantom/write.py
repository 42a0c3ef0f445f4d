"""A folder of phantoms laid out as the real data are: images, masks, boxes and a manifest split by patient."""

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from covidcx.data.phantom.findings import LABEL_SETS
from covidcx.data.phantom.render import MIN_SIZE, PhantomImage, phantom
from covidcx.errors import CovidcxError, did_you_mean
from covidcx.progress import track

logger = logging.getLogger(__name__)

FORMATS = ("png", "dicom")
SPLITS = {"train": 0.6, "val": 0.15, "test": 0.2, "control": 0.05}
LICENCE = "CC0-1.0"
COLUMNS = (
    "image", "patient_id", "label", "split", "source", "source_id", "source_patient_id", "view", "age", "sex",
    "findings", "rsna_class", "licence", "width", "height", "original_width", "original_height", "lung_mask",
    "lung_mask_reader", "lung_mask_2", "disease_mask", "offset", "severity",
)  # fmt: skip
BOX_COLUMNS = ("image", "x", "y", "width", "height", "finding", "reader")

_RECORD = "phantom.json"
_GENERATION = 3  # raised whenever the same settings give other pictures


@dataclass(frozen=True)
class _Study:
    name: str
    patient: str
    patient_seed: int
    seed: int
    label: str
    split: str
    day: int


def write_phantom(
    out: Path,
    patients: int = 60,
    format: str = "png",
    size: int = 512,
    seed: int = 0,
    splits: dict[str, float] | None = None,
    labels: str = "covid-cxnet",
    days: Sequence[int] | None = None,
) -> Path:
    """Write a folder of phantoms: images/, lung_masks/, disease_masks/, boxes.csv and manifest.csv.

    Labels are balanced, patients have one or two radiographs (or one a day of `days`), and a split never parts a
    patient. A folder that this function filled before with the same settings is used again as it is.

    Args:
        out: the folder; made where it is missing.
        patients: number of patients, at least one per label.
        format: `png` (8 bits) or `dicom` (12 bits, DX and CR, some MONOCHROME1).
        size: height and width in pixels.
        seed: the same seed writes the same bytes.
        splits: share of the patients per split; `SPLITS` by default.
        labels: name of a set of labels, one of `LABEL_SETS`.
        days: days since the first symptom on which each patient is imaged; drawn by default.

    Returns:
        Path of manifest.csv. Its column `offset` holds the day, `severity` the share of the lungs' air that is lost.

    Raises:
        CovidcxError: a bad setting, or a folder that holds something else.
    """
    out, splits = Path(out), dict(SPLITS if splits is None else splits)
    days = None if days is None else tuple(int(day) for day in days)
    _check(patients, format, size, splits, labels, days)
    manifest = out / "manifest.csv"
    settings = {"generation": _GENERATION, "patients": patients, "format": format, "size": size, "seed": seed,
                "splits": splits, "labels": labels, "days": None if days is None else list(days)}  # fmt: skip
    if _already_there(out, settings):
        logger.info("using the phantom that is in %s", out)
        return manifest
    for folder in ("images", "lung_masks", "disease_masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _write_json(out / _RECORD, {**settings, "complete": False})
    rows, boxes = [], []
    for study in track(plan(patients, splits, seed, labels, days), "phantom"):
        made = phantom(study.label, study.seed, size, study.patient_seed, day=study.day)
        row = _save(out, study, made, format)
        rows.append(row)
        name = box_name(made)
        boxes += [(row["image"], *box, name, "phantom") for box in made.boxes]
    with (out / "boxes.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([BOX_COLUMNS, *boxes])
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    _write_json(out / _RECORD, {**settings, "complete": True})
    return manifest


def box_name(made: PhantomImage) -> str:
    """Return what a phantom's boxes are called: an opacity, or the finding where the label is not a pneumonia's."""
    return made.findings[0] if made.label in ("atypical", "other") else "Lung Opacity"


def plan(
    patients: int, splits: dict[str, float], seed: int, labels: str = "covid-cxnet", days: Sequence[int] | None = None
) -> list[_Study]:
    """Decide who is imaged when: labels balanced, splits stratified by label and whole per patient.

    Days do not depend on the label.

    Args:
        patients: number of patients.
        splits: share of the patients per split.
        seed: seed of the whole set.
        labels: one of `LABEL_SETS`.
        days: days on which each patient is imaged; one or two are drawn by default.

    Returns:
        One study per radiograph, in patient order.
    """
    rng = np.random.default_rng([10, seed])
    kinds = LABEL_SETS[labels]
    given = rng.permutation([kinds[i % len(kinds)] for i in range(patients)])
    total = sum(splits.values())
    shares = {name: share / total for name, share in splits.items() if share > 0}
    owed = dict.fromkeys(shares, 0.0)
    queues = {label: _deal(int((given == label).sum()), owed, shares, rng) for label in kinds}
    studies = []
    for number, label in enumerate(given.tolist(), 1):
        split = queues[label].pop()
        first, later, again = int(rng.integers(1, 11)), int(rng.integers(1, 8)), rng.random() < 0.35
        when = ((first, first + later) if again else (first,)) if days is None else days
        seeds = np.random.SeedSequence([20, seed, number]).generate_state(1 + len(when))
        for visit, day in enumerate(when, 1):
            name = f"phantom_{number:04d}_{visit}"
            studies.append(
                _Study(name, f"phantom-{number:04d}", int(seeds[0]), int(seeds[visit]), label, split, int(day))
            )
    return studies


def _deal(count: int, owed: dict[str, float], shares: dict[str, float], rng: np.random.Generator) -> list[str]:
    """Share `count` patients of one label among the splits.

    What a split did not get of this label stays in `owed`, so that a small split fills up over the labels. Each of
    the three largest splits gets a patient of every label while there are enough.
    """
    for name, share in shares.items():
        owed[name] += count * share
    dealt = sorted(shares, key=lambda name: -shares[name])[:3] if count >= 3 else []
    for name in dealt:
        owed[name] -= 1
    while len(dealt) < count:
        dealt.append(max(owed, key=lambda name: owed[name]))
        owed[dealt[-1]] -= 1
    return rng.permutation(dealt).tolist()


def _save(out: Path, study: _Study, made: PhantomImage, format: str) -> dict[str, str | int]:
    height, width = made.pixels.shape
    if format == "dicom":
        # Lazy: pydicom is needed for this format only.
        from covidcx.data.phantom.dicom import write_dicom

        image = f"images/{study.name}.dcm"
        write_dicom(out / image, made, study.name, study.patient, study.seed)
    else:
        image = f"images/{study.name}.png"
        _write_png(out / image, np.round(made.pixels * 255).astype(np.uint8))
    lungs, disease = f"lung_masks/{study.name}.png", f"disease_masks/{study.name}.png"
    _write_png(out / lungs, made.lung_mask.astype(np.uint8) * 255)
    _write_png(out / disease, made.disease_mask)
    return {
        "image": image, "patient_id": study.patient, "label": study.label, "split": study.split, "source": "phantom",
        "source_id": study.name.removeprefix("phantom_"), "source_patient_id": study.patient, "view": made.view,
        "age": made.age, "sex": made.sex, "findings": "|".join(made.findings), "rsna_class": "", "licence": LICENCE,
        "width": width, "height": height, "original_width": width, "original_height": height, "lung_mask": lungs,
        "lung_mask_reader": "phantom", "lung_mask_2": "", "disease_mask": disease,
        "offset": study.day, "severity": f"{made.severity:.4f}",
    }  # fmt: skip


def _write_png(path: Path, image: np.ndarray) -> None:
    done, code = cv2.imencode(".png", image)
    if not done:
        raise CovidcxError(f"OpenCV could not encode {path.name}; reinstall opencv-python-headless")
    path.write_bytes(code.tobytes())


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _check(
    patients: int, format: str, size: int, splits: dict[str, float], labels: str, days: tuple[int, ...] | None
) -> None:
    if format not in FORMATS:
        raise CovidcxError(f"unknown phantom format {format!r}.{did_you_mean(format, FORMATS)}")
    if labels not in LABEL_SETS:
        raise CovidcxError(f"unknown set of phantom labels {labels!r}.{did_you_mean(labels, LABEL_SETS)}")
    least = len(LABEL_SETS[labels])
    if patients < least:
        raise CovidcxError(f"a phantom needs a patient per label, at least {least}, received {patients}")
    if size < MIN_SIZE:
        raise CovidcxError(f"a phantom is at least {MIN_SIZE} pixels wide, received size {size}")
    if not splits or min(splits.values()) < 0 or sum(splits.values()) <= 0:
        raise CovidcxError(f"splits are shares of the patients that add up to more than 0, received {splits}")
    if days is not None and (not days or min(days) < 0 or sorted(set(days)) != list(days)):
        raise CovidcxError(f"days are whole numbers from 0 on, each later than the one before; received {list(days)}")


def _already_there(out: Path, settings: dict) -> bool:
    """Whether `out` holds just this phantom in full; refuse a folder that holds something else."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise CovidcxError(f"{out} is a file; name a folder for the phantom")
    if not any(out.iterdir()):
        return False
    try:
        record = json.loads((out / _RECORD).read_text())
        complete = record.pop("complete")
    except (OSError, ValueError, KeyError, AttributeError):
        raise CovidcxError(
            f"{out} is not empty and was not written by the phantom; name a new or empty folder"
        ) from None
    if record != settings:
        other = ", ".join(f"{k}={record.get(k)!r} there, {settings[k]!r} asked" for k in settings
                          if record.get(k) != settings[k])  # fmt: skip
        raise CovidcxError(f"{out} holds a phantom of other settings ({other}); name a new folder or delete this one")
    return bool(complete) and (out / "manifest.csv").is_file()
