"""`covidcx predict`: a batch of files becomes findings, pictures, a table and one page to leaf through.

What is on disk is always whole: every file is written aside and moved into place, a file's JSON last. A batch that was
killed is continued by the same command; files whose content and bundle have not changed are not computed again.
"""

import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.edge.report import write_page
from covidcx.edge.runtime import Analysis, Predictor, load
from covidcx.errors import CovidcxError, ImageError, UnsupportedImageError
from covidcx.finding import Finding
from covidcx.imaging.overlay import overlay, write_png
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.progress import track

log = logging.getLogger(__name__)

PAGE_FILE, TABLE_FILE = "index.html", "summary.csv"
FINDINGS_FOLDER, PICTURES_FOLDER = "findings", "pictures"
PICTURE_SIDE = 1024
"""Longest side of the written pictures; the analysis itself works on the original pixels."""
_LONGEST_STEM = 120
_LOCK_FILE = ".covidcx.lock"


@dataclass(frozen=True)
class Input:
    """One file to look at.

    Attributes:
        path: where it is.
        source: how findings refer to it: relative to the folder that was given.
        stem: how the files written for it begin.
    """

    path: Path
    source: str
    stem: str


@dataclass(frozen=True)
class Record:
    """One file's result as it lies on disk.

    Attributes:
        finding: the result.
        stem: how its files begin.
        has_picture: whether `pictures/<stem>.png` and `.jpg` belong to it.
    """

    finding: Finding
    stem: str
    has_picture: bool


@dataclass(frozen=True)
class Summary:
    """What a batch came to.

    Attributes:
        findings: one per file, in the order of the files.
        out: the output folder.
        page: the HTML page.
        table: the CSV table.
        reused: how many findings an earlier run had finished.
    """

    findings: tuple[Finding, ...]
    out: Path
    page: Path
    table: Path
    reused: int = 0

    @property
    def statuses(self) -> Counter[str]:
        """Number of findings by status."""
        return Counter(finding.status for finding in self.findings)

    @property
    def labels(self) -> Counter[str]:
        """Number of findings by class at the operating point."""
        return Counter(finding.label for finding in self.findings if finding.label is not None)


def predict_files(
    inputs: Sequence[str | Path],
    bundle: str | Path = "covid-cxnet",
    out: str | Path = "predictions",
    threads: int | None = None,
) -> Summary:
    """Analyse files and folders; a bad file is recorded with its reason and the rest goes on.

    Args:
        inputs: files, and folders that are searched through.
        bundle: name or folder of a classifier bundle.
        out: output folder; made where missing.
        threads: threads per inference.

    Returns:
        The findings and where they were written.

    Raises:
        CovidcxError: an input does not exist, there is no file at all, or the output folder is in use or is a file.
        BundleError: the bundle cannot be used.
        OSError: the output cannot be written; what was finished stays.
    """
    out = Path(out)
    files = collect([Path(path) for path in inputs], out)
    predictor = load(bundle, threads)
    if out.exists() and not out.is_dir():
        raise CovidcxError(f"the output {str(out)!r} is a file; name a folder with --out")
    for folder in (FINDINGS_FOLDER, PICTURES_FOLDER):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with _only_writer(out):
        records, reused = [], 0
        for entry in track(files, "analysing"):
            digest = _content_hash(entry.path)
            record = _finished(entry, out, digest, predictor.checksum)
            reused += record is not None
            records.append(record or _process(entry, out, digest, predictor))
        table, page = out / TABLE_FILE, out / PAGE_FILE
        write_atomic(table, _table(records, predictor.bundle.labels))
        write_page(page, [(r.finding, *_pictures(r, out)) for r in records], predictor.bundle)
    return Summary(tuple(r.finding for r in records), out, page, table, reused)


def collect(inputs: Sequence[Path], out: Path | None = None) -> list[Input]:
    """List the files to look at: folders are searched in sorted order, hidden files and the output are left out.

    Args:
        inputs: files and folders.
        out: output folder, which may lie inside an input folder.

    Returns:
        The files with names that are unique, also where letter case does not count.

    Raises:
        CovidcxError: an input does not exist, or there is no file.
    """
    found: list[tuple[Path, str]] = []
    for path in inputs:
        if path.is_dir():
            found += [(file, file.relative_to(path).as_posix()) for file in _walk(path, out)]
        elif path.exists():
            found.append((path, path.name))
        else:
            raise CovidcxError(f"no such file or folder: {str(path)!r}; check the path")
    if not found:
        given = ", ".join(repr(str(path)) for path in inputs) or "nothing"
        raise CovidcxError(f"no files to analyse in {given}; give DICOM files or pictures, or a folder of them")
    unique = {path.absolute(): (path, source) for path, source in found}
    plain = Counter(_safe(source).lower() for _, source in unique.values())
    listed = []
    for absolute, (path, source) in unique.items():
        stem = _safe(source)
        altered = stem != source.replace("/", "__") or plain[stem.lower()] > 1 or len(stem) > _LONGEST_STEM
        if altered:
            stem = f"{stem[:_LONGEST_STEM]}-{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:8]}"
        listed.append(Input(path, _printable(source), stem))
    return listed


def _walk(folder: Path, out: Path | None) -> Iterator[Path]:
    own = None if out is None else out.resolve()
    for current, folders, names in os.walk(folder):
        here = Path(current)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != own)
        if here.resolve() != own:
            yield from (here / name for name in sorted(names) if not name.startswith("."))


def _safe(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "_", source.replace("/", "__"))


def _printable(source: str) -> str:
    return source.encode("utf-8", "replace").decode()


def _content_hash(path: Path) -> str | None:
    if not path.is_file():
        return None  # opening a pipe could wait for ever
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # the reader says why


def _process(entry: Input, out: Path, digest: str | None, predictor: Predictor) -> Record:
    """Analyse one file and write what came of it; only the analysis may fail without ending the batch."""
    start = time.perf_counter()
    analysis = None
    try:
        analysis = predictor.analyse(entry.path, entry.source)
        finding = analysis.finding
    except ImageError as error:
        status = "refused" if isinstance(error, UnsupportedImageError) else "error"
        finding = _failed(entry, status, str(error), predictor, start)
    except (ArithmeticError, ValueError, RuntimeError, MemoryError, cv2.error) as error:
        log.debug("unexpected failure on %s", entry.source, exc_info=True)
        reason = f"{entry.source}: unexpected {type(error).__name__}: {error}; please report it"
        finding = _failed(entry, "error", reason, predictor, start)
    if analysis is not None:
        _draw(analysis, out / PICTURES_FOLDER, entry.stem)
    content = {
        **finding.to_dict(),
        "files": {"picture": f"{PICTURES_FOLDER}/{entry.stem}.png" if analysis is not None else None},
        "run": {
            "input_sha256": digest,
            "bundle_checksum": predictor.checksum,
            "covidcx": __version__,
        },
    }
    target = out / FINDINGS_FOLDER / f"{entry.stem}.json"
    write_atomic(target, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    return Record(finding, entry.stem, analysis is not None)


def _failed(entry: Input, status: str, reason: str, predictor: Predictor, start: float) -> Finding:
    return Finding(
        source=entry.source,
        status=status,
        reason=" ".join(reason.split()),
        bundle=predictor.bundle.name,
        seconds=round(time.perf_counter() - start, 3),
        disclaimer=predictor.bundle.disclaimer,
    )


def _finished(entry: Input, out: Path, digest: str | None, checksum: str) -> Record | None:
    """Return an earlier run's result where it still holds; errors are tried again, a codec may have been installed."""
    try:
        value = json.loads((out / FINDINGS_FOLDER / f"{entry.stem}.json").read_bytes())
        run = value["run"]
        same = (run["input_sha256"], run["bundle_checksum"], run["covidcx"]) == (digest, checksum, __version__)
        kept = {f.name: value[f.name] for f in fields(Finding)}
        finding = Finding(**{**kept, "warnings": tuple(kept["warnings"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if digest is None or not same or finding.source != entry.source or finding.status == "error":
        return None
    record = Record(finding, entry.stem, has_picture=finding.status == "ok")
    complete = all(path is None or path.is_file() for path in _pictures(record, out))
    return record if complete else None


def _draw(analysis: Analysis, folder: Path, stem: str) -> None:
    """Write the drawn picture, and the plain one that the page shows when the drawing is switched off."""
    pixels = analysis.radiograph.pixels
    scale = min(1.0, PICTURE_SIDE / max(pixels.shape))
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    lungs, heat = analysis.lungs, analysis.heat
    if scale < 1.0:
        pixels = resize_area(pixels, height, width)
        lungs = None if lungs is None else resize_area(lungs, height, width) > 0.5
        heat = None if heat is None else cv2.resize(heat, (width, height), interpolation=cv2.INTER_AREA)
    finding = analysis.finding
    caption = f"{finding.label} {finding.probabilities[finding.label]:.2f} ({finding.bundle}). {finding.disclaimer}"
    done, encoded = cv2.imencode(".jpg", to_uint8(pixels), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise CovidcxError(f"a picture of {finding.source}, {height} x {width}, could not be encoded; please report it")
    write_atomic(folder / f"{stem}.jpg", encoded.tobytes())
    write_png(folder / f"{stem}.png", overlay(pixels, lungs, heat, caption=caption))


def _pictures(record: Record, out: Path) -> tuple[Path | None, Path | None]:
    if not record.has_picture:
        return None, None
    return tuple(out / PICTURES_FOLDER / f"{record.stem}.{suffix}" for suffix in ("png", "jpg"))


def _table(records: Iterable[Record], labels: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["source", "status", "label", *(f"p_{label}" for label in labels), "lung_area", "view", "warnings", "reason",
         "picture", "finding", "bundle", "seconds", "disclaimer"]
    )  # fmt: skip
    for record in records:
        f = record.finding
        row: list[Any] = [f.source, f.status, f.label]
        row += [f"{f.probabilities[label]:.4f}" if label in f.probabilities else "" for label in labels]
        row += [f.lung_area, f.view, "; ".join(f.warnings), f.reason]
        row += [f"{PICTURES_FOLDER}/{record.stem}.png" if record.has_picture else ""]
        row += [f"{FINDINGS_FOLDER}/{record.stem}.json", f.bundle, f.seconds, f.disclaimer]
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue().encode()


@contextlib.contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    """Keep a second run out of the same folder; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two runs at once are then the user's care
        yield
        return
    with (out / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CovidcxError(
                f"another covidcx predict is writing to {str(out)!r}; wait for it or name another --out"
            ) from error
        _remove_leftovers(out)
        yield


def _remove_leftovers(out: Path) -> None:
    for folder in (out, out / FINDINGS_FOLDER, out / PICTURES_FOLDER):
        for pattern in (".*.part", ".*.tmp"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
