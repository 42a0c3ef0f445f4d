"""`covidcx export`, `serve` and `ask`: a bundle leaves the notebook, and is asked from afar."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, command, fail, positive, seed
from covidcx.finding import DISCLAIMER


def _export(arguments: argparse.Namespace) -> int:
    run = {"saved-model": _export_saved_model, "tflite": _export_tflite}[arguments.to]
    return run(arguments)


def _export_saved_model(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.saved_model import export_saved_model

    done = export_saved_model(arguments.bundle, arguments.out, arguments.version)
    print(f"model: {done.folder} ({done.size / 1e6:.1f} MB), version {done.version} of {done.name!r}")
    print(f"differs from the edge runtime by at most {done.worst:.1g} in probability on synthetic radiographs")
    print(f"next:  covidcx serve {arguments.out}\n{DISCLAIMER}")
    return OK


def _export_tflite(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.export_tflite import export_tflite

    done = export_tflite(
        arguments.bundle, arguments.out, arguments.quantize, arguments.data, arguments.calibration, seed=arguments.seed
    )
    for name, size in done.sizes.items():
        told = done.agreement[name].told()
        print(f"{name}: {size / 1e6:.2f} MB; against Keras on {done.agreement[name].images} images: {told}")
    print(f"images: {done.data}\nbundle: {done.folder}\nnext:   covidcx edge predict FILE --bundle {done.folder}")
    print(DISCLAIMER)
    return OK


def _serve(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.serve import command as serve_command
    from covidcx.deploy.serve import serve

    if arguments.local:
        from covidcx.deploy.local_server import run_local_server

        print(f"http://127.0.0.1:{arguments.port}/v1/models, for trying things out; Ctrl-C ends it", flush=True)
        run_local_server(arguments.models, arguments.port)
        return OK
    if arguments.dry_run:
        print(" ".join(serve_command(arguments.models, arguments.port, arguments.grpc_port).words))
        return OK
    return serve(arguments.models, arguments.port, arguments.grpc_port)


def _ask(arguments: argparse.Namespace) -> int:
    from covidcx.atomic import write_atomic
    from covidcx.deploy.client import Client, findings_table
    from covidcx.deploy.transports import Grpc, Rest
    from covidcx.edge.predict import collect

    server = arguments.server
    if server.startswith("grpc://"):
        transport = Grpc(server.removeprefix("grpc://"), arguments.model, arguments.version, arguments.timeout)
    else:
        transport = Rest(server, arguments.model, arguments.version, arguments.timeout)
    entries = collect(arguments.files)
    sources = [entry.source for entry in entries]
    findings = Client(transport).predict_files([entry.path for entry in entries], arguments.batch)
    for source, f in zip(sources, findings, strict=True):
        said = "  ".join(f"{label} {p:.4f}" for label, p in sorted(f.probabilities.items())) if f.label else f.reason
        print(f"{source}  {f.label or f.status}  {said}")
    if arguments.out is not None:
        write_atomic(arguments.out, findings_table(sources, findings))
        print(f"table: {arguments.out}")
    print(DISCLAIMER)
    if not any(f.status == "ok" for f in findings):
        return fail(f"no file gave a finding: {findings[0].reason}")
    return OK


def add_export(commands) -> None:
    """Add `export`."""
    text = "turn a bundle into a SavedModel for TF Serving or a quantised TFLite bundle; needs: covidcx[train]"
    parser = command(commands, "export", _export, text, "covidcx export covid-cxnet --to saved-model --out models")
    parser.add_argument("bundle", help="name or folder of a classifier bundle")
    parser.add_argument("--to", choices=("saved-model", "tflite"), required=True, help="the form it leaves in")
    parser.add_argument("--out", type=Path, default=Path("exported"), help="folder (default: exported)")
    parser.add_argument("--version", type=positive, help="saved-model: version number (default: the next one)")
    parser.add_argument(
        "--quantize", choices=("none", "float16", "dynamic", "int8"), default="int8", help="tflite: (default: int8)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="MANIFEST",
        help="tflite: calibrated on split train, checked on split val (default: phantoms, good for a trial only)",
    )  # fmt: skip
    parser.add_argument("--calibration", type=positive, default=120, help="tflite: int8 calibration images (120)")
    seed(parser)


def add_serve(commands) -> None:
    """Add `serve`."""
    text = "start TensorFlow Serving on exported models, by its binary or Docker"
    parser = command(commands, "serve", _serve, text, "covidcx serve models")
    parser.add_argument("models", type=Path, help="folder that covidcx export --to saved-model wrote")
    parser.add_argument("--port", type=positive, default=8501, help="REST (default: 8501)")
    parser.add_argument("--grpc-port", type=positive, default=8500, help="gRPC (default: 8500)")
    parser.add_argument("--local", action="store_true", help="a small stand-in with the same REST interface, no Docker")
    parser.add_argument("--dry-run", action="store_true", help="print the command that would be run")


def add_ask(commands) -> None:
    """Add `ask`."""
    text = "ask a model server for findings; only pixels leave this machine"
    example = "covidcx ask archive/ --server http://localhost:8501 --out scores.csv"
    parser = command(commands, "ask", _ask, text, example)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE|DIR", help="DICOM files, pictures, or folders")
    parser.add_argument(
        "--server", default="http://localhost:8501", help="http://HOST:PORT or grpc://HOST:PORT (default: %(default)s)"
    )
    parser.add_argument("--model", default="covid-cxnet", help="name of the served model (default: covid-cxnet)")
    parser.add_argument("--version", type=positive, help="its version (default: the newest)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds per request (default: 30)")
    parser.add_argument("--batch", type=positive, default=8, help="files per request (default: 8)")
    parser.add_argument("--out", type=Path, help="CSV table of the findings")
