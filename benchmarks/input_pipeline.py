"""What the input costs: seconds of DenseNet-121 training fed from the cache, over seconds on constant tensors.

    python benchmarks/input_pipeline.py --size 128 --steps 30
    python benchmarks/input_pipeline.py --data ../shared/data --size 224 --augment

The three feeds take turns, so that a machine busy with something else slows all of them alike. The bound covidcx sets
itself is a ratio of 1.05 for the warm cache.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="manifest.csv or its folder; random arrays by default")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/covidcx-benchmark-cache"), help="cache folder")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels (default 128)")
    parser.add_argument("--batch", type=int, default=16, help="images per step (default 16)")
    parser.add_argument("--steps", type=int, default=10, help="steps per round and feed (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (default 3)")
    parser.add_argument("--images", type=int, default=256, help="images used (default 256)")
    parser.add_argument("--augment", action="store_true", help="also measure the cache with a strong augmentation")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    seconds = measure(arguments)
    constant = statistics.median(seconds["constant tensors"])
    print(f"DenseNet-121, {arguments.size} px, batch {arguments.batch}, {arguments.steps} steps, "
          f"median of {arguments.rounds} rounds")  # fmt: skip
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["constant tensors"], strict=True)]
        each = ", ".join(f"{value:.2f}" for value in values)
        print(f"  {name:18s} {statistics.median(values):7.2f} s  ratio {statistics.median(values) / constant:.3f}  "
              f"(rounds: {each}; median of paired ratios {statistics.median(ratios):.3f})")  # fmt: skip


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return seconds per round by feed; the first, compiling steps are left out."""
    import tensorflow as tf

    from covidcx.data.pipeline import steps, training_dataset
    from covidcx.models.covid_cxnet import covid_cxnet

    images = load(arguments)
    targets = {"probabilities": np.eye(3, dtype=np.float32)[np.arange(len(images)) % 3]}
    model = covid_cxnet((arguments.size, arguments.size, 3))
    model.compile("adam", {"probabilities": "categorical_crossentropy"})
    epochs = arguments.steps // steps(len(images), arguments.batch) + 1

    def cached(augment=None):
        return training_dataset(images, targets, arguments.batch, 0, augment, epochs=epochs)

    constant = tf.data.Dataset.from_tensors(next(iter(cached()))).repeat()
    feeds = {"constant tensors": constant, "warm cache": cached()}
    if arguments.augment:
        from covidcx.data.augment import Augmentation

        value = Augmentation(flip=0.5, rotate=10, shift=0.05, scale=0.1, brightness=0.2, blur=0.2, jpeg=0.3)
        feeds["cache + augment"] = cached(lambda batch, rng: value.apply_batch(batch, rng=rng))
    for feed in feeds.values():
        model.fit(feed, steps_per_epoch=2, verbose=0)
    seconds = {name: [] for name in feeds}
    for _ in range(arguments.rounds):
        for name, feed in feeds.items():
            start = time.perf_counter()
            model.fit(feed, steps_per_epoch=arguments.steps, verbose=0)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def load(arguments: argparse.Namespace) -> np.ndarray:
    """Return uint8 N x size x size x 3 from the cache of prepared images, or random."""
    shape = (arguments.images, arguments.size, arguments.size, 3)
    if arguments.data is None:
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    from covidcx.data.cache import prepare_manifest
    from covidcx.data.manifest import Manifest
    from covidcx.imaging import Preprocessing

    manifest = Manifest.read(arguments.data).subset("train")
    manifest = manifest.without_lines(manifest.lines[arguments.images :])
    return prepare_manifest(manifest, Preprocessing(size=(arguments.size, arguments.size)), arguments.cache).images


if __name__ == "__main__":
    main()
