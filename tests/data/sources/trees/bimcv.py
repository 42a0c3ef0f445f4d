"""BIMCV-COVID19+: three patients, a lateral view, a negative picture and one who is listed without a picture."""

import json
from pathlib import Path

import cv2
import numpy as np
from conformance import Tree, set_cell, write_csv, write_png

BASE = "covid19_posi"
TESTS = f"{BASE}/derivatives/EHR/sil_reg_covid_posi.tsv"
LABELS = f"{BASE}/derivatives/labels/labels_covid_posi.tsv"
PEOPLE = f"{BASE}/participants.tsv"


def picture(subject: str, session: str, view: str = "ap", run: int = 1) -> str:
    stem = f"sub-{subject}_ses-{session}_run-{run}_bp-chest_vp-{view}_dx"
    return f"{BASE}/sub-{subject}/ses-{session}/mod-rx/{stem}.png"


def write_header(path: Path, **elements: object) -> None:
    """Write a DICOM JSON header; keys are tags with a leading 't'."""
    content = {tag[1:]: {"vr": "CS", "Value": [value]} for tag, value in elements.items()}
    path.write_text(json.dumps(content), "utf-8")


def write_sessions(folder: Path, subject: str, *rows: tuple[str, object]) -> None:
    cells = [[f"ses-{session}", day, "['rx torax .']"] for session, day in rows]
    path = folder / BASE / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    write_csv(path, ["session_id", "study_date", "medical_evaluation"], *cells, delimiter="\t")


def write_tests(folder: Path, *rows: tuple[str, str, str, str]) -> None:
    write_csv(folder / TESTS, ["participant", "date", "test", "result"], *rows, delimiter="\t")


def write(folder: Path) -> None:
    write_csv(
        folder / PEOPLE, ["participant", "modality_dicom", "body_parts", "age", "gender"],
        ["sub-S03044", "['DX']", "[['CHEST']]", "[61]", "M"],
        ["sub-S03045", "['CR', 'CT']", "[['CHEST']]", "[40, 42]", "F"],
        ["sub-S03046", "['CT']", "[['CHEST']]", "[70]", "None"],
        ["sub-S03047", "['DX']", "[['CHEST']]", "[70]", "F"],
        ["derivatives", "[]", "[]", "[]", "None"],
        delimiter="\t",
    )  # fmt: skip
    write_tests(
        folder, ("sub-S03044", "03.04.2020", "PCR", "POSITIVO"), ("sub-S03045", "01.03.2020", "PCR", "POSITIVO"),
        ("sub-S03045", "20.04.2020", "IGG", "INDETERMINADO"),
    )  # fmt: skip
    write_sessions(folder, "S03044", ("E06015", "20200401"))
    write_sessions(folder, "S03045", ("E06016", "20200320.0"))
    write_csv(
        folder / LABELS, ["PatientID", "ReportID", "Report", "Labels"],
        ["sub-S03044", "ses-E06015", "texto", "['COVID 19', ' pneumonia']"],
        ["sub-S03045", "ses-E06016", "texto", "['normal']"],
        delimiter="\t",
    )  # fmt: skip
    write_png(folder / picture("S03044", "E06015"))
    write_png(folder / picture("S03044", "E06015", "ll", 2), 1)
    negative = folder / picture("S03045", "E06016", "pa")
    negative.parent.mkdir(parents=True)
    assert cv2.imwrite(str(negative), np.arange(4096, dtype=np.uint16).reshape(64, 64))
    write_header(negative.with_suffix(".json"), t00280004="MONOCHROME1", t00280101=12, t00101010="041Y")


TREE = Tree(
    write, rows=2, all_rows=3, image=picture("S03045", "E06016", "pa"), table=TESTS, delimiter="\t",
    required=("participant", "date", "test", "result"),
    break_label=lambda folder: set_cell(folder / TESTS, 1, "result", "POSITIV", "\t"),
)  # fmt: skip
