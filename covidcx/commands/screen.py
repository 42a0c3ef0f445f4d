"""`covidcx demo`, `predict` and `explain`: from files to findings and pictures."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, bundle, command, dicom, fail, out, positive, seed, threads
from covidcx.finding import DISCLAIMER

_SHOWN_FINDINGS = 20


def _demo(arguments: argparse.Namespace) -> int:
    from covidcx.edge.demo import run_demo

    summary, notes = run_demo(arguments.out, arguments.bundle, arguments.patients, arguments.seed, arguments.threads)
    for note in notes:
        print(note)
    return _show_summary(summary)


def _predict(arguments: argparse.Namespace) -> int:
    from covidcx.edge.predict import predict_files

    a = arguments
    return _show_summary(predict_files(a.files, a.bundle, a.out, a.threads, a.dicom))


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
        return fail(f"no file gave a finding: {first.reason}{more}")
    return OK


def _explain(arguments: argparse.Namespace) -> int:
    from covidcx.explain import explain_files

    rows = explain_files(
        arguments.bundle, arguments.files, arguments.out, method=arguments.method, layer=arguments.layer,
        label=arguments.label, manifest=arguments.manifest, seed=arguments.seed, head=arguments.head,
    )  # fmt: skip
    for row in rows:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in row.items() if isinstance(value, str | int | float)))  # fmt: skip
    print(f"pictures: {arguments.out}\n{DISCLAIMER}")
    return OK


def add_demo(commands) -> None:
    text = "findings for synthetic and real chest DICOM files; no data or network needed"
    parser = command(commands, "demo", _demo, text, "covidcx demo --out covidcx-demo")
    out(parser, "covidcx-demo")
    bundle(parser)
    parser.add_argument("--patients", type=positive, default=6, help="synthetic patients (default: 6)")
    seed(parser)
    threads(parser)


def add_explain(commands) -> None:
    text = "show where a class comes from: Grad-CAM or LIME; needs: pip install 'covidcx[train]'"
    example = "covidcx explain chest.dcm --out explained --method gradcam --label covid"
    parser = command(commands, "explain", _explain, text, example)
    parser.add_argument("files", nargs="+", type=Path, help="DICOM, PNG, JPEG, TIFF, WebP or BMP files")
    bundle(parser)
    out(parser, "explained")
    parser.add_argument("--method", choices=("gradcam", "lime"), default="gradcam", help="(default: gradcam)")
    parser.add_argument("--layer", help="Grad-CAM layer (default: the last feature map)")
    parser.add_argument("--label", help="class to explain (default: the one called)")
    parser.add_argument("--head", help="output of a network with several, e.g. lung, disease, infection")
    parser.add_argument("--manifest", type=Path, help="manifest.csv with lung and disease masks to measure against")
    seed(parser)


def add_predict(commands) -> None:
    text = "findings for files or folders: JSON, pictures, a table and a page to leaf through"
    parser = command(commands, "predict", _predict, text, "covidcx predict studies/ extra.dcm --out findings")
    files = "DICOM files, pictures, or folders of them"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE|DIR", help=files)
    bundle(parser)
    out(parser, "predictions")
    dicom(parser)
    threads(parser)
