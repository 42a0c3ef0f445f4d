"""`covidcx edge`: the commands of a portable X-ray unit; none needs TensorFlow."""
# ruff: noqa: T201 - the command line prints.

import argparse
import signal
from pathlib import Path

from covidcx.commands.options import OK, bundle, command, dicom, threads
from covidcx.commands.screen import add_predict
from covidcx.finding import DISCLAIMER


def _watch(arguments: argparse.Namespace) -> int:
    from covidcx.edge.watch import watch

    told: list[int] = []
    # A supervisor's stop: the file at hand is finished first.
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    counts = watch(
        arguments.source, arguments.out, arguments.bundle, interval=arguments.interval, settle=arguments.settle,
        threads=arguments.threads, once=arguments.once, dicom=arguments.dicom, stop=lambda: bool(told),
    )  # fmt: skip
    print(f"{counts.ok} ok, {counts.refused} refused, {counts.quarantined} quarantined, {counts.repeated} repeated")
    print(f"answers: {arguments.out}\n{DISCLAIMER}")
    return OK


def add_edge(commands) -> None:
    """Add `edge` with its subcommands."""
    text = "the runtime of a portable X-ray unit; no TensorFlow needed"
    edge = command(commands, "edge", None, text, "covidcx edge watch incoming answers")
    parts = edge.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_predict(parts)
    text = "answer every file written into a folder, once; survives being killed at any moment"
    parser = command(parts, "watch", _watch, text, "covidcx edge watch incoming answers")
    parser.add_argument("source", type=Path, metavar="IN", help="folder that the unit writes into")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the answers, outside IN")
    bundle(parser)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default: 1)")
    parser.add_argument(
        "--settle", type=float, default=2.0, help="seconds without a change that make a file complete (default: 2)"
    )
    parser.add_argument("--once", action="store_true", help="end when the folder is empty")
    dicom(parser)
    threads(parser)
