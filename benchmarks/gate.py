"""How many chest radiographs the gate refuses, how much of everything else, and how long it takes.

Run from the repository root: `python benchmarks/gate.py MANIFEST [--split test] [--bundle frontal-gate]`. MANIFEST is
a table of upright frontal chest radiographs; each is also turned, inverted, and both. Drawn and packaged pictures are
those of the split `test` of `covidcx.data.views`: of sources, and in part of kinds, that training did not see.
"""

import argparse
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from covidcx.bundle import Bundle
from covidcx.data.manifest import Manifest
from covidcx.data.phantom.others import HELD_OUT
from covidcx.data.views import other_views, turned
from covidcx.edge.gate import Gate
from covidcx.edge.lite import load_network
from covidcx.imaging.read import read
from covidcx.imaging.roi import enhancement_of_channel, segment_lungs

_TURNS = {"turned by 90 degrees": 1, "turned by 180 degrees": 2, "turned by 270 degrees": 3}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="table of upright frontal chest radiographs")
    parser.add_argument("--split", default="test", help="(default: test)")
    parser.add_argument("--bundle", default="frontal-gate", help="name or folder of the gate (default: %(default)s)")
    parser.add_argument("--others", type=Path, help="a folder of pictures that are no chest radiographs")
    options = parser.parse_args()
    gate = Gate(Bundle.open(options.bundle))
    counts: dict[str, Counter] = defaultdict(Counter)
    missed = []
    for kind, name, pixels in _images(options):
        verdict = gate(pixels)
        counts[kind][verdict.label] += 1
        if verdict.passed != kind.startswith("frontal"):
            missed.append(f"{kind}: {name} ({verdict.label}, p(frontal) {verdict.frontal:.3f})")
    print(f"{'kind':42} images  refused   taken for")
    for kind, labels in sorted(counts.items()):
        total = sum(labels.values())
        named = ", ".join(f"{label} {count}" for label, count in labels.most_common())
        print(f"{kind:42} {total:6d}  {1 - labels['frontal'] / total:7.2%}   {named}")
    for wanted in ("frontal", ""):
        chosen = [labels for kind, labels in counts.items() if kind.startswith("frontal") == bool(wanted)]
        total = sum(sum(labels.values()) for labels in chosen)
        refused = total - sum(labels["frontal"] for labels in chosen)
        print(f"all {'frontal' if wanted else 'other'} images: {refused} of {total} refused ({refused / total:.2%})")
    print("\nwrong:", *missed, sep="\n  ")
    _times(gate)


def _images(options: argparse.Namespace) -> Iterator[tuple[str, str, np.ndarray]]:
    table = Manifest.read(options.manifest).subset(split=options.split)
    for image, source in zip(table.frame["image"], table.frame["source"], strict=True):
        pixels = read(table.file(image)).pixels
        yield f"frontal, {source}", image, pixels
        for kind, quarters in _TURNS.items():
            yield kind, image, turned(pixels, quarters)
        yield "inverted", image, 1 - pixels
        yield "inverted and turned by 90 degrees", image, turned(1 - pixels, 1)
    for view in other_views(others=options.others):
        if view.split != "test":
            continue
        kind = view.source.partition("-")[0] if view.source.startswith(("photo", "dicom", "own")) else view.source
        kind = "leg RG3_UNCR" if "RG3" in view.source else kind
        unseen = view.source.removeprefix("drawn-") in HELD_OUT
        where = f" {view.label}" if view.source == "phantom" else " (kind never trained on)" if unseen else ""
        prefix = "frontal, " if view.label == "frontal" else "other, "
        yield f"{prefix}{kind}{where if view.label != 'frontal' else ''}", view.patient, view.pixels


def _times(gate: Gate) -> None:
    segmenter = Bundle.open("lung-unet")
    network = load_network(segmenter, "lung", 1)
    enhance = enhancement_of_channel(segmenter.preprocessing.channels[0])
    for side in (512, 2048):
        pixels = np.random.default_rng(0).random((side, side), dtype=np.float32)
        own = _median_ms(lambda image=pixels: gate(image))
        lungs = _median_ms(
            lambda image=pixels: segment_lungs(image, lambda batch: network(batch)["lung"], enhance)
        )
        print(f"{side} x {side}: gate {own:.1f} ms, lung segmenter {lungs:.1f} ms, {own / lungs:.1%} of it (1 thread)")


def _median_ms(run: Callable[[], object], repeats: int = 15) -> float:
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
