"""`covidcx data audit`: duplicates, leaks, and what the sources give away."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, command, out, positive, seed

_SHOWN = 10


def _data_audit(arguments: argparse.Namespace) -> int:
    from covidcx.data.audit import audit

    result = audit(
        arguments.manifest, arguments.out, cleaned=arguments.cleaned, workers=arguments.workers,
        repeats=arguments.bootstrap, seed=arguments.seed,
    )  # fmt: skip
    groups, counts = result["clusters"], result["straddling"]
    print(f"{result['rows']} rows, {len(result['problems'])} problems, {len(result['unreadable'])} unreadable images")
    print(f"{len(groups)} clusters of duplicates; across splits {counts['split']}, labels {counts['label']}, "
          f"patients {counts['patient_id']}, sources {counts['source']}")  # fmt: skip
    for group in groups[:_SHOWN]:
        across = f"  across {', '.join(group['straddles'])}" if group["straddles"] else ""
        print(f"  {group['number']:3}  {' = '.join(image['image'] for image in group['images'])}{across}")
    if len(groups) > _SHOWN:
        print(f"  ... and {len(groups) - _SHOWN} more in {arguments.out / 'duplicates.csv'}")
    for note in result["source_probe"]["notes"]:
        print(note)
    if result["sheets"]:
        print(f"look at: {arguments.out / 'sheets'}")
    print(f"cleaned: {result['cleaned']['file']} ({result['cleaned']['rows']} rows)")
    print(f"report:  {arguments.out / 'REPORT.md'}")
    return OK


def add_audit(parts) -> None:
    """Add `audit` to the commands under `covidcx data`."""
    text = (
        "find duplicates across sources, splits and labels, however re-encoded, cropped, mirrored or marked; measure "
        "what the sources give away; needs: pip install 'covidcx[train]'"
    )
    parser = command(parts, "audit", _data_audit, text, "covidcx data audit manifest.csv --out audit")
    parser.add_argument("manifest", type=Path, help="manifest.csv, or its folder")
    out(parser, "audit")
    parser.add_argument("--cleaned", type=Path, metavar="FILE", help="cleaned table (default: cleaned.csv in --out)")
    parser.add_argument("--workers", type=positive, default=2, help="threads (default: 2)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples per interval (default: 1000)")
    seed(parser)
