"""JSRT: film radiographs with and without a lung nodule, and the lung masks of the SCR database.

Citation: J. Shiraishi et al., "Development of a digital image database for chest radiographs with and without a lung
    nodule", American Journal of Roentgenology 174, 71-74, 2000; B. van Ginneken et al., "Segmentation of anatomical
    structures in chest radiographs", Medical Image Analysis 10, 19-40, 2006 (SCR masks).
Licence: research and education, no redistribution (JSRT; SCR).
Where: http://db.jsrt.or.jp/eng.php (images, clinical tables); https://www.isi.uu.nl/Research/Databases/SCR/ (masks)
Tree:
    All247images/JPCLN001.IMG ... JPCNN093.IMG   at any depth: 2048 x 2048, 16 bits big-endian, 12 used
    CLNDAT_EN.txt, CNNDAT_EN.TXT                 optional, at any depth: clinical tables
    scratch/fold1/masks/left lung/JPCLN001.gif   optional, at any depth: SCR; also right lung, fold2

The .IMG files hold film density upside down (high is black) and no header; they are inverted, stretched to 16 bits and
written into `derived` as PNG, without which nothing can be read. JPCLN holds one nodule each (`other`, with a box of
the nodule's size round its centre), JPCNN none (`normal`, as far as nodules go). SCR masks, 1024 x 1024 and one per
lung, are joined and enlarged. They end at the heart: `lung_mask_reader` is `scr`; do not pool them with those of `v7`.

Layout after readers of the set (big-endian '>u2', inverted), the true columns of the clinical tables after
Nickollee/radiology-cv, and the SCR data description.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcx.data.sources.derived import IMAGES, LUNG_MASKS, join_masks, make
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_FILE, Rows, nothing_usable
from covidcx.errors import UnreadableImageError
from covidcx.progress import track

SOURCE = Source(
    name="jsrt",
    title="JSRT database with SCR masks",
    citation="Shiraishi et al., AJR 174, 2000; van Ginneken et al., Medical Image Analysis 10, 2006",
    licence="research and education, no redistribution (JSRT; SCR)",
    url="http://db.jsrt.or.jp/eng.php",
    images=247,
    labels=("normal", "other"),
    views=("PA",),
    masks=("lung", "boxes"),
    tree=tree_of(__doc__),
    note="Needs a folder for derived files. Lung masks leave out the lung behind the heart.",
)

SIDE = 2048
# Film scanned at 0.175 mm a pixel (SCR data description).
PIXEL_MM = 0.175
LEVELS = 4096
BAD_SIZE = f"without the {SIDE} x {SIDE} x 2 bytes of a JSRT image"
BAD_LEVELS = f"with values of {LEVELS} and more: no JSRT image, or not in big-endian order"
BAD_MASK = "with a lung mask that cannot be decoded (kept without it)"
_NAME = re.compile(r"JPC([LN])N\d{3}")
_SIDES = ("left lung", "right lung")


@dataclass(frozen=True)
class _Clinical:
    age: str
    sex: str
    findings: tuple[str, ...]
    nodule: tuple[float, float, float] | None


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Convert the images and read clinical tables and masks.

    Raises:
        ManifestError: no image is there, or `derived` is None.
    """
    files = _files(folder)
    raws = {path.stem.upper(): path for path in files if path.suffix.lower() == ".img"}
    if derived is None:
        why = "its .IMG files must be converted, so a folder for derived files is needed"
        raise nothing_usable(folder, SOURCE, why if raws else "no .IMG file is there")
    clinical = _clinical(files)
    masks = {(path.parent.name, path.stem.upper()): path for path in files if path.parent.name in _SIDES}
    rows = Rows(SOURCE, folder, all_views)
    for name in track(sorted({*raws, *clinical}), "converting images"):
        kind = _NAME.fullmatch(name)
        if not kind:
            continue
        if name not in raws:
            rows.skip(f"{name}.IMG", NO_FILE)
            continue
        image = _convert(rows, raws[name], derived / IMAGES / f"{name}.png")
        if image is None:
            continue
        known = clinical.get(name, _Clinical("", "", (), None))
        lungs = _lungs(rows, image, [masks.get((side, name)) for side in _SIDES], derived)
        rows.add(
            image, name, np.nan, "other" if kind[1] == "L" else "normal", view="PA", age=known.age, sex=known.sex,
            findings=("nodule" if kind[1] == "L" else "non-nodule", *known.findings), width=SIDE, height=SIDE,
            lung_mask=lungs or np.nan, lung_mask_reader="scr" if lungs else np.nan,
        )  # fmt: skip
        if known.nodule:
            _box(rows, image, *known.nodule)
    return rows.reading("no image of JSRT is there")


def decode(raw: bytes) -> np.ndarray:
    """Turn the bytes of an .IMG file into a picture.

    Args:
        raw: 2048 x 2048 unsigned 16-bit integers, big-endian, 0 (white) to 4095 (black).

    Returns:
        uint16, 2048 x 2048, 0 black to 65535 white.

    Raises:
        UnreadableImageError: wrong length or values.
    """
    if len(raw) != SIDE * SIDE * 2:
        raise UnreadableImageError(BAD_SIZE)
    density = np.frombuffer(raw, ">u2").reshape(SIDE, SIDE)
    if int(density.max()) >= LEVELS:
        raise UnreadableImageError(BAD_LEVELS)
    white = LEVELS - 1
    return np.rint((white - density.astype(np.float64)) * (65535 / white)).astype(np.uint16)


def _files(folder: Path) -> list[Path]:
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def _convert(rows: Rows, raw: Path, target: Path) -> Path | None:
    try:
        return make(target, (raw,), lambda: decode(raw.read_bytes()))
    except UnreadableImageError as error:
        rows.skip(raw.name, str(error))
        return None


def _clinical(files: list[Path]) -> dict[str, _Clinical]:
    """Read both clinical tables, whose records have no header and no reliable line ends."""
    found = {}
    for path in files:
        if path.name.upper() not in ("CLNDAT_EN.TXT", "CNNDAT_EN.TXT"):
            continue
        parts = re.split(r"(JPC[LN]N\d{3})\.IMG", path.read_text("latin-1"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            found[name] = _record(name, text)
    return found


def _record(name: str, text: str) -> _Clinical:
    """Read a record: subtlety, size in mm, age, sex, x, y, malignant or benign, place and diagnosis; or age, sex."""
    words = text.split()
    if name.startswith("JPCNN"):
        age, sex = [*words, "", ""][:2]
        return _Clinical(age, sex, (), None)
    subtlety, size, age, sex, x, y, kind = [*words, *[""] * 7][:7]
    findings = (f"subtlety {subtlety}" if subtlety else "", kind, " ".join(words[7:]).replace("|", "/"))
    try:
        nodule = (float(x), float(y), float(size))
    except ValueError:
        nodule = None
    return _Clinical(age, sex, findings, nodule)


def _box(rows: Rows, image: Path, x: float, y: float, millimetres: float) -> None:
    """Add the square round a nodule, cut at the border of the image."""
    half = millimetres / PIXEL_MM / 2
    left, top, right, bottom = (float(np.clip(edge, 0, SIDE)) for edge in (x - half, y - half, x + half, y + half))
    if right > left and bottom > top:
        rows.box(image, left, top, right - left, bottom - top, "nodule", SOURCE.name)


def _lungs(rows: Rows, image: Path, sides: list[Path | None], derived: Path) -> Path | None:
    if None in sides:
        return None
    try:
        return make(derived / LUNG_MASKS / image.name, sides, lambda: join_masks(sides, (SIDE, SIDE)))
    except UnreadableImageError:
        rows.skip(image.name, BAD_MASK)
        return None
