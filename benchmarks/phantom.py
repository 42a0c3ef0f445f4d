"""How fast phantoms are made, and (on request) how a lung U-Net trained on phantoms alone does on real lungs.

Run from the repository root: `python benchmarks/phantom.py [--size 320] [--images 200] [--workers 2]`. Prints images
a second over all workers, CPU time per image, and the same where each image is timed five times and the shortest
counts: on a machine that does other things too, this comes nearest to what an idle one would need.

`--real MANIFEST --run RUN [--splits train,val]` scores a run of the recipe `lung-unet` on the rows of a real manifest
that carry a lung mask (the pediatric ones apart), and `--failures FILE.png` draws the worst of them: the reader's
outline red, the network's green. How the published figure was made:

    python -c "from covidcx.data.phantom import write_phantom
    write_phantom('PH', patients=500, size=192, seed=7, splits={'train': 0.95, 'val': 0.05})"
    covidcx train lung-unet --data PH/manifest.csv --out RUN --set preprocessing.size=128,128 \
        --set model.kwargs.filters=8 --set epochs=10 --set batch=16
    python benchmarks/phantom.py --real MANIFEST --run RUN --splits test
"""

import argparse
import csv
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from covidcx.data.phantom import LABELS, phantom


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320, help="side in pixels (default: 320)")
    parser.add_argument("--images", type=int, default=200, help="images per worker (default: 200)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--real", type=Path, help="manifest of real radiographs with lung masks")
    parser.add_argument("--run", type=Path, help="folder of a training run of the recipe lung-unet")
    parser.add_argument("--splits", default="train,val", help="of the real manifest (default: train,val)")
    parser.add_argument("--failures", type=Path, help="picture of the worst cases to write")
    options = parser.parse_args()
    if options.real:
        score(options.real, options.run, options.splits.split(","), options.failures)
        return
    measure(options.size, options.images, options.workers)


def measure(size: int, images: int, workers: int) -> None:
    """Print how many phantoms a second `workers` processes make."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        pool.map(_make, [(size, 6, 0)] * workers)
        start = time.perf_counter()
        used = pool.map(_make, [(size, images, 1000 * worker) for worker in range(workers)])
        wall = time.perf_counter() - start
    total = images * workers
    cpu = sum(used) / total
    print(f"{total} phantoms of {size} x {size}, labels {', '.join(LABELS)} in turn, {workers} processes")
    print(f"wall time   {wall:6.2f} s, {total / wall:6.1f} images a second")
    best = _shortest(size)
    print(f"CPU time    {cpu * 1000:6.2f} ms an image: {workers / cpu:.0f} images a second on {workers} free cores")
    print(f"shortest    {best * 1000:6.2f} ms an image: {workers / best:.0f} images a second on {workers} free cores")


def _make(job: tuple[int, int, int]) -> float:
    cv2.setNumThreads(1)
    size, images, first = job
    start = time.process_time()
    for seed in range(first, first + images):
        phantom(LABELS[seed % len(LABELS)], seed, size)
    return time.process_time() - start


def _shortest(size: int, images: int = 45, repeats: int = 5) -> float:
    """Return the mean over images of the shortest of some times, in seconds of CPU."""
    cv2.setNumThreads(1)
    times = np.full((repeats, images), np.inf)
    for repeat, seed in np.ndindex(times.shape):
        start = time.process_time()
        phantom(LABELS[seed % len(LABELS)], seed, size)
        times[repeat, seed] = time.process_time() - start
    return float(times.min(axis=0).mean())


def score(manifest: Path, run: Path, splits: list[str], failures: Path | None) -> None:
    """Print the Dice of a run's segmenter on real lung masks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from covidcx.evaluation.segmentation import IGNORE, LUNG, score_mask
    from covidcx.imaging import read
    from covidcx.imaging.preprocessing import Preprocessing, prepare
    from covidcx.models.restore import restore

    recipe = json.loads((run / "recipe.json").read_text())
    spec = Preprocessing.from_dict(recipe["preprocessing"])
    model = {"name": recipe["model"]["name"], "kwargs": {**recipe["model"]["kwargs"], "size": spec.size[0]}}
    network = restore(model, run / "best.weights.h5")
    with manifest.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] in splits and row["lung_mask"]]
    pixels = [read(manifest.parent / row["image"]).pixels for row in rows]
    masks = [cv2.imread(str(manifest.parent / row["lung_mask"]), cv2.IMREAD_UNCHANGED) for row in rows]
    inputs = np.stack([prepare(image, spec).image.astype(np.float32) / 255 for image in pixels])
    lungs = network.predict(inputs, batch_size=16, verbose=0)["lung"][..., 0]
    found = [cv2.resize(lung, mask.shape[::-1]) > 0.5 for lung, mask in zip(lungs, masks, strict=True)]
    dice = np.array([score_mask(f, m == LUNG, m == IGNORE).dice for f, m in zip(found, masks, strict=True)])
    low, high = np.percentile(
        [np.random.default_rng(i).choice(dice, len(dice)).mean() for i in range(1000)], (2.5, 97.5)
    )
    print(f"{run} on {len(dice)} lung masks of {manifest}, splits {', '.join(splits)}")
    print(f"Dice {dice.mean():.3f} (95% {low:.3f} to {high:.3f}), median {np.median(dice):.3f}")
    print(f"tenth percentile {np.percentile(dice, 10):.3f}, below 0.80: {(dice < 0.8).sum()} of {len(dice)}")
    if failures:
        worst = np.argsort(dice)[:24]
        tiles = [_outlined(pixels[i], masks[i] == LUNG, found[i], dice[i]) for i in worst]
        cv2.imwrite(str(failures), np.vstack([np.hstack(tiles[i : i + 6]) for i in range(0, len(tiles) // 6 * 6, 6)]))


def _outlined(pixels: np.ndarray, truth: np.ndarray, found: np.ndarray, dice: float, size: int = 224) -> np.ndarray:
    grey = cv2.resize(np.round(pixels * 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_AREA)
    tile = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for mask, colour in ((truth, (0, 0, 255)), (found, (0, 255, 0))):
        small = cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, lines, -1, colour, 1)
    cv2.putText(tile, f"{dice:.2f}", (4, size - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
    return tile


if __name__ == "__main__":
    main()
