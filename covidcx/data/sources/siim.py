"""SIIM-FISABIO-RSNA COVID-19 Detection 2021: 6,334 frontal radiographs with RSNA's four appearances, and opacity boxes.

Citation: Lakhani P, Mongan J, Singhal C, et al. The 2021 SIIM-FISABIO-RSNA Machine Learning COVID-19 Challenge:
    Annotation and Standard Exam Classification of COVID-19 Chest Radiographs. Journal of Digital Imaging 36, 365-372
    (2023).
Licence: CC BY-NC 4.0 (the images are from BIMCV-COVID19 and MIDRC-RICORD).
Where: https://www.kaggle.com/c/siim-covid19-detection
Tree:
    train_study_level.csv             id, Negative for Pneumonia, Typical/Indeterminate/Atypical Appearance
    train_image_level.csv             id, boxes, label, StudyInstanceUID
    train/STUDY/SERIES/IMAGE.dcm

The label is the study's: `negative`, `typical`, `indeterminate` or `atypical`; NaN where none or several are marked, or
where the study is not in its table. A study without images is skipped and named. Boxes are of the image, in its own
pixels; a few reach over its border by a few pixels and are cut there, one that lies outside is skipped and named. A
patient is the Patient ID of the DICOM header, the study where it is empty.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.headers import dicom_header
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_FILE, UNREADABLE, Rows, first_file, index_images, read_table
from covidcx.progress import track

SOURCE = Source(
    name="siim",
    title="SIIM-FISABIO-RSNA COVID-19 Detection",
    citation="Lakhani et al., J Digit Imaging 2023",
    licence="CC BY-NC 4.0",
    url="https://www.kaggle.com/c/siim-covid19-detection",
    images=6334,
    labels=("negative", "typical", "indeterminate", "atypical"),
    views=("PA", "AP"),
    masks=("boxes",),
    tree=tree_of(__doc__),
    note="the images are from bimcv and ricord",
)
NO_IMAGES = "study without a listed image"
OUTSIDE = "box outside its image"
APPEARANCES = {
    "Negative for Pneumonia": "negative", "Typical Appearance": "typical",
    "Indeterminate Appearance": "indeterminate", "Atypical Appearance": "atypical",
}  # fmt: skip


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the training images that are there; the headers of all of them are read."""
    rows = Rows(SOURCE, folder, all_views)
    studies = read_table(first_file(folder, SOURCE, "train_study_level.csv"), ("id", *APPEARANCES))
    listed = read_table(first_file(folder, SOURCE, "train_image_level.csv"), ("id", "label", "StudyInstanceUID"))
    found = {str(record["id"]).removesuffix("_study"): _marked(record) for record in studies.to_dict("records")}
    files = {name.rpartition(".")[0]: path for name, path in index_images(folder, (".dcm",)).items()}
    for record in track(listed.to_dict("records"), "reading headers"):
        name, study = str(record["id"]).removesuffix("_image"), str(record["StudyInstanceUID"])
        path = files.get(name)
        head = dicom_header(path) if path else None
        if head is None:
            rows.skip(name, UNREADABLE if path else NO_FILE)
            continue
        marked, strange = found.get(study, ([], False))
        if strange:
            rows.strange(f"study {study}")
        label = APPEARANCES[marked[0]] if len(marked) == 1 and not strange else np.nan
        added = rows.add(
            path, name, head.patient or study, label, view=head.view, age=head.age, sex=head.sex, findings=marked,
            width=head.width, height=head.height, study=study,
        )  # fmt: skip
        if added:
            for box in opacities(record["label"]):
                inside = clipped(box, head.width, head.height)
                if inside is None:
                    rows.skip(name, OUTSIDE)
                else:
                    rows.box(path, *inside, "opacity", "siim")
    for study in sorted(set(found) - set(listed["StudyInstanceUID"].astype(str))):
        rows.skip(study, NO_IMAGES)
    return rows.reading()


def clipped(
    box: tuple[float, float, float, float], width: float, height: float
) -> tuple[float, float, float, float] | None:
    """Cut a box at its image's border.

    Args:
        box: left, top, right, bottom in pixels.
        width: of the image.
        height: of the image.

    Returns:
        x, y, width, height of what lies inside; None where less than a pixel does.
    """
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    across, down = min(box[2], float(width)) - left, min(box[3], float(height)) - top
    return (left, top, across, down) if min(across, down) >= 1 else None


def opacities(label: object) -> list[tuple[float, float, float, float]]:
    """Return the boxes (left, top, right, bottom) of 'opacity 1 x y x y opacity 1 ...'; none for 'none 1 0 0 1 1'."""
    words = [] if pd.isna(label) else str(label).split()
    groups = [words[start : start + 6] for start in range(0, len(words), 6)]
    boxes = []
    for group in groups:
        if group[0] == "opacity" and len(group) == 6:
            x, y, right, bottom = (float(word) for word in group[2:])
            boxes.append((x, y, right, bottom))
    return boxes


def _marked(record: dict[str, object]) -> tuple[list[str], bool]:
    """Return the appearances that are marked, and whether a mark is neither 0 nor 1."""
    marks = {name: str(record[name]) for name in APPEARANCES}
    return [name for name, mark in marks.items() if mark == "1"], not set(marks.values()) <= {"0", "1"}
