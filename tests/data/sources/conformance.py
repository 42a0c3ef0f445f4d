"""Small trees in the layout of a data set, for the tests of its adapter.

A data set `name` has `tests/data/sources/trees/name.py` with `TREE = Tree(...)`; `test_source_conformance.py` picks
it up by itself.
"""

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np


@dataclass(frozen=True)
class Tree:
    """A small copy of a data set's layout.

    Attributes:
        write: writes it into an empty folder.
        rows: number of frontal images that the adapter must give.
        all_rows: number of images with all views.
        image: path of a frontal image file; where it is deleted, one row goes and is named among the skipped.
        table: path of the table (CSV, plain or gzip) whose columns are damaged by the tests; None where there is none.
        required: columns of `table` without which the adapter must refuse.
        delimiter: of `table`.
        break_label: writes a label that does not exist into the row of `image`; None where labels are folders.
    """

    write: Callable[[Path], None]
    rows: int
    all_rows: int
    image: str
    table: str | None = None
    required: tuple[str, ...] = ()
    delimiter: str = ","
    break_label: Callable[[Path], None] | None = None


def tree_for(name: str) -> Tree:
    """Return the small tree of a data set."""
    return import_module(f"trees.{name}").TREE


def write_tree(name: str, folder: Path) -> Tree:
    """Write the small tree of a data set into a folder and return it."""
    tree = tree_for(name)
    folder.mkdir(parents=True, exist_ok=True)
    tree.write(folder)
    return tree


def write_png(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> None:
    """Write a small 8-bit greyscale picture, height x width; the ending chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)


def write_mask(path: Path, size: tuple[int, int] = (48, 40), value: int = 255) -> None:
    """Write a mask with two lungs, height x width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    height, width = size
    mask[height // 4 : -height // 4, width // 8 : width * 3 // 8] = value
    mask[height // 4 : -height // 4, width * 5 // 8 : -width // 8] = value
    assert cv2.imwrite(str(path), mask)


def write_dicom(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40), **elements: object) -> None:
    """Write a small DX image; `elements` are set by keyword (ViewPosition="PA", PatientAge="058Y", ...)."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path), str(seed)])
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID = "DX", path.stem
    dataset.Rows, dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def write_csv(path: Path, header: Sequence[str], *rows: Sequence[object], delimiter: str = ",") -> None:
    """Write a table; gzip where the path ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read_csv(path: Path, delimiter: str = ",") -> list[list[str]]:
    """Read a table with its header as lists of cells."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


def set_cell(path: Path, row: int, column: str, value: str, delimiter: str = ",") -> None:
    """Change one cell of a table; row 0 is the first below the header."""
    header, *rows = read_csv(path, delimiter)
    rows[row][header.index(column)] = value
    write_csv(path, header, *rows, delimiter=delimiter)


def rename_column(path: Path, column: str, name: str, delimiter: str = ",") -> None:
    """Rename one column of a table."""
    header, *rows = read_csv(path, delimiter)
    header[header.index(column)] = name
    write_csv(path, header, *rows, delimiter=delimiter)
