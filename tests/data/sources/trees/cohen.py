"""COVID-19 image data collection: radiographs, a lateral view, a CT slice, a file listed for two patients."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = ["patientid", "offset", "sex", "age", "finding", "view", "modality", "folder", "filename", "license", ""]


def write(folder: Path) -> None:
    for seed, name in enumerate(("a.jpg", "b.png", "c.PNG", "d.jpeg", "e.jpg", "f.jpg", "ct.jpg")):
        write_png(folder / "images" / name, seed)
    write_csv(
        folder / "metadata.csv", HEADER,
        ["2", "0", "M", "65", "COVID-19", "PA", "X-ray", "images", "a.jpg", "CC BY 3.0", ""],
        ["2", "3", "M", "65", "COVID-19, ARDS", "AP Supine", "X-ray", "images", "b.png", "", ""],
        ["3", "", "F", "", "Pneumonia/Bacterial/Streptococcus", "AP", "X-ray", "images", "c.PNG", "", ""],
        ["4", "", "", "", "todo", "", "X-ray", "images", "d.jpeg", "", ""],
        ["4", "", "", "", "No Finding", "L", "X-ray", "images", "e.jpg", "", ""],
        ["5", "", "", "", "COVID-19", "Axial", "CT", "images", "ct.jpg", "", ""],
        ["6", "", "", "", "Tuberculosis", "PA", "X-ray", "images", "f.jpg", "", ""],
        ["7", "", "", "", "COVID-19", "PA", "X-ray", "images", "a.jpg", "", ""],
        ["8", "", "", "", "COVID-19", "PA", "X-ray", "images", "gone.jpg", "", ""],
    )  # fmt: skip


TREE = Tree(
    write, rows=5, all_rows=6, image="images/c.PNG", table="metadata.csv",
    required=("patientid", "sex", "age", "finding", "view", "modality", "filename", "license"),
    break_label=lambda folder: set_cell(folder / "metadata.csv", 2, "finding", "Pnemonia"),
)  # fmt: skip
