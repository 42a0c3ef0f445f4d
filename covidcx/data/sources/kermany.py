"""Pediatric chest radiographs of Guangzhou: 5,856 AP images of children of one to five years, normal or pneumonia.

Citation: Kermany DS, Goldbaum M, Cai W, et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
    Learning. Cell 172(5), 1122-1131 (2018).
Licence: CC BY 4.0.
Where: https://data.mendeley.com/datasets/rscbjbr9sj
Tree:
    train/NORMAL/*.jpeg         also test/ and val/; all of it may lie in chest_xray/
    train/PNEUMONIA/*.jpeg

Every image is AP. `NORMAL` is `normal`, `PNEUMONIA` is `cap`; the file's name tells bacterial from viral. The official
folders are the splits. Numbers of persons start anew in `test`, whose patients are others (Kermany et al.), so that
`person1` of `train` and `person1` of `test` are two patients here; a person with both bacterial and viral files is one.
Children differ from adults: COVID-CXNet shows what a model learns that has seen normal lungs of children only.
"""

import re
from pathlib import Path

import numpy as np

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import IMAGE_SUFFIXES, Rows, nothing_usable

SOURCE = Source(
    name="kermany",
    title="Pediatric chest X-rays (Kermany)",
    citation="Kermany et al., Cell 2018",
    licence="CC BY 4.0",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    images=5856,
    labels=("normal", "cap"),
    views=("AP",),
    masks=(),
    tree=tree_of(__doc__),
    note="children of one to five years only",
)
_LABELS = {"NORMAL": "normal", "PNEUMONIA": "cap"}
_SPLITS = ("train", "val", "test")
_PERSON = re.compile(r"person\d+")
_KINDS = {"bacteria": "Bacterial pneumonia", "virus": "Viral pneumonia"}


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the images of the split folders that are there."""
    rows = Rows(SOURCE, folder, all_views)
    bases = [base for base in (folder, folder / "chest_xray") if any((base / split).is_dir() for split in _SPLITS)]
    if not bases:
        raise nothing_usable(folder, SOURCE, "none of train, val, test is there")
    for split in _SPLITS:
        for kind, label in _LABELS.items():
            for path in sorted((bases[0] / split / kind).glob("*")):
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                    rows.add(
                        path, path.stem, patient_of(path.stem, split), label, view="AP", split=split,
                        findings=(_finding(path.stem, kind),),
                    )  # fmt: skip
    return rows.reading("train, val and test hold no images in NORMAL or PNEUMONIA")


def patient_of(stem: str, split: str) -> str:
    """Return the patient that a file's name tells: `person657_virus_1240`, `IM-0504-0001`, `BACTERIA-1008087-0001`."""
    person = _PERSON.match(stem)
    if person:
        return f"{'test' if split == 'test' else 'train'}-{person[0]}"
    return stem.rpartition("-")[0] or stem


def _finding(stem: str, kind: str) -> str | float:
    if kind == "NORMAL":
        return "Normal"
    words = set(re.split(r"[_-]", stem.lower()))
    return next((finding for word, finding in _KINDS.items() if word in words), "Pneumonia" if stem else np.nan)
