"""CheXpert: training and validation tables, a lateral view, uncertain observations."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = [
    "Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly",
    "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
    "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
]  # fmt: skip


def row(path: str, view: str, **states: str) -> list[str]:
    projection = "" if view == "Lateral" else view
    cells = [path, "Female", "68", "Lateral" if view == "Lateral" else "Frontal", projection]
    return cells + [states.get(name.replace(" ", ""), "") for name in HEADER[5:]]


def write(folder: Path) -> None:
    top = "CheXpert-v1.0-small"
    paths = [
        f"{top}/train/patient00001/study1/view1_frontal.jpg", f"{top}/train/patient00002/study1/view1_frontal.jpg",
        f"{top}/train/patient00002/study1/view2_lateral.jpg", f"{top}/train/patient00003/study1/view1_frontal.jpg",
        f"{top}/train/patient00004/study1/view1_frontal.jpg", f"{top}/valid/patient64541/study1/view1_frontal.jpg",
    ]  # fmt: skip
    for seed, path in enumerate(paths):
        write_png(folder / path.partition("/")[2], seed)
    write_csv(
        folder / "train.csv", HEADER,
        row(paths[0], "AP", NoFinding="1.0", SupportDevices="1.0"),
        row(paths[1], "PA", Pneumonia="1.0", Edema="-1.0"),
        row(paths[2], "Lateral", Pneumonia="1.0"),
        row(paths[3], "AP", Pneumonia="-1.0", Edema="1.0"),
        row(paths[4], "AP", PleuralEffusion="1.0", Pneumonia="0.0"),
        row(f"{top}/train/patient00005/study1/view1_frontal.jpg", "AP", NoFinding="1.0"),
    )  # fmt: skip
    write_csv(folder / "valid.csv", HEADER, row(paths[5], "AP", NoFinding="0.0", Cardiomegaly="1.0"))


TREE = Tree(
    write, rows=5, all_rows=6, image="train/patient00002/study1/view1_frontal.jpg", table="train.csv",
    required=("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Pneumonia", "Fracture"),
    break_label=lambda folder: set_cell(folder / "train.csv", 1, "Pneumonia", "7"),
)  # fmt: skip
