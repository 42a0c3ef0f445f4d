"""Pediatric images: labels and splits are folders."""

from pathlib import Path

from conformance import Tree, write_png

FILES = (
    "train/NORMAL/IM-0504-0001.jpeg", "train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg", "train/PNEUMONIA/person1_virus_6.jpeg",
    "test/PNEUMONIA/person1_virus_6.jpeg", "val/NORMAL/BACTERIA-1008087-0001.jpeg",
)  # fmt: skip


def write(folder: Path) -> None:
    for seed, name in enumerate(FILES):
        write_png(folder / "chest_xray" / name, seed)


TREE = Tree(write, rows=6, all_rows=6, image=f"chest_xray/{FILES[0]}")
