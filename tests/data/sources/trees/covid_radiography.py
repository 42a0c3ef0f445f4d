"""COVID-19 Radiography Database: 299-pixel images, masks of 256 pixels and three channels, one workbook."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
from conformance import Tree, write_png

BASE = "COVID-19_Radiography_Dataset"
CLASSES = {"COVID": "COVID", "Lung_Opacity": "Lung_Opacity", "Normal": "Normal", "Viral Pneumonia": "Viral Pneumonia"}
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def write_workbook(path: Path, *rows: tuple[str, ...]) -> None:
    """Write a workbook with shared strings (text) and numbers, as Excel does; an empty cell is left out."""
    texts = list(dict.fromkeys(cell for row in rows for cell in row if cell and not cell.isdigit()))
    lines = []
    for at, row in enumerate(rows, 1):
        cells = "".join(
            f'<c r="{chr(65 + i)}{at}"><v>{cell}</v></c>' if cell.isdigit()
            else f'<c r="{chr(65 + i)}{at}" t="s"><v>{texts.index(cell)}</v></c>'
            for i, cell in enumerate(row) if cell
        )  # fmt: skip
        lines.append(f'<row r="{at}">{cells}</row>')
    items = "".join(f"<si><t>{text}</t></si>" for text in texts)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{items}</sst>')
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
        )


def write_small_mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((256, 256, 3), np.uint8)
    mask[64:192, 32:96] = mask[64:192, 160:224] = 255
    assert cv2.imwrite(str(path), mask)


def write(folder: Path) -> None:
    for seed, (kind, stem) in enumerate(CLASSES.items()):
        write_png(folder / BASE / kind / "images" / f"{stem}-1.png", seed, (299, 299))
        write_small_mask(folder / BASE / kind / "masks" / f"{stem}-1.png")
    write_workbook(
        folder / BASE / "COVID.metadata.xlsx", ("FILE NAME", "FORMAT", "SIZE", "URL"),
        ("COVID-1", "PNG", "256", "https://github.com/armiro/COVID-CXNet"),
        ("COVID-2", "PNG", "256", "https://sirm.org/category/senza-categoria/covid-19/"),
    )  # fmt: skip
    write_workbook(
        folder / BASE / "Normal.metadata.xlsx", ("FILE NAME", "FORMAT", "", "URL"),
        ("NORMAL-1", "PNG", "", "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"),
    )  # fmt: skip


TREE = Tree(write, rows=4, all_rows=4, image=f"{BASE}/COVID/images/COVID-1.png")
