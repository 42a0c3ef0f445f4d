"""The `covidcx` command: one thin function per command, each importing what it needs when it runs."""
# ruff: noqa: T201 - the one module that prints.

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from covidcx import __version__
from covidcx.errors import CovidcxError, MissingDependencyError, RecipeError
from covidcx.finding import DISCLAIMER

OK, FAILED, INTERRUPTED = 0, 2, 130

# Optional packages by the extra that installs them.
_EXTRAS = dict.fromkeys(
    ("tensorflow", "keras", "keras_cv", "albumentations", "sklearn", "lime", "pandas", "matplotlib", "h5py", "skimage",
     "tensorboard"),
    "train",
)  # fmt: skip
_SHOWN_FINDINGS = 20


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
        return _fail(str(error))
    except ImportError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _fail(str(_missing(error, extra)))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; keep Python from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; what was finished is kept, free space or check permissions")
    except KeyboardInterrupt:
        print("\ncovidcx: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED


def _fail(message: str) -> int:
    print(f"covidcx: error: {' '.join(message.split())}", file=sys.stderr)
    logging.getLogger(__name__).debug("where it came from:", exc_info=True)
    return FAILED


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


def _demo(arguments: argparse.Namespace) -> int:
    from covidcx.edge.demo import run_demo

    summary, notes = run_demo(arguments.out, arguments.bundle, arguments.patients, arguments.seed, arguments.threads)
    for note in notes:
        print(note)
    return _show_summary(summary)


def _predict(arguments: argparse.Namespace) -> int:
    from covidcx.edge.predict import predict_files

    return _show_summary(predict_files(arguments.files, arguments.bundle, arguments.out, arguments.threads))


def _show_summary(summary) -> int:
    """Print a batch's findings; a batch without a single finding is a failure."""
    findings, statuses = summary.findings, summary.statuses
    width = min(48, max(len(f.source) for f in findings))
    for f in findings[:_SHOWN_FINDINGS]:
        said = "  ".join(f"{label} {p:.2f}" for label, p in f.probabilities.items()) if f.status == "ok" else f.reason
        print(f"{f.source[-width:]:{width}}  {f.label or f.status:8}  {said}")
    if len(findings) > _SHOWN_FINDINGS:
        print(f"... and {len(findings) - _SHOWN_FINDINGS} more in {summary.table}")
    called = ", ".join(f"{count} {label}" for label, count in sorted(summary.labels.items()))
    counts = ", ".join(f"{statuses[s]} {s}" for s in ("ok", "refused", "error") if statuses[s])
    reused = f"; {summary.reused} from an earlier run" if summary.reused else ""
    print(f"{len(findings)} files: {counts}{f' ({called})' if called else ''}{reused}")
    print(f"table: {summary.table}\npage:  {summary.page}\n{DISCLAIMER}")
    if not statuses["ok"]:
        first = findings[0]
        more = f" (and {len(findings) - 1} more, see {summary.table})" if len(findings) > 1 else ""
        return _fail(f"no file gave a finding: {first.reason}{more}")
    return OK


def _data_validate(arguments: argparse.Namespace) -> int:
    from covidcx.data.manifest import Manifest
    from covidcx.data.splits import split_hash

    manifest = Manifest.read(arguments.manifest)
    problems = manifest.problems()
    for problem in problems:
        print(problem)
    if problems:
        return _fail(
            f"{arguments.manifest} has {len(problems)} problems, listed above by line; mend them and run again"
        )
    counts = manifest.frame.groupby(["split", "label"], dropna=False).size()
    for (split, label), count in counts.items():
        print(f"{split}  {label}  {count}")
    print(f"{len(manifest.frame)} rows, no problems, split hash {split_hash(manifest.frame)}")
    return OK


def _data_split(arguments: argparse.Namespace) -> int:
    from covidcx.atomic import write_atomic
    from covidcx.data.manifest import Manifest
    from covidcx.data.splits import folds, split_by_patient, split_hash

    manifest = Manifest.read(arguments.manifest)
    if arguments.out.resolve().parent != manifest.root.resolve():
        raise CovidcxError(
            f"--out {str(arguments.out)!r} is outside {str(manifest.root)!r}, where the table's relative paths start; "
            "write the new table beside the old one"
        )
    if arguments.folds:
        frame = manifest.frame.assign(fold=folds(manifest.frame, arguments.folds, arguments.seed))
        column = "fold"
    else:
        frame = split_by_patient(manifest.frame, _fractions(arguments.fractions), arguments.seed, arguments.stratify)
        column = "split"
    write_atomic(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    for (part, label), count in frame.groupby([column, "label"], dropna=False).size().items():
        print(f"{part}  {label}  {count}")
    print(f"{arguments.out}: split hash {split_hash(frame)}, seed {arguments.seed}")
    return OK


def _fractions(text: str) -> dict[str, float]:
    try:
        return {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise CovidcxError(f"--fractions is {text!r}; write it as train=0.7,val=0.1,test=0.2") from error


def _data_phantom(arguments: argparse.Namespace) -> int:
    from covidcx.data.phantom import write_phantom

    manifest = write_phantom(arguments.out, arguments.patients, arguments.format, arguments.size, arguments.seed)
    print(f"manifest: {manifest}")
    return OK


def _train(arguments: argparse.Namespace) -> int:
    from covidcx.training import train

    overrides = {}
    for setting in arguments.set:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set is {setting!r}; write it as key=value, such as --set epochs=3")
        overrides[key.strip()] = value
    result = train(arguments.recipe, arguments.data, arguments.out, overrides, resume=arguments.resume)
    print(f"best epoch {result.best_epoch} of {result.epochs}: {result.metric} {result.best_value:.4f}")
    print(f"weights: {result.weights}\nlog:     {result.out / 'log.csv'}")
    return OK


def _evaluate(arguments: argparse.Namespace) -> int:
    from covidcx.evaluation import evaluate, headline

    split = None if arguments.split == "all" else arguments.split
    result = evaluate(arguments.bundle, arguments.manifest, arguments.out, split, arguments.bootstrap, arguments.seed)
    for name, section in headline(result).items():
        print(f"{name}: {section['images']} images of {section['patients']} patients")
        for metric, value in section["metrics"].items():
            print(f"  {metric:32} {_interval(value)}")
    print(f"report: {arguments.out / 'REPORT.md'}\n{DISCLAIMER}")
    return OK


def _bundle_run(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.from_run import bundle_from_run

    chosen = {"rule": arguments.rule, "data": arguments.trained_on, "data_licences": arguments.data_licence}
    bundle = bundle_from_run(arguments.run_folder, arguments.out, **chosen)
    print(f"bundle: {bundle.folder}")
    for label, point in bundle.operating_points.items():
        print(f"{label} is called at {point['threshold']:.4f}: {point['rule']}")
    return OK


def _card(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.from_run import add_card

    print(f"card: {add_card(arguments.bundle, arguments.metrics)}")
    return OK


def _interval(value: dict[str, float | None]) -> str:
    middle, low, high = (value[part] for part in ("value", "low", "high"))
    if middle is None:
        return "undefined"
    return f"{middle:.3f}" + (f"  [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _explain(arguments: argparse.Namespace) -> int:
    from covidcx.explain import explain_files

    rows = explain_files(
        arguments.bundle, arguments.files, arguments.out, method=arguments.method, layer=arguments.layer,
        label=arguments.label, manifest=arguments.manifest, seed=arguments.seed,
    )  # fmt: skip
    for row in rows:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in row.items() if isinstance(value, str | int | float)))  # fmt: skip
    print(f"pictures: {arguments.out}\n{DISCLAIMER}")
    return OK


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
    for add in (_add_demo, _add_data, _add_train, _add_bundle, _add_evaluate, _add_card, _add_explain, _add_predict):
        add(commands)
    return parser


def _command(
    commands, name: str, run: Callable[[argparse.Namespace], int] | None, text: str, example: str, **options
) -> argparse.ArgumentParser:
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


def _add_demo(commands) -> None:
    text = "findings for synthetic and real chest DICOM files; no data or network needed"
    parser = _command(commands, "demo", _demo, text, "covidcx demo --out covidcx-demo")
    _out(parser, "covidcx-demo")
    _bundle(parser)
    parser.add_argument("--patients", type=_positive, default=6, help="synthetic patients (default: 6)")
    _seed(parser)
    _threads(parser)


def _add_data(commands) -> None:
    text = "tables of studies: check, split, or make synthetic ones"
    data = _command(commands, "data", None, text, "covidcx data phantom --out phantom --patients 60")
    parts = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "list every problem of a manifest with its line; exit code 2 if there is one"
    validate = _command(
        parts, "validate", _data_validate, text, "covidcx data validate phantom/manifest.csv", aliases=["audit"]
    )
    validate.add_argument("manifest", type=Path, help="CSV with the columns image, patient_id, label, split, ...")
    text = "split by patient, stratified and seeded; or add k folds"
    example = "covidcx data split data/manifest.csv --out data/split.csv --fractions train=0.7,val=0.1,test=0.2"
    split = _command(parts, "split", _data_split, text, example)
    split.add_argument("manifest", type=Path, help="CSV with the columns image, patient_id, label, ...")
    split.add_argument("--out", type=Path, required=True, help="the new table, in the folder of the old one")
    split.add_argument("--fractions", default="train=0.7,val=0.1,test=0.2", help="(default: %(default)s)")
    split.add_argument("--folds", type=_positive, help="write a column 'fold' of this many folds instead")
    split.add_argument("--stratify", default="label", help="column kept in proportion (default: label)")
    _seed(split)
    text = "write synthetic radiographs with masks, labels and a manifest; the same seed gives the same files"
    phantom = _command(
        parts, "phantom", _data_phantom, text, "covidcx data phantom --out phantom --patients 60 --format dicom"
    )
    _out(phantom, "phantom")
    phantom.add_argument("--patients", type=_positive, default=60, help="(default: 60)")
    phantom.add_argument("--format", choices=("png", "dicom"), default="png", help="(default: png)")
    phantom.add_argument("--size", type=_positive, default=512, help="side in pixels (default: 512)")
    _seed(phantom)


def _add_train(commands) -> None:
    text = "train a recipe on a manifest; needs: pip install 'covidcx[train]'"
    example = "covidcx train lung-unet --data phantom/manifest.csv --out runs/lungs --set epochs=3"
    parser = _command(commands, "train", _train, text, example)
    parser.add_argument("recipe", help="lung-unet, covid-cxnet, ...")
    parser.add_argument("--data", "--manifest", type=Path, required=True, metavar="MANIFEST", help="manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoints, logs, weights")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a setting; repeatable")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped or killed")


def _add_evaluate(commands) -> None:
    text = "measure a bundle on a manifest, with 95% intervals; needs: pip install 'covidcx[train]'"
    example = "covidcx evaluate covid-cxnet phantom/manifest.csv --out report --split test"
    parser = _command(commands, "evaluate", _evaluate, text, example)
    parser.add_argument("bundle", help="name or folder of a bundle")
    parser.add_argument("manifest", type=Path, help="manifest.csv")
    _out(parser, "evaluation")
    parser.add_argument("--split", default="test", help="a split, several with commas, or all (default: test)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples per interval (default: 1000)")
    _seed(parser)


def _add_bundle(commands) -> None:
    text = "turn a finished run into a bundle; temperature and operating point are chosen on its validation rows"
    example = "covidcx bundle runs/lungs --out saved_models/lungs"
    parser = _command(commands, "bundle", _bundle_run, text, example)
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that covidcx train wrote")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; its name is the bundle's name")
    parser.add_argument("--rule", default="sensitivity>=0.95", help="COVID threshold (default: %(default)s)")
    parser.add_argument("--trained-on", default="", metavar="TEXT", help="the training data in a sentence")
    parser.add_argument("--data-licence", action="append", default=[], metavar="TEXT", help="its licence; repeatable")


def _add_card(commands) -> None:
    text = "put measured figures and the model card into a bundle"
    parser = _command(commands, "card", _card, text, "covidcx card saved_models/lungs evaluation/metrics.json")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("metrics", type=Path, help="metrics.json that covidcx evaluate wrote for this bundle")


def _add_explain(commands) -> None:
    text = "show where a class comes from: Grad-CAM or LIME; needs: pip install 'covidcx[train]'"
    example = "covidcx explain chest.dcm --out explained --method gradcam --label covid"
    parser = _command(commands, "explain", _explain, text, example)
    parser.add_argument("files", nargs="+", type=Path, help="DICOM, PNG or JPEG files")
    _bundle(parser)
    _out(parser, "explained")
    parser.add_argument("--method", choices=("gradcam", "lime"), default="gradcam", help="(default: gradcam)")
    parser.add_argument("--layer", help="Grad-CAM layer (default: the last feature map)")
    parser.add_argument("--label", help="class to explain (default: the one called)")
    parser.add_argument("--manifest", type=Path, help="manifest.csv with lung and disease masks to measure against")
    _seed(parser)


def _add_predict(commands) -> None:
    text = "findings for files or folders: JSON, pictures, a table and a page to leaf through"
    parser = _command(commands, "predict", _predict, text, "covidcx predict studies/ extra.dcm --out findings")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE|DIR", help="DICOM, PNG, JPEG, or folders of them")
    _bundle(parser)
    _out(parser, "predictions")
    _threads(parser)


def _bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", default="covid-cxnet", help="name or folder of a bundle (default: covid-cxnet)")


def _out(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--out", type=Path, default=Path(default), help=f"output folder (default: {default})")


def _seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")


def _threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_positive, help="threads per inference (default: up to 4)")


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return value
