"""`covidcx data clean`: a batch of files without the letters, dates, arrows and rectangles burned into them.

Every picture is written whole or not at all; a bad file is recorded with its reason and the rest goes on.
"""

import csv
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from covidcx.atomic import write_atomic
from covidcx.bundle import Bundle
from covidcx.edge.lite import MODEL_FILE, LiteModel
from covidcx.edge.predict import Input, collect
from covidcx.errors import BundleError, CovidcxError, ImageError
from covidcx.imaging.overlay import caption_strip, write_png
from covidcx.imaging.read import read
from covidcx.imaging.resize import mostly, resize_area, to_uint8
from covidcx.imaging.roi import NO_LUNGS, enhancement_of_channel, segment_lungs
from covidcx.imaging.text import remove_text
from covidcx.progress import track

log = logging.getLogger(__name__)

IMAGES_FOLDER, TABLE_FILE = "images", "summary.csv"
# Rows of a contact sheet; before, after and mask stand side by side in each.
SHEET_ROWS, SHEET_COLUMNS, SHEET_SIDE = 8, 2, 256
_MARK = (255, 60, 60)


@dataclass(frozen=True)
class Cleaned:
    """What was done to one file.

    Attributes:
        source: how the file was named, relative to the folder that was given.
        image: name of the cleaned PNG in the images folder; empty where there is none.
        marks: separate marks removed.
        changed: share of all pixels changed.
        inside: share of the lungs' pixels changed, or None where no lungs are known.
        outside: share of the other pixels changed, or None likewise.
        bits: of the written PNG.
        reason: why the file was left out; empty where it was not.
        seconds: taken.
    """

    source: str
    image: str = ""
    marks: int = 0
    changed: float = 0.0
    inside: float | None = None
    outside: float | None = None
    bits: int = 0
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class CleanSummary:
    """What a batch came to: one entry per file, the CSV table and the contact sheets."""

    cleaned: tuple[Cleaned, ...]
    table: Path
    sheets: tuple[Path, ...]

    @property
    def failed(self) -> tuple[Cleaned, ...]:
        """The files that could not be read."""
        return tuple(entry for entry in self.cleaned if entry.reason)


def clean_files(
    inputs: Sequence[str | Path], out: str | Path, segmenter: str | Path | None = "lung-unet"
) -> CleanSummary:
    """Write files and folders again without the marks burned into them.

    Files of more than 8 bits become 16-bit PNG, others 8-bit; DICOM files are shown in their first window. PNG files
    carry nothing of a DICOM header.

    Args:
        inputs: files, and folders that are searched through.
        out: output folder; made where missing.
        segmenter: name or folder of a lung segmenter's bundle, or None to treat the middle of each image as lungs.

    Returns:
        What was done, file by file.

    Raises:
        CovidcxError: an input does not exist, there is no file at all, or `out` is a file.
        BundleError: the bundle cannot be used, or is no segmenter.
        OSError: the output cannot be written; what was finished stays.
    """
    out = Path(out)
    files = collect([Path(path) for path in inputs], out)
    find_lungs = None if segmenter is None else _lung_finder(segmenter)
    if out.exists() and not out.is_dir():
        raise CovidcxError(f"the output {str(out)!r} is a file; name a folder with --out")
    (out / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    for old in out.glob("sheet_*.png"):
        old.unlink()
    cleaned, cells, sheets = [], [], []
    stems = {entry.stem.lower() for entry in files}
    for entry in track(files, "cleaning"):
        name = entry.stem if entry.stem.lower().endswith(".png") else f"{entry.stem}.png"
        if name != entry.stem and name.lower() in stems:
            name = f"{entry.stem}.cleaned.png"
        result, cell = _clean(entry, out / IMAGES_FOLDER / name, find_lungs)
        cleaned.append(result)
        if cell is not None:
            cells.append(cell)
        if len(cells) == SHEET_ROWS * SHEET_COLUMNS:
            sheets.append(_write_sheet(out, len(sheets) + 1, cells))
            cells = []
    if cells:
        sheets.append(_write_sheet(out, len(sheets) + 1, cells))
    write_atomic(out / TABLE_FILE, _table(cleaned))
    return CleanSummary(tuple(cleaned), out / TABLE_FILE, tuple(sheets))


def _lung_finder(segmenter: str | Path):
    bundle = Bundle.open(segmenter)
    if bundle.task != "segment":
        raise BundleError(f"bundle {bundle.name!r} is of task {bundle.task!r}; name a lung segmenter such as lung-unet")
    model = LiteModel(bundle.path(MODEL_FILE))
    enhance = enhancement_of_channel(bundle.preprocessing.channels[0])

    def find(pixels: np.ndarray) -> np.ndarray | None:
        lungs = segment_lungs(pixels, lambda image: model(image)["lung"], enhance)
        return lungs if lungs.mean() >= NO_LUNGS else None

    return find


def _clean(entry: Input, target: Path, find_lungs) -> tuple[Cleaned, np.ndarray | None]:
    """Clean one file; only reading and cleaning it may fail without ending the batch."""
    start = time.perf_counter()
    try:
        radiograph = read(entry.path)
        lungs = None if find_lungs is None else find_lungs(radiograph.pixels)
        pixels, mask = remove_text(radiograph.pixels, lungs)
    except ImageError as error:
        return Cleaned(entry.source, reason=" ".join(str(error).split())), None
    except (ArithmeticError, ValueError, RuntimeError, MemoryError, cv2.error) as error:
        log.debug("unexpected failure on %s", entry.source, exc_info=True)
        reason = f"{entry.source}: unexpected {type(error).__name__}: {error}; please report it"
        return Cleaned(entry.source, reason=" ".join(reason.split())), None
    bits = 16 if (radiograph.bits or 8) > 8 else 8
    image = np.round(np.clip(pixels, 0, 1) * 65535).astype(np.uint16) if bits == 16 else to_uint8(pixels)
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise CovidcxError(f"{entry.source}: a PNG of {image.shape} could not be encoded; please report it")
    write_atomic(target, encoded.tobytes())
    result = Cleaned(
        source=entry.source,
        image=f"{IMAGES_FOLDER}/{target.name}",
        marks=cv2.connectedComponents(mask.astype(np.uint8))[0] - 1,
        changed=float(mask.mean()),
        inside=None if lungs is None else float(mask[lungs].mean()),
        outside=None if lungs is None or lungs.all() else float(mask[~lungs].mean()),
        bits=bits,
        seconds=round(time.perf_counter() - start, 3),
    )
    return result, _cell(radiograph.pixels, pixels, mask, lungs, result)


def _cell(before: np.ndarray, after: np.ndarray, mask: np.ndarray, lungs, result: Cleaned) -> np.ndarray:
    """Draw before, after and mask with the lungs' outline side by side: uint8, H x W x 3."""
    scale = SHEET_SIDE / max(before.shape)
    height, width = (max(1, round(side * scale)) for side in before.shape)
    views = [np.repeat(to_uint8(resize_area(view, height, width))[..., None], 3, axis=2) for view in (before, after)]
    shown = views[0] // 2
    shown[resize_area(mask, height, width) > 0.25] = _MARK
    if lungs is not None:
        edge = mostly(lungs, height, width).astype(np.uint8)
        shown[(edge > 0) & (cv2.erode(edge, np.ones((3, 3), np.uint8)) == 0)] = (0, 200, 0)
    cell = np.zeros((SHEET_SIDE, 3 * SHEET_SIDE + 12, 3), np.uint8)
    for number, view in enumerate((*views, shown)):
        left = number * (SHEET_SIDE + 6)
        cell[:height, left : left + width] = view
    name = result.source if len(result.source) <= 60 else f"...{result.source[-57:]}"
    inside = "" if result.inside is None else f", lungs {result.inside:.2%}"
    strip = caption_strip(f"{name}: {result.marks} marks, {result.changed:.2%} changed{inside}", cell.shape[1])
    padded = np.zeros((48, cell.shape[1], 3), np.uint8)
    padded[: min(48, len(strip))] = strip[:48]
    return np.vstack([cell, padded])


def _write_sheet(out: Path, number: int, cells: list[np.ndarray]) -> Path:
    rows = list(_rows(cells))
    return write_png(out / f"sheet_{number:03d}.png", np.vstack(rows))


def _rows(cells: list[np.ndarray]) -> Iterator[np.ndarray]:
    columns = min(SHEET_COLUMNS, len(cells))
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        yield np.hstack([*row, *[np.zeros_like(cells[0])] * (columns - len(row))])


def _table(cleaned: Sequence[Cleaned]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "status", "image", "marks", "changed", "changed_inside_lungs", "changed_outside_lungs",
                     "bits", "reason", "seconds"])  # fmt: skip
    for entry in cleaned:
        shares = ["" if share is None else f"{share:.6f}" for share in (entry.inside, entry.outside)]
        if entry.reason:
            writer.writerow([entry.source, "error", "", "", "", "", "", "", entry.reason, entry.seconds])
        else:
            writer.writerow([entry.source, "ok", entry.image, entry.marks, f"{entry.changed:.6f}", *shares, entry.bits,
                             "", entry.seconds])  # fmt: skip
    return text.getvalue().encode()
