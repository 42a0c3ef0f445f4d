"""RSNA Pneumonia Detection Challenge 2018: 26,684 frontal images of ChestX-ray14, read by radiologists, with boxes.

Citation: Shih G, Wu CC, Halabi SS, et al. Augmenting the National Institutes of Health Chest Radiograph Dataset with
    Expert Annotations of Possible Pneumonia. Radiology: Artificial Intelligence 1(1), e180041 (2019).
Licence: RSNA terms of use: non-commercial research and education, with citation.
Where: https://www.kaggle.com/c/rsna-pneumonia-detection-challenge
Tree:
    stage_2_train_labels.csv                        patientId, x, y, width, height, Target; plain or .gz
    stage_2_detailed_class_info.csv                 patientId, class; plain or .gz
    stage_2_train_images/*.dcm                      one file per patientId
    pneumonia-challenge-dataset-mappings_2018.json  optional, from RSNA: the ChestX-ray14 image of each

'Normal' is `normal`, 'Lung Opacity' (with boxes; possible pneumonia) is `cap`, 'No Lung Opacity / Not Normal' is
`other`; the class is in `rsna_class` too. View, age and sex are in the DICOM headers. `patientId` names an image: only
the mapping file tells which images are of one patient. Where it lies in the folder, the patient is that of `nih`
(`nih_123`), so that a table merged with `nih` keeps a patient together.
"""

import json
from pathlib import Path

import pandas as pd

from covidcx.data.sources.headers import dicom_header
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_FILE, UNREADABLE, Rows, first_file, index_images, read_table, read_text
from covidcx.errors import ManifestError
from covidcx.progress import track

SOURCE = Source(
    name="rsna",
    title="RSNA Pneumonia Detection Challenge",
    citation="Shih et al., Radiology: Artificial Intelligence 2019",
    licence="RSNA terms of use: non-commercial research, with citation",
    url="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    images=26684,
    labels=("normal", "cap", "other"),
    views=("PA", "AP"),
    masks=("boxes",),
    tree=tree_of(__doc__),
    note="all images are from nih",
)
_LABELS = {"Normal": "normal", "Lung Opacity": "cap", "No Lung Opacity / Not Normal": "other"}
_MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the training images that are there; the headers of all of them are read."""
    rows = Rows(SOURCE, folder, all_views)
    classes = read_table(first_file(folder, SOURCE, "stage_2_detailed_class_info.csv"), ("patientId", "class"))
    boxes = read_table(
        first_file(folder, SOURCE, "stage_2_train_labels.csv"), ("patientId", "x", "y", "width", "height", "Target")
    )
    files = {name.rpartition(".")[0]: path for name, path in index_images(folder, (".dcm",)).items()}
    patients = _patients(folder / _MAPPING)
    # A class is repeated for each box of its image.
    for record in track(classes.drop_duplicates("patientId").to_dict("records"), "reading headers"):
        name, label = str(record["patientId"]), rows.label(record["class"], _LABELS)
        path = files.get(name)
        head = dicom_header(path) if path else None
        if head is None:
            rows.skip(name, UNREADABLE if path else NO_FILE)
            continue
        more = {"patient_id": patients[name]} if name in patients else {}
        rows.add(
            path, name, name, label, view=head.view, age=head.age, sex=head.sex, findings=(record["class"],),
            rsna_class=record["class"], width=head.width, height=head.height, **more,
        )  # fmt: skip
    for name, x, y, width, height in zip(
        *(boxes[column] for column in ("patientId", "x", "y", "width", "height")), strict=True
    ):
        if not pd.isna(x) and name in files:
            rows.box(files[name], float(x), float(y), float(width), float(height), "opacity", "rsna")
    return rows.reading()


def _patients(path: Path) -> dict[str, str]:
    """Return the patient of `nih` per image of the challenge; empty where the mapping is not there."""
    if not path.is_file():
        return {}
    try:
        return {
            str(entry["subset_img_id"]): f"nih_{int(str(entry['img_id']).partition('_')[0])}"
            for entry in json.loads(read_text(path))
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(
            f"{path} is no list of subset_img_id and img_id: {error!r}; download it again or remove it"
        ) from error
