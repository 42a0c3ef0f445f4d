"""Hannover: three images of two patients."""

from pathlib import Path

from conformance import Tree, write_csv, write_png

HEADER = ["patient_id", "image_id", "sex", "age", "modality", "projection"]


def write(folder: Path) -> None:
    for seed, name in enumerate(("fff13f3a", "b343e657", "c9280a30")):
        write_png(folder / "png" / f"{name}.png", seed)
    write_csv(
        folder / "data.csv", HEADER,
        ["024e7871", "fff13f3a", "f", "", "CR", "pa"], ["042f06a9", "b343e657", "m", "", "CR", "ap"],
        ["042f06a9", "c9280a30", "m", "", "DX", "ap"], ["042f06a9", "00000000", "m", "", "DX", "ap"],
    )  # fmt: skip


TREE = Tree(
    write, rows=3, all_rows=3, image="png/fff13f3a.png", table="data.csv",
    required=("patient_id", "image_id", "sex", "age", "modality", "projection"),
)  # fmt: skip
