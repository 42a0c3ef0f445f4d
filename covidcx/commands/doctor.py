"""`covidcx doctor`: what works on this machine and how to mend the rest."""
# ruff: noqa: T201 - the command line prints.

import argparse
import json
from itertools import groupby
from pathlib import Path

from covidcx.commands.options import FAILED, OK, command

_MARKS = {"ok": "ok", "note": "-", "missing": "missing", "broken": "BROKEN"}


def _doctor(arguments: argparse.Namespace) -> int:
    from covidcx.doctor import examine

    report = examine(arguments.data, arguments.deep)
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in _lines(report.checks):
            print(line)
        broken = sum(check.state == "broken" for check in report.checks)
        lacking = sum(check.state == "missing" for check in report.checks)
        told = "what the base install needs is in order" if report.sound else f"{broken} broken, see BROKEN above"
        print(f"\n{told}; {lacking} optional missing" if lacking else f"\n{told}")
    return OK if report.sound else FAILED


def _lines(checks):
    """Lay the checks out in columns, a section after the other; a remedy stands below its check."""
    width = max(len(check.name) for check in checks)
    for section, group in groupby(checks, key=lambda check: check.section):
        yield f"\n{section}"
        for check in group:
            yield f"  {_MARKS[check.state]:8}{check.name:{width}}  {check.value}"
            if check.remedy:
                yield f"  {'':8}{'':{width}}  $ {check.remedy}"


def add_doctor(commands) -> None:
    """Add the command."""
    text = "check versions, codecs, extras, bundles and data paths; each thing missing with the command that mends it"
    parser = command(commands, "doctor", _doctor, text, "covidcx doctor --data phantom/manifest.csv")
    parser.add_argument("--data", type=Path, metavar="MANIFEST", help="also list the problems of this manifest")
    parser.add_argument("--deep", action="store_true", help="also import TensorFlow and JAX to look for GPUs")
    parser.add_argument("--json", action="store_true", help="write JSON for machines")
