"""Write a bundle: weights, TFLite model, card and `bundle.json`, checked against each other before anything is kept."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.bundle import Bundle, write_bundle_json
from covidcx.deploy.fold import folded
from covidcx.deploy.tflite import run_tflite, to_tflite
from covidcx.errors import BundleError, did_you_mean
from covidcx.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

WEIGHTS_FILE, TFLITE_FILE, CARD_FILE = "weights.h5", "model.tflite", "MODEL_CARD.md"
TOLERANCE = {"none": 1e-4, "float16": 1e-2}
"""Largest difference in probability between the TFLite and the Keras model."""
MOVED = 0.02
"""Largest share of a mask's pixels that rounding may move across one half behind an unpooling."""


# What is added to an architecture's graph before it is deployed; one line per architecture that has something to add.
DEPLOYED: dict[str, tuple[str, str]] = {
    "base-model": ("covidcx.models.base_model", "with_heatmap"),
    "covid-cxnet": ("covidcx.models.covid_cxnet", "with_heatmap"),
    "covid-cxnet-hierarchical": ("covidcx.models.hierarchical", "with_heatmap"),
}


def write_bundle(
    folder: str | Path,
    model: "keras.Model",
    *,
    architecture: Mapping[str, Any],
    name: str,
    task: str,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    licence: str,
    heads: Mapping[str, Sequence[str]] | None = None,
    operating_points: Mapping[str, Mapping[str, Any]] | None = None,
    temperature: float = 1.0,
    segmenter: str | None = None,
    gate: str | None = None,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    data_licences: Sequence[str] = (),
    card: str | None = None,
    quantize: str = "none",
) -> Bundle:
    """Write a trained model's bundle; an existing one is replaced only once the new one is complete and checked.

    Args:
        folder: the bundle's folder, `saved_models/<name>`.
        model: the trained Keras model, as `covidcx.models.build` made it.
        architecture: `{"name": ..., "kwargs": {...}}` with which `build` makes it again.
        name: the bundle's name.
        task: `segment`, `classify` or `multi`.
        labels: class of each channel of the output `lung` or `probabilities`, in order.
        preprocessing: how a radiograph becomes the network's input.
        licence: licence of the weights.
        heads: classes of every trained output, by its name (`multi`).
        operating_points: `{label: {"threshold": t, "rule": how it was chosen}}`, on calibrated probabilities.
        temperature: see `covidcx.bundle.calibrate`; recorded, never part of the graph.
        segmenter: name of the lung segmenter's bundle.
        gate: name of the bundle that refuses what is no upright frontal chest radiograph.
        training: data, split hash, recipe, command, seed, date.
        metrics: measured figures.
        data_licences: licences of the training data.
        card: text of `MODEL_CARD.md`.
        quantize: see `covidcx.deploy.tflite.to_tflite`.

    Returns:
        The written bundle, opened and verified.

    Raises:
        BundleError: model, labels and preprocessing do not fit together, or the written files compute something
            else than the model (the figures are given).
        WeightsError: `architecture` does not build the model that was given.
    """
    from covidcx.models.restore import restore, save_weights

    folder = Path(folder)
    _check_shapes(model, task, tuple(labels), preprocessing)
    _check_heads(model, heads or {})
    with staged_bundle(folder) as staging:
        architecture = {"name": architecture["name"], "kwargs": dict(architecture.get("kwargs", {}))}
        with folded(model):
            save_weights(model, staging / WEIGHTS_FILE)
        restored = restore(architecture, staging / WEIGHTS_FILE)
        # From the weights as they were rounded for the file: Keras, SavedModel and TFLite then compute one answer.
        (staging / TFLITE_FILE).write_bytes(to_tflite(deployed(architecture["name"], restored), quantize))
        if card is not None:
            (staging / CARD_FILE).write_text(card, encoding="utf-8")
        _check_outputs(model, restored, staging / TFLITE_FILE, quantize)
        write_bundle_json(
            staging,
            name=name,
            task=task,
            labels=list(labels),
            heads={output: list(classes) for output, classes in (heads or {}).items()},
            preprocessing=preprocessing,
            model=architecture,
            operating_points={label: dict(point) for label, point in (operating_points or {}).items()},
            temperature=temperature,
            segmenter=segmenter,
            gate=gate,
            training=dict(training or {}),
            metrics=dict(metrics or {}),
            licence=licence,
            data_licences=list(data_licences),
        )
    return Bundle.open(folder)


def deployed(architecture: str, model: "keras.Model") -> "keras.Model":
    """Return a model with what its architecture adds before it is deployed, such as a heat map output."""
    if architecture not in DEPLOYED:
        return model
    module, function = DEPLOYED[architecture]
    return getattr(import_module(module), function)(model)


@contextmanager
def staged_bundle(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write a bundle into; once it is complete and verified it takes the place of `folder`.

    Args:
        folder: where the bundle belongs; an older one there stays until then.

    Yields:
        The folder to write into, beside `folder`.

    Raises:
        BundleError: what was written is no complete bundle; nothing is replaced.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield staging
        Bundle.open(staging)
        staging.chmod(0o755)
        _replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_shapes(model: "keras.Model", task: str, labels: tuple[str, ...], spec: Preprocessing) -> None:
    expected = (*spec.size, len(spec.channels))
    received = tuple(model.inputs[0].shape[1:])
    if received != expected:
        raise BundleError(f"the model takes {received} images, the preprocessing makes {expected}; align the two")
    output = {"classify": "probabilities", "multi": "probabilities", "segment": "lung"}.get(task)
    if output is None:
        raise BundleError(f"task is {task!r}, expected 'classify', 'multi' or 'segment'")
    if not isinstance(model.output, dict) or output not in model.output:
        raise BundleError(f"a model of task {task!r} has a dictionary of outputs with {output!r} in it")
    units = model.output[output].shape[-1]
    sigmoid = task == "classify" and len(labels) == 2 and units == 1
    if units != len(labels) and not sigmoid:
        raise BundleError(f"output {output!r} has {units} channels for the {len(labels)} labels {labels}")


def _check_heads(model: "keras.Model", heads: Mapping[str, Sequence[str]]) -> None:
    for output, classes in heads.items():
        if output not in model.output:
            raise BundleError(f"the model has no output {output!r} for a head.{did_you_mean(output, model.output)}")
        shape = model.output[output].shape
        # A mask's other channel is the background.
        if len(shape) == 2 and shape[-1] != len(classes):
            raise BundleError(f"head {output!r} has {shape[-1]} channels for the classes {tuple(classes)}")


def _check_outputs(model: "keras.Model", restored: "keras.Model", tflite: Path, quantize: str) -> None:
    """Raise BundleError unless the weights file computes what the model does, and the TFLite file what they do.

    Only probabilities are compared: the heat map's gate is a step function of the hidden units, so that rounding
    may rightly switch a unit that stands at zero. Unpooling is such a step as well: of masks behind it, nearly all
    pixels must stay on their side of one half.
    """
    from covidcx.models.unpooling import Places

    steps = any(isinstance(layer, Places) for layer in model.layers)
    limits = {WEIGHTS_FILE: TOLERANCE["float16"], TFLITE_FILE: TOLERANCE[quantize]}
    for image in _probe_images(tuple(model.inputs[0].shape[1:])):
        expected = {key: np.asarray(value) for key, value in model(image, training=False).items()}
        again = {key: np.asarray(value) for key, value in restored(image, training=False).items()}
        lite = run_tflite(tflite, image)
        for key, value in expected.items():
            for which, found, reference in ((WEIGHTS_FILE, again[key], value), (TFLITE_FILE, lite[key], again[key])):
                if steps and value.ndim == 4 and np.isfinite(found).all():
                    moved = float(np.mean((found > 0.5) != (reference > 0.5)))
                    if moved > MOVED:
                        raise BundleError(
                            f"{which} and the Keras model call {moved:.1%} of the pixels of {key!r} differently, "
                            f"{MOVED:.0%} is allowed; nothing was written: train longer, or quantise less"
                        )
                    continue
                worst = float(np.abs(found - reference).max()) if np.isfinite(found).all() else float("nan")
                if not worst <= limits[which]:
                    raise BundleError(
                        f"{which} differs from the Keras model by {worst:.2g} in {key!r}, {limits[which]:g} is "
                        "allowed; nothing was written: look for NaN or very large weights"
                    )
        log.info("bundle check: %s agree", ", ".join(expected))


def _probe_images(shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """Noise, a smooth field and a flat image: float32, 1 x H x W x C, 0..1."""
    rng = np.random.default_rng(seed)
    noise = rng.random((1, *shape))
    rows = np.linspace(0, 3 * np.pi, shape[0])[:, None, None]
    columns = np.linspace(0, 2 * np.pi, shape[1])[None, :, None]
    smooth = 0.5 + 0.4 * np.sin(rows) * np.cos(columns) + 0.1 * rng.random(shape)
    return [image.astype(np.float32) for image in (noise, np.clip(smooth, 0, 1)[None], np.full((1, *shape), 0.5))]


def _replace_folder(new: Path, target: Path) -> None:
    if not target.exists():
        new.replace(target)
        return
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.replace(old)
    new.replace(target)
    shutil.rmtree(old)
