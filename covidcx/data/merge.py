"""Several manifests become one: `covidcx data merge`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.data import sources
from covidcx.data.manifest import BOX_COLUMNS, COLUMNS, Manifest, Problem, read_boxes
from covidcx.data.prepare import PATHS, beside, reroot, table_path, write_or_remove, write_table
from covidcx.errors import ManifestError

# Cells in which two rows of one image must agree.
COMPARED = ("label", "split", "patient_id", "view", "age", "sex", "findings", "rsna_class")
# Sources that number their patients and images anew in every folder.
RESTARTING = ("phantom",)
_CONFLICTS = ("image", "column", "kept", "kept_from", "other", "other_from")


@dataclass(frozen=True, eq=False)
class Merged:
    """What was written.

    Attributes:
        manifest: the merged table.
        rows: rows taken from each table, by its path.
        repeated: rows left out because the image is in an earlier table or row.
        conflicts: cells in which such a row differs from the one that was kept: image, column, kept, kept_from, other,
            other_from.
        renamed: patients of different tables that had the same id and were kept apart.
        boxes: file of boxes; None where no table has any.
        conflict_file: file of `conflicts`; None where there is none.
        problems: what `Manifest.problems` finds in the merged table, such as a patient in two splits.
    """

    manifest: Manifest
    rows: dict[str, int]
    repeated: int
    conflicts: pd.DataFrame
    renamed: int
    boxes: Path | None
    conflict_file: Path | None
    problems: tuple[Problem, ...]


def merge(tables: Sequence[str | Path], out: str | Path) -> Merged:
    """Join manifests, with their boxes, into one.

    Paths are rewritten for the new table's folder. An image that is listed again (the same file, or the same
    `source_id` of the same `source`) is kept once, with the values of the first table; its empty cells are filled from
    the later ones. The same patient id in two tables is one patient where the id starts with a data set's name, as the
    adapters write it, or both tables name the same `source`; otherwise the later one is renamed. Phantoms of two
    folders are different ones, whatever their numbers.

    Args:
        tables: manifests, two or more; a folder stands for its `manifest.csv`.
        out: the manifest to write.

    Returns:
        What was written.

    Raises:
        ManifestError: a table cannot be read, is given twice, or is the one to be written.
    """
    out = table_path(out)
    manifests = [Manifest.read(Path(table)) for table in tables]
    paths = [manifest.path.absolute() for manifest in manifests]
    if len(paths) < 2 or len(set(paths)) != len(paths):
        raise ManifestError(f"received {', '.join(map(str, tables))}; give two or more tables, each of them once")
    if out in paths:
        raise ManifestError(f"--out {out} is one of the tables to merge; give another name")
    names = _names(paths)
    frames = [_rerooted(manifest, out.parent) for manifest in manifests]
    renamed = _keep_patients_apart(frames, names, [manifest.root.absolute() for manifest in manifests])
    frame, conflicts, kept, sames = _joined(frames, [str(table) for table in tables])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, frame)
    boxes = write_or_remove(beside(out, "boxes"), _boxes(manifests, out.parent, sames))
    conflict_file = write_or_remove(beside(out, "conflicts"), conflicts)
    merged = Manifest(frame, out.parent, out)
    repeated = sum(map(len, frames)) - len(frame)
    return Merged(merged, kept, repeated, conflicts, renamed, boxes, conflict_file, tuple(merged.problems()))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a short name per table, all different."""
    for name in (
        lambda path: path.stem,
        lambda path: path.parent.name,
        lambda path: f"{path.parent.name}-{path.stem}",
    ):
        found = [name(path) for path in paths]
        if len(set(found)) == len(found) and "" not in found:
            return found
    return [f"table{number}" for number in range(1, len(paths) + 1)]


def _rerooted(manifest: Manifest, folder: Path) -> pd.DataFrame:
    frame = manifest.frame.copy()
    for column in PATHS:
        frame[column] = reroot(frame[column], manifest.root, folder)
    return frame


def _keep_patients_apart(frames: list[pd.DataFrame], names: Sequence[str], roots: Sequence[Path]) -> int:
    """Rename, in place, patients that have an id of an earlier table without being the same; return how many."""
    prefixes = tuple(f"{name}_" for name in sources.names() if name != "manifest")
    seen: dict[str, set[object]] = {}
    renamed = 0
    for frame, name, root in zip(frames, names, roots, strict=True):
        source = frame["source"].where(~frame["source"].isin(RESTARTING), frame["source"] + f" in {root}")
        origins = source.groupby(frame["patient_id"], sort=False).agg(lambda values: set(values.dropna()))
        clash = {}
        for patient, origin in origins.items():
            known = seen.get(str(patient))
            same = known is None or str(patient).startswith(prefixes) or bool(known & origin)
            if not same:
                clash[patient] = f"{name}_{patient}"
        frame["patient_id"] = frame["patient_id"].replace(clash) if clash else frame["patient_id"]
        renamed += len(clash)
        for patient, origin in origins.items():
            seen.setdefault(str(clash.get(patient, patient)), set()).update(origin)
    return renamed


def _joined(
    frames: Sequence[pd.DataFrame], names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int], dict[str, str]]:
    """Return the rows, the conflicts, the number of rows per table, and the image that stands for each image."""
    columns = list(dict.fromkeys([*COLUMNS, *(column for frame in frames for column in frame.columns)]))
    rows: list[dict[str, object]] = []
    origin: list[str] = []
    place: dict[tuple[object, ...], int] = {}
    conflicts, sames, kept = [], {}, dict.fromkeys(names, 0)
    for frame, name in zip(frames, names, strict=True):
        # An identifier that a table itself repeats names no single image.
        pair = frame[["source", "source_id"]]
        unique = ~pair.duplicated(keep=False) & pair.notna().all(axis=1) & ~frame["source"].isin(RESTARTING)
        for record, identified in zip(frame.to_dict("records"), unique, strict=True):
            keys = [("file", record["image"])]
            if identified:
                keys.append((record["source"], record["source_id"]))
            first = next((place[key] for key in keys if key in place), None)
            if first is None:
                first = len(rows)
                rows.append({column: record.get(column, np.nan) for column in columns})
                origin.append(name)
                kept[name] += 1
            else:
                conflicts += _merge_row(rows[first], record, origin[first], name)
            for key in keys:
                place.setdefault(key, first)
            sames[str(record["image"])] = str(rows[first]["image"])
    return pd.DataFrame(rows, columns=columns, dtype=object), pd.DataFrame(conflicts, columns=_CONFLICTS), kept, sames


def _merge_row(row: dict[str, object], other: dict[str, object], first: str, second: str) -> list[tuple[object, ...]]:
    """Fill the empty cells of a row from another of the same image, and return the cells that differ."""
    # A size is that of the kept file and a mask fits it: never mix those of two files.
    fixed = () if row["image"] == other["image"] else ("width", "height", *PATHS)
    conflicts = []
    for column, value in other.items():
        if pd.isna(value) or column in fixed:
            continue
        if pd.isna(row.get(column, np.nan)):
            row[column] = value
        elif column in COMPARED and row[column] != value:
            conflicts.append((row["image"], column, row[column], first, value, second))
    return conflicts


def _boxes(manifests: Sequence[Manifest], folder: Path, sames: dict[str, str]) -> pd.DataFrame | None:
    """Return the boxes of all tables; those of an image in another size than the one kept are left out."""
    found = []
    for manifest in manifests:
        path = beside(manifest.path, "boxes")
        if path.is_file():
            boxes = read_boxes(path).reset_index(drop=True)
            boxes["image"] = reroot(boxes["image"], manifest.root, folder)
            found.append(boxes[boxes["image"].map(lambda image: sames.get(image) == image)])
    if not found:
        return None
    joined = pd.concat(found, ignore_index=True)
    return joined.drop_duplicates(list(BOX_COLUMNS), ignore_index=True)
