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
        repeats=arguments.bootstrap, seed=arguments.seed, gate=None if arguments.no_gate else _gate(arguments.gate),
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
    for pair in result["two_labels"]:
        print(f"one file, two labels: {pair['images'][0]} ({pair['labels'][0]}) = {pair['images'][1]} "
              f"({pair['labels'][1]})")  # fmt: skip
    for one in (result["refused"] or [])[:_SHOWN]:
        print(f"refused: {one['image']} (line {one['line']}, {one['label']}): {one['reason']}")
    if len(result["refused"] or []) > _SHOWN:
        print(f"  ... and {len(result['refused']) - _SHOWN} more in {arguments.out / 'REPORT.md'}")
    for note in result["source_probe"]["notes"]:
        print(note)
    if result["sheets"]:
        print(f"look at: {arguments.out / 'sheets'}")
    print(f"cleaned: {result['cleaned']['file']} ({result['cleaned']['rows']} rows)")
    print(f"report:  {arguments.out / 'REPORT.md'}")
    return OK


def _gate(name: str):
    """Return the shipped gate as the audit asks it: what a picture shows instead, and why."""
    from covidcx.bundle import Bundle
    from covidcx.edge.gate import Gate

    gate = Gate(Bundle.open(name))

    def look(pixels):
        verdict = gate(pixels)
        return None if verdict.passed else (verdict.label, verdict.reason)

    return look


def add_audit(parts) -> None:
    """Add `audit` to the commands under `covidcx data`."""
    text = (
        "find duplicates across sources, splits and labels, however re-encoded, cropped, mirrored or marked, and "
        "pictures that lie on their side, stand on their head, are negatives or no chests; measure what the sources "
        "give away; needs: pip install 'covidcx[train]'"
    )
    parser = command(parts, "audit", _data_audit, text, "covidcx data audit manifest.csv --out audit")
    parser.add_argument("manifest", type=Path, help="manifest.csv, or its folder")
    out(parser, "audit")
    parser.add_argument("--cleaned", type=Path, metavar="FILE", help="cleaned table (default: cleaned.csv in --out)")
    parser.add_argument("--workers", type=positive, default=2, help="threads (default: 2)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples per interval (default: 1000)")
    parser.add_argument("--gate", default="frontal-gate", help="bundle that judges the pictures (default: %(default)s)")
    parser.add_argument("--no-gate", action="store_true", help="do not judge them")
    seed(parser)
