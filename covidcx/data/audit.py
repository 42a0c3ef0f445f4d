"""The audit of a table: its problems, its duplicates, its wrong pictures, and how much its sources give away.

It leaves behind `audit.json`, `REPORT.md`, `duplicates.csv` (a row an image of a cluster), `sheets/` (the clusters and
the refused pictures to look at) and a cleaned manifest.
"""

import csv
import io
import json
import logging
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.data.audit_report import report
from covidcx.data.contact_sheet import Row, Tile, write_sheets
from covidcx.data.duplicates import SAME_BYTES, SAME_FILE, Found, Pair, clusters, find_duplicates, one_thread_each
from covidcx.data.manifest import MASKS, Manifest, pd
from covidcx.data.source_probe import probe_sources
from covidcx.data.splits import split_hash
from covidcx.errors import ManifestError
from covidcx.imaging import read
from covidcx.progress import track

logger = logging.getLogger(__name__)

KEEP_RULE = (
    "most masks (lung, second reader, disease); then most pixels; then most pixels of the original; then most filled "
    "cells; then the first line"
)
# What a cluster can straddle, in the order of harm.
STRADDLES = ("split", "label", "patient_id", "source")
_PATHS = ("image", *MASKS)
_IDENTICAL = (SAME_FILE, SAME_BYTES)

# Pixels, float32, H x W, to what a picture is instead of an upright frontal chest radiograph, and why; None for one.
Gate = Callable[[np.ndarray], tuple[str, str] | None]


def audit(
    manifest: str | Path, out: str | Path, cleaned: str | Path | None = None, workers: int = 2, repeats: int = 1000,
    seed: int = 0, gate: Gate | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Audit a table of studies and write what was found.

    Args:
        manifest: manifest.csv or its folder.
        out: folder of the report; made where it is missing.
        cleaned: the cleaned manifest; `cleaned.csv` in `out` by default. Its relative paths start from its own folder.
        workers: threads.
        repeats: bootstrap resamples of the source probe.
        seed: of the candidate search, the probe's folds and the resamples.
        gate: asked about every image; what it refuses is listed, and stays in the cleaned table.

    Returns:
        What `audit.json` holds.

    Raises:
        ManifestError: the table cannot be read, holds no image, or would be overwritten.
    """
    table = Manifest.read(manifest)
    out = Path(out)
    target = Path(cleaned) if cleaned is not None else out / "cleaned.csv"
    if target.resolve() == table.path.resolve():
        raise ManifestError(f"the cleaned table would overwrite {table.path}; give --cleaned another name")
    named = table.take(table.frame["image"].notna().to_numpy())
    if not len(named):
        raise ManifestError(f"{table.path} names no image; check the column 'image'")
    out.mkdir(parents=True, exist_ok=True)
    found = find_duplicates([named.file(image) for image in named.frame["image"]], workers, seed)
    groups = describe(named, found)
    merged = merge_patients(named, groups)
    dropped = {image["line"] for group in groups for image in group["images"] if not image["kept"]}
    unreadable = {named.lines[i]: reason for i, reason in found.failures}
    patients = named.frame["patient_id"].replace(merged)
    clean = clean_frame(named, patients, groups, {*dropped, *unreadable}, target.parent)
    with one_thread_each():
        probe = probe_sources(*_probe_rows(named, found, patients, dropped), repeats, seed)
    refused = refusals(named, found, gate) if gate is not None else None
    rows = [_refused_row(named, refused)] if refused else []
    sheets = write_sheets([*rows, *(_sheet_row(named, group) for group in groups)], out / "sheets")
    result = {
        "manifest": str(table.path),
        "split_hash": split_hash(table.frame),
        "rows": len(table),
        "images_compared": len(found.shapes),
        "candidates": found.candidates,
        "problems": [asdict(problem) for problem in table.problems()],
        "unreadable": [{"line": line, "reason": reason} for line, reason in sorted(unreadable.items())],
        "clusters": groups,
        "straddling": {what: sum(what in group["straddles"] for group in groups) for what in STRADDLES},
        "two_labels": _two_labels(groups),
        "refused": refused,
        "keep_rule": KEEP_RULE,
        "merged_patients": merged,
        "cleaned": {
            "file": str(target),
            "rows": len(clean),
            "split_hash": split_hash(clean),
            "patients_in_several_splits": _several_splits(clean),
        },
        "source_probe": probe,
        "sheets": [str(sheet.relative_to(out)) for sheet in sheets],
        "seed": seed,
        "covidcx": __version__,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, clean.to_csv(index=False, lineterminator="\n").encode())
    write_atomic(out / "duplicates.csv", _duplicates_csv(groups).encode())
    write_atomic(out / "REPORT.md", report(result).encode())
    # Last, so that it vouches for the others.
    write_atomic(out / "audit.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def describe(manifest: Manifest, found: Found) -> list[dict[str, Any]]:
    """Turn confirmed pairs into clusters with names, the most harmful first.

    Args:
        manifest: its rows in the order of the files that were searched.
        found: from `find_duplicates`.

    Returns:
        Per cluster `number`, `straddles` (of `STRADDLES`), `kept` (the image that stays), `images` and `pairs`.
    """
    members = clusters(found.pairs)
    home = {i: number for number, group in enumerate(members) for i in group}
    pairs: dict[int, list[Pair]] = {}
    for pair in found.pairs:
        pairs.setdefault(home[pair.first], []).append(pair)
    # What cannot be read cannot be judged and is named among the unreadable.
    readable = [(group, pairs[number]) for number, group in enumerate(members) if set(group) <= set(found.shapes)]
    described = [_describe(manifest, found, group, own) for group, own in readable]
    described.sort(key=lambda group: (_harm(group), group["images"][0]["line"]))
    return [{"number": number, **group} for number, group in enumerate(described, 1)]


def refusals(manifest: Manifest, found: Found, gate: Gate) -> list[dict[str, Any]]:
    """List the pictures that are no upright frontal chest radiographs.

    Args:
        manifest: its rows in the order of the files that were searched.
        found: from `find_duplicates`; says which files can be read.
        gate: the judge.

    Returns:
        Per picture its `line`, `image`, `label`, `split`, what it `shows` and the `reason`; turned and inverted ones,
        which are certain faults of the table, before those that may be odd chests.
    """
    listed = []
    for i in track(sorted(found.shapes), "asking the gate"):
        verdict = gate(read(manifest.file(manifest.frame["image"].iloc[i])).pixels)
        if verdict is not None:
            row = manifest.frame.iloc[i]
            cells = {name: _cell(row.get(name)) for name in ("image", "label", "split")}
            listed.append({"line": manifest.lines[i], **cells, "shows": verdict[0], "reason": verdict[1]})
    return sorted(listed, key=lambda one: (one["shows"] == "no_chest", one["shows"], one["line"]))


def merge_patients(manifest: Manifest, groups: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Name the patients who share an image, hence are one: a later split by patient must not part them.

    Args:
        manifest: the rows.
        groups: from `describe`.

    Returns:
        The name to use per patient who loses his own: that of the patient whose first line is earliest.
    """
    first: dict[str, int] = {}
    for line, patient in zip(manifest.lines, manifest.frame["patient_id"], strict=True):
        if isinstance(patient, str):
            first.setdefault(patient, line)
    name = {patient: patient for patient in first}
    for group in groups:
        known = {name[image["patient_id"]] for image in group["images"] if image["patient_id"] is not None}
        if len(known) > 1:
            stays = min(known, key=first.__getitem__)
            name = {patient: stays if own in known else own for patient, own in name.items()}
    return {patient: own for patient, own in name.items() if own != patient}


def clean_frame(
    manifest: Manifest, patients: "pd.Series", groups: Sequence[Mapping[str, Any]], dropped: set[int], folder: Path
) -> "pd.DataFrame":
    """Return the table with one image per cluster and merged patients.

    Args:
        manifest: the rows.
        patients: patient per row, merged.
        groups: from `describe`.
        dropped: lines to leave out.
        folder: where the table will lie; relative paths are rewritten to start there.

    Returns:
        The kept rows; the new column `duplicate_lines` names the lines of the original table that each stands for.
    """
    stands_for, known = {}, {}
    owner_of = dict(zip(manifest.lines, patients, strict=True))
    for group in groups:
        kept = next(image["line"] for image in group["images"] if image["kept"])
        stands_for[kept] = " ".join(str(image["line"]) for image in group["images"] if image["line"] != kept)
        owners = [owner_of[image["line"]] for image in group["images"]]
        known[kept] = next((owner for owner in owners if isinstance(owner, str)), np.nan)
    frame = manifest.frame.copy()
    frame["patient_id"] = [known.get(line, own) for line, own in owner_of.items()]
    frame["duplicate_lines"] = [stands_for.get(line, "") for line in manifest.lines]
    if folder.resolve() != manifest.root.resolve():
        for column in _PATHS:
            frame[column] = [_moved(value, manifest.root, folder) for value in frame[column]]
    keep = [line not in dropped for line in manifest.lines]
    return frame[keep].reset_index(drop=True)


def _describe(manifest: Manifest, found: Found, group: tuple[int, ...], pairs: list[Pair]) -> dict[str, Any]:
    kept = max(group, key=lambda i: (*_worth(manifest, found, i), -manifest.lines[i]))
    images = []
    for i in sorted(group, key=lambda i: (i != kept, manifest.lines[i])):
        row = manifest.frame.iloc[i]
        cells = {name: _cell(row.get(name)) for name in ("image", "source", "label", "split", "patient_id", "view")}
        height, width = found.shapes[i]
        images.append({"line": manifest.lines[i], **cells, "width": width, "height": height, "kept": i == kept})
    values = {what: {image[what] for image in images if image[what] is not None} for what in STRADDLES}
    return {
        "straddles": [what for what in STRADDLES if len(values[what]) > 1],
        "kept": images[0]["image"],
        "images": images,
        "pairs": [
            {**asdict(pair), "first": _cell(manifest.frame["image"].iloc[pair.first]),
             "second": _cell(manifest.frame["image"].iloc[pair.second]),
             "lines": [manifest.lines[pair.first], manifest.lines[pair.second]]}
            for pair in pairs
        ],
    }  # fmt: skip


def _worth(manifest: Manifest, found: Found, i: int) -> tuple[float, ...]:
    """Return what `KEEP_RULE` compares, but for the line."""
    row = manifest.frame.iloc[i]
    height, width = found.shapes[i]
    original = pd.to_numeric(row[["original_width", "original_height"]], errors="coerce").prod(skipna=False)
    masks = int(row[list(MASKS)].notna().sum())
    return masks, height * width, 0.0 if np.isnan(original) else float(original), int(row.notna().sum())


def _two_labels(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name the pairs of files that hold the same bytes under two labels: one of the two is wrong."""
    label = {image["line"]: image["label"] for group in groups for image in group["images"]}
    found = []
    for pair in (pair for group in groups for pair in group["pairs"] if pair["kind"] in _IDENTICAL):
        labels = [label[line] for line in pair["lines"]]
        if labels[0] != labels[1]:
            found.append({"images": [pair["first"], pair["second"]], "lines": pair["lines"], "labels": labels})
    return found


def _harm(group: Mapping[str, Any]) -> tuple[bool, ...]:
    return tuple(what not in group["straddles"] for what in STRADDLES)


def _probe_rows(
    manifest: Manifest, found: Found, patients: "pd.Series", dropped: set[int]
) -> tuple[np.ndarray, list[str | None], list[str], list[str | None]]:
    """Return thumbnail, source, patient and label of every image that is kept: a copy would be learned by heart."""
    rows = [i for i in found.thumbnails if manifest.lines[i] not in dropped]
    frame = manifest.frame.iloc[rows]
    owners = [_cell(owner) or f"line {manifest.lines[i]}" for i, owner in zip(rows, patients.iloc[rows], strict=True)]
    thumbnails = np.stack([found.thumbnails[i] for i in rows]) if rows else np.zeros((0, 1, 1), np.uint8)
    return thumbnails, [_cell(s) for s in frame["source"]], owners, [_cell(name) for name in frame["label"]]


def _several_splits(frame: "pd.DataFrame") -> dict[str, list[str]]:
    known = frame.dropna(subset=["patient_id", "split"])
    splits = known.groupby("patient_id")["split"].unique()
    return {str(patient): sorted(names) for patient, names in splits.items() if len(names) > 1}


def _refused_row(manifest: Manifest, refused: Sequence[Mapping[str, Any]]) -> Row:
    tiles = tuple(
        Tile(manifest.file(one["image"]), (f"line {one['line']}", posixpath.basename(one["image"]), one["shows"]))
        for one in refused
    )
    return Row(f"refused by the gate: {len(refused)}", tiles, True)


def _sheet_row(manifest: Manifest, group: Mapping[str, Any]) -> Row:
    weakest = min((pair["correlation"] for pair in group["pairs"] if pair["keypoints"]), default=None)
    harm = [what for what in group["straddles"] if what != "source"]
    title = f"cluster {group['number']}"
    title += f"   straddles {', '.join(group['straddles'])}" if group["straddles"] else ""
    title += f"   weakest correlation {weakest:.2f}" if weakest is not None else "   the same file"
    tiles = tuple(
        Tile(
            manifest.file(image["image"]),
            (
                f"{'KEPT ' if image['kept'] else ''}line {image['line']}",
                posixpath.basename(image["image"]),
                " ".join(image[what] or "-" for what in ("source", "label")),
                " ".join(image[what] or "-" for what in ("split", "patient_id")),
            ),
            image["kept"],
        )
        for image in group["images"]
    )
    return Row(title, tiles, bool(harm))


def _duplicates_csv(groups: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    columns = ("line", "image", "kept", "source", "label", "split", "patient_id", "view", "width", "height")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["cluster", *columns, "straddles"])
    for group in groups:
        for image in group["images"]:
            cells = ("" if image[name] is None else image[name] for name in columns)
            writer.writerow([group["number"], *cells, " ".join(group["straddles"])])
    return stream.getvalue()


def _moved(value: object, root: Path, folder: Path) -> object:
    if not isinstance(value, str) or Path(value).is_absolute():
        return value
    try:
        return Path(os.path.relpath(root.resolve() / value, folder.resolve())).as_posix()
    except ValueError:
        # Windows: another drive.
        return str(root.resolve() / value)


def _cell(value: object) -> str | None:
    return value if isinstance(value, str) else None
