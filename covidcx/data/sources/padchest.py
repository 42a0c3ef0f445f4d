"""PadChest: chest radiographs of Hospital San Juan, Alicante, 2009 to 2017, with labelled reports.

Citation: A. Bustos et al., "PadChest: a large chest x-ray image dataset with multi-label annotated reports", Medical
    Image Analysis 66, 101797, 2020.
Licence: PadChest research use agreement (BIMCV; registration).
Where: https://bimcv.cipf.es/bimcv-projects/padchest/
Tree:
    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv   (or .csv.gz)
    0/*.png ... 54/*.png   as unpacked (column ImageDir), or all pictures in images/, images-224/ or the folder itself

`normal` is a report labelled normal and nothing else, `cap` one with pneumonia or atypical pneumonia (the images are
older than COVID-19), `other` any other finding. A report that says only that nothing changed, or that the study is
suboptimal, gives no label; excluded studies are left out.

Columns after the data set's own README and torchxrayvision (PC_Dataset, which also names pictures that are missing).
"""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, first_file, read_table

SOURCE = Source(
    name="padchest",
    title="PadChest",
    citation="Bustos et al., PadChest, Medical Image Analysis 66, 101797, 2020",
    licence="PadChest research use agreement (BIMCV)",
    url="https://bimcv.cipf.es/bimcv-projects/padchest/",
    images=160868,
    labels=("normal", "cap", "other"),
    views=("PA", "AP", "LL"),
    masks=(),
    tree=tree_of(__doc__),
    note="27% of the reports were labelled by physicians, the others by a network (column method_label).",
)

EXCLUDED = "excluded by the data set's authors"
EMPTY = "empty file"
_COLUMNS = (
    "ImageID", "ImageDir", "StudyDate_DICOM", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection",
    "MethodLabel", "Labels",
)  # fmt: skip
_PNEUMONIA = {"pneumonia", "atypical pneumonia"}
# Say something about the study, nothing about what is seen.
_SILENT = {"unchanged", "suboptimal study"}
_EXCLUDE = "exclude"


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the table and find its pictures.

    Raises:
        ManifestError: the table or every picture is missing, or the table lacks a column.
    """
    path = first_file(folder, SOURCE, "PADCHEST_chest_x_ray_images_labels_160K*.csv")
    rows = Rows(SOURCE, folder, all_views)
    for record in read_table(path, _COLUMNS).to_dict("records"):
        name, projection = str(record["ImageID"]), str(record["Projection"])
        labels = _listed(record["Labels"])
        if projection == "EXCLUDE" or (labels and _EXCLUDE in labels):
            rows.skip(name, EXCLUDED)
            continue
        image = _find(folder, name, record["ImageDir"])
        # The published archives hold a few empty pictures.
        if image is not None and image.stat().st_size == 0:
            rows.skip(name, EMPTY)
            continue
        rows.add(
            image, name, record["PatientID"], _label(labels), view=projection,
            frontal=projection in ("PA", "AP", "AP_horizontal"), age=_age(record),
            sex=record["PatientSex_DICOM"], findings=labels or (), method_label=record["MethodLabel"],
        )  # fmt: skip
    return rows.reading("no picture that the table lists is there")


def _find(folder: Path, name: str, place: object) -> Path | None:
    places = [folder / sub for sub in (str(place).removesuffix(".0"), "images", "images-224", "")]
    return next((place / name for place in places if (place / name).is_file()), None)


def _listed(text: object) -> list[str] | None:
    """Return the labels of a cell such as "['pneumonia', ' pleural effusion']"; None where it holds no list."""
    try:
        items = ast.literal_eval(text) if isinstance(text, str) else None
    except (ValueError, SyntaxError, RecursionError):
        items = None
    return [str(item).strip() for item in items if str(item).strip()] if isinstance(items, list) else None


def _label(labels: list[str] | None) -> str | float:
    said = set(labels or ()) - _SILENT
    if not said:
        return np.nan
    if said & _PNEUMONIA:
        return "cap"
    return "normal" if said == {"normal"} else "other"


def _age(record: dict[str, object]) -> float:
    """Return the difference of the years; the table has a year of birth and no day."""
    years = [re.match(r"\d{4}", str(record[column])) for column in ("StudyDate_DICOM", "PatientBirth")]
    if any(pd.isna(record[column]) for column in ("StudyDate_DICOM", "PatientBirth")) or None in years:
        return np.nan
    return int(years[0][0]) - int(years[1][0])
