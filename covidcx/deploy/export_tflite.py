"""`covidcx export BUNDLE --to tflite`: a quantised copy of a bundle, written only if it answers as Keras does.

What leaves is a bundle of its own, without Keras weights, which `covidcx predict --bundle` and the edge runtime take:
every `.tflite` file in it carries labels, preprocessing, operating points and checksums inside.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covidcx.bundle import BUNDLE_FILE, Bundle, calibrate, decide, write_bundle_json
from covidcx.deploy.metadata import add_metadata
from covidcx.deploy.samples import PHANTOM, Sample, phantoms, prepared, radiographs
from covidcx.deploy.tflite import to_tflite
from covidcx.deploy.write import CARD_FILE, TFLITE_FILE, deployed, staged_bundle
from covidcx.edge.lite import LiteModel
from covidcx.errors import BundleError
from covidcx.evaluation.roc import auc
from covidcx.progress import track
from covidcx.training.scores import dice

log = logging.getLogger(__name__)

CLOSE = {"none": 1e-4, "float16": 1e-2}
"""Largest difference in probability from Keras, where a format promises one."""
SAME_CLASS = 0.97
AUC_DROP = 0.01
SPREAD = 0.80
"""The standard deviation of the probabilities must not fall below this share of Keras's: outputs that collapse to one
value can still rank well on a few images."""
# A spread this small is rounding: two constant outputs agree.
_STILL = 1e-6
OVERLAP = 0.97
"""Least mean Dice of a quantised segmenter's masks against Keras's."""


@dataclass(frozen=True)
class Agreement:
    """How a converted network answers beside the Keras model, on images it was not calibrated on.

    Attributes:
        images: how many were compared.
        worst: largest difference in probability.
        same_class: share of images with the same class at the operating point (classifiers).
        auc: area under the ROC curve of the class with an operating point against the rest, or None without labels.
        auc_keras: the same of the Keras model.
        spread: standard deviation of the probabilities relative to Keras's.
        dice: mean Dice of the masks (segmenters), or of the worst of several heads.
    """

    images: int
    worst: float
    same_class: float | None = None
    auc: float | None = None
    auc_keras: float | None = None
    spread: float | None = None
    dice: float | None = None

    def told(self) -> str:
        """Return the figures in one line."""
        figures = {
            "largest difference": f"{self.worst:.1e}",
            "same class": None if self.same_class is None else f"{self.same_class:.1%}",
            "ROC AUC": None if self.auc is None else f"{self.auc:.3f} (Keras {self.auc_keras:.3f})",
            "spread": None if self.spread is None else f"{self.spread:.0%}",
            "Dice": None if self.dice is None else f"{self.dice:.3f}",
        }
        return ", ".join(f"{name} {value}" for name, value in figures.items() if value is not None)

    def failures(self, quantize: str) -> list[str]:
        """Return what is not good enough, with its figures; empty where the file may be written."""
        found = []
        # Of a mask, rounding moves single pixels at its edge; how well the masks overlap is what counts.
        masks_only = self.dice is not None and self.same_class is None
        limit = None if masks_only and quantize != "none" else CLOSE.get(quantize)
        if limit is not None and not self.worst <= limit:
            found.append(f"probabilities differ by up to {self.worst:.2g}, {limit:g} is allowed")
        if self.same_class is not None and self.same_class < SAME_CLASS:
            found.append(f"the same class is called on {self.same_class:.1%} of the images, at least {SAME_CLASS:.0%} "
                         "are expected")  # fmt: skip
        if self.auc is not None and self.auc_keras - self.auc > AUC_DROP:
            found.append(f"the ROC AUC falls from {self.auc_keras:.3f} to {self.auc:.3f}, {AUC_DROP:g} is allowed")
        if self.spread is not None and self.spread < SPREAD:
            found.append(f"the spread of the outputs falls to {self.spread:.0%} of Keras's, at least {SPREAD:.0%} is "
                         "expected")  # fmt: skip
        if self.dice is not None and self.dice < OVERLAP:
            found.append(f"masks overlap with a mean Dice of {self.dice:.3f}, at least {OVERLAP:g} is expected")
        return found


@dataclass(frozen=True)
class LiteExport:
    """What an export wrote.

    Attributes:
        folder: the classifier's new bundle; the bundles it needs lie beside it.
        sizes: bytes of each `.tflite` file, by bundle name.
        agreement: of each network, by bundle name.
        data: what was calibrated and checked on.
    """

    folder: Path
    sizes: dict[str, int]
    agreement: dict[str, Agreement]
    data: str


def export_tflite(
    bundle: str | Path | Bundle,
    out: str | Path,
    quantize: str = "int8",
    manifest: str | Path | None = None,
    calibration: int = 120,
    checked: int = 150,
    seed: int = 0,
) -> LiteExport:
    """Write a bundle and the bundles it needs with TFLite networks of another number format.

    Args:
        bundle: name, folder or opened bundle.
        out: folder of the new bundles; must not be where the original lies.
        quantize: `none`, `float16`, `dynamic` or `int8`.
        manifest: table of studies: calibrated on its split `train`, checked on its split `val`; None takes phantoms,
            which is recorded and good for a trial only.
        calibration: training images that find the activations' ranges (`int8`).
        checked: images of the check.
        seed: of the draws.

    Returns:
        What was written.

    Raises:
        BundleError: a network does not agree with Keras well enough (all figures are given; nothing is written).
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    out = Path(out)
    if out.resolve() == bundle.folder.resolve().parent:
        raise BundleError(f"{out} holds the original of {bundle.name!r}; name another folder with --out")
    bundles = {"classifier": bundle, "segmenter": bundle.open_segmenter(), "gate": bundle.open_gate()}
    bundles = {role: one for role, one in bundles.items() if one is not None}
    data = PHANTOM if manifest is None else f"{Path(manifest).name}: split train, checked on split val"
    tuning = _samples(bundles, manifest, "train", calibration, seed) if quantize == "int8" else []
    checks = _samples(bundles, manifest, "val", checked, seed + 1)
    contents, agreement, failures = {}, {}, []
    for role, one in bundles.items():
        contents[role], agreement[one.name] = _convert(role, one, quantize, tuning, checks)
        failures += [f"{one.name}: {text}" for text in agreement[one.name].failures(quantize)]
    if failures:
        raise BundleError(
            f"{quantize} is not good enough on {len(checks)} images ({data}): {'; '.join(failures)}. Nothing was "
            "written; try float16 or dynamic, or more calibration images"
        )
    # The classifier last: a folder that holds it is complete.
    for role in reversed(bundles):
        one = bundles[role]
        _write(one, out / one.name, contents[role], quantize, data, agreement[one.name])
    sizes = {one.name: len(contents[role]) for role, one in bundles.items()}
    return LiteExport(out / bundle.name, sizes, agreement, data)


def _samples(bundles: dict[str, Bundle], manifest: str | Path | None, split: str, count: int, seed: int):
    if manifest is None:
        return prepared(bundles, phantoms(count, seed), count)
    items = radiographs(Path(manifest), split, bundles["classifier"].labels, count, seed)
    return prepared(bundles, items, count)


def _convert(
    role: str, bundle: Bundle, quantize: str, tuning: Sequence[Sample], checks: Sequence[Sample]
) -> tuple[bytes, Agreement]:
    from covidcx.models import restore

    model = restore(bundle.model, bundle.path("weights.h5"))
    content = to_tflite(deployed(bundle.model["name"], model), quantize, [sample.inputs[role] for sample in tuning])
    with tempfile.TemporaryDirectory(prefix="covidcx-export-") as folder:
        path = Path(folder) / TFLITE_FILE
        path.write_bytes(content)
        lite = LiteModel(path)
        try:
            pairs = [
                (model.predict_on_batch(sample.inputs[role]), lite(sample.inputs[role]))
                for sample in track(checks, f"checking {bundle.name}")
            ]
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.name} in {quantize} stops on an image of the check ({error}). Nothing was written; try "
                "float16 or dynamic"
            ) from error

    def sides(output: str) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.stack([np.asarray(side[output])[0] for side in both]) for both in zip(*pairs, strict=True))

    if bundle.task == "segment":
        return content, compare_masks(*sides("lung"))
    labels = [sample.label for sample in checks] if role == "classifier" else None
    agreement = compare_classes(bundle, *sides("probabilities"), labels)
    masks = [compare_masks(*sides(head)).dice for head in bundle.heads if len(model.output[head].shape) == 4]
    return content, replace(agreement, dice=min(masks)) if masks else agreement


def compare_masks(expected: np.ndarray, found: np.ndarray) -> Agreement:
    """Compare two segmenters' probabilities, float N x H x W x C, of which the last channel counts."""
    expected, found = expected[..., -1:], found[..., -1:]
    overlap = dice((expected > 0.5).astype(np.int8), found)
    return Agreement(len(expected), _worst(expected, found), dice=float(overlap.mean()))


def compare_classes(
    bundle: Bundle, expected: np.ndarray, found: np.ndarray, labels: Sequence[str | None] | None
) -> Agreement:
    """Compare two classifiers' probabilities.

    Args:
        bundle: labels, temperature and operating points.
        expected: float N x K, of Keras.
        found: float N x K, of the converted network.
        labels: N labels, or None.

    Returns:
        The figures.
    """
    sides = [calibrate(side, bundle.temperature) for side in (expected, found)]
    called = [decide(side, bundle.labels, bundle.operating_points) for side in sides]
    same = float(np.mean([a == b for a, b in zip(*called, strict=True)]))
    spread = float(((found.std(axis=0) + _STILL) / (expected.std(axis=0) + _STILL)).min())
    areas: tuple[float | None, float | None] = (None, None)
    target = next(iter(bundle.operating_points), bundle.labels[-1])
    positive = np.array([label == target for label in labels or ()])
    if positive.any() and not positive.all():
        column = bundle.labels.index(target)
        areas = tuple(np.asarray(auc(positive, side[:, column])).item() for side in sides)
    return Agreement(len(expected), _worst(expected, found), same, areas[1], areas[0], spread)


def _worst(expected: np.ndarray, found: np.ndarray) -> float:
    return float(np.abs(found - expected).max()) if np.isfinite(found).all() else float("nan")


def _write(bundle: Bundle, folder: Path, content: bytes, quantize: str, data: str, agreement: Agreement) -> None:
    export = {
        "quantize": quantize,
        "calibrated_on": data if quantize == "int8" else None,
        "checked_on": data,
        "agreement": {key: value for key, value in asdict(agreement).items() if value is not None},
        "from_checksum": bundle.checksum,
    }
    with staged_bundle(folder) as staging:
        about = {
            "name": bundle.name, "task": bundle.task, "labels": list(bundle.labels),
            "preprocessing": bundle.preprocessing.to_dict(), "operating_points": bundle.operating_points,
            "temperature": bundle.temperature, "licence": bundle.licence, "disclaimer": bundle.disclaimer, **export,
        }  # fmt: skip
        (staging / TFLITE_FILE).write_bytes(add_metadata(content, about))
        if (bundle.folder / CARD_FILE).is_file():
            shutil.copyfile(bundle.folder / CARD_FILE, staging / CARD_FILE)
        fields: dict[str, Any] = json.loads((bundle.folder / BUNDLE_FILE).read_text(encoding="utf-8"))
        for derived in ("format", "files", "checksum"):
            fields.pop(derived)
        fields["training"] = {**fields["training"], "export": export}
        write_bundle_json(staging, **fields)
