"""JSRT: raw images, clinical tables without a header, SCR masks in GIF."""

from pathlib import Path

import numpy as np
from conformance import Tree

NODULES = (
    "JPCLN001.IMG\t5\t15\t53\tmale\t1634\t692\tmalignant\tl.upper lobe\tlung cancer\r\n"
    "JPCLN002.IMG\t5\t30\t?\tfemale\t10\t2040\tbenign\tl.upper lobe(S5)\tpulmonary hematoma"
    "JPCLN003.IMG\t4\t30\t63\tfemale\t1303\t447\tmalignant\tl.upper lobe(S1+2)\tlung cancer\r\n"
)
OTHERS = "JPCNN001.IMG  65   female  non-nodule\n"
SIDE = 2048


def write_raw(path: Path, density: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(density.astype(">u2").tobytes())


def write_gif(path: Path, mask: np.ndarray) -> None:
    """Write a mask as GIF87a, uint8 of 0 and 255; codes of 9 bits, with a clear code often enough to keep them so."""
    height, width = mask.shape
    palette = bytes(level for level in range(256) for _ in range(3))
    codes = np.append(np.insert(mask.ravel().astype(np.uint16), np.arange(0, mask.size, 250), 256), 257)
    bits = np.unpackbits(codes.astype("<u2").view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")[:, :9]
    data = np.packbits(bits.ravel(), bitorder="little").tobytes()
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"GIF87a" + size + b"\xf7\0\0" + palette + b"," + b"\0" * 4 + size + b"\0" + b"\x08" + blocks + b"\0;"
    )


def write(folder: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 4095, SIDE).astype(np.uint16), (SIDE, SIDE))
    for name in ("JPCLN001", "JPCLN002", "JPCNN001"):
        write_raw(folder / "All247images" / f"{name}.IMG", ramp)
    (folder / "All247images" / "broken.IMG").write_bytes(b"short")
    clinical = folder / "Clinical_Information"
    clinical.mkdir()
    (clinical / "CLNDAT_EN.txt").write_bytes(NODULES.encode("latin-1"))
    (clinical / "CNNDAT_EN.TXT").write_bytes(OTHERS.encode("latin-1"))
    for side, columns in (("left lung", slice(600, 900)), ("right lung", slice(100, 400))):
        mask = np.zeros((1024, 1024), np.uint8)
        mask[200:800, columns] = 255
        write_gif(folder / "scratch" / "fold1" / "masks" / side / "JPCLN001.gif", mask)


TREE = Tree(write, rows=3, all_rows=3, image="All247images/JPCLN002.IMG")
