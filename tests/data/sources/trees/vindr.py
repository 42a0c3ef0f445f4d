"""VinDr-CXR: three readers of an image who agree, differ, or contradict each other."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_dicom

HEADER = ["image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"]


def write(folder: Path) -> None:
    for seed, name in enumerate(("aa", "bb", "cc", "dd")):
        write_dicom(folder / "train" / f"{name}.dicom", seed, PatientAge="033Y", PatientSex="O")
    write_csv(
        folder / "train.csv", HEADER,
        ["aa", "Cardiomegaly", 3, "R9", 5, 20, 30, 40],
        *(["bb", "No finding", 14, reader, "", "", "", ""] for reader in ("R1", "R2", "R3")),
        *(["cc", "Consolidation", 4, reader, 5.5, 6.5, 20.5, 30] for reader in ("R8", "R9")),
        ["cc", "No finding", 14, "R10", "", "", "", ""],
        ["dd", "No finding", 14, "R8", "", "", "", ""],
        ["dd", "ILD", 5, "R9", 1, 1, 9, 9],
        ["ee", "No finding", 14, "R8", "", "", "", ""],
    )  # fmt: skip


TREE = Tree(
    write, rows=4, all_rows=4, image="train/aa.dicom", table="train.csv",
    required=("image_id", "class_name", "rad_id", "x_min", "y_min", "x_max", "y_max"),
    break_label=lambda folder: set_cell(folder / "train.csv", 0, "class_name", "Cardiomegalia"),
)  # fmt: skip
