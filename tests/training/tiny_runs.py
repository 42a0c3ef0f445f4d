"""Runs small enough for a test; as a program, one that can be killed: `tiny_runs.py TASK MANIFEST OUT [KILL]`."""

import csv
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.models import registry
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

SIDE = 32
LABELS = ("normal", "cap", "covid")
registry.MODELS["tiny"] = ("tiny_runs", "tiny", {})
registry.MODELS["tiny-heads"] = ("tiny_runs", "tiny_heads", {})


def tiny(input_shape: tuple[int, int, int] = (SIDE, SIDE, 1), classes: int = 3):
    """Build a classifier of two layers with everything that carries state: batch normalisation and dropout."""
    import keras
    from keras import layers

    image = layers.Input(tuple(input_shape), name="image")
    x = layers.Conv2D(8, 5, strides=4, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn", momentum=0.5)(x))
    x = layers.Dropout(0.3, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    x = layers.Dense(units, activation=activation, dtype="float32", name="probabilities")(x)
    return keras.Model(image, {"probabilities": x}, name="tiny")


def tiny_heads(input_shape: tuple[int, int, int] = (SIDE, SIDE, 1)):
    """Build a network with COMiT-Net's outputs on two layers, and a finding's probabilities beside them."""
    import keras
    from keras import layers

    image = layers.Input(tuple(input_shape), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn", momentum=0.5)(x))
    pooled = layers.Dropout(0.3, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    fixed = layers.Dense(3, trainable=False, name="fixed")(pooled)
    return keras.Model(
        image,
        {
            "lung": layers.Conv2D(2, 1, activation="softmax", name="lung")(x),
            "disease": layers.Conv2D(1, 1, activation="sigmoid", name="disease")(x),
            "healthy": layers.Dense(2, activation="softmax", name="healthy")(pooled),
            "infection": layers.Dense(2, activation="sigmoid", name="infection")(pooled),
            "probabilities": layers.Softmax(name="probabilities")(fixed),
        },
        name="tiny_heads",
    )


def recipe(task: str) -> Recipe:
    """Return a recipe of four short epochs."""
    common = {
        "augmentation": Augmentation(flip=0.5, rotate=10, brightness=0.1, tone=0.3),
        "optimizer": OptimizerSettings(learning_rate=3e-3, schedule="cosine", warmup_epochs=1),
        "epochs": 4,
        "batch": 4,
        "seed": 3,
    }
    preprocessing = Preprocessing(size=(SIDE, SIDE), channels=("clahe",))
    if task == "segment":
        model = ModelSettings("lung-unet", {"filters": 2, "depth": 3})
        return Recipe("tiny-unet", model, preprocessing, "segment", ("lung",), class_weights=False, **common)
    if task == "multi":
        return Recipe(
            "tiny-heads", ModelSettings("tiny-heads"), preprocessing, "multi", ("normal", "other", "covid"),
            heads=("lung", "disease", "healthy", "infection"), copies=("covid",), class_weights=False,
            loss=LossSettings(head_weights={"lung": 2.0}), **common,
        )  # fmt: skip
    return Recipe(
        "tiny-classifier", ModelSettings("tiny"), preprocessing, "classify", LABELS,
        loss=LossSettings(smoothing=0.1), label_sets={"other": ("normal", "cap")}, **common,
    )  # fmt: skip


def pretraining(task: str):
    """Return a pretraining of four short epochs, `contrast` or `inpainting`, on a DenseNet of four dense layers."""
    from covidcx.training import recipes

    named = recipes.get_pretraining("moco-cxr-modified" if task == "contrast" else "inpainting")
    contrast = named.contrast and replace(named.contrast, dim=8, queue=12)
    inpainting = named.inpainting and replace(named.inpainting, filters=(8, 8, 4, 4, 4))
    return replace(
        named, preprocessing=Preprocessing(size=(SIDE, SIDE), channels=("original",) * 3), contrast=contrast,
        inpainting=inpainting, backbone_kwargs={"blocks": [1, 1, 1, 1], "growth": 4}, epochs=4, batch=4, seed=3,
        optimizer=OptimizerSettings(learning_rate=3e-3, schedule="cosine", warmup_epochs=1),
    )  # fmt: skip


def write_manifest(folder: Path, train: int = 18, val: int = 8, side: int = 48) -> Path:
    """Write synthetic chests: two bright lungs, one stripe pattern per class, and a manifest."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for i in range(train + val):
        label = (*LABELS, "other")[i % 4]
        pixels = rng.integers(90, 130, (side, side)).astype(np.uint8)
        mask = np.zeros((side, side), np.uint8)
        for centre in (side // 4, 3 * side // 4):
            cv2.ellipse(mask, (centre, side // 2), (side // 7, side // 3), 0, 0, 360, 255, -1)
        pixels[mask > 0] //= 3
        pixels[:: 2 + i % 4] += np.uint8(20 * (i % 4))
        mask[:2] = 127
        cv2.imwrite(str(folder / "images" / f"{i}.png"), pixels)
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask)
        split = "train" if i < train else "val"
        rows.append([f"images/{i}.png", f"p{i}", label, split, f"masks/{i}.png"])
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["image", "patient_id", "label", "split", "lung_mask"], *rows])
    return path


def write_mixed_manifest(folder: Path) -> Path:
    """Write the same chests with every kind of missing label: masks, boxes, views, contradictions."""
    whole = write_manifest(folder)
    rows = list(csv.DictReader(whole.open(newline="", encoding="utf-8")))
    with (folder / "boxes.csv").open("w", newline="", encoding="utf-8") as stream:
        boxes = csv.writer(stream)
        boxes.writerow(["image", "x", "y", "width", "height", "finding", "reader"])
        for i in (1, 3, 21):
            boxes.writerow([rows[i]["image"], 6, 10, 12, 20, "Lung Opacity", "rsna"])
        for x in (4, 28):
            boxes.writerow([rows[4]["image"], x, 8, 16, 32, "Lung", "rsna"])
    for i, row in enumerate(rows):
        row["lung_mask"] = row["lung_mask"] if i % 3 == 0 else ""
        row["disease_mask"] = f"masks/{i}.png" if i in (2, 6, 22) else ""
        row["view"] = "AP" if i % 5 else "PA"
        row["rsna_class"] = "Normal" if i == 7 else ""
        row["findings"] = "COVID-19 no visible abnormality" if i == 10 else ""
    path = folder / "mixed.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def kill_in_epoch(number: int) -> None:
    """Let this process die, as by `kill -9`, after the second step of an epoch."""
    import keras

    class Killer(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch + 1

        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == number and batch == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    fit = keras.Model.fit
    keras.Model.fit = lambda self, *args, callbacks=(), **kwargs: fit(
        self, *args, callbacks=[*callbacks, Killer()], **kwargs
    )


def kill_in_state(number: int) -> None:
    """Let this process die while the state of an epoch is half written."""
    from covidcx.training import checkpoint

    write = checkpoint._write_archive

    def half(file, state):
        write(file, state)
        if state.epoch == number:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint._write_archive = half


if __name__ == "__main__":
    # The model registry names this module as `tiny_runs`, not as `__main__`.
    sys.modules["tiny_runs"] = sys.modules["__main__"]
    from covidcx.training import pretrain, train

    job, manifest, out, *kill = sys.argv[1:]
    if kill:
        place, epoch = kill[0].split("=")
        {"epoch": kill_in_epoch, "state": kill_in_state}[place](int(epoch))
    if job in ("contrast", "inpainting"):
        pretrain(pretraining(job), Path(manifest), Path(out), resume=True)
    else:
        train(recipe(job), Path(manifest), Path(out), resume=True)
