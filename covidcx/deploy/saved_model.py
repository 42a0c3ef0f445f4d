"""`covidcx export BUNDLE --to saved-model`: a versioned SavedModel with preprocessing in the graph, for TF Serving."""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidcx.bundle import Bundle
from covidcx.deploy.serving_config import write_serving_files
from covidcx.errors import BundleError
from covidcx.imaging.radiograph import Radiograph

if TYPE_CHECKING:
    from covidcx.deploy.serving_graph import ServingGraph

log = logging.getLogger(__name__)

BYTES, PIXELS = "image_bytes", "image"
SIGNATURES = ("serving_default", "explain", "predict_tensor")
WARMUP_FILE, ABOUT_FILE = "tf_serving_warmup_requests", "covidcx.json"
EXTRA = "assets.extra"
TOLERANCE = 1e-3
"""Largest difference in probability between the SavedModel and the bundle's own runtime."""


@dataclass(frozen=True)
class ServedModel:
    """What an export wrote.

    Attributes:
        folder: `OUT/NAME/VERSION`.
        name: the model's name in TF Serving.
        version: its version.
        size: bytes of all its files.
        worst: largest difference in probability from the edge runtime over the check images.
    """

    folder: Path
    name: str
    version: int
    size: int
    worst: float


def export_saved_model(bundle: str | Path | Bundle, out: str | Path, version: int | None = None) -> ServedModel:
    """Write a classifier bundle, its segmenter and its gate as one SavedModel.

    Args:
        bundle: name, folder or opened bundle.
        out: folder of models; the SavedModel becomes `OUT/NAME/VERSION`, the layout TF Serving watches.
        version: a new whole number; one above the highest that is there by default.

    Returns:
        What was written; it appears at its place only when it is complete and has been checked against the edge
        runtime on synthetic radiographs.

    Raises:
        BundleError: no classifier, the version exists, or the SavedModel answers otherwise than the edge runtime.
    """
    from covidcx.deploy.serving_graph import ServingGraph

    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    home = Path(out) / bundle.name
    version = _version(home, version)
    graph = ServingGraph(bundle)
    home.mkdir(parents=True, exist_ok=True)
    # TF Serving takes every folder whose name is a number; this one is none until it is finished.
    staging = Path(tempfile.mkdtemp(prefix=f".{version}.", suffix=".part", dir=home))
    try:
        _write(graph, staging)
        images = example_images()
        worst = _check(bundle, staging, images)
        _write_extras(bundle, staging, images)
        staging.chmod(0o755)
        staging.replace(home / str(version))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    folder = home / str(version)
    write_serving_files(Path(out))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    log.info("%s: %.1f MB, differs from the edge runtime by at most %.2g", folder, size / 1e6, worst)
    return ServedModel(folder, bundle.name, version, size, worst)


def example_images(count: int = 3, size: int = 320) -> list[np.ndarray]:
    """Return synthetic radiographs for checks and warm-up: uint8, size x size each."""
    from covidcx.data.phantom import phantom
    from covidcx.imaging.resize import to_uint8

    labels = ("normal", "cap", "covid")
    return [to_uint8(phantom(labels[i % 3], seed=i, size=size).pixels) for i in range(count)]


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode a grey image, uint8 or uint16 H x W, as PNG."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise BundleError(f"an image of shape {pixels.shape} and type {pixels.dtype} cannot be encoded as PNG")
    return data.tobytes()


def _version(home: Path, wanted: int | None) -> int:
    there = sorted(int(path.name) for path in home.glob("*") if path.name.isdigit())
    if wanted is None:
        return there[-1] + 1 if there else 1
    if wanted < 1 or wanted in there:
        raise BundleError(
            f"version {wanted} cannot be written to {home}, which holds {there or 'none'}; "
            "give a new whole number, or none to have the next one taken"
        )
    return wanted


def _write(graph: "ServingGraph", folder: Path) -> None:
    import tensorflow as tf

    data, pixels = tf.TensorSpec([None], tf.string, name=BYTES), tf.TensorSpec([None] * 3, tf.float32, name=PIXELS)
    takes = {"serving_default": data, "explain": data, "predict_tensor": pixels}
    module = tf.Module()
    # Bare variables: tracking the Keras models as well would write every weight twice and all their layers' graphs.
    module.held = [variable.value for model in graph.models for variable in model.variables]
    signatures = {
        name: tf.function(getattr(graph, name), input_signature=[spec]).get_concrete_function()
        for name, spec in takes.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _check(bundle: Bundle, folder: Path, images: Sequence[np.ndarray]) -> float:
    """Return the largest difference in probability from the edge runtime.

    Raises:
        BundleError: it is too large, or another class is called.
    """
    import tensorflow as tf

    from covidcx.edge.runtime import Predictor

    answer = tf.saved_model.load(str(folder)).signatures["serving_default"]
    predictor = Predictor(bundle)
    served = {key: value.numpy() for key, value in answer(tf.constant([png_bytes(i) for i in images])).items()}
    worst = 0.0
    for row, image in enumerate(images):
        if served["refused"][row]:
            continue
        expected = predictor(Radiograph(image.astype(np.float32) / np.float32(255.0)))
        found = served["probabilities"][row]
        worst = max(worst, float(np.abs(found - list(expected.probabilities.values())).max()))
    if served["refused"].all():
        raise BundleError(f"bundle {bundle.name!r} refuses every synthetic radiograph, so its export cannot be checked")
    if not worst <= TOLERANCE:
        raise BundleError(
            f"the SavedModel differs from the bundle's TFLite file by {worst:.2g} in probability, {TOLERANCE:g} is "
            "allowed; nothing was written: build the bundle again"
        )
    return worst


def _write_extras(bundle: Bundle, folder: Path, images: Sequence[np.ndarray]) -> None:
    extra = folder / EXTRA
    extra.mkdir()
    about = {
        "bundle": bundle.name, "checksum": bundle.checksum, "labels": list(bundle.labels),
        "operating_points": bundle.operating_points, "segmenter": bundle.segmenter, "gate": bundle.gate,
        "licence": bundle.licence, "disclaimer": bundle.disclaimer,
    }  # fmt: skip
    (extra / ABOUT_FILE).write_text(json.dumps(about, indent=2), encoding="utf-8")
    card = bundle.folder / "MODEL_CARD.md"
    if card.is_file():
        shutil.copyfile(card, extra / card.name)
    _write_warmup(bundle.name, extra / WARMUP_FILE, [png_bytes(image) for image in images])


def _write_warmup(name: str, path: Path, pictures: Sequence[bytes]) -> None:
    """Write the requests that TF Serving answers before it calls the model available."""
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        log.warning(
            "no warm-up requests were written, so the first request will be slow; to have them: "
            "pip install 'covidcx[serve]'"
        )
        return
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in ("serving_default", "explain"):
            request = prediction_log_pb2.PredictionLog()
            inner = request.predict_log.request
            inner.model_spec.name = name
            inner.model_spec.signature_name = signature
            inner.inputs[BYTES].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string, [len(pictures)]))
            writer.write(request.SerializeToString())
