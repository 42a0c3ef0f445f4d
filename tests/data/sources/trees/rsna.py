"""RSNA Pneumonia: DICOM files with view, age and sex in the header, and two boxes of one image."""

from pathlib import Path

from conformance import Tree, read_csv, write_csv, write_dicom

IDS = ("0004cfab", "00436515", "00313ee0")
CLASSES = "stage_2_detailed_class_info.csv"


def write(folder: Path) -> None:
    images = folder / "stage_2_train_images"
    for seed, name in enumerate(IDS):
        view = "PA" if seed else "AP"
        write_dicom(images / f"{name}.dcm", seed, ViewPosition=view, PatientAge="051Y", PatientSex="F")
    (images / "broken.dcm").write_bytes(b"no DICOM")
    write_csv(
        folder / CLASSES, ["patientId", "class"],
        [IDS[0], "No Lung Opacity / Not Normal"], [IDS[1], "Lung Opacity"], [IDS[1], "Lung Opacity"],
        [IDS[2], "Normal"], ["broken", "Normal"], ["gone", "Normal"],
    )  # fmt: skip
    write_csv(
        folder / "stage_2_train_labels.csv", ["patientId", "x", "y", "width", "height", "Target"],
        [IDS[0], "", "", "", "", 0], [IDS[1], 2.0, 4.0, 10.0, 20.0, 1], [IDS[1], 22.0, 4.0, 10.0, 20.0, 1],
        [IDS[2], "", "", "", "", 0], ["gone", "", "", "", "", 0],
    )  # fmt: skip


def break_label(folder: Path) -> None:
    header, *rows = read_csv(folder / CLASSES)
    write_csv(folder / CLASSES, header, *([name, "Opacity" if name == IDS[2] else text] for name, text in rows))


TREE = Tree(
    write, rows=3, all_rows=3, image=f"stage_2_train_images/{IDS[2]}.dcm", table=CLASSES,
    required=("patientId", "class"), break_label=break_label,
)  # fmt: skip
