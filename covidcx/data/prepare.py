"""A public data set in its own layout becomes a manifest: `covidcx data prepare`."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidcx.atomic import write_atomic
from covidcx.data import sources
from covidcx.data.manifest import MASKS, Manifest, box_problems
from covidcx.data.sources.headers import header
from covidcx.data.sources.tables import UNREADABLE
from covidcx.errors import ManifestError
from covidcx.progress import track

BOX_OUTSIDE = "with a box that does not fit; the box is left out"
PATHS = ("image", *MASKS)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What was written.

    Attributes:
        source: the data set.
        manifest: the table that was written.
        boxes: file of boxes; None where the data set has none.
        skipped: file that names what was left out; None where nothing was.
        reasons: how often each reason occurs in `skipped`.
    """

    source: sources.Source
    manifest: Manifest
    boxes: Path | None
    skipped: Path | None
    reasons: dict[str, int]


def prepare(
    name: str, folder: str | Path, out: str | Path, all_views: bool = False, options: Mapping[str, str] | None = None
) -> Prepared:
    """Read a data set and write its manifest, its boxes and the list of what was left out.

    Sizes that the source does not tell are read from the headers of the images; images without a readable header are
    left out. Masks and pictures that must be converted go to a folder beside the manifest.

    Args:
        name: one of `covidcx.data.sources.names()`.
        folder: where the data set lies.
        out: the manifest to write, a .csv file; see `beside` for the names of the other two.
        all_views: keep lateral and other views.
        options: options of the data set, as text.

    Returns:
        What was written.

    Raises:
        ManifestError: unknown data set or option, a folder that does not hold it, or a name that is no .csv file.
    """
    folder, out = Path(folder).absolute(), table_path(out)
    own = name == "manifest" and out == folder / "manifest.csv"
    if out.is_file() and (own or not _is_manifest(out)):
        raise ManifestError(f"--out {out} is a table of the data set; give another name, or another folder")
    reading = sources.read(name, folder, derived=beside(out, "derived", ""), all_views=all_views, **(options or {}))
    manifest, skipped = _with_sizes(reading.manifest, list(reading.skipped))
    boxes = reading.boxes
    if boxes is not None:
        boxes = boxes[boxes["image"].isin(manifest.frame["image"])].reset_index(drop=True)
        bad = {problem.row: problem for problem in box_problems(boxes, manifest)}
        skipped += [(boxes["image"][row], BOX_OUTSIDE) for row in bad]
        boxes = boxes.drop(index=list(bad)).reset_index(drop=True)
        boxes["image"] = reroot(boxes["image"], folder, out.parent)
    frame = manifest.frame.copy()
    for column in PATHS:
        frame[column] = reroot(frame[column], manifest.root, out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, frame)
    files = [beside(out, "boxes"), beside(out, "skipped")]
    contents = [boxes, pd.DataFrame(skipped, columns=["file", "reason"])]
    written = [write_or_remove(path, table) for path, table in zip(files, contents, strict=True)]
    counts = dict(Counter(reason for _, reason in skipped).most_common())
    return Prepared(sources.info(name), Manifest(frame, out.parent, out), written[0], written[1], counts)


def beside(out: Path, what: str, suffix: str = ".csv") -> Path:
    """Return the file beside a manifest: `boxes.csv` beside `manifest.csv`, `nih_boxes.csv` beside `nih.csv`."""
    return out.with_name(f"{what}{suffix}" if out.name == "manifest.csv" else f"{out.stem}_{what}{suffix}")


def table_path(out: str | Path) -> Path:
    """Return the absolute path of a table to write; a folder stands for its `manifest.csv`.

    Raises:
        ManifestError: the name does not end in .csv.
    """
    out = Path(out).absolute()
    if out.is_dir():
        return out / "manifest.csv"
    if out.suffix != ".csv":
        raise ManifestError(f"--out is {str(out)!r}; give a name that ends in .csv, such as {out.name or 'nih'}.csv")
    return out


def reroot(values: pd.Series, old: Path, new: Path) -> pd.Series:
    """Return paths relative to a new folder where they lie in it, absolute elsewhere; NaN stays NaN.

    Args:
        values: paths, absolute or relative to `old`.
        old: the folder that relative paths refer to so far.
        new: the folder that they shall refer to.
    """
    old, new = (Path(os.path.abspath(folder)) for folder in (old, new))  # noqa: PTH100 - must not follow links

    def move(value: object) -> object:
        if pd.isna(value):
            return np.nan
        # Path.resolve would follow links out of the data set's folder.
        path = Path(os.path.normpath(old / str(value)))
        return (path.relative_to(new) if path.is_relative_to(new) else path).as_posix()

    return values.map(move).astype(object)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, complete or not at all."""
    write_atomic(path, frame.to_csv(index=False, lineterminator="\n").encode())


def write_or_remove(path: Path, frame: pd.DataFrame | None) -> Path | None:
    """Write a table that lies beside a manifest; where there is nothing to write, remove that of an earlier run."""
    if frame is None or not len(frame):
        path.unlink(missing_ok=True)
        return None
    write_table(path, frame)
    return path


def _is_manifest(path: Path) -> bool:
    """Whether a table may be written anew: no published table has these two columns."""
    with path.open("rb") as stream:
        header_line = stream.readline().decode("utf-8", "replace")
    return {"image", "patient_id"} <= {name.strip() for name in header_line.split(",")}


def _with_sizes(manifest: Manifest, skipped: list[tuple[str, str]]) -> tuple[Manifest, list[tuple[str, str]]]:
    """Fill in missing sizes from the files' headers; leave out files without one."""
    frame = manifest.frame.copy()
    keep = np.ones(len(frame), bool)
    unknown = frame["width"].isna() | frame["height"].isna()
    for row in track(frame.index[unknown], "reading headers"):
        image = frame.at[row, "image"]
        head = header(manifest.file(image))
        if head is None:
            keep[row] = False
            skipped.append((image, UNREADABLE))
            continue
        frame.at[row, "width"], frame.at[row, "height"] = str(head.width), str(head.height)
    if not keep.any():
        raise ManifestError(f"none of the {len(frame)} images in {manifest.root} can be read; download them again")
    return Manifest(frame, manifest.root, manifest.path).take(keep), skipped
