"""SIIM-FISABIO-RSNA: study and image tables, the DICOM tree, two images of one study."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_dicom

STUDIES = ("00086460a852", "000c9c05fd14", "00292f8c37bd")
STUDY_TABLE = "train_study_level.csv"


def write(folder: Path) -> None:
    places = ((0, "s1", "aaa"), (0, "s2", "bbb"), (1, "s3", "ccc"), (2, "s4", "ddd"))
    for seed, (study, series, name) in enumerate(places):
        write_dicom(
            folder / "train" / STUDIES[study] / series / f"{name}.dcm", seed, (60, 50), PatientID=f"p{study}",
            PatientSex="M", Modality="CR",
        )  # fmt: skip
    write_csv(
        folder / STUDY_TABLE,
        ["id", "Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance"],
        [f"{STUDIES[0]}_study", 0, 1, 0, 0], [f"{STUDIES[1]}_study", 0, 0, 0, 1], [f"{STUDIES[2]}_study", 1, 0, 0, 0],
    )  # fmt: skip
    two = "opacity 1 1.5 2.5 11.5 22.5 opacity 1 20 30 45.5 55.25"
    write_csv(
        folder / "train_image_level.csv", ["id", "boxes", "label", "StudyInstanceUID"],
        ["aaa_image", "[{'x': 1.5}]", two, STUDIES[0]], ["bbb_image", "", "none 1 0 0 1 1", STUDIES[0]],
        ["ccc_image", "", "none 1 0 0 1 1", STUDIES[1]], ["ddd_image", "", "none 1 0 0 1 1", STUDIES[2]],
        ["eee_image", "", "none 1 0 0 1 1", STUDIES[2]],
    )  # fmt: skip


TREE = Tree(
    write, rows=4, all_rows=4, image=f"train/{STUDIES[1]}/s3/ccc.dcm", table=STUDY_TABLE,
    required=("id", "Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance"),
    break_label=lambda folder: set_cell(folder / STUDY_TABLE, 1, "Atypical Appearance", "yes"),
)  # fmt: skip
