"""What the input costs: training DenseNet-121 from the cache against training it on constant tensors.

    python benchmarks/input_pipeline.py --size 128 --steps 4 --rounds 7
    python benchmarks/input_pipeline.py --data ../shared/data --size 224 --augment

The bound covidcx sets itself is a ratio of 1.05 for the warm cache. The feeds take turns, each round in another order,
and every round's ratio is formed within the round: a machine busy with something else slows its feeds alike. Wall time
still sways with what else runs, so the CPU time of the process counts (all its threads; waiting costs none), and the
input is measured once more by itself: its CPU seconds a step over those of a step on constant tensors are what it adds
where training leaves no core idle, the worst case. On a machine with a core to spare, or a GPU, it adds less.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np

CONSTANT = "constant tensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="manifest.csv or its folder; random arrays by default")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/covidcx-benchmark-cache"), help="cache folder")
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels (default 128)")
    parser.add_argument("--batch", type=int, default=16, help="images per step (default 16)")
    parser.add_argument("--steps", type=int, default=4, help="steps per round and feed (default 4)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the median counts (default 7)")
    parser.add_argument("--images", type=int, default=256, help="images used (default 256)")
    parser.add_argument("--augment", action="store_true", help="also measure the cache with a strong augmentation")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    wall, cpu, alone = measure(arguments)
    print(f"DenseNet-121, {arguments.size} px, batch {arguments.batch}, {arguments.rounds} rounds of {arguments.steps} "
          "steps; a step's seconds, medians")  # fmt: skip
    for name in wall:
        shown = [f"  {name:18s} wall {_step(wall[name], arguments):6.3f}  CPU {_step(cpu[name], arguments):6.3f}"]
        if name != CONSTANT:
            shown += [f"{what} ratio {_paired(times, name)}" for what, times in (("CPU", cpu), ("wall", wall))]
            extra = alone[name] / _step(cpu[CONSTANT], arguments)
            shown.append(f"input alone {1000 * alone[name]:.2f} ms of CPU, {extra:.2%} of a step")
        print("  ".join(shown))


def _step(values: list[float], arguments: argparse.Namespace) -> float:
    return statistics.median(values) / arguments.steps


def _paired(times: dict[str, list[float]], name: str) -> str:
    """Return the median of the rounds' ratios to constant tensors, with the middle half of them."""
    ratios = sorted(a / b for a, b in zip(times[name], times[CONSTANT], strict=True))
    quarter = len(ratios) // 4
    return f"{statistics.median(ratios):.3f} ({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"


def measure(
    arguments: argparse.Namespace,
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    """Return wall and CPU seconds per round by feed, and CPU seconds a step of each input by itself.

    The first, compiling steps are left out.
    """
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
    feeds = {CONSTANT: constant, "warm cache": cached()}
    if arguments.augment:
        from covidcx.data.augment import Augmentation

        value = Augmentation(flip=0.5, rotate=10, shift=0.05, scale=0.1, brightness=0.2, blur=0.2, jpeg=0.3)
        feeds["cache + augment"] = cached(lambda batch, rng: value.apply_batch(batch, rng=rng))
    for feed in feeds.values():
        model.fit(feed, steps_per_epoch=2, verbose=0)
    wall, cpu = {name: [] for name in feeds}, {name: [] for name in feeds}
    for turn in range(arguments.rounds):
        for name in list(feeds) if turn % 2 else list(feeds)[::-1]:
            start, used = time.perf_counter(), time.process_time()
            model.fit(feeds[name], steps_per_epoch=arguments.steps, verbose=0)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    return wall, cpu, {name: _alone(feed) for name, feed in feeds.items() if name != CONSTANT}


def _alone(feed, count: int = 64, repeats: int = 5) -> float:
    """Return the CPU seconds that one batch costs without a model, the least of some tries."""
    tries = []
    for _ in range(repeats):
        batches = iter(feed.repeat())
        next(batches)
        used = time.process_time()
        for _ in range(count):
            next(batches)
        tries.append((time.process_time() - used) / count)
    return min(tries)


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
