"""A folder in the house's own schema."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png


def write(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        write_png(folder / "images" / f"{name}.png", seed)
    write_csv(
        folder / "manifest.csv",
        ["image", "patient_id", "label", "split", "source", "view"],
        ["images/a.png", "manifest_1", "covid", "train", "manifest", "PA"],
        ["images/b.png", "manifest_2", "normal", "test", "manifest", ""],
        ["images/c.png", "manifest_3", "cap", "test", "manifest", "LL"],
    )
    write_csv(
        folder / "boxes.csv",
        ["image", "x", "y", "width", "height", "finding", "reader"],
        ["images/a.png", 1, 2, 10, 12, "opacity", "one"],
    )


TREE = Tree(
    write, rows=2, all_rows=3, image="images/a.png", table="manifest.csv",
    required=("image", "patient_id", "label", "split"),
    break_label=lambda folder: set_cell(folder / "manifest.csv", 0, "label", "covidd"),
)  # fmt: skip
