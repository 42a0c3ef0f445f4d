"""The edge runtime against the Keras path and against its own bare networks, in one run.

    python benchmarks/edge.py [--bundle int8-exported/covid-cxnet] [--rounds 30] [FILE.dcm ...]

Warm: median time from a DICOM file to a finding with lungs and heat map. Cold: a new process up to its first finding,
and its peak memory. The bundle is an int8 export (`covidcx export covid-cxnet --to tflite --data MANIFEST --out
int8-exported`); without one it is made here from phantoms. The Keras path is the original `covid-cxnet` restored from
its weights, asked with `model.predict`, behind the same reading and preprocessing.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KERAS, EDGE, BARE = "keras", "edge", "bare"


def edge_path(bundle: str) -> Callable[[Path], object]:
    """Return the edge runtime: a file in, an `Analysis` out."""
    from covidcx.edge.runtime import load

    return load(bundle).analyse


def keras_path(bundle: str) -> Callable[[Path], object]:
    """Return the notebook's way: the same steps with Keras models and `model.predict`."""
    from covidcx.bundle import Bundle, calibrate, decide
    from covidcx.imaging import prepare, read, segment_lungs
    from covidcx.imaging.roi import enhancement_of_channel
    from covidcx.models import restore
    from covidcx.models.covid_cxnet import with_heatmap

    opened = Bundle.open(bundle)
    segmenter, gate = opened.open_segmenter(), opened.open_gate()
    lung_model = restore(segmenter.model, segmenter.path("weights.h5"))
    gate_model = None if gate is None else restore(gate.model, gate.path("weights.h5"))
    model = with_heatmap(restore(opened.model, opened.path("weights.h5")))
    enhance = enhancement_of_channel(segmenter.preprocessing.channels[0])

    def analyse(path: Path) -> object:
        image = read(path)
        if gate is not None:
            gate_model.predict(prepare(image.pixels, gate.preprocessing).network_input, verbose=0)
        lungs = segment_lungs(image.pixels, lambda x: lung_model.predict(x, verbose=0)["lung"], enhance)
        prepared = prepare(image.pixels, opened.preprocessing, lungs)
        outputs = model.predict(prepared.network_input, verbose=0)
        probabilities = calibrate(outputs["probabilities"], opened.temperature)
        label = decide(probabilities, opened.labels, opened.operating_points)[0]
        return probabilities, prepared.geometry.restore(outputs["heatmap"][0, :, :, opened.labels.index(label)])

    return analyse


def bare_networks(bundle: str) -> Callable[[], None]:
    """Return a function that runs the bundle's TFLite networks once each, on inputs that lie ready."""
    from covidcx.bundle import Bundle
    from covidcx.edge.lite import LiteModel

    opened = Bundle.open(bundle)
    parts = [part for part in (opened, opened.open_segmenter(), opened.open_gate()) if part is not None]
    networks = [LiteModel(part.path("model.tflite")) for part in parts]
    rng = np.random.default_rng(0)
    inputs = [rng.random(network.input_shape).astype(np.float32) for network in networks]

    def run() -> None:
        for network, image in zip(networks, inputs, strict=True):
            network(image)

    return run


def median_ms(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return each contender's median time in ms; they take turns, so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 2):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if round_ >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def cold(kind: str, bundle: str, file: Path, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a new process up to its first finding and its peak memory in MB."""
    seconds, peaks = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        peaks.append(from_child(kind, bundle, file))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), statistics.median(peaks)


def from_child(kind: str, bundle: str, file: Path, rounds: int = 0) -> Any:
    """Return what `child` prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", kind, "--bundle", bundle, "--rounds", str(rounds), str(file)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def child(kind: str, bundle: str, file: Path, rounds: int) -> None:
    """Make one finding and print the peak memory in MB; of kind `bare`, time edge and bare networks by turns."""
    if kind == BARE:
        networks, edge = bare_networks(bundle), edge_path(bundle)
        print(json.dumps(median_ms({BARE: networks, EDGE: lambda: edge(file)}, rounds)))
        return
    {KERAS: keras_path, EDGE: edge_path}[kind](bundle)(file)
    # Not ru_maxrss: a child starts with its parent's.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)


def phantom_files(folder: Path) -> list[Path]:
    """Write synthetic DICOM files and return them."""
    from covidcx.data.phantom import write_phantom

    return sorted(write_phantom(folder, patients=3, format="dicom", size=1024, seed=1).parent.rglob("*.dcm"))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="DICOM files (default: phantoms of 1024 px)")
    parser.add_argument("--bundle", help="int8 bundle (default: exported here, calibrated on phantoms)")
    parser.add_argument("--original", default="covid-cxnet", help="bundle of the Keras path (default: covid-cxnet)")
    parser.add_argument("--rounds", type=int, default=30, help="(default: 30)")
    parser.add_argument("--cold-rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--child", choices=(KERAS, EDGE, BARE), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.bundle, arguments.files[0], arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle
        if bundle is None:
            from covidcx.deploy.export_tflite import export_tflite

            bundle = str(export_tflite(arguments.original, Path(folder) / "int8", "int8").folder)
        files = arguments.files or phantom_files(Path(folder) / "phantom")
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {len(files)} files")
        networks = bare_networks(bundle)
        edge, keras = edge_path(bundle), keras_path(arguments.original)
        for file in files[:3]:
            found = median_ms({BARE: networks, EDGE: lambda f=file: edge(f), KERAS: lambda f=file: keras(f)},
                              arguments.rounds)  # fmt: skip
            print(
                f"{file.name}: edge {found[EDGE]:.1f} ms, bare networks {found[BARE]:.1f} ms "
                f"(edge / bare {found[EDGE] / found[BARE]:.2f}), Keras predict {found[KERAS]:.1f} ms "
                f"(Keras / edge {found[KERAS] / found[EDGE]:.1f})"
            )
            # A unit has no TensorFlow beside them.
            found = from_child(BARE, bundle, file, arguments.rounds)
            print(
                f"    in a process without TensorFlow: edge {found[EDGE]:.1f} ms, bare networks {found[BARE]:.1f} ms "
                f"(edge / bare {found[EDGE] / found[BARE]:.2f})"
            )
        started = {kind: cold(kind, name, files[0], arguments.cold_rounds)
                   for kind, name in ((EDGE, bundle), (KERAS, arguments.original))}  # fmt: skip
        for kind, (seconds, peak) in started.items():
            print(f"cold {kind}: {seconds:.2f} s to the first finding, peak {peak:.0f} MB")
        print(f"cold Keras / edge {started[KERAS][0] / started[EDGE][0]:.1f}")


if __name__ == "__main__":
    main()
