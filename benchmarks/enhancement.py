"""How fast contrast enhancement and preparation are, and what vectorising BEASF gains.

Run from the repository root: `python benchmarks/enhancement.py [--image FILE] [--repeats 30]`. Prints a table of
medians; absolute times depend on the machine and on what else runs there, ratios less so.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from covidcx.imaging import enhance
from covidcx.imaging.preprocessing import Preprocessing, prepare
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.imaging.roi import LungROI, segmenter_input

SIZE = 320
SPEC = Preprocessing(
    size=(SIZE, SIZE), roi=LungROI(blank=True), winsorise=92.5, lung_statistics=True,
    histogram=tuple(np.linspace(0, 1, 256).tolist()),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="a greyscale picture; a synthetic chest by default")
    parser.add_argument("--repeats", type=int, default=30, help="runs per row; the median is printed")
    options = parser.parse_args()
    pixels, mask = _chest() if options.image is None else _read(options.image)
    image = to_uint8(resize_area(pixels, SIZE, SIZE))
    vectorised = enhance.equalize_beasf(image, 1.5, "arriaga_garcia").astype(int)
    for loop in (beasf_bin_by_bin, beasf_table_loop):
        if np.abs(loop(image, 1.5) - vectorised).max() > 1:
            raise SystemExit(f"{loop.__name__} disagrees with covidcx; their speeds cannot be compared")
    many, few = options.repeats, max(3, options.repeats // 6)
    slow = median_ms(lambda: beasf_bin_by_bin(image, 1.5), many)
    table = median_ms(lambda: beasf_table_loop(image, 1.5), many)
    fast = median_ms(lambda: enhance.equalize_beasf(image, 1.5, "arriaga_garcia"), many)
    print(f"image {pixels.shape[0]} x {pixels.shape[1]}, enhanced at {SIZE} x {SIZE}, medians of {many} (AHE: {few})\n")
    row("BEASF, bin by bin in a Python loop", slow)
    row("BEASF, NumPy histogram, table in a Python loop", table, f"{table / fast:.1f}x the time of vectorised")
    row("BEASF, vectorised", fast, f"{slow / fast:.0f}x faster than bin by bin (target 20x)")
    row("HE", median_ms(lambda: enhance.equalize(image), many))
    row("CLAHE", median_ms(lambda: enhance.equalize_clahe(image), many))
    row("AHE, radius 40", median_ms(lambda: enhance.equalize_adaptive(image), few))
    row("segmenter input with AHE, 256 x 256", median_ms(lambda: segmenter_input(pixels), few))
    whole = Preprocessing(size=(SIZE, SIZE))
    prepared = median_ms(lambda: prepare(pixels, whole), many)
    cropped = median_ms(lambda: prepare(pixels, SPEC, mask), many)
    row("prepare(), whole image, 3 channels", prepared)
    row("prepare(), lungs, winsorised, matched, blanked", cropped)
    _graph(pixels, mask, whole, many, prepared, cropped)


def _graph(
    pixels: np.ndarray, mask: np.ndarray, whole: Preprocessing, repeats: int, prepared: float, cropped: float
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError:
        print("TensorFlow is not installed: the graph executor was not measured")
        return
    from covidcx.deploy.graph import prepare_graph

    signature = [tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.bool)]
    for name, spec, numpy_ms in (("whole image", whole, prepared), ("lungs", SPEC, cropped)):
        run = tf.function(lambda x, m, spec=spec: prepare_graph(x, spec, m).image, input_signature=signature)
        tensors = tf.constant(pixels), tf.constant(mask)
        run(*tensors)
        milliseconds = median_ms(lambda run=run, tensors=tensors: run(*tensors).numpy(), repeats)
        row(f"TensorFlow graph, {name}", milliseconds, f"{milliseconds / numpy_ms:.1f}x the time of NumPy")


def row(name: str, milliseconds: float, note: str = "") -> None:
    """Print one line of the table."""
    print(f"{name:<48}{milliseconds:>10.2f} ms  {note}".rstrip())


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Return the median duration of a call in milliseconds, after one unmeasured call."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def beasf_bin_by_bin(image: np.ndarray, gamma: float) -> np.ndarray:
    """BEASF with a pass over the image for each of the 256 bins, as a direct reading of the paper gives."""
    table = _table(image, [int((image == level).sum()) for level in range(256)], gamma)
    result = np.zeros_like(image)
    for level in range(256):
        result[image == level] = table[level]
    return result


def beasf_table_loop(image: np.ndarray, gamma: float) -> np.ndarray:
    """BEASF as the COVID-CXNet authors wrote it: histogram and lookup in NumPy, the table in Python loops."""
    return np.array(_table(image, np.histogram(image, bins=256, range=(0, 256))[0], gamma), np.uint8)[image]


def _table(image: np.ndarray, histogram: Sequence[int], gamma: float) -> list[int]:
    mean = int(image.mean())
    table = [0] * 256
    for first, last in ((0, mean), (mean, 255)):
        total, seen, median = sum(histogram[first : last + 1]), 0, first
        for level in range(first, last + 1):
            seen += histogram[level]
            if 2 * seen > total:
                median = level
                break
        curve = [1 / (1 + math.exp(-gamma * 5 * (tone - median) / (last - first))) for tone in range(first, last + 1)]
        for tone in range(first, last + 1):
            value = first + (last - first) * (curve[tone - first] - curve[0]) / (curve[-1] - curve[0])
            table[tone] = math.floor(value + 0.5)
    return table


def _chest() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.zeros((1024, 900), np.uint8)
    for centre in (280, 630):
        cv2.ellipse(mask, (centre, 520), (130, 330), 0, 0, 360, 1, -1)
    body = cv2.GaussianBlur(rng.random(mask.shape), (0, 0), 12)
    body = (body - body.min()) / np.ptp(body)
    pixels = np.clip(0.6 * body + 0.3 - 0.25 * mask + rng.normal(0, 0.02, mask.shape), 0, 1)
    return pixels.astype(np.float32), mask.astype(bool)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SystemExit(f"{path} is no picture that OpenCV reads; give a PNG or JPEG")
    _, mask = _chest()
    height, width = image.shape
    return image.astype(np.float32) / 255, cv2.resize(mask.astype(np.uint8), (width, height)).astype(bool)


if __name__ == "__main__":
    main()
