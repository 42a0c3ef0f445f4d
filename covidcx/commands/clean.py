"""`covidcx data clean`: files without burned-in text."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, command, fail


def _data_clean(arguments: argparse.Namespace) -> int:
    from covidcx.edge.clean import clean_files

    segmenter = None if arguments.segmenter == "none" else arguments.segmenter
    summary = clean_files(arguments.files, arguments.out, segmenter)
    for entry in summary.failed:
        print(f"left out: {entry.reason}")
    good = [entry for entry in summary.cleaned if not entry.reason]
    marked = [entry for entry in good if entry.marks]
    counts = f"{len(good)} written, {len(marked)} of them changed, {len(summary.failed)} left out"
    print(f"{len(summary.cleaned)} files: {counts}")
    known = [entry for entry in good if entry.inside is not None]
    if known:
        inside, outside = (
            sum(getattr(entry, name) or 0.0 for entry in known) / len(known) for name in ("inside", "outside")
        )
        print(f"pixels changed on average: {inside:.4%} inside the lungs, {outside:.4%} outside")
    print(f"table:  {summary.table}")
    if summary.sheets:
        more = f" and {len(summary.sheets) - 1} more" if len(summary.sheets) > 1 else ""
        print(f"sheets: {summary.sheets[0]}{more} (before, after, mask)")
    if not good:
        return fail(f"no file could be cleaned: {summary.cleaned[0].reason}")
    return OK


def add_clean(parts) -> None:
    """Add the command."""
    text = "remove burned-in dates, letters, arrows and rectangles, leaving lungs alone; writes PNG files and a table"
    parser = command(parts, "clean", _data_clean, text, "covidcx data clean studies/ --out cleaned")
    files = "DICOM files, pictures, or folders of them"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE|DIR", help=files)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument(
        "--segmenter", default="lung-unet", metavar="BUNDLE",
        help="lung segmenter, or none: the middle of each image counts as lungs (default: lung-unet)",
    )  # fmt: skip
