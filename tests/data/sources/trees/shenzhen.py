"""Shenzhen: readings in the forms that occur, masks for some images."""

from pathlib import Path

from conformance import Tree, write_mask, write_png

BASE = "ChinaSet_AllFiles"
SIZE = (56, 48)
READINGS = {
    "CHNCXR_0001_0": "male 45yrs\n\nnormal\n",
    "CHNCXR_0002_0": "male 16month\nnormal",
    "CHNCXR_0003_0": "female 64days\nnormal",
    "CHNCXR_0004_0": "male 42\nnormal",
    "CHNCXR_0330_1": "femal 32yrs\nright PTB",
    "CHNCXR_0331_1": "female24yrs\nleft PTB|pleuritis",
    "CHNCXR_0332_1": "male , 29yrs  \t\nbilateral secondary PTB",
    "CHNCXR_0999_1": "female 30yrs\nthe picture is not there",
}


def write(folder: Path) -> None:
    base = folder / BASE
    (base / "ClinicalReadings").mkdir(parents=True)
    for seed, (stem, text) in enumerate(READINGS.items()):
        (base / "ClinicalReadings" / f"{stem}.txt").write_text(text, "utf-8")
        if stem != "CHNCXR_0999_1":
            write_png(base / "CXR_png" / f"{stem}.png", seed, SIZE)
    write_mask(folder / "mask" / "mask" / "CHNCXR_0001_0_mask.png", SIZE)
    write_mask(folder / "mask" / "mask" / "CHNCXR_0330_1_mask.png", (28, 24))


TREE = Tree(write, rows=7, all_rows=7, image=f"{BASE}/CXR_png/CHNCXR_0001_0.png")
