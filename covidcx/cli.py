"""The `covidcx` command; what it does lives in `covidcx.commands`, one thin function per command."""
# ruff: noqa: T201 - the one module that prints.

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from covidcx import __version__
from covidcx.commands import data, deploy, doctor, edge, learn, reproduce, screen
from covidcx.commands.options import INTERRUPTED, OK, fail
from covidcx.errors import CovidcxError, MissingDependencyError
from covidcx.finding import DISCLAIMER

# Optional packages by the extra that installs them.
_EXTRAS = dict.fromkeys(
    ("tensorflow", "keras", "keras_cv", "albumentations", "sklearn", "lime", "pandas", "matplotlib", "h5py", "skimage",
     "tensorboard"),
    "train",
)  # fmt: skip
# In the order in which `--help` lists them.
COMMANDS = (
    screen.add_demo,
    doctor.add_doctor,
    data.add_data,
    learn.add_train,
    learn.add_pretrain,
    learn.add_lr_find,
    learn.add_bundle,
    learn.add_evaluate,
    learn.add_card,
    screen.add_explain,
    screen.add_predict,
    reproduce.add_reproduce,
    deploy.add_export,
    deploy.add_serve,
    deploy.add_ask,
    edge.add_edge,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; `sys.argv` by default.

    Returns:
        The exit code: 0 done, 2 a mistake or failure told in one line on standard error, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    _configure_logging(arguments.verbose)
    # TensorFlow's native start-up messages are no news to anyone; -v brings them back.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if arguments.verbose else "2")
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except CovidcxError as error:
        return fail(str(error))
    except ImportError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return fail(str(_missing(error, extra)))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; keep Python from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}; what was finished is kept, free space or check permissions")
    except KeyboardInterrupt:
        print("\ncovidcx: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _missing(error: ImportError, extra: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"this command needs the package {error.name!r}, which is not installed; "
        f"install it with: pip install 'covidcx[{extra}]'"
    )


def _configure_logging(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s" if verbose else "covidcx: %(levelname)s: %(message)s",
    )
    # The libraries' own debug messages would drown ours.
    for name in ("pydicom", "matplotlib", "PIL", "h5py", "absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="covidcx",
        description=f"Chest X-ray screening for research, from a file to a finding. {DISCLAIMER}",
        epilog="example:\n  covidcx demo\n  covidcx predict studies/ --out findings",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covidcx {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done, and tracebacks of errors")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser
