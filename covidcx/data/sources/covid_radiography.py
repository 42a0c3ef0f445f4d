"""COVID-19 Radiography Database: four classes gathered from other public sets, with lung masks.

Citation: M. E. H. Chowdhury et al., "Can AI help in screening viral and COVID-19 pneumonia?", IEEE Access 8, 2020; T.
    Rahman et al., "Exploring the effect of image enhancement techniques on COVID-19 detection using chest X-ray
    images", Computers in Biology and Medicine 132, 2021.
Licence: data files of their original authors (page of the data set).
Where: https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database
Tree:
    COVID-19_Radiography_Dataset/   (or its contents)
      COVID/images/COVID-1.png           COVID/masks/COVID-1.png
      Lung_Opacity/images/...            Lung_Opacity/masks/...
      Normal/images/...                  Normal/masks/...
      Viral Pneumonia/images/...         Viral Pneumonia/masks/...
      COVID.metadata.xlsx, ...           optional: FILE NAME, FORMAT, URL of the origin

COVID is `covid`, Normal `normal`; Viral Pneumonia and Lung_Opacity (the publisher's non-COVID lung infection, from the
RSNA challenge) are `cap`. Column `origin` holds the URL of the set an image was taken from: COVID images come from
BIMCV, COVID-CXNet, SIRM, Eurorad, the Hannover set and cohen, so that merging with those gives duplicates. Patients are
not told; every image stands for its own.

The masks are smaller than the images and have three channels; they are resampled into `derived`.

Layout after loaders of this Kaggle set; columns of the workbook after COVID-Net's create_COVIDx.
"""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from covidcx.data.sources.derived import LUNG_MASKS, fitted_mask
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, nothing_usable, optional_file
from covidcx.errors import ManifestError, UnreadableImageError
from covidcx.progress import track

SOURCE = Source(
    name="covid_radiography",
    title="COVID-19 Radiography Database",
    citation="Chowdhury et al., IEEE Access 8, 2020; Rahman et al., Computers in Biology and Medicine 132, 2021",
    licence="data files of their original authors",
    url="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    images=21165,
    labels=("covid", "cap", "normal"),
    views=(),
    masks=("lung",),
    tree=tree_of(__doc__),
    note="Gathered from other sets (column origin); Viral Pneumonia is pediatric (Kermany).",
)

CLASSES = {"COVID": "covid", "Lung_Opacity": "cap", "Normal": "normal", "Viral Pneumonia": "cap"}
BAD_MASK = "with a lung mask that cannot be decoded (kept without it)"
# The largest published workbook has some 10,000 rows.
_MAX_SHEET = 64 * 2**20
_SPACE = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the class folders; the workbooks tell the origin of images and which are missing.

    Raises:
        ManifestError: no image is there, or a workbook cannot be read or lacks a column.
    """
    base = folder if any((folder / name).is_dir() for name in CLASSES) else folder / "COVID-19_Radiography_Dataset"
    if not any((base / name).is_dir() for name in CLASSES):
        raise nothing_usable(folder, SOURCE, "no class folder is there")
    rows = Rows(SOURCE, folder, all_views)
    for kind, label in CLASSES.items():
        images = {path.stem.lower(): path for path in sorted((base / kind / "images").glob("*.png"))}
        workbook = optional_file(base, f"{kind}.metadata.xlsx")
        listed = _origins(workbook) if workbook else {}
        # Workbooks and files differ in case ('NORMAL-1', 'Normal-1.png').
        keys = [*images, *(key for key in listed if key not in images)]
        for key in track(keys, f"reading masks of {kind}"):
            name, origin = listed.get(key, (None, np.nan))
            image = images.get(key)
            mask = None
            if image is not None:
                name, mask = image.stem, _mask(rows, image, base / kind / "masks" / image.name, kind, derived)
            reader = SOURCE.name if mask else np.nan
            rows.add(
                image, name, np.nan, label, findings=[kind], frontal=True, origin=origin,
                lung_mask=mask or np.nan, lung_mask_reader=reader,
            )  # fmt: skip
    return rows.reading("no picture is in images/ of a class folder")


def _mask(rows: Rows, image: Path, mask: Path, kind: str, derived: Path | None) -> Path | None:
    if not mask.is_file():
        return None
    try:
        return fitted_mask(mask, image, derived, f"{LUNG_MASKS}/{kind}/{image.stem}.png")
    except UnreadableImageError:
        rows.skip(mask.name, BAD_MASK)
        return None


def _origins(path: Path) -> dict[str, tuple[str, str | float]]:
    """Return the file name and the URL of origin per file name in lower case."""
    table = read_sheet(path)
    header = table[0] if table else []
    for column in ("FILE NAME", "URL"):
        if column not in header:
            raise ManifestError(f"{path} lacks the column {column!r}; it has: {', '.join(header) or 'nothing'}")
    name, url = header.index("FILE NAME"), header.index("URL")
    found = {}
    for cells in table[1:]:
        cells = cells + [""] * (len(header) - len(cells))
        if cells[name]:
            found[cells[name].lower()] = (cells[name], cells[url] or np.nan)
    return found


def read_sheet(path: Path) -> list[list[str]]:
    """Read the first sheet of an Office Open XML workbook as text.

    Args:
        path: .xlsx file.

    Returns:
        Its rows; an empty cell is ''.

    Raises:
        ManifestError: the file is no workbook.

    Source: ECMA-376 part 1, 18.3 (worksheets) and 18.4 (shared strings).
    """
    try:
        with zipfile.ZipFile(path) as book:
            sheet = _part(book, sorted(name for name in book.namelist() if name.startswith("xl/worksheets/sheet"))[0])
            strings = "xl/sharedStrings.xml"
            shared = _part(book, strings) if strings in book.namelist() else None
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, IndexError, ValueError) as error:
        raise ManifestError(f"cannot read the workbook {path}: {error}; download it again") from error
    texts = ["".join(item.itertext()) for item in shared.findall("x:si", _SPACE)] if shared is not None else []
    rows = []
    for row in sheet.iterfind(".//x:row", _SPACE):
        cells: list[str] = []
        for cell in row.findall("x:c", _SPACE):
            at = _column(cell.get("r", "")) if cell.get("r") else len(cells)
            cells += [""] * (at - len(cells))
            value = cell.find("x:is" if cell.get("t") == "inlineStr" else "x:v", _SPACE)
            text = "".join(value.itertext()) if value is not None else ""
            cells.append((texts[int(text)] if cell.get("t") == "s" and text else text).strip())
        rows.append(cells)
    return rows


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if book.getinfo(name).file_size > _MAX_SHEET:
        raise ValueError(f"{name} has more than {_MAX_SHEET:,} bytes")
    return ElementTree.fromstring(book.read(name))


def _column(reference: str) -> int:
    """Return the index of a column from a cell's reference: 'A1' is 0, 'AB7' is 27."""
    index = 0
    for letter in reference.rstrip("0123456789"):
        index = index * 26 + ord(letter.upper()) - ord("A") + 1
    return index - 1
