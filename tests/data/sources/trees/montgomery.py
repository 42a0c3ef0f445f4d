"""Montgomery: a mask of each lung, readings, and two images of one patient."""

from pathlib import Path

import cv2
import numpy as np
from conformance import Tree, write_png

BASE = "MontgomerySet"
SIZE = (60, 48)
READINGS = {
    "MCUCXR_0001_0": "Patient's Sex: F \nPatient's Age: 027Y\nnormal\n",
    "MCUCXR_0080_0": "Patient's Sex: O \nPatient's Age: 005Y\nnormal",
    "MCUCXR_0162_1": "Patient's Sex: M \nPatient's Age: 049Y\ncavitary infiltrate RUL|active TB",
    "MCUCXR_0166_1": "Patient's Sex: M \nPatient's Age: 049Y\nNO REPORT (same pt as MCUCXR_0162_1)",
    "MCUCXR_0999_1": "Patient's Sex: M \nPatient's Age: 050Y\nthe picture is not there",
}


def write_side(path: Path, columns: slice) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(SIZE, np.uint8)
    mask[10:50, columns] = 255
    assert cv2.imwrite(str(path), mask, [cv2.IMWRITE_PNG_BILEVEL, 1])


def write(folder: Path) -> None:
    base = folder / BASE
    for seed, (stem, text) in enumerate(READINGS.items()):
        (base / "ClinicalReadings").mkdir(parents=True, exist_ok=True)
        (base / "ClinicalReadings" / f"{stem}.txt").write_text(text, "utf-8")
        if stem != "MCUCXR_0999_1":
            write_png(base / "CXR_png" / f"{stem}.png", seed, SIZE)
            write_side(base / "ManualMask" / "leftMask" / f"{stem}.png", slice(4, 20))
            write_side(base / "ManualMask" / "rightMask" / f"{stem}.png", slice(28, 44))
    (base / "CXR_png" / "Thumbs.db").write_bytes(b"windows")


TREE = Tree(write, rows=4, all_rows=4, image=f"{BASE}/CXR_png/MCUCXR_0001_0.png")
