"""CheXpert: 224,316 radiographs of 65,240 patients of Stanford Hospital with 14 observations mined from reports.

Citation: Irvin J, Rajpurkar P, Ko M, et al. CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and
    Expert Comparison. AAAI 2019.
Licence: Stanford University Dataset Research Use Agreement: non-commercial research, no redistribution.
Where: https://stanfordmlgroup.github.io/competitions/chexpert/
Tree:
    train.csv, valid.csv, test.csv     any of them; Path, Sex, Age, Frontal/Lateral, AP/PA, 14 observations
    train/patient00001/study1/*.jpg    the folder itself may be CheXpert-v1.0(-small), or hold it

An observation is 1 (present), 0 (absent), -1 (uncertain) or empty (not mentioned). Option `uncertain`: `ignore` (the
default: an image whose label hangs on an uncertain observation gets no label), `ones` (-1 is present) or `zeros`
(-1 is absent), the U-Ignore, U-Ones and U-Zeros of the paper. 'No Finding' is `normal`; Pneumonia or Consolidation
is `cap` (option `cap` names other observations); any other observation but Support Devices is `other`. In `findings`
an uncertain observation that was ignored ends with '?'. `valid.csv` is split `val`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, nothing_usable, optional_file, pick, read_table

SOURCE = Source(
    name="chexpert",
    title="CheXpert",
    citation="Irvin et al., CheXpert, AAAI 2019",
    licence="Stanford research use agreement: non-commercial, no redistribution",
    url="https://stanfordmlgroup.github.io/competitions/chexpert/",
    images=224316,
    labels=("normal", "cap", "other"),
    views=("PA", "AP", "LL", "RL"),
    masks=(),
    tree=tree_of(__doc__),
    note="labels mined from reports, with uncertain ones; option uncertain=ignore|ones|zeros",
)
FINDINGS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
)  # fmt: skip
# Whether an observation is present: None stands for uncertain, False for absent or not mentioned.
_STATES = {"1.0": True, "1": True, "0.0": False, "0": False, "-1.0": None, "-1": None}
_UNCERTAIN = {"ignore": None, "ones": True, "zeros": False}
_TABLES = (("train.csv", "train"), ("valid.csv", "val"), ("test.csv", "test"))


def read(
    folder: Path, derived: Path | None = None, all_views: bool = False, uncertain: str = "ignore",
    cap: str = "Pneumonia,Consolidation",
) -> Reading:  # fmt: skip
    """Read the images of the tables that are there.

    Args:
        folder: see the tree above.
        derived: not used.
        all_views: keep lateral views.
        uncertain: what -1 means: "ignore", "ones" or "zeros".
        cap: observations that make an image `cap`, separated by commas.
    """
    meaning = _UNCERTAIN[pick(uncertain, tuple(_UNCERTAIN), "meaning of uncertain observations")]
    pneumonia = tuple(pick(name.strip(), FINDINGS, "observation") for name in cap.split(","))
    rows = Rows(SOURCE, folder, all_views)
    tables = [(path, split) for name, split in _TABLES if (path := optional_file(folder, name, f"CheXpert*/{name}"))]
    if not tables:
        raise nothing_usable(folder, SOURCE, "none of train.csv, valid.csv, test.csv is there")
    for table, split in tables:
        listed = read_table(table, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *FINDINGS))
        for record in listed.to_dict("records"):
            _add(rows, folder, table.parent, record, split, meaning, pneumonia)
    return rows.reading()


def label_of(states: dict[str, bool | None], normal: bool, pneumonia: tuple[str, ...]) -> str | float:
    """Return the manifest's label of an image.

    Args:
        states: whether each of `FINDINGS` is present; None where that is uncertain.
        normal: 'No Finding' is marked.
        pneumonia: observations that stand for `cap`.

    Returns:
        "normal", "cap" or "other"; NaN where it hangs on an uncertain observation or nothing is present.
    """
    if normal:
        return "normal"
    for label, names in (("cap", pneumonia), ("other", FINDINGS)):
        found = [states[name] for name in names]
        if True in found:
            return label
        if None in found:
            return np.nan
    return np.nan


def _add(
    rows: Rows, folder: Path, base: Path, record: dict[str, object], split: str, meaning: bool | None,
    pneumonia: tuple[str, ...],
) -> None:  # fmt: skip
    name = str(record["Path"])
    states, strange = {}, False
    for finding in FINDINGS:
        value = record[finding]
        state = False if pd.isna(value) else _STATES.get(str(value), "strange")
        if state == "strange":
            state, strange = None, True
        states[finding] = meaning if state is None and not strange else state
    mark = record["No Finding"]
    normal = not pd.isna(mark) and _STATES.get(str(mark)) is True
    strange = strange or not (pd.isna(mark) or str(mark) in _STATES)
    if strange:
        rows.strange({finding: record[finding] for finding in ("No Finding", *FINDINGS)
                      if not pd.isna(record[finding]) and str(record[finding]) not in _STATES})  # fmt: skip
    label = np.nan if strange else label_of(states, normal, pneumonia)
    found = ["No Finding"] if normal else []
    found += [f"{finding}?" if state is None else finding for finding, state in states.items() if state is not False]
    inside = name.partition("/")[2]
    places = (base / inside, base / name, folder / name, base.parent / name)
    path = next((place for place in places if place.is_file()), None)
    patient = next((part for part in name.split("/") if part.startswith("patient")), np.nan)
    lateral = record["Frontal/Lateral"] == "Lateral"
    rows.add(
        path, name, patient, label, view="LL" if lateral else record["AP/PA"], age=record["Age"], sex=record["Sex"],
        findings=found, split=split, frontal=not lateral,
    )  # fmt: skip
