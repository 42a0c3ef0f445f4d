"""COVID-19 Image Data Collection: radiographs and CT of COVID-19 and other pneumonias, collected from publications.

Citation: Cohen JP, Morrison P, Dao L, Roth K, Duong TQ, Ghassemi M. COVID-19 Image Data Collection: Prospective
    Predictions Are the Future. Journal of Machine Learning for Biomedical Imaging 2020:002.
Licence: per image, column `licence`: many CC BY-NC-SA, some Apache 2.0, some unstated.
Where: https://github.com/ieee8023/covid-chestxray-dataset
Tree:
    metadata.csv    patientid, sex, age, finding, view, modality, folder, filename, license, ...
    images/         the files that the column `filename` names
    public-annotations.csv    optional, from https://brixia.github.io: Brixia severity, CC BY-NC-SA 4.0

CT slices and volumes are left out. `finding` is either plain ('SARS', 'COVID-19, ARDS') or, in newer copies, a path
('Pneumonia/Viral/COVID-19'): COVID-19 anywhere is `covid`, any other pneumonia is `cap`, 'No Finding' is `normal`,
tuberculosis is `other`, 'todo' and 'Unknown' have no label. A file that is listed for two patients keeps the first.
Columns of its own: `offset` (days since symptoms or admission), and with the Brixia table `brixia` and `brixia_junior`:
the score from 0 to 18 of a senior and a junior radiologist (Signoroni et al., Medical Image Analysis 71, 102046, 2021).
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_XRAY, Rows, first_file, index_images, optional_file, read_table

SOURCE = Source(
    name="cohen",
    title="COVID-19 Image Data Collection (Cohen)",
    citation="Cohen et al., COVID-19 Image Data Collection, MELBA 2020:002",
    licence="unstated; see the image's publication",
    url="https://github.com/ieee8023/covid-chestxray-dataset",
    images=866,
    labels=("covid", "cap", "normal", "other"),
    views=("PA", "AP", "LL"),
    masks=(),
    tree=tree_of(__doc__),
    note="licence per image; many images are also in armiro and covidx",
)
_PNEUMONIA = frozenset(
    ("pneumonia", "sars", "mers-cov", "mers", "streptococcus", "pneumocystis", "klebsiella", "legionella", "lipoid",
     "varicella", "chlamydophila", "e.coli", "influenza", "h1n1", "mycoplasma", "mycoplasma bacterial pneumonia",
     "bacterial", "viral", "fungal", "aspiration", "aspergillosis", "herpes", "nocardia", "staphylococcus", "mrsa",
     "ards")
)  # fmt: skip
_OTHER = frozenset(("tuberculosis",))
_NORMAL = frozenset(("no finding",))
_UNKNOWN = frozenset(("todo", "unknown", "nan", ""))


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the radiographs of `metadata.csv`."""
    rows = Rows(SOURCE, folder, all_views)
    table = first_file(folder, SOURCE, "metadata.csv")
    listed = read_table(table, ("patientid", "sex", "age", "finding", "view", "modality", "filename", "license"))
    files = index_images(folder / "images")
    scores = _scores(optional_file(folder, "public-annotations.csv"))
    for record in listed.to_dict("records"):
        name = str(record["filename"])
        if str(record["modality"]) != "X-ray" or str(record["view"]) in ("Axial", "Coronal"):
            rows.skip(name, NO_XRAY)
            continue
        finding = record["finding"]
        label = label_of(finding)
        if label is None:
            rows.strange(finding)
        rows.add(
            files.get(name), name, record["patientid"], np.nan if label is None else label, view=record["view"],
            age=record["age"], sex=record["sex"], findings=re.split(r",\s*", "" if pd.isna(finding) else str(finding)),
            licence=record["license"], offset=record.get("offset", np.nan), **scores.get(name, {}),
        )  # fmt: skip
    return rows.reading()


def _scores(table: Path | None) -> dict[str, dict[str, object]]:
    """Return the Brixia scores per file name; empty where the table is not there."""
    if table is None:
        return {}
    listed = read_table(table, ("filename", "S-Global", "J-Global"))
    return {
        str(record["filename"]): {"brixia": record["S-Global"], "brixia_junior": record["J-Global"]}
        for record in listed.to_dict("records")
    }


def label_of(finding: object) -> str | float | None:
    """Return the manifest's label of a finding; NaN where none is stated, None for a finding that is not known."""
    words = {word.strip().lower() for word in re.split(r"[/,]", "" if pd.isna(finding) else str(finding))}
    if "covid-19" in words:
        return "covid"
    if words <= _UNKNOWN:
        return np.nan
    for label, known in (("normal", _NORMAL), ("cap", _PNEUMONIA), ("other", _OTHER)):
        if words <= known:
            return label
    # A path with an organism nobody foresaw is still a pneumonia: its first step says so.
    return "cap" if "pneumonia" in words and "/" in str(finding) else None
