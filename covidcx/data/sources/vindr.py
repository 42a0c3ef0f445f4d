"""VinDr-CXR: 18,000 PA radiographs of two hospitals of Hanoi, with boxes of 22 findings by 17 radiologists.

Citation: Nguyen HQ, Lam K, Le LT, et al. VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations.
    Scientific Data 9, 429 (2022).
Licence: PhysioNet Credentialed Health Data Use Agreement 1.5.0 (Kaggle copy: competition use and research).
Where: https://physionet.org/content/vindr-cxr/ or https://www.kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection
Tree:
    train.csv                            Kaggle: image_id, class_name, rad_id, x_min, y_min, x_max, y_max
    annotations/annotations_train.csv    PhysioNet: the same columns; annotations_test.csv holds the consensus
    train/*.dicom                        and test/*.dicom

Three radiologists read each training image, and they differ. A finding counts where more than half of the readers of
the image marked it; option `readers` = `any` or `all` counts otherwise. All boxes of all readers are kept, with the
reader's name. 'No finding' is `normal`; Pneumonia or Consolidation is `cap` (option `cap` names other findings); any
other finding is `other`; where no finding has enough readers there is no label. Patients are not published: every image
stands for its own. `test` is the official split of PhysioNet's test images; readers there are called `consensus`.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.headers import header
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import (
    NO_FILE,
    UNREADABLE,
    Rows,
    index_images,
    nothing_usable,
    optional_file,
    pick,
    read_table,
)
from covidcx.progress import track

SOURCE = Source(
    name="vindr",
    title="VinDr-CXR",
    citation="Nguyen et al., VinDr-CXR, Scientific Data 2022",
    licence="PhysioNet credentialed data use agreement 1.5.0",
    url="https://physionet.org/content/vindr-cxr/",
    images=18000,
    labels=("normal", "cap", "other"),
    views=("PA",),
    masks=("boxes",),
    tree=tree_of(__doc__),
    note="several readers per image; option readers=majority|any|all",
)
FINDINGS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumonia", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Tuberculosis", "Other disease",
    "Other diseases",
)  # fmt: skip
NORMAL = "No finding"
_SHARES = {"majority": 0.5, "any": 0.0, "all": 1.0 - 1e-9}
_TABLES = (
    ("train.csv", "train"), ("annotations/annotations_train.csv", "train"),
    ("annotations/annotations_test.csv", "test"),
)  # fmt: skip


def read(
    folder: Path, derived: Path | None = None, all_views: bool = False, readers: str = "majority",
    cap: str = "Pneumonia,Consolidation",
) -> Reading:  # fmt: skip
    """Read the images of the annotation tables that are there.

    Args:
        folder: see the tree above.
        derived: not used.
        all_views: not used; every image is PA.
        readers: when a finding counts: "majority", "any" or "all" of the readers of an image marked it.
        cap: findings that make an image `cap`, separated by commas.
    """
    share = _SHARES[pick(readers, tuple(_SHARES), "rule for readers")]
    pneumonia = {pick(name.strip(), FINDINGS, "finding") for name in cap.split(",")}
    rows = Rows(SOURCE, folder, all_views)
    tables = [(path, split) for name, split in _TABLES if (path := optional_file(folder, name))]
    if not tables:
        raise nothing_usable(folder, SOURCE, "neither train.csv nor annotations/annotations_train.csv is there")
    files = {path.stem: path for path in index_images(folder).values()}
    for table, split in tables:
        reader = () if split == "test" else ("rad_id",)
        listed = read_table(table, ("image_id", "class_name", *reader, "x_min", "y_min", "x_max", "y_max"))
        if "rad_id" not in listed:
            listed["rad_id"] = "consensus"
        images: dict[str, list[dict[str, object]]] = defaultdict(list)
        for record in listed.to_dict("records"):
            images[str(record["image_id"])].append(record)
        for name, marks in track(images.items(), "reading headers", len(images)):
            path = files.get(name)
            head = header(path) if path else None
            if head is None:
                rows.skip(name, UNREADABLE if path else NO_FILE)
                continue
            found = agreed(marks, share)
            label = label_of(found, pneumonia)
            if not set(found) <= {*FINDINGS, NORMAL}:
                rows.strange(found)
            rows.add(
                path, name, np.nan, label, view="PA", age=head.age, sex=head.sex, findings=found, split=split,
                width=head.width, height=head.height,
                readers="|".join(sorted({str(mark["rad_id"]) for mark in marks})),
            )  # fmt: skip
            for mark in marks:
                _add_box(rows, path, mark)
    return rows.reading()


def agreed(marks: list[dict[str, object]], share: float) -> list[str]:
    """Return the classes that more than a share of the image's readers marked, in order of their names."""
    seen: dict[str, set[str]] = defaultdict(set)
    for mark in marks:
        seen[str(mark["class_name"])].add(str(mark["rad_id"]))
    count = len({str(mark["rad_id"]) for mark in marks})
    return sorted(name for name, who in seen.items() if len(who) > share * count)


def label_of(found: list[str], pneumonia: set[str]) -> str | float:
    """Return the manifest's label of the classes that count; NaN for none, for unknown or contradicting ones."""
    if found == [NORMAL]:
        return "normal"
    if not found or not set(found) <= {*FINDINGS, NORMAL}:
        return np.nan
    if NORMAL in found:
        return np.nan
    return "cap" if set(found) & pneumonia else "other"


def _add_box(rows: Rows, path: Path, mark: dict[str, object]) -> None:
    if any(pd.isna(mark[corner]) for corner in ("x_min", "y_min", "x_max", "y_max")):
        return
    left, top, right, bottom = (float(mark[corner]) for corner in ("x_min", "y_min", "x_max", "y_max"))
    rows.box(path, left, top, right - left, bottom - top, str(mark["class_name"]), str(mark["rad_id"]))
