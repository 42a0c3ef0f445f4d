"""`covidcx data`: tables of studies."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.audit import add_audit
from covidcx.commands.clean import add_clean
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

    manifest = write_phantom(
        arguments.out, arguments.patients, arguments.format, arguments.size, arguments.seed,
        labels=arguments.labels, days=arguments.days,
    )  # fmt: skip
    print(f"manifest: {manifest}")
    return OK


def _days(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of days; write it as 0,3,10") from None


def _data_sources(arguments: argparse.Namespace) -> int:
    from covidcx.data import sources

    known = [sources.info(name) for name in sources.names()]
    if arguments.name:
        source = sources.info(arguments.name)
        print(f"{source.name}: {source.title}\n{source.citation}\nlicence: {source.licence}\nfrom: {source.url}")
        print(f"options: {', '.join(sources.options(source.name)) or 'none'}\nnote: {source.note or 'none'}")
        print(f"expected in its folder:\n{source.tree}")
        return OK
    heads = ("name", "images", "labels", "views", "masks", "title", "licence")
    rows = [
        (
            source.name, f"{source.images:,}" if source.images else "-",
            *map(_few, (source.labels, source.views, source.masks)), source.title, source.licence,
        )
        for source in known
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return OK


def _few(names: tuple[str, ...]) -> str:
    return (", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, ...") or "-"


def _data_prepare(arguments: argparse.Namespace) -> int:
    from covidcx.data.prepare import prepare

    options = dict(_setting(text) for text in arguments.set)
    made = prepare(arguments.source, arguments.folder, arguments.out, arguments.all_views, options)
    frame = made.manifest.frame
    for column in ("label", "view", "split"):
        counted = frame[column].fillna("(none)").value_counts()
        print(f"{column}: {', '.join(f'{name} {count}' for name, count in counted.items())}")
    for reason, count in made.reasons.items():
        print(f"left out: {count} {reason}")
    for what, path in (("boxes", made.boxes), ("left out", made.skipped)):
        if path:
            print(f"{what}: {path}")
    print(f"licence: {made.source.licence}. Cite: {made.source.citation}")
    print(f"{made.manifest.path}: {len(frame)} images of {frame['patient_id'].nunique()} patients")
    return OK


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise CovidcxError(f"--set is {text!r}; write it as name=value, such as uncertain=ones")
    return name.strip(), value.strip()


def _data_merge(arguments: argparse.Namespace) -> int:
    from covidcx.data.merge import merge

    made = merge(arguments.tables, arguments.out)
    for table, count in made.rows.items():
        print(f"{table}: {count} images")
    print(f"{made.repeated} images listed again, kept once; {made.renamed} patient ids kept apart")
    if made.conflict_file:
        print(f"{len(made.conflicts)} cells of these differ, the first table's are kept: {made.conflict_file}")
    if made.boxes:
        print(f"boxes: {made.boxes}")
    frame = made.manifest.frame
    print(f"{made.manifest.path}: {len(frame)} images of {frame['patient_id'].nunique()} patients")
    if made.problems:
        print(f"{len(made.problems)} problems, such as {made.problems[0]}; "
              f"to see all: covidcx data validate {made.manifest.path}")  # fmt: skip
    return OK


def _data_tables(arguments: argparse.Namespace) -> int:
    from covidcx.atomic import write_atomic
    from covidcx.data.dataset_tables import as_rows, tables
    from covidcx.data.manifest import Manifest

    found = tables(Manifest.read(arguments.manifest), arguments.paper)
    for table in found:
        print(f"{table}\n")
    if arguments.out:
        write_atomic(arguments.out, as_rows(found).to_csv(index=False, lineterminator="\n").encode())
        print(f"written: {arguments.out}")
    return OK


def _add_sources(parts) -> None:
    text = "list the public data sets that can be prepared: size, licence, labels, views, masks"
    listed = command(parts, "sources", _data_sources, text, "covidcx data sources nih")
    listed.add_argument("name", nargs="?", help="show one: citation, where to get it, the files expected, options")
    text = "turn a public data set, in its published layout, into a manifest with boxes"
    example = "covidcx data prepare nih ChestXray-NIHCC --out nih.csv"
    made = command(parts, "prepare", _data_prepare, text, example)
    made.add_argument("source", metavar="SOURCE", help="name of the data set; see: covidcx data sources")
    made.add_argument("folder", metavar="DIR", type=Path, help="where it lies; nothing is written there")
    made.add_argument("--out", type=Path, required=True, help="the manifest, a .csv file")
    made.add_argument("--all-views", action="store_true", help="keep lateral and other views too")
    made.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the data set; may be repeated"
    )
    text = "join manifests and their boxes into one; patients are kept apart, repeated images once"
    merged = command(parts, "merge", _data_merge, text, "covidcx data merge nih.csv cohen.csv --out all.csv")
    merged.add_argument("tables", nargs="+", type=Path, metavar="CSV", help="two or more; the first one wins")
    merged.add_argument("--out", type=Path, required=True, help="the new manifest, a .csv file")
    text = "count the images of a manifest by source, split, class and view, as the papers' data set tables do"
    counted = command(parts, "tables", _data_tables, text, "covidcx data tables all.csv --paper comit-net")
    counted.add_argument("manifest", type=Path, help="CSV with the columns image, patient_id, label, split, ...")
    counted.add_argument("--paper", metavar="PAPER", help="covid-cxnet or comit-net (default: general tables)")
    counted.add_argument("--out", type=Path, help="write the counts as CSV too: table, row, column, images")


def _data_views(arguments: argparse.Namespace) -> int:
    from covidcx.data.views import write_views

    print(f"manifest: {write_views(arguments.manifest, arguments.out, arguments.seed, arguments.others)}")
    return OK


def add_data(commands) -> None:
    text = "tables of studies: prepare public data sets, merge, check, split, or make synthetic ones"
    data = command(commands, "data", None, text, "covidcx data phantom --out phantom --patients 60")
    parts = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_sources(parts)
    text = "list every problem of a manifest with its line; exit code 2 if there is one"
    validate = command(parts, "validate", _data_validate, text, "covidcx data validate phantom/manifest.csv")
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
    phantom.add_argument(
        "--labels", choices=("covid-cxnet", "rsna", "comit-net"), default="covid-cxnet",
        help="whose labels (default: %(default)s)",
    )  # fmt: skip
    phantom.add_argument("--days", type=_days, help="image each patient on these days since the first symptom: 0,3,10")
    seed(phantom)
    text = "derive what is no upright frontal chest (turned, inverted, lateral, other), to train and test a gate"
    views = command(parts, "views", _data_views, text, "covidcx data views phantom/manifest.csv --out views")
    views.add_argument("manifest", type=Path, help="manifest of upright frontal radiographs")
    out(views, "views")
    views.add_argument("--others", type=Path, metavar="DIR", help="your own pictures that show no chest")
    seed(views)
    add_audit(parts)
    add_clean(parts)
