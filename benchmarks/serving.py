"""Batched against single requests on an exported SavedModel, to choose TF Serving's batching parameters.

    python benchmarks/serving.py [--models FOLDER] [--pictures 32]

Images a second through the signature `serving_default`, by batch size, in one process with TensorFlow's own threads.
Without `--models` the shipped bundle is exported first.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from covidcx.deploy.saved_model import example_images, export_saved_model, png_bytes


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a model's version folder, such as models/covid-cxnet/1")
    parser.add_argument("--pictures", type=int, default=32, help="per round (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    arguments = parser.parse_args()

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = arguments.models or export_saved_model("covid-cxnet", folder).folder
        answer = tf.saved_model.load(str(path)).signatures["serving_default"]
    pictures = [png_bytes(image) for image in example_images(arguments.pictures, 512)]
    rates: dict[int, list[float]] = {}
    for round_ in range(arguments.rounds + 1):
        for size in (1, 2, 4, 8, 16):
            start = time.perf_counter()
            for first in range(0, len(pictures), size):
                answer(tf.constant(pictures[first : first + size]))
            if round_:
                rates.setdefault(size, []).append(len(pictures) / (time.perf_counter() - start))
    single = statistics.median(rates[1])
    for size, found in rates.items():
        rate = statistics.median(found)
        print(f"batches of {size:2d}: {rate:5.1f} images/s, {rate / single:.2f} times single requests")


if __name__ == "__main__":
    main()
