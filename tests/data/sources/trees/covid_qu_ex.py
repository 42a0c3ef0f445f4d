"""COVID-QU-Ex: both parts, with one COVID image in each of them and one in the infection part alone."""

import shutil
from pathlib import Path

from conformance import Tree, write_mask, write_png

LUNG, INFECTION = (f"{part} Segmentation Data/{part} Segmentation Data" for part in ("Lung", "Infection"))


def write_image(folder: Path, part: str, place: str, stem: str, seed: int) -> None:
    write_png(folder / part / place / "images" / f"{stem}.png", seed, (64, 64))
    write_mask(folder / part / place / "lung masks" / f"{stem}.png", (64, 64))
    if part == INFECTION:
        infected = 255 if place.endswith("/COVID-19") else 0
        write_mask(folder / part / place / "infection masks" / f"{stem}.png", (64, 64), infected)


def write(folder: Path) -> None:
    write_image(folder, LUNG, "Train/COVID-19", "covid_1", 1)
    write_image(folder, LUNG, "Val/Non-COVID", "non_COVID (2)", 2)
    write_image(folder, LUNG, "Test/Normal", "Normal (3)", 3)
    write_image(folder, INFECTION, "Test/COVID-19", "covid_1", 1)
    write_image(folder, INFECTION, "Train/COVID-19", "covid_4", 4)
    write_image(folder, INFECTION, "Train/Non-COVID", "non_COVID (5)", 5)
    # Systems leave such files in folders of pictures.
    shutil.copy(folder / LUNG / "Test/Normal/images/Normal (3).png", folder / LUNG / "Test/Normal/preview.png")


TREE = Tree(write, rows=5, all_rows=5, image=f"{LUNG}/Test/Normal/images/Normal (3).png")
