"""The table of studies: one row an image, with its patient, label, split and masks."""

import csv
import difflib
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcx.errors import ManifestError, MissingDependencyError, did_you_mean

try:
    import pandas as pd
except ModuleNotFoundError as error:
    raise MissingDependencyError("tables of studies need pandas; run: pip install 'covidcx[train]'") from error

# `positive` joins the three appearances of pneumonia in tables that ask for nothing more (SIIM multi-class, Table 4).
FINDING_LABELS = ("normal", "cap", "covid", "other", "negative", "typical", "indeterminate", "atypical", "positive")
# What the gate tells apart (`covidcx.data.views`); `inverted` has its grey levels reversed.
VIEW_LABELS = ("frontal", "sideways", "upside_down", "inverted", "lateral", "no_chest")
LABELS = (*FINDING_LABELS, *VIEW_LABELS)
SPLITS = ("train", "val", "test", "control", "pediatric")
# DICOM PS3.3 C.8.7.10 (View Position, 0018,5101).
VIEWS = ("PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO")
SEXES = ("M", "F")
OLDEST = 120.0

REQUIRED = ("image", "patient_id", "label", "split")
MASKS = ("lung_mask", "lung_mask_2", "disease_mask")
COLUMNS = (
    *REQUIRED,
    "source", "source_id", "source_patient_id", "view", "age", "sex", "findings", "rsna_class", "licence",
    "width", "height", "original_width", "original_height",
    "lung_mask", "lung_mask_reader", "lung_mask_2", "disease_mask",
)  # fmt: skip
BOX_COLUMNS = ("image", "x", "y", "width", "height", "finding", "reader")
_SHOWN = 3


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a table.

    Attributes:
        row: line of the CSV file, counted from 1 (the header is line 1).
        column: name of the column.
        value: what the cell holds; empty for an empty cell.
        message: what is wrong and what is allowed.
    """

    row: int
    column: str
    value: str
    message: str

    def __str__(self) -> str:
        return f"line {self.row}, {self.column} {self.value!r}: {self.message}"


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table of studies.

    Attributes:
        frame: one row an image, index 0 .. N-1; text columns `COLUMNS` and whatever else the file has, an empty cell
            is NaN.
        root: folder that relative paths in the table refer to.
        path: the CSV file.
        lines: line of the CSV file per row; filled by `read`, counted from 2 otherwise.
    """

    frame: pd.DataFrame
    root: Path
    path: Path
    lines: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.lines:
            object.__setattr__(self, "lines", tuple(range(2, len(self.frame) + 2)))

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """Read a manifest; its contents are checked by `problems` and `check`, not here.

        Args:
            path: CSV file, or a folder that holds `manifest.csv`.

        Returns:
            The table, with every optional column of `COLUMNS` it lacks filled with NaN.

        Raises:
            ManifestError: the file cannot be read as a table, or lacks a required column.
        """
        path = Path(path)
        path = path / "manifest.csv" if path.is_dir() else path
        frame, lines = _read_table(path, REQUIRED)
        for column in COLUMNS:
            if column not in frame:
                frame[column] = pd.Series(np.nan, index=frame.index, dtype=object)
        return cls(frame, path.parent, path, lines)

    def file(self, value: str) -> Path:
        """Return the path of a file that a cell names."""
        return self.root / value

    def subset(self, split: str | Sequence[str] | None = None, labels: Iterable[str] | None = None) -> "Manifest":
        """Keep some rows.

        Args:
            split: a split or several; all by default.
            labels: labels to keep; all rows, unlabelled ones too, by default.

        Returns:
            A manifest of its own, empty where a known split or label has no row.

        Raises:
            ManifestError: a name is neither known to covidcx nor in the table.
        """
        keep = np.ones(len(self.frame), bool)
        splits = (split,) if isinstance(split, str) else split
        labels = (labels,) if isinstance(labels, str) else labels
        for column, wanted, known in (("split", splits, SPLITS), ("label", labels, LABELS)):
            if wanted is None:
                continue
            wanted, options = tuple(wanted), {*known, *self.frame[column].dropna()}
            for name in wanted:
                if name not in options:
                    raise ManifestError(f"{self.path} has no {column} {name!r}.{did_you_mean(name, options)}")
            keep &= self.frame[column].isin(wanted).to_numpy()
        return self.take(keep)

    def without_lines(self, lines: Iterable[int]) -> "Manifest":
        """Leave out rows by their line in the CSV file, as `Problem.row` names them."""
        return self.take(~np.isin(np.asarray(self.lines), list(lines)))

    def take(self, keep: np.ndarray) -> "Manifest":
        """Keep the rows where `keep` (bool, N) is True."""
        lines = tuple(line for line, kept in zip(self.lines, keep, strict=True) if kept)
        return Manifest(self.frame[keep].reset_index(drop=True), self.root, self.path, lines)

    def label_matrix(self, labels: Sequence[str]) -> np.ndarray:
        """Return one-hot labels.

        Args:
            labels: the classes, in the order of the columns.

        Returns:
            float32, N x K; a row of NaN where the label is missing or none of `labels`.
        """
        matrix = np.full((len(self.frame), len(labels)), np.nan, np.float32)
        for column, name in enumerate(labels):
            rows = (self.frame["label"] == name).to_numpy()
            matrix[rows] = 0.0
            matrix[rows, column] = 1.0
        return matrix

    def allowed_matrix(
        self, labels: Sequence[str], other: Mapping[str, Sequence[str]] | None = None
    ) -> np.ndarray:
        """Return the set of classes that each row's label allows, for `covidcx.models.losses.SetCrossEntropy`.

        Args:
            labels: the classes, in the order of the columns.
            other: classes that a label outside `labels` allows: `{"other": ("normal", "cap")}` says that another
                finding than COVID-19 is not COVID-19, and no more.

        Returns:
            float32, N x K of 0 and 1: one-hot for `labels`, the allowed set for `other`, ones where nothing is known.

        Raises:
            ManifestError: `other` allows a class that is not in `labels`.
        """
        matrix = np.nan_to_num(self.label_matrix(labels), nan=1.0)
        for label, allowed in (other or {}).items():
            for name in allowed:
                if name not in labels:
                    raise ManifestError(f"label {label!r} cannot allow class {name!r}.{did_you_mean(name, labels)}")
            if label not in labels:
                rows = (self.frame["label"] == label).to_numpy()
                matrix[rows] = np.isin(list(labels), list(allowed)).astype(np.float32)
        return matrix

    def problems(self) -> list[Problem]:
        """List everything that is wrong in the table, ordered by line.

        Checked: files exist, labels, splits, views, sexes, ages and sizes are valid, no image is listed twice, every
        row has a patient, and no patient is in two splits.
        """
        found = [*self._bad_cells(), *self._missing_files(), *self._duplicate_images(), *self._split_patients()]
        return sorted(found, key=lambda problem: problem.row)

    def check(self) -> None:
        """Refuse a table with problems.

        Raises:
            ManifestError: how many problems there are, the first few, and how to see all.
        """
        found = self.problems()
        if found:
            first = "; ".join(str(problem) for problem in found[:_SHOWN])
            many = f"{len(found)} problems" if len(found) > 1 else "1 problem"
            raise ManifestError(f"{self.path} has {many}: {first}. To see all: covidcx data validate {self.path}")

    def _cells(self, column: str) -> Iterable[tuple[int, str]]:
        if column in self.frame:
            cells = zip(self.lines, self.frame[column], strict=True)
            yield from ((line, str(value)) for line, value in cells if not pd.isna(value))

    def _bad_cells(self) -> Iterable[Problem]:
        for column in ("image", "patient_id"):
            for line, value in zip(self.lines, self.frame[column], strict=True):
                if pd.isna(value):
                    yield Problem(line, column, "", "is empty; every row needs one")
        for column, known in (("label", LABELS), ("split", SPLITS), ("view", VIEWS), ("sex", SEXES)):
            for line, value in self._cells(column):
                if value not in known:
                    yield Problem(line, column, value, f"unknown {column}.{did_you_mean(value, known)}")
        for line, value in self._cells("age"):
            if not 0 <= _number(value) <= OLDEST:
                yield Problem(line, "age", value, f"an age is a number of years from 0 to {OLDEST:g}")
        for column in ("width", "height", "original_width", "original_height"):
            for line, value in self._cells(column):
                if not 1 <= _number(value) < np.inf:
                    yield Problem(line, column, value, "a size is a positive number of pixels")

    def _missing_files(self) -> Iterable[Problem]:
        for column in ("image", *MASKS):
            for line, value in self._cells(column):
                if not self.file(value).is_file():
                    yield Problem(line, column, value, f"no such file in {self.root}")

    def _duplicate_images(self) -> Iterable[Problem]:
        first: dict[str, int] = {}
        for line, value in self._cells("image"):
            seen = first.setdefault(posixpath.normpath(value), line)
            if seen != line:
                yield Problem(line, "image", value, f"is already on line {seen}; list every image once")

    def _split_patients(self) -> Iterable[Problem]:
        places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        rows = zip(self.lines, self.frame["patient_id"], self.frame["split"], strict=True)
        for line, patient, split in rows:
            if not pd.isna(patient) and not pd.isna(split):
                places[patient][split].append(line)
        for patient, splits in places.items():
            if len(splits) > 1:
                where = " and ".join(f"{name} (line {_listed(lines)})" for name, lines in splits.items())
                line = list(splits.values())[1][0]
                message = f"this patient is in splits {where}; keep a patient's images in one split"
                yield Problem(line, "patient_id", str(patient), message)


def read_boxes(path: str | Path) -> pd.DataFrame:
    """Read a table of finding boxes.

    Args:
        path: CSV file, or a folder that holds `boxes.csv`.

    Returns:
        `BOX_COLUMNS`, with x, y (top left), width and height as float pixels of the file's own rows and columns
            (`Turn.boxes` turns them upright with the image); the index holds the CSV lines.

    Raises:
        ManifestError: the file cannot be read, lacks a column, or a coordinate is no number.
    """
    path = Path(path)
    path = path / "boxes.csv" if path.is_dir() else path
    frame, lines = _read_table(path, BOX_COLUMNS)
    frame.index = pd.Index(lines, name="line")
    for column in ("x", "y", "width", "height"):
        bad = [line for line, value in frame[column].items() if not np.isfinite(_number(value))]
        if bad:
            value = frame[column][bad[0]]
            raise ManifestError(
                f"{path}: {column} is no number on line {_listed(bad)}, received {value!r}; fix these rows"
            )
        frame[column] = frame[column].astype(np.float64)
    return frame


def boxes_beside(manifest: Path) -> Path | None:
    """Return the table of boxes beside a manifest: `nih_boxes.csv` for `nih.csv`, else `boxes.csv`; None without."""
    names = (f"{manifest.stem}_boxes.csv", "boxes.csv")
    return next((path for name in names if (path := manifest.with_name(name)).is_file()), None)


def box_problems(boxes: pd.DataFrame, manifest: Manifest) -> list[Problem]:
    """List the boxes that do not fit their image, ordered by line.

    Args:
        boxes: from `read_boxes`.
        manifest: the images; where it holds no width and height a box's place is not checked.

    Returns:
        Boxes of an unlisted image, without an area, or more than half a pixel outside the image.
    """
    sizes = {
        image: (_number(width), _number(height))
        for image, width, height in manifest.frame[["image", "width", "height"]].itertuples(index=False)
    }
    found = []
    for box in boxes.itertuples():
        place = f"{box.x:g}, {box.y:g}, {box.width:g} x {box.height:g}"
        if box.image not in sizes:
            found.append(Problem(box.Index, "image", str(box.image), f"is not listed in {manifest.path}"))
            continue
        width, height = sizes[box.image]
        if box.width <= 0 or box.height <= 0:
            found.append(Problem(box.Index, "width", place, "a box needs a positive width and height"))
        # Comparisons with an unknown size (NaN) are False and report nothing.
        elif min(box.x, box.y) < -0.5 or box.x + box.width > width + 0.5 or box.y + box.height > height + 0.5:
            found.append(Problem(box.Index, "x", place, f"reaches outside its image of {width:g} x {height:g}"))
    return found


def _read_table(path: Path, required: Sequence[str]) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Read a CSV file as text; the csv module tells the true line of every record, which pandas does not."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, records, lines = _records(csv.reader(stream, strict=True), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"cannot read the table {path}: {error}; give a CSV file in UTF-8") from error
    missing = [column for column in required if column not in header]
    if missing:
        hints = (difflib.get_close_matches(column, set(header) - set(required), n=1) for column in missing)
        named = [f"{c!r} (is it {h[0]!r}? rename it)" if h else repr(c) for c, h in zip(missing, hints, strict=True)]
        raise ManifestError(f"{path} lacks the column {', '.join(named)}; it has: {', '.join(header) or 'nothing'}")
    # Object columns hold text and NaN alike in pandas 2 and 3.
    cells = [[cell.strip() or np.nan for cell in record] for record in records]
    return pd.DataFrame(cells, columns=header, dtype=object), tuple(lines)


def _records(reader, path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    header = [name.strip() for name in next(reader, [])]
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise ManifestError(f"{path} has two columns named {', '.join(map(repr, twice))}; rename or remove one")
    records, lines, uneven = [], [], []
    line = reader.line_num + 1
    for record in reader:
        if record:
            records.append(record)
            lines.append(line)
            if len(record) != len(header):
                uneven.append(line)
        line = reader.line_num + 1
    if uneven:
        raise ManifestError(
            f"{path}: line {_listed(uneven)} does not have {len(header)} fields as the header does; "
            "quote cells that hold a comma"
        )
    return header, records, lines


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _listed(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return ", ".join(map(str, lines[:5])) + more
