"""What the commands share: how one is added, its usual options, its failure."""
# ruff: noqa: T201 - the command line prints.

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from covidcx.errors import RecipeError

OK, FAILED, INTERRUPTED = 0, 2, 130


def fail(message: str) -> int:
    """Tell a failure in one line on standard error and return its exit code."""
    print(f"covidcx: error: {' '.join(message.split())}", file=sys.stderr)
    logging.getLogger("covidcx").debug("where it came from:", exc_info=True)
    return FAILED


def command(
    commands, name: str, run: Callable[[argparse.Namespace], int] | None, text: str, example: str, **options
) -> argparse.ArgumentParser:
    """Add a command with its help and example; `run` is None where subcommands follow."""
    parser = commands.add_parser(
        name,
        help=text.partition(";")[0].replace("%", "%%"),
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def bundle(parser: argparse.ArgumentParser) -> None:
    """Add `--bundle`."""
    parser.add_argument("--bundle", default="covid-cxnet", help="name or folder of a bundle (default: covid-cxnet)")


def out(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--out`."""
    parser.add_argument("--out", type=Path, default=Path(default), help=f"output folder (default: {default})")


def seed(parser: argparse.ArgumentParser) -> None:
    """Add `--seed`."""
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")


def threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument("--threads", type=positive, help="threads per inference (default: up to 4)")


def dicom(parser: argparse.ArgumentParser) -> None:
    """Add `--dicom`."""
    parser.add_argument(
        "--dicom", action="store_true",
        help="also write Secondary Capture, Segmentation and Structured Report; needs: pip install 'covidcx[dicom]'",
    )  # fmt: skip


def settings(texts: Sequence[str], option: str = "--set", example: str = "epochs=3") -> dict[str, str]:
    """Return what `--set KEY=VALUE` options (or another option of that form) say.

    Raises:
        RecipeError: one has no key or no equals sign.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{option} is {text!r}; write it as key=value, such as {option} {example}")
        found[key.strip()] = value
    return found


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return value
