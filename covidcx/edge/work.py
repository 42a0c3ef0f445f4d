"""One file becomes an answer on disk; shared by `covidcx predict` and `covidcx edge watch`.

What is on disk is always whole: every file is written aside and moved into place, a file's JSON last.
"""

import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.edge.picture import scaled
from covidcx.edge.runtime import Analysis, Predictor, load
from covidcx.errors import CovidcxError, ImageError, MissingDependencyError, UnsupportedImageError
from covidcx.finding import Finding
from covidcx.imaging.overlay import overlay, write_png
from covidcx.imaging.resize import to_uint8

log = logging.getLogger(__name__)

FINDINGS_FOLDER, PICTURES_FOLDER, DICOM_FOLDER = "findings", "pictures", "dicom"
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


def answer(entry: Input, out: Path, digest: str | None, predictor: Predictor, dicom: bool = False) -> Record:
    """Analyse one file and write what came of it; only the analysis may fail without ending the batch.

    Args:
        entry: the file.
        out: output folder, with `FINDINGS_FOLDER` and `PICTURES_FOLDER` in it.
        digest: the file's `content_hash`.
        predictor: the networks.
        dicom: also write DICOM objects; where there can be none, the finding has a warning that says why.

    Returns:
        What is on disk now.
    """
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
    objects: list[str] | None = None
    if analysis is not None:
        _draw(analysis, out / PICTURES_FOLDER, entry.stem)
        if dicom:
            objects, remarks = _objects(entry, analysis, out, predictor)
            finding = replace(finding, warnings=finding.warnings + remarks)
    content = {
        **finding.to_dict(),
        "files": {
            "picture": f"{PICTURES_FOLDER}/{entry.stem}.png" if analysis is not None else None,
            "dicom": objects,
        },
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


def earlier_answer(entry: Input, out: Path, digest: str | None, checksum: str, dicom: bool = False) -> Record | None:
    """Return an earlier run's result where it still holds; errors are tried again, a codec may have been installed."""
    try:
        value = json.loads((out / FINDINGS_FOLDER / f"{entry.stem}.json").read_bytes())
        run = value["run"]
        same = (run["input_sha256"], run["bundle_checksum"], run["covidcx"]) == (digest, checksum, __version__)
        kept = {f.name: value[f.name] for f in fields(Finding)}
        finding = Finding(**{**kept, "warnings": tuple(kept["warnings"])})
        objects = value["files"].get("dicom")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if digest is None or not same or finding.source != entry.source or finding.status == "error":
        return None
    record = Record(finding, entry.stem, has_picture=finding.status == "ok")
    if dicom and finding.status == "ok" and (objects is None or not all((out / name).is_file() for name in objects)):
        return None
    complete = all(path is None or path.is_file() for path in picture_files(record, out))
    return record if complete else None


def _draw(analysis: Analysis, folder: Path, stem: str) -> None:
    """Write the drawn picture, and the plain one that the page shows when the drawing is switched off."""
    pixels, lungs, heat = scaled(analysis)
    finding = analysis.finding
    caption = f"{finding.label} {finding.probabilities[finding.label]:.2f} ({finding.bundle}). {finding.disclaimer}"
    done, encoded = cv2.imencode(".jpg", to_uint8(pixels), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise CovidcxError(f"a picture of {finding.source}, {pixels.shape}, could not be encoded; please report it")
    write_atomic(folder / f"{stem}.jpg", encoded.tobytes())
    write_png(folder / f"{stem}.png", overlay(pixels, lungs, heat, caption=caption))


def _objects(entry: Input, analysis: Analysis, out: Path, predictor: Predictor) -> tuple[list[str], tuple[str, ...]]:
    """Write the DICOM objects; return their names relative to `out`, and a warning where there can be none."""
    from covidcx.edge.dicom_objects import write_dicom

    marked = analysis.disease if analysis.disease is not None and analysis.disease.any() else None
    folder = out / DICOM_FOLDER
    folder.mkdir(exist_ok=True)
    try:
        files = write_dicom(entry.path, analysis, predictor.bundle, folder, entry.stem, segmenter=predictor.segmenter,
                            disease=marked)  # fmt: skip
    except MissingDependencyError:
        raise
    except CovidcxError as error:
        return [], (f"no DICOM objects: {' '.join(str(error).split())}",)
    return [file.relative_to(out).as_posix() for file in files], ()


def picture_files(record: Record, out: Path) -> tuple[Path | None, Path | None]:
    """Return the drawn and the plain picture of a record; None for both where it has none."""
    if not record.has_picture:
        return None, None
    return tuple(out / PICTURES_FOLDER / f"{record.stem}.{suffix}" for suffix in ("png", "jpg"))


def safe_name(source: str) -> str:
    """Turn a relative path into a file name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", source.replace("/", "__"))


def printable(source: str) -> str:
    """Return a file name that can be written as UTF-8, whatever bytes the file system gave."""
    return source.encode("utf-8", "replace").decode()


def content_hash(path: Path) -> str | None:
    """Return a file's SHA-256, or None where it cannot be read."""
    if not path.is_file():
        return None  # opening a pipe could wait for ever
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # the reader says why


def load_predictor(bundle: str | Path, threads: int | None, dicom: bool) -> Predictor:
    """Load a bundle for a batch, once it is clear that what the batch writes can be written.

    Raises:
        BundleError: the bundle cannot be used.
        MissingDependencyError: `dicom` is asked for without highdicom.
    """
    if dicom:
        from covidcx.edge.dicom_objects import require_highdicom

        require_highdicom()
    return load(bundle, threads)


@contextlib.contextmanager
def only_writer(out: Path, folders: Sequence[str] = ()) -> Iterator[None]:
    """Make an output folder and keep a second run out of it; the lock ends with the process, however it ends.

    Args:
        out: the folder.
        folders: made in it, beside those of findings and pictures.

    Yields:
        Nothing; while it lasts nobody else writes there.

    Raises:
        CovidcxError: `out` is a file, or another run writes there.
    """
    if out.exists() and not out.is_dir():
        raise CovidcxError(f"the output {str(out)!r} is a file; name a folder with --out")
    for folder in (FINDINGS_FOLDER, PICTURES_FOLDER, *folders):
        (out / folder).mkdir(parents=True, exist_ok=True)
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
    for folder in (out, *(path for path in out.iterdir() if path.is_dir())):
        for pattern in (".*.part", ".*.tmp"):
            for path in folder.glob(pattern):
                path.unlink(missing_ok=True)
