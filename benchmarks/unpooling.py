"""Two forms of max-unpooling that TFLite's builtin operations can express: how exact, how fast, how they quantise.

Run from the repository root: `python benchmarks/unpooling.py [--side 64] [--channels 16] [--repeats 30]`.

`equality` marks where a map equals its own upsampled maximum (`covidcx.models.unpooling`, what the models use);
`one_hot` lays the cells of each window side by side and marks the first largest. Each form is a network of two
convolutions around a pooling and its unpooling, so that int8 has scales to lose. The reference is a direct unpooling in
NumPy that puts each value at the first maximum of its window. 'Cells' is the share of cells with another value than the
reference, fed with float32 noise before and behind ReLU; 'correlation' is between the TFLite output and Keras's; time
is the median of one image on one thread.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def direct(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Unpool `values` (N x H/2 x W/2 x C) to the first maximum of each window of `x` (N x H x W x C)."""
    out = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*values.shape):
        window = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = np.unravel_index(window.argmax(), (2, 2))
        out[n, 2 * i + row, 2 * j + column, c] = values[n, i, j, c]
    return out


def one_hot_places(x):
    """Mark the first maximum of each window of a Keras tensor, N x H x W x C, by space to depth, top-k and one-hot."""
    from keras import ops

    _, height, width, channels = x.shape
    cells = ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
    cells = ops.reshape(ops.transpose(cells, (0, 1, 3, 5, 2, 4)), (-1, height // 2, width // 2, channels, 4))
    # Not `argmax`: Keras guards it against -0.0 by a bitwise operation that TFLite does not have.
    marks = ops.one_hot(ops.top_k(cells, 1)[1][..., 0], 4)
    marks = ops.reshape(marks, (-1, height // 2, width // 2, channels, 2, 2))
    return ops.reshape(ops.transpose(marks, (0, 1, 4, 2, 5, 3)), (-1, height, width, channels))


def main() -> None:
    """Print one line per form and number format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    import keras
    from ai_edge_litert.interpreter import Interpreter
    from keras import layers

    from covidcx.deploy.tflite import SIGNATURE, to_tflite
    from covidcx.models.unpooling import pool_with_places, unpool

    def pool(x, form: str):
        pooled, places = pool_with_places(x, "level")
        return pooled, places if form == "equality" else one_hot_places(x)

    rng = np.random.default_rng(0)
    shape = (args.side, args.side, args.channels)
    for form in ("equality", "one_hot"):
        image = layers.Input(shape, name="image")
        pooled, places = pool(image, form)
        wrong = []
        for relu in (False, True):
            x = rng.normal(size=(1, *shape)).astype(np.float32)
            x = np.maximum(x, 0) if relu else x
            # Values of their own: of the maxima themselves a tie at zero would not show.
            marks = np.asarray(keras.Model(image, places)(x))
            values = rng.uniform(1, 2, (1, args.side // 2, args.side // 2, args.channels)).astype(np.float32)
            wrong.append(np.mean(marks * values.repeat(2, 1).repeat(2, 2) != direct(x, values)))
        print(f"{form}: cells that differ from the direct unpooling {wrong[0]:.2%} before ReLU, {wrong[1]:.2%} behind")

        keras.utils.set_random_seed(0)
        image = layers.Input((args.side, args.side, 3), name="image")
        x = layers.Conv2D(args.channels, 3, padding="same", name="a")(image)
        pooled, places = pool(x, form)
        deep = layers.Conv2D(args.channels, 3, padding="same", activation="relu", name="b")(layers.ReLU()(pooled))
        x = layers.Conv2D(args.channels, 3, padding="same", name="c")(unpool(deep, places, "level"))
        model = keras.Model(image, {"map": x})
        images = [rng.random((1, args.side, args.side, 3), dtype=np.float32) for _ in range(20)]
        expected = np.asarray(model(np.concatenate(images)[:8])["map"])
        for quantize in ("none", "float16", "int8"):
            content = to_tflite(model, quantize, images)
            run = Interpreter(model_content=content, num_threads=1).get_signature_runner(SIGNATURE)
            found = np.concatenate([run(image=one)["map"] for one in images[:8]])
            times = []
            for _ in range(args.repeats):
                start = time.perf_counter()
                run(image=images[0])
                times.append(time.perf_counter() - start)
            correlation = np.corrcoef(expected.ravel(), found.ravel())[0, 1]
            print(f"  {quantize:8s} largest difference {np.abs(found - expected).max():.1e}, correlation "
                  f"{correlation:.4f}, {np.median(times) * 1e3:.2f} ms, {len(content) / 1e3:.0f} kB")  # fmt: skip


if __name__ == "__main__":
    main()
