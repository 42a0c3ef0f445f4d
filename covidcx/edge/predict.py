"""`covidcx predict`: a batch of files becomes findings, pictures, a table and one page to leaf through.

What is on disk is always whole: every file is written aside and moved into place, a file's JSON last. A batch that was
killed is continued by the same command; files whose content and bundle have not changed are not computed again.
"""

import csv
import hashlib
import io
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidcx.atomic import write_atomic
from covidcx.edge.report import write_page
from covidcx.edge.work import (
    FINDINGS_FOLDER,
    PICTURES_FOLDER,
    Input,
    Record,
    answer,
    content_hash,
    earlier_answer,
    load_predictor,
    only_writer,
    picture_files,
    printable,
    safe_name,
)
from covidcx.errors import CovidcxError
from covidcx.finding import Finding
from covidcx.progress import track

log = logging.getLogger(__name__)

PAGE_FILE, TABLE_FILE = "index.html", "summary.csv"
_LONGEST_STEM = 120


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
    dicom: bool = False,
) -> Summary:
    """Analyse files and folders; a bad file is recorded with its reason and the rest goes on.

    Args:
        inputs: files, and folders that are searched through.
        bundle: name or folder of a classifier bundle.
        out: output folder; made where missing.
        threads: threads per inference.
        dicom: also write DICOM objects (Secondary Capture, Segmentation, Structured Report) for DICOM files.

    Returns:
        The findings and where they were written.

    Raises:
        CovidcxError: an input does not exist, there is no file at all, or the output folder is in use or is a file.
        BundleError: the bundle cannot be used.
        MissingDependencyError: `dicom` is asked for without highdicom.
        OSError: the output cannot be written; what was finished stays.
    """
    out = Path(out)
    files = collect([Path(path) for path in inputs], out)
    predictor = load_predictor(bundle, threads, dicom)
    with only_writer(out):
        records, reused = [], 0
        for entry in track(files, "analysing"):
            digest = content_hash(entry.path)
            record = earlier_answer(entry, out, digest, predictor.checksum, dicom)
            reused += record is not None
            records.append(record or answer(entry, out, digest, predictor, dicom))
        table, page = out / TABLE_FILE, out / PAGE_FILE
        write_atomic(table, _table(records, predictor.bundle.labels))
        write_page(page, [(r.finding, *picture_files(r, out)) for r in records], predictor.bundle)
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
    plain = Counter(safe_name(source).lower() for _, source in unique.values())
    listed = []
    for absolute, (path, source) in unique.items():
        stem = safe_name(source)
        altered = stem != source.replace("/", "__") or plain[stem.lower()] > 1 or len(stem) > _LONGEST_STEM
        if altered:
            stem = f"{stem[:_LONGEST_STEM]}-{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:8]}"
        listed.append(Input(path, printable(source), stem))
    return listed


def _walk(folder: Path, out: Path | None) -> Iterator[Path]:
    own = None if out is None else out.resolve()
    for current, folders, names in os.walk(folder):
        here = Path(current)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != own)
        if here.resolve() != own:
            yield from (here / name for name in sorted(names) if not name.startswith("."))


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
