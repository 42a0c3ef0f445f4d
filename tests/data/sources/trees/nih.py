"""ChestX-ray14: the gzip table, boxes, official lists, images in two folders."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = [
    "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position",
    "OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]",
]  # fmt: skip
TABLE = "Data_Entry_2017_v2020.csv.gz"


def write(folder: Path) -> None:
    for seed, name in enumerate(("00000001_000.png", "00000001_001.png", "00000002_000.png")):
        write_png(folder / f"images_{seed:03}" / "images" / name, seed, (64, 32))
    write_csv(
        folder / TABLE, HEADER,
        ["00000001_000.png", "Cardiomegaly", 0, 1, "58", "M", "PA", 2682, 2749, 0.143, 0.143],
        ["00000001_001.png", "Emphysema|Pneumonia", 1, 1, "058Y", "M", "AP", 2894, 2729, 0.143, 0.143],
        ["00000002_000.png", "No Finding", 0, 2, "412", "F", "PA", 2500, 2048, 0.168, 0.168],
        ["00000003_000.png", "Hernia", 0, 3, "80", "F", "PA", 2500, 2048, 0.168, 0.168],
    )  # fmt: skip
    write_csv(
        folder / "BBox_List_2017.csv", ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", ""],
        ["00000001_001.png", "Infiltrate", 512.0, 256.0, 128.0, 512.0, "", "", ""],
        ["00000003_000.png", "Mass", 1.0, 2.0, 3.0, 4.0, "", "", ""],
    )  # fmt: skip
    (folder / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (folder / "test_list.txt").write_text("00000002_000.png\n00000003_000.png\n")


TREE = Tree(
    write, rows=3, all_rows=3, image="images_000/images/00000001_000.png", table=TABLE,
    required=("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position"),
    break_label=lambda folder: set_cell(folder / TABLE, 0, "Finding Labels", "Cardiomegalie"),
)  # fmt: skip
