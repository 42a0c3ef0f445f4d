"""Tiny bundles whose right answers can be worked out by hand, and radiographs to show them."""

import functools
from pathlib import Path

import cv2
import numpy as np

from covidcx.bundle import write_bundle_json
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI

LABELS = ["normal", "cap", "covid"]
SIZE = (200, 160)


def draw_chest(brightness: float = 0.6, lungs: tuple[bool, bool] = (True, True), size: tuple[int, int] = SIZE):
    """Two black ellipses on grey: float32, H x W, 0..1, and the ellipses as a mask."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    for present, centre in zip(lungs, (0.3, 0.7), strict=True):
        if present:
            middle, axes = (round(centre * width), height // 2), (round(0.13 * width), round(0.3 * height))
            cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    pixels = np.full(size, brightness, np.float32)
    pixels[mask > 0] = 0.05
    return pixels, mask > 0


def write_image(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(".png", np.round(pixels * 255).astype(np.uint8))
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def _segmenter():
    """Dark is lung."""
    import keras
    from keras import layers

    image = layers.Input((256, 256, 1), name="image")
    conv = layers.Conv2D(1, 1, activation="sigmoid", name="lung")
    model = keras.Model(image, {"lung": conv(image)})
    conv.set_weights([np.full((1, 1, 1, 1), -60.0), np.array([18.0])])
    return model


def _classifier(units: int = 3):
    """The brighter the first channel, the more COVID-19: logits 0, -1, 12 (mean - 0.5). Heat is its local mean."""
    import keras
    from keras import layers

    image = layers.Input((64, 64, 3), name="image")
    local = layers.AveragePooling2D(8)(image)
    head = layers.Dense(units, activation="softmax" if units > 1 else "sigmoid", name="probabilities")
    heat = layers.Conv2D(units, 1, activation="relu", name="heatmap")
    outputs = {"probabilities": head(layers.GlobalAveragePooling2D()(image)), "heatmap": heat(local)}
    weights, bias = np.zeros((3, units)), np.zeros(units)
    weights[0, -1], bias[-1] = 12.0, -6.0
    bias[1:-1] = -1.0
    head.set_weights([weights, bias])
    heat.set_weights([weights[None, None], np.zeros(units)])
    return keras.Model(image, outputs)


@functools.cache
def convert_networks() -> dict[str, bytes]:
    """Return TFLite content by name; converted once per test run."""
    from covidcx.deploy.tflite import to_tflite

    return {
        "lungs": to_tflite(_segmenter()),
        "softmax": to_tflite(_classifier()),
        "sigmoid": to_tflite(_classifier(1)),
    }


def save_bundle(folder: Path, content: bytes, **fields) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    write_bundle_json(folder, **{"name": folder.name, "licence": "MIT", "model": {"name": "x", "kwargs": {}}, **fields})
    return folder


def save_lungs(folder: Path, networks: dict[str, bytes], **fields) -> Path:
    spec = Preprocessing(size=(256, 256), channels=("original",))
    return save_bundle(
        folder, networks["lungs"], **{"task": "segment", "labels": ["lung"], "preprocessing": spec, **fields}
    )


def save_classifier(folder: Path, networks: dict[str, bytes], network: str = "softmax", **fields) -> Path:
    spec = Preprocessing(size=(64, 64), roi=LungROI(enhance="none", crop=False))
    defaults = {
        "task": "classify",
        "labels": LABELS,
        "preprocessing": spec,
        "segmenter": "tiny-lungs",
        "operating_points": {"covid": {"threshold": 0.3, "rule": "by hand"}},
    }
    return save_bundle(folder, networks[network], **{**defaults, **fields})


def save_pair(folder: Path, networks: dict[str, bytes]) -> Path:
    """Write the bundles `tiny-lungs` and `tiny` into a folder; return the classifier's."""
    save_lungs(folder / "tiny-lungs", networks)
    return save_classifier(folder / "tiny", networks)
