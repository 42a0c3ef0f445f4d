"""Actualmed: a positive, an excluded and an inconclusive one."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = ["patientid", "offset", "sex", "age", "finding", "view", "modality", "imagename", "notes"]


def write(folder: Path) -> None:
    for seed in range(3):
        write_png(folder / "images" / f"CR.1.2.{seed}.png", seed)
    write_csv(
        folder / "metadata.csv", HEADER,
        ["ANON56", "", "", "", "No finding", "PA", "X-ray", "CR.1.2.0.png", "Negative, excluded"],
        ["ANON196", "", "", "", "COVID-19", "AP", "X-ray", "CR.1.2.1.png", ""],
        ["ANON196", "", "", "", "", "PA", "X-ray", "CR.1.2.2.png", "Inconclusive"],
        ["ANON7", "", "", "", "COVID-19", "PA", "X-ray", "CR.1.2.3.png", ""],
    )  # fmt: skip


TREE = Tree(
    write, rows=3, all_rows=3, image="images/CR.1.2.1.png", table="metadata.csv",
    required=("patientid", "sex", "age", "finding", "view", "modality", "imagename"),
    break_label=lambda folder: set_cell(folder / "metadata.csv", 1, "finding", "COVID"),
)  # fmt: skip
