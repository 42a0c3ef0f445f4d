"""`covidcx data`: tables of studies."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, command, fail, out, positive, seed
from covidcx.errors import CovidcxError


def _data_validate(arguments: argparse.Namespace) -> int:
    from covidcx.data.manifest import Manifest
    from covidcx.data.splits import split_hash

    manifest = Manifest.read(arguments.manifest)
    problems = manifest.problems()
    for problem in problems:
        print(problem)
    if problems:
        return fail(f"{arguments.manifest} has {len(problems)} problems, listed above by line; mend them and run again")
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


def add_data(commands) -> None:
    text = "tables of studies: check, split, or make synthetic ones"
    data = command(commands, "data", None, text, "covidcx data phantom --out phantom --patients 60")
    parts = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "list every problem of a manifest with its line; exit code 2 if there is one"
    validate = command(
        parts, "validate", _data_validate, text, "covidcx data validate phantom/manifest.csv", aliases=["audit"]
    )
    validate.add_argument("manifest", type=Path, help="CSV with the columns image, patient_id, label, split, ...")
    text = "split by patient, stratified and seeded; or add k folds"
    example = "covidcx data split data/manifest.csv --out data/split.csv --fractions train=0.7,val=0.1,test=0.2"
    split = command(parts, "split", _data_split, text, example)
    split.add_argument("manifest", type=Path, help="CSV with the columns image, patient_id, label, ...")
    split.add_argument("--out", type=Path, required=True, help="the new table, in the folder of the old one")
    split.add_argument("--fractions", default="train=0.7,val=0.1,test=0.2", help="(default: %(default)s)")
    split.add_argument("--folds", type=positive, help="write a column 'fold' of this many folds instead")
    split.add_argument("--stratify", default="label", help="column kept in proportion (default: label)")
    seed(split)
    text = "write synthetic radiographs with masks, labels and a manifest; the same seed gives the same files"
    phantom = command(
        parts, "phantom", _data_phantom, text, "covidcx data phantom --out phantom --patients 60 --format dicom"
    )
    out(phantom, "phantom")
    phantom.add_argument("--patients", type=positive, default=60, help="(default: 60)")
    phantom.add_argument("--format", choices=("png", "dicom"), default="png", help="(default: png)")
    phantom.add_argument("--size", type=positive, default=512, help="side in pixels (default: 512)")
    seed(phantom)
