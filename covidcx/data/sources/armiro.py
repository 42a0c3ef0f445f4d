"""COVID-19 Chest X-ray Image Data Collection (the COVID-CXNet collection): about 900 images of PCR-positive patients.

Citation: Haghanifar A, Molahasani Majdabadi M, Choi Y, Deivalakshmi S, Ko S. COVID-CXNet: Detecting COVID-19 in frontal
    chest X-ray images using deep learning. Multimedia Tools and Applications 81, 30615-30645 (2022).
Licence: CC BY 4.0 for the collection; its images were collected from publications and social media.
Where: https://github.com/armiro/COVID-CXNet
Tree:
    metadata.csv                       filename, patient_id, sex, age, view, label, pcr_test, ...
    chest_xray_images/covid19/*.jpg    also .png, .jpeg, .jfif, .webp

The table covers a part of the images; the others have the folder's label and no patient, so that each stands for a
patient of its own. The file names tell more: `439-.png` shows no visible abnormality although the patient was
positive, `899p.jpg` is of a child. Hundreds of the images are in `cohen` too: run `covidcx data audit` on a merged
table.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import IMAGE_SUFFIXES, Rows, index_images, nothing_usable, optional_file, read_table

SOURCE = Source(
    name="armiro",
    title="COVID-CXNet collection (armiro)",
    citation="Haghanifar et al., COVID-CXNet, Multimed Tools Appl 2022",
    licence="CC BY 4.0",
    url="https://github.com/armiro/COVID-CXNet",
    images=900,
    labels=("covid", "normal"),
    views=("PA", "AP"),
    masks=(),
    tree=tree_of(__doc__),
    note="the same images are in cohen by the hundred",
)
_FOLDERS = {"covid19": "COVID-19", "normal": "Normal"}
_LABELS = {"COVID-19": "covid", "Normal": "normal"}
_NAMED = re.compile(r"\d+(?P<mark>[-p]*)", re.IGNORECASE)


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the images of `chest_xray_images` with what `metadata.csv` tells of them."""
    rows = Rows(SOURCE, folder, all_views)
    table = optional_file(folder, "metadata.csv")
    if table is None and not (folder / "chest_xray_images").is_dir():
        raise nothing_usable(folder, SOURCE, "neither metadata.csv nor chest_xray_images is there")
    # Names differ in their case between the table and the files (374.PNG).
    files = {name.lower(): path for name, path in
             index_images(folder / "chest_xray_images", (*IMAGE_SUFFIXES, ".jfif")).items()}  # fmt: skip
    if table is not None:
        listed = read_table(table, ("filename", "patient_id", "sex", "age", "view", "label", "pcr_test"))
        for record in listed.to_dict("records"):
            name = str(record["filename"])
            path = files.pop(name.lower(), None)
            tested = "PCR negative" if record["pcr_test"] == "negative" else np.nan
            rows.add(
                path, name, record["patient_id"], rows.label(record["label"], _LABELS), view=record["view"],
                age=record["age"], sex=record["sex"],
                findings=(record["label"], *_marks(Path(name).stem), tested),
            )  # fmt: skip
    for path in files.values():
        own = _FOLDERS.get(path.parent.name.lower())
        if own is not None:
            rows.add(path, path.name, np.nan, _LABELS[own], findings=(own, *_marks(path.stem)))
    return rows.reading()


def _marks(stem: str) -> tuple[str, ...]:
    found = _NAMED.fullmatch(stem)
    mark = found["mark"].lower() if found and not pd.isna(found["mark"]) else ""
    return tuple(words for sign, words in (("-", "no visible abnormality"), ("p", "pediatric")) if sign in mark)
