"""COVID-CXNet collection: images with and without a row in the table."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

HEADER = ["\ufefffilename", "patient_id", "sex", "age", "view", "label", "pcr_test", "url"]


def write(folder: Path) -> None:
    for seed, name in enumerate(("260.jpg", "374.PNG", "756.jpg", "035.jpeg", "439-.png")):
        write_png(folder / "chest_xray_images" / "covid19" / name, seed)
    write_csv(
        folder / "metadata.csv", HEADER,
        ["260.jpg", "10", "female", "68", "AP", "COVID-19", "positive", "https://x"],
        ["374.png", "11", "male", "0.5", "", "COVID-19", "negative", ""],
        ["756.jpg", "213", "male", "28", "AP", "", "negative", ""],
        ["999.jpg", "300", "", "", "", "COVID-19", "", ""],
    )  # fmt: skip


TREE = Tree(
    write, rows=5, all_rows=5, image="chest_xray_images/covid19/260.jpg", table="metadata.csv",
    required=("patient_id", "sex", "age", "view", "label", "pcr_test"),
    break_label=lambda folder: set_cell(folder / "metadata.csv", 0, "label", "COVID-20"),
)  # fmt: skip
