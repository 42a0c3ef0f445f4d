"""Figure 1: two images of one patient, and notes with a degree sign in Windows-1252."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = ["patientid", "offset", "sex", "age", "finding", "view", "modality", "notes"]


def write(folder: Path) -> None:
    for seed, name in enumerate(("COVID-00003a.jpg", "COVID-00003b.png", "COVID-00031.jpg", "COVID-00044.jpg")):
        write_png(folder / "images" / name, seed)
    table = folder / "metadata.csv"
    write_csv(
        table, HEADER,
        ["COVID-00003a", "8", "M", "50+", "COVID-19", "AP erect", "X-ray", "39\u00b0C"],
        ["COVID-00003b", "8", "M", "mid 50s", "COVID-19", "AP erect", "X-ray", ""],
        ["COVID-00031", "", "", "", "Pneumonia", "", "X-ray", ""],
        ["COVID-00044", "", "", "", "", "", "X-ray", ""],
        ["COVID-00045", "", "", "", "COVID-19", "", "X-ray", ""],
    )  # fmt: skip
    table.write_bytes(table.read_text(encoding="utf-8").encode("cp1252"))


TREE = Tree(
    write, rows=4, all_rows=4, image="images/COVID-00031.jpg", table="metadata.csv",
    required=("patientid", "sex", "age", "finding", "view", "modality"),
    break_label=lambda folder: set_cell(folder / "metadata.csv", 2, "finding", "Pneumonie"),
)  # fmt: skip
