"""What the adapters share: reading published tables, finding images, and collecting rows of the manifest."""

import csv
import difflib
import gzip
import io
import logging
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data.manifest import BOX_COLUMNS, COLUMNS, Manifest
from covidcx.data.sources.source import Reading, Source
from covidcx.errors import ManifestError, did_you_mean

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp")
FRONTAL = ("PA", "AP")
# Reasons of `Reading.skipped`; the same words for the same reason, so that they can be counted.
NO_FILE = "listed, but there is no such file"
NOT_FRONTAL = "no frontal view (kept with all views)"
TWICE = "listed twice"
UNKNOWN_LABEL = "with a label that is not known"
NO_XRAY = "no plain radiograph"
UNREADABLE = "that cannot be read"
_SHOWN = 8
_VIEWS = {
    "pa": "PA", "posteroanterior": "PA", "postero-anterior": "PA", "ap": "AP", "anteroposterior": "AP",
    "antero-posterior": "AP", "l": "LL", "ll": "LL", "lat": "LL", "lateral": "LL", "left lateral": "LL",
    "rl": "RL", "right lateral": "RL", "lld": "LLD", "rld": "RLD",
}  # fmt: skip
_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}

_log = logging.getLogger(__name__)


def first_file(folder: Path, source: Source, *names: str) -> Path:
    """Return the first of several files that exists.

    Args:
        folder: where the data set lies.
        source: the data set, for the message.
        names: paths relative to `folder`; each is also tried with `.gz` added, and may be a glob pattern.

    Raises:
        ManifestError: none exists; says which files are expected and what is there.
    """
    found = optional_file(folder, *names)
    if found is None:
        raise nothing_usable(folder, source, f"none of {', '.join(names)} is there")
    return found


def optional_file(folder: Path, *names: str) -> Path | None:
    """Return the first of several files that exists, each also tried with `.gz` added; None where none does."""
    for name in names:
        for candidate in (name, f"{name}.gz"):
            for found in sorted(folder.glob(candidate)):
                if found.is_file():
                    return found
    return None


def nothing_usable(folder: Path, source: Source, why: str) -> ManifestError:
    """Return the error for a folder that does not hold the data set: what was expected and what was found."""
    if not folder.is_dir():
        return ManifestError(f"{folder} is no folder; give the folder that holds {source.title} ({source.url})")
    held = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    found = ", ".join(held[:_SHOWN]) + (f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else "")
    tree = "; ".join(line.strip() for line in source.tree.splitlines() if line.strip())
    return ManifestError(
        f"{folder} does not hold {source.title}: {why}. Expected there: {tree}. Found: {found or 'nothing'}. "
        f"Get it from {source.url}"
    )


def read_table(path: Path, required: Sequence[str] = (), delimiter: str = ",") -> pd.DataFrame:
    """Read a published table as text.

    Args:
        path: a text table with a header, plain or gzip (by its first bytes).
        required: columns that must be there.
        delimiter: between the fields.

    Returns:
        One row a record, every cell stripped text or NaN. Records with too few fields are filled with NaN, cells past
        the header are dropped (published tables are not tidy).

    Raises:
        ManifestError: the file cannot be read, has no rows, or lacks a required column (with the near one).
    """
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
        header = [name.strip() for name in next(reader, [])]
        records = [record for record in reader if any(cell.strip() for cell in record)]
    except csv.Error as error:
        raise ManifestError(f"cannot read the table {path}: {error}; download it again") from error
    missing = [column for column in required if column not in header]
    if missing:
        hints = []
        for column in missing:
            near = difflib.get_close_matches(column, [name for name in header if name not in required], n=1)
            hints.append(f"{column!r} (is it {near[0]!r}?)" if near else repr(column))
        raise ManifestError(f"{path} lacks the column {', '.join(hints)}; it has: {', '.join(header) or 'nothing'}")
    if not records:
        raise ManifestError(f"{path} has a header but no rows; download it again")
    width = len(header)
    cells = [[cell.strip() or np.nan for cell in record[:width]] + [np.nan] * (width - len(record))
             for record in records]  # fmt: skip
    return pd.DataFrame(cells, columns=header, dtype=object)


def read_text(path: Path) -> str:
    """Read a published text file, plain or gzip (by its first bytes), UTF-8 or Windows-1252.

    Raises:
        ManifestError: the file cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            # Tables typed on Windows, such as Figure 1's notes with a degree sign.
            return content.decode("cp1252")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read {path}: {error}; download it again") from error


def index_images(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Find every image below a folder.

    Args:
        folder: where to look, at any depth, in sorted order; hidden files are left out.
        suffixes: endings of image files, in lower case.

    Returns:
        File name -> path. Where a name occurs twice, the first by path; empty for a folder that does not exist.
    """
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(tuple(suffixes)):
                found.setdefault(name, Path(place) / name)
    return found


def join_findings(findings: Iterable[object]) -> str | float:
    """Join a source's own labels with '|'; NaN where there is none."""
    texts = [str(finding).strip() for finding in findings if not pd.isna(finding) and str(finding).strip()]
    return "|".join(dict.fromkeys(texts)) or np.nan


def relative(path: Path, root: Path) -> str:
    """Return a path as the manifest writes it: relative to `root` where it lies inside, else absolute."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def view_of(text: object) -> str | float:
    """Return a projection of `covidcx.data.manifest.VIEWS` from what a source writes ('AP Supine', 'L', 'Frontal')."""
    if pd.isna(text):
        return np.nan
    words = str(text).strip().lower()
    if words in _VIEWS:
        return _VIEWS[words]
    return _VIEWS.get(words.replace("_", " ").split(" ")[0], np.nan) if words else np.nan


def sex_of(text: object) -> str | float:
    """Return 'M', 'F' or NaN from what a source writes."""
    return np.nan if pd.isna(text) else _SEXES.get(str(text).strip().lower(), np.nan)


def age_of(text: object) -> str | float:
    """Return an age in years as text, or NaN: '58', '50+' (50), DICOM's '058Y', '018M' (1.5); nonsense is NaN."""
    if pd.isna(text):
        return np.nan
    words = str(text).strip().upper().rstrip("+")
    per_year = {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.25}.get(words[-1:])
    try:
        years = float(words) if per_year is None else float(words[:-1]) / per_year
    except ValueError:
        return np.nan
    # A few published tables hold ages such as 412 (ChestX-ray14): typing errors, unknown to us.
    return f"{years:.4g}" if 0 <= years <= 120 else np.nan


class Rows:
    """Collects rows of a data set and turns them into a `Reading`."""

    def __init__(self, source: Source, folder: Path, all_views: bool = False) -> None:
        self.source = source
        self.folder = folder
        self.all_views = all_views
        self._rows: dict[str, dict[str, object]] = {}
        self._boxes: list[dict[str, object]] = []
        self._skipped: list[tuple[str, str]] = []
        self._strange: Counter[str] = Counter()

    def label(self, value: object, known: Mapping[str, str | float]) -> str | float:
        """Return the manifest's label for a source's own; NaN for one that is missing or that nobody foresaw.

        Args:
            value: the source's label; NaN where it is missing.
            known: the manifest's label (or NaN) per label of the source.
        """
        if pd.isna(value):
            return np.nan
        if str(value) not in known:
            self.strange(value)
        return known.get(str(value), np.nan)

    def strange(self, value: object) -> None:
        """Note a label of the source that the adapter does not know; `reading` warns of them."""
        self._strange[str(value)] += 1

    def skip(self, name: object, reason: str) -> None:
        """Note that a listed file or row is not used, and why."""
        self._skipped.append((str(name), reason))

    def add(
        self, image: Path | None, name: str, patient: object, label: object, *, view: object = np.nan,
        age: object = np.nan, sex: object = np.nan, findings: Iterable[object] = (), split: object = np.nan,
        licence: object = None, frontal: bool | None = None, **more: object,
    ) -> bool:  # fmt: skip
        """Add one image, unless it has no file, is no frontal view or is listed already; those are skipped.

        Args:
            image: the file; None where it is listed but not there.
            name: the source's own identifier of the image.
            patient: the source's own patient identifier; the image stands for its own patient where it is missing.
            label: a label of the manifest, or NaN.
            view: the projection in the source's words.
            age: in the source's words.
            sex: in the source's words.
            findings: the source's own labels.
            split: the source's official split, or NaN.
            licence: of this image; the data set's by default.
            frontal: whether the view is frontal, where the source says so without the projection.
            more: further columns of the manifest, or of the source's own (text, number, path or NaN). `patient_id`
                takes the place of the prefixed `patient` where the image is known to come from another data set.

        Returns:
            Whether it was added.
        """
        if image is None or not image.is_file():
            self.skip(name, NO_FILE)
            return False
        view = view_of(view)
        if frontal is None:
            frontal = pd.isna(view) or view in FRONTAL
        if not frontal and not self.all_views:
            self.skip(name, NOT_FRONTAL)
            return False
        place = relative(image, self.folder)
        if place in self._rows:
            self.skip(name, TWICE)
            return False
        patient = name if pd.isna(patient) else str(patient)
        row = {
            "image": place, "patient_id": f"{self.source.name}_{patient}", "label": label, "split": split,
            "source": self.source.name, "source_id": name, "source_patient_id": patient, "view": view,
            "age": age_of(age), "sex": sex_of(sex), "findings": join_findings(findings),
            "licence": licence if isinstance(licence, str) and licence.strip() else self.source.licence,
        }  # fmt: skip
        for column, value in more.items():
            row[column] = relative(value, self.folder) if isinstance(value, Path) else value
        self._rows[place] = row
        return True

    def box(self, image: Path, x: float, y: float, width: float, height: float, finding: str, reader: str) -> None:
        """Add a box of an image that was added, in pixels of the image; boxes of others are left out."""
        place = relative(image, self.folder)
        if place in self._rows:
            self._boxes.append(dict(zip(BOX_COLUMNS, (place, x, y, width, height, finding, reader), strict=True)))

    def reading(self, why: str = "no listed image is there") -> Reading:
        """Return what was collected.

        Args:
            why: what to say where nothing was.

        Raises:
            ManifestError: no row was added; says what is expected and what is there, and why rows were skipped.
        """
        if not self._rows:
            counts = Counter(reason for _, reason in self._skipped).most_common(3)
            examples = {reason: name for name, reason in reversed(self._skipped)}
            told = "; ".join(f"{count} {reason} (such as {examples[reason]})" for reason, count in counts)
            raise nothing_usable(self.folder, self.source, f"{why}{': ' + told if told else ''}")
        if self._strange:
            _log.warning("%s: %d images have a label that covidcx does not know, such as %r; they get no label",
                         self.source.name, self._strange.total(), min(self._strange))  # fmt: skip
        self._part_splits()
        frame = pd.DataFrame(list(self._rows.values()), dtype=object)
        for column in COLUMNS:
            if column not in frame:
                frame[column] = pd.Series(np.nan, index=frame.index, dtype=object)
        frame = frame[[*COLUMNS, *(column for column in frame if column not in COLUMNS)]]
        frame = frame.map(lambda cell: np.nan if pd.isna(cell) or cell == "" else str(cell)).astype(object)
        boxes = pd.DataFrame(self._boxes, columns=list(BOX_COLUMNS)) if self._boxes else None
        if boxes is not None:
            boxes[["x", "y", "width", "height"]] = boxes[["x", "y", "width", "height"]].astype(np.float64)
        manifest = Manifest(frame, self.folder, self.folder / "manifest.csv")
        return Reading(manifest, boxes, tuple(self._skipped))

    def _part_splits(self) -> None:
        """Take the split from patients whom the official lists put into two: neither side may be trusted."""
        places: dict[object, set[object]] = defaultdict(set)
        for row in self._rows.values():
            if not pd.isna(row["split"]):
                places[row["patient_id"]].add(row["split"])
        mixed = {patient for patient, splits in places.items() if len(splits) > 1}
        if mixed:
            _log.warning("%s: %d patients are in two official splits, such as %s; their images get no split",
                         self.source.name, len(mixed), min(map(str, mixed)))  # fmt: skip
            for row in self._rows.values():
                if row["patient_id"] in mixed:
                    row["split"] = np.nan


def pick(value: str, options: Sequence[str], what: str) -> str:
    """Return an adapter's option if it is a known one.

    Raises:
        ManifestError: it is not; names the known ones.
    """
    if value not in options:
        raise ManifestError(f"unknown {what} {value!r}.{did_you_mean(value, options)}")
    return value
