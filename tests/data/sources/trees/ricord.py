"""RICORD-1c: DICOM files as the NBIA Data Retriever unpacks them, and an MD.ai export with three readers."""

import json
from pathlib import Path

from conformance import Tree, write_dicom

EXPORT = "1c_mdai_rsna_project_MwBeK3Nr_annotations_labelgroup_all_2021-01-08-164102.json"
LABELS = {
    "L_t": "Typical Appearance", "L_i": "Indeterminate Appearance", "L_n": "Negative for Pneumonia",
    "L_m": "Moderate (3-4 zones)",
}  # fmt: skip
STUDY = "1.2.826.0.1.3680043.10.474.419639."


def dicom(patient: str, study: str, number: int = 1) -> str:
    return f"MIDRC-RICORD-1C/MIDRC-RICORD-1C-{patient}/06-22-2004-NA-XR CHEST-{study[-5:]}/1.000000-AP-{number}/1-1.dcm"


def write_export(folder: Path, *notes: tuple[str, str]) -> None:
    content = {
        "labelGroups": [{"id": "G_1", "labels": [{"id": key, "name": name} for key, name in LABELS.items()]}],
        "datasets": [
            {"id": "D_1", "studies": [], "annotations": [
                {"id": f"A_{i}", "StudyInstanceUID": study, "labelId": label} for i, (study, label) in enumerate(notes)
            ]}
        ],
    }  # fmt: skip
    (folder / EXPORT).write_text(json.dumps(content), "utf-8")


def write_image(folder: Path, patient: str, study: str, number: int = 1, **elements: object) -> None:
    common = {
        "PatientID": f"MIDRC-RICORD-1C-{patient}", "StudyInstanceUID": STUDY + study, "PatientAge": "057Y",
        "PatientSex": "M", "Modality": "CR", "ViewPosition": "AP",
    }  # fmt: skip
    write_dicom(folder / dicom(patient, study, number), number, **{**common, **elements})


def write(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write_export(
        folder, (STUDY + "10001", "L_i"), (STUDY + "10001", "L_t"), (STUDY + "10001", "L_t"),
        (STUDY + "10001", "L_m"), (STUDY + "10002", "L_n"), (STUDY + "10009", "L_n"),
    )  # fmt: skip
    write_image(folder, "419639-000025", "10001")
    write_image(folder, "419639-000361", "10002", ViewPosition="", SeriesDescription="CHEST PA")
    write_image(folder, "419639-000361", "10002", 2, ViewPosition="LL")
    write_image(folder, "419639-000361", "10002", 3, Modality="SR")


TREE = Tree(write, rows=2, all_rows=3, image=dicom("419639-000025", "10001"))
