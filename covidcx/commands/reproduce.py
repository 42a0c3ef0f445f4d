"""`covidcx reproduce`: rerun a paper's table or figure."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import FAILED, OK, command, fail, positive, seed, settings
from covidcx.errors import CovidcxError
from covidcx.finding import DISCLAIMER


def _reproduce(arguments: argparse.Namespace) -> int:
    from covidcx import papers

    paper = papers.get(arguments.paper)
    out = arguments.out or Path("reproduced") / paper.name
    if arguments.list or not arguments.item:
        _list(paper, out)
        return OK
    from covidcx.papers.comparison import comparison_rows, markdown
    from covidcx.papers.reproduce import REPORT, Job, reproduce

    chosen = paper.items if "all" in arguments.item else tuple(paper.item(name) for name in arguments.item)
    given = settings(arguments.weights, "--weights", "chexnet=FILE")
    files = {name: Path(file) for name, file in given.items()}
    job = Job(
        paper, chosen, out, arguments.data, arguments.work, settings(arguments.set), arguments.seeds,
        arguments.bootstrap, arguments.seed, files, not arguments.finished_only,
    )  # fmt: skip
    data = "the phantom; --data MANIFEST takes real images" if job.data is None else job.data
    print(f"{paper.citation}\ndata: {data}\nbudget: {job.budget.text()}")
    failed = False
    for item, result in zip(chosen, reproduce(job).values(), strict=True):
        if isinstance(result, CovidcxError):
            fail(f"{item.name}: {result}")
            failed = True
            continue
        print(f"\n{item.name}: {item.title}")
        if result.comparisons:
            print(markdown(*comparison_rows(result.comparisons)), end="")
        for table in result.tables:
            print(table.markdown(), end="")
        for note in result.notes:
            print(f"- {note}")
        print(f"report: {out / item.name / REPORT}")
    print(DISCLAIMER)
    return FAILED if failed else OK


def _list(paper, out: Path) -> None:
    from covidcx.papers.reproduce import state

    print(paper.citation)
    for item, done in state(paper, out):
        cost = "trains" if item.trains else ""
        print(f"  {item.name:16} {item.title}  [{'; '.join(filter(None, (cost, 'needs ' + item.needs)))}]"
              f"{'  done' if done else ''}")  # fmt: skip
    print(f"covidcx reproduce {paper.name} NAME ... reruns some, `all` all of them.")


def add_reproduce(commands) -> None:
    """Add the command."""
    text = "rerun a table or figure of a paper, our value beside the published one; needs: pip install 'covidcx[train]'"
    example = "covidcx reproduce covid-cxnet --list\n  covidcx reproduce covid-cxnet table-6 --data manifest.csv"
    parser = command(commands, "reproduce", _reproduce, text, example)
    parser.add_argument("paper", help="covid-cxnet, comit-net or siim")
    parser.add_argument("item", nargs="*", help="table-6, figure-12, ... or all; several at once")
    parser.add_argument("--list", action="store_true", help="name the paper's tables and figures and stop")
    parser.add_argument("--data", type=Path, metavar="MANIFEST", help="manifest.csv (default: the phantom, in minutes)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: reproduced/PAPER)")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder of trained runs; a finished one is used as it is (default: OUT/runs)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="replace a setting of every training; repeatable")  # fmt: skip
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE",
                        help="published weights that some rows start from, e.g. chexnet=FILE; repeatable")  # fmt: skip
    parser.add_argument("--finished-only", action="store_true",
                        help="train nothing: rows whose run is not finished in --work are skipped")  # fmt: skip
    parser.add_argument("--seeds", type=positive, help="initialisations where trainings repeat (default: the paper's)")
    parser.add_argument("--bootstrap", type=positive, default=1000, help="resamples per interval (default: 1000)")
    seed(parser)
