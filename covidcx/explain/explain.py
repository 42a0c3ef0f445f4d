"""`covidcx explain`: one picture and two numbers per file, with the full Keras model of a bundle."""

import csv
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from covidcx.atomic import write_atomic
from covidcx.bundle import Bundle, calibrate, decide
from covidcx.errors import CovidcxError, ExplainError, UnsupportedImageError, did_you_mean
from covidcx.explain.gradcam import find_layer, grad_cam
from covidcx.explain.lime_maps import lime_map
from covidcx.explain.localisation import heat_inside, pointing_hit
from covidcx.explain.truth import Truth, read_truth
from covidcx.imaging.orientation import Turn
from covidcx.imaging.overlay import overlay, write_png
from covidcx.imaging.preprocessing import Prepared, prepare
from covidcx.imaging.read import read
from covidcx.imaging.roi import enhancement_of_channel, segment_lungs
from covidcx.progress import track

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

METHODS = ("gradcam", "lime")
WEIGHTS_FILE = "weights.h5"
OUTPUT = "probabilities"
TOLERANCE = 0.03
"""Pointing tolerance as a share of the longer side: the usual 15 pixels on an image of 500."""

COLUMNS = (
    "source", "status", "label", "explained", "probability", "heat_inside", "lungs_share", "lungs_from",
    "pointing_hit", "picture", "reason",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Explainer:
    """A bundle's Keras models and how they are to be explained.

    Attributes:
        bundle: the classifier's bundle.
        model: its Keras model.
        segment: maps pixels (float32 H x W) to lungs (bool H x W), or None without a segmenter.
        method: one of `METHODS`.
        layer: Grad-CAM layer, or None.
        label: class to explain, or None for the one called.
        seed: of LIME's samples.
        superpixels: of LIME.
        samples: of LIME.
        head: output to explain by Grad-CAM, or None for the first that has the class.
    """

    bundle: Bundle
    model: "keras.Model"
    segment: Callable[[np.ndarray], np.ndarray] | None
    method: str = "gradcam"
    layer: str | None = None
    label: str | None = None
    seed: int = 0
    superpixels: int = 60
    samples: int = 500
    head: str | None = None

    def channel(self, label: str) -> tuple[str, int]:
        """Return the output and the channel of a class: a head's where the network has heads."""
        for output, classes in self.bundle.heads.items():
            if label in classes and self.head in (None, output):
                # A mask's last channel is what it is of; its other one is the background.
                channels = self.model.output[output].shape[-1]
                return output, classes.index(label) + channels - len(classes)
        return OUTPUT, self.bundle.labels.index(label)

    def own_lungs(self, prepared: Prepared) -> np.ndarray | None:
        """Return what the network's own head `lung` marks, bool H x W in the original pixels, or None without one."""
        if "lung" not in self.bundle.heads:
            return None
        from keras import ops

        values = ops.convert_to_numpy(self.model(prepared.network_input, training=False)["lung"])
        return prepared.geometry.restore(values[0, ..., -1]) > 0.5

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, N x K, for network inputs N x H x W x C."""
        from keras import ops

        # Called eagerly: tracing `predict` costs more than the few images of an explanation save.
        values = ops.convert_to_numpy(self.model(images, training=False)[OUTPUT])
        return calibrate(values, self.bundle.temperature)

    def heat(self, prepared: Prepared, label: str) -> np.ndarray:
        """Return a class's map in the original pixels: float32 H x W, signed for LIME."""
        if self.method == "gradcam":
            output, index = self.channel(label)
            grid = grad_cam(self.model, prepared.network_input, index, self.layer, output)[0]
        else:
            image, index = prepared.network_input[0], self.bundle.labels.index(label)
            grid = lime_map(self.probabilities, image, index, self.superpixels, self.samples, self.seed)
        return prepared.geometry.restore(grid)


def explain_files(
    bundle: str | Path,
    files: Sequence[Path],
    out: Path,
    method: str = "gradcam",
    layer: str | None = None,
    label: str | None = None,
    manifest: Path | None = None,
    seed: int = 0,
    *,
    superpixels: int = 60,
    samples: int = 500,
    head: str | None = None,
) -> list[dict[str, Any]]:
    """Explain a bundle's answer for files: an overlay each, `explain.json` and `explain.csv` for all.

    Two numbers say how far to trust a map: `heat_inside`, the share of heat inside the lungs (compare with
    `lungs_share`, what a blind map would get), and `pointing_hit`, whether its maximum lies on the lesion where the
    manifest has a disease mask or boxes (`boxes.csv` beside it) for the file.

    Args:
        bundle: name or folder of a classifier bundle with `weights.h5`.
        files: DICOM, PNG, JPEG, TIFF, WebP or BMP files.
        out: folder to write to; made where missing.
        method: `gradcam` or `lime`.
        layer: Grad-CAM layer; the last feature map by default.
        label: class to explain; for each file the one called at the operating point by default.
        manifest: CSV file (or its folder) whose masks and boxes are the truth to measure against. Its lung masks take
            precedence over the segmenter for the number; the model's input always comes from the segmenter.
        seed: of LIME's samples.
        superpixels: of LIME.
        samples: of LIME.
        head: output of a `multi` bundle whose class or mask is explained; by default the first head that has the
            class.

    Returns:
        One dictionary per file with `COLUMNS`; a bad file has `status` `error` or `refused` and its `reason`.

    Raises:
        ExplainError: no files, an unknown method, label or layer, or a layer given for LIME.
        BundleError, WeightsError, ManifestError: the bundle or manifest cannot be used.
    """
    explainer = open_explainer(bundle, method, layer, label, seed, superpixels, samples, head)
    truth = read_truth(manifest) if manifest is not None else Truth()
    if not files:
        raise ExplainError("no files to explain; give DICOM, PNG, JPEG, TIFF, WebP or BMP files")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (path, stem) in enumerate(track(list(zip(files, _stems(files), strict=True)), "explaining"), 1):
        path = Path(path)
        row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "source": path.name, "status": "ok"}
        try:
            row |= _explain(explainer, path, truth, out / f"{stem}_{method}.png")
        except (CovidcxError, OSError, cv2.error) as error:
            status = "refused" if isinstance(error, UnsupportedImageError) else "error"
            row |= {"status": status, "reason": " ".join(str(error).split())}
            log.warning("file %d, %s: %s", number, path.name, row["reason"])
        rows.append(row)
    _write(out, explainer, rows)
    return rows


def open_explainer(
    bundle: str | Path,
    method: str = "gradcam",
    layer: str | None = None,
    label: str | None = None,
    seed: int = 0,
    superpixels: int = 60,
    samples: int = 500,
    head: str | None = None,
) -> Explainer:
    """Open a bundle for explaining; every setting is checked before any file is read.

    Args:
        bundle: see `explain_files`, as are the others.
        method: see there.
        layer: see there.
        label: see there.
        seed: see there.
        superpixels: see there.
        samples: see there.
        head: see there.

    Returns:
        The explainer.

    Raises:
        ExplainError: a setting does not fit the bundle.
        BundleError, WeightsError: the bundle cannot be used.
    """
    if method not in METHODS:
        raise ExplainError(f"unknown method {method!r}.{did_you_mean(method, METHODS)}")
    if method == "lime" and layer is not None:
        raise ExplainError(f"LIME looks at no layer, received layer {layer!r}; use method 'gradcam' or leave it out")
    opened = Bundle.open(bundle)
    if not opened.classifies:
        raise ExplainError(f"bundle {opened.name!r} is of task {opened.task!r}; a classifier can be explained")
    if head is not None and (method != "gradcam" or head not in opened.heads):
        raise ExplainError(
            f"Grad-CAM explains the heads {', '.join(opened.heads) or '(none)'} of bundle {opened.name!r}, received "
            f"{head!r} for {method}.{did_you_mean(head, opened.heads) if opened.heads else ''}"
        )
    classes = opened.labels if head is None else tuple(opened.heads[head])
    label = classes[0] if head is not None and label is None and len(classes) == 1 else label
    if label is not None and label not in classes:
        raise ExplainError(f"bundle {opened.name!r} has no label {label!r}.{did_you_mean(label, classes)}")
    if head is not None and label is None:
        raise ExplainError(f"head {head!r} has the classes {', '.join(classes)}; name one as label")
    from covidcx.models.restore import restore

    model = restore(opened.model, opened.path(WEIGHTS_FILE))
    if method == "gradcam":
        layer = None if layer is None and opened.heads else find_layer(model, layer, OUTPUT).name
    return Explainer(opened, model, _segmenter(opened), method, layer, label, seed, superpixels, samples, head)


def _segmenter(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray] | None:
    opened = bundle.open_segmenter()
    if opened is None:
        return None
    from keras import ops

    from covidcx.models.restore import restore

    model = restore(opened.model, opened.path(WEIGHTS_FILE))
    enhance = enhancement_of_channel(opened.preprocessing.channels[0])

    def segment(pixels: np.ndarray) -> np.ndarray:
        return segment_lungs(pixels, lambda x: ops.convert_to_numpy(model(x, training=False)["lung"]), enhance)

    return segment


def _explain(explainer: Explainer, path: Path, truth: Truth, picture: Path) -> dict[str, Any]:
    """Explain one file and write its picture."""
    bundle, radiograph = explainer.bundle, read(path)
    lungs = explainer.segment(radiograph.pixels) if explainer.segment is not None else None
    prepared = prepare(radiograph.pixels, bundle.preprocessing, lungs)
    probabilities = explainer.probabilities(prepared.network_input)
    called = decide(probabilities, bundle.labels, bundle.operating_points)[0]
    explained = explainer.label or called
    probability = None
    if explainer.head is None:
        probability = round(float(probabilities[0, bundle.labels.index(explained)]), 4)
    heat = explainer.heat(prepared, explained)
    row = {"label": called, "explained": explained, "probability": probability, "picture": picture.name}
    marked, origin = (lungs, "segmenter") if lungs is not None else (explainer.own_lungs(prepared), "head")
    measured, shown = _measure(heat, marked, origin, truth, path, radiograph.turn)
    name = {"gradcam": "Grad-CAM", "lime": "LIME"}[explainer.method]
    said = f"head {explainer.head}" if probability is None else f"p {probability:.2f}"
    parts = [f"{name} of {explained} ({said})"]
    if measured["heat_inside"] is not None:
        parts.append(f"{measured['heat_inside']:.0%} of the heat inside the lungs")
    drawn = overlay(
        radiograph.pixels, shown, heat, side_by_side=True, caption=f"{', '.join(parts)}. {bundle.disclaimer}"
    )
    write_png(picture, drawn)
    return {**row, **measured}


def _measure(
    heat: np.ndarray, segmented: np.ndarray | None, by: str, truth: Truth, path: Path, turn: Turn
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the two numbers and the lungs they refer to."""
    found = truth.of(path, heat.shape, turn)
    lungs, counted, origin = segmented, heat, by if segmented is not None else None
    if found.lungs is not None:
        lungs, origin = found.lungs, "manifest"
        counted = np.where(found.ignored, 0.0, heat)  # burned-in marks and devices: neither inside nor outside
    inside = heat_inside(counted, lungs) if lungs is not None else float("nan")
    hit = None
    if found.target is not None:
        hit = pointing_hit(heat, found.target, TOLERANCE * max(heat.shape))
    measured = {
        "heat_inside": round(inside, 4) if np.isfinite(inside) else None,
        "lungs_share": round(float(lungs.mean()), 4) if lungs is not None else None,
        "lungs_from": origin,
        "pointing_hit": hit,
    }
    return measured, lungs


def _stems(files: Sequence[Path]) -> list[str]:
    """Return the names of the pictures without ending: unique, also where letter case does not count."""
    taken: set[str] = set()
    stems = []
    for file in files:
        stem, number = Path(file).stem[:120], 1
        while (name := stem if number == 1 else f"{stem}-{number}").lower() in taken:
            number += 1
        taken.add(name.lower())
        stems.append(name)
    return stems


def _write(out: Path, explainer: Explainer, rows: list[dict[str, Any]]) -> None:
    bundle = explainer.bundle
    record = {
        "disclaimer": bundle.disclaimer,
        "bundle": bundle.name,
        "bundle_checksum": bundle.checksum,
        "method": explainer.method,
        "layer": explainer.layer,
        "seed": explainer.seed,
        "files": rows,
    }
    write_atomic(out / "explain.json", (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(out / "explain.csv", table.getvalue().encode())
