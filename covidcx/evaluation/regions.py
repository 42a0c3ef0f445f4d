"""How well the masks of a multi-task bundle sit on lungs and findings, in each image's own pixels."""

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.pixels import PixelCounts, count_pixels, pixel_metrics
from covidcx.evaluation.predictions import Failure, keras_outputs, patients_of, short_reason
from covidcx.progress import track

if TYPE_CHECKING:
    from covidcx.bundle import Bundle
    from covidcx.data.manifest import Manifest

logger = logging.getLogger(__name__)

Outputs = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Maps float32 N x H x W x C in 0..1 to the network's outputs by name."""

_TITLES = {
    "iou_mean": "IoU, mean over images",
    "dice_mean": "Dice, mean over images",
    "true_positive_rate_mean": "true positive rate of pixels at 0.5, mean over images",
    "false_positive_rate": "false positive rate of pixels at 0.5",
    "true_positive_rate": "true positive rate of pixels at 0.5, pooled",
    "precision": "precision of pixels at 0.5",
}


def region_metrics(
    bundle: "Bundle",
    manifest: "Manifest",
    split: str,
    repeats: int = 1000,
    seed: int = 0,
    engine: Outputs | None = None,
) -> tuple[dict[str, dict[str, Any]], list[Failure]]:
    """Measure the masks that a bundle's heads draw, on the images of a split where the region is known.

    Args:
        bundle: of task `multi`; a preprocessing with a lung ROI is not supported and gives nothing.
        manifest: images, mask columns, and `boxes.csv` beside it.
        split: one split.
        repeats: bootstrap resamples of patients.
        seed: of the resampling.
        engine: the network as a function; the bundle's Keras model when omitted.

    Returns:
        By head: `images`, `patients` and `metrics` (`covidcx.evaluation.pixels.pixel_metrics` as dictionaries) with
        mask and image in the image's own pixels; and the images that could not be read. Heads of which the split says
        nothing are absent.

    Source: COMiT-Net section 4.1: lung IoU; true positive rate of disease pixels at threshold 0.5.
    """
    from covidcx.imaging import prepare
    from covidcx.imaging.read import read
    from covidcx.training import heads

    # Several heads may stand for one output (masks, or their instances): the region is the same, the first will do.
    spatial = {head.output: head for head in map(heads.get, reversed(heads.names())) if head.spatial}
    known = [spatial[output] for output in bundle.heads if output in spatial]
    rows = manifest.subset(split)
    labelled = {head.output: head.known(rows) for head in known}
    wanted = np.flatnonzero(np.any(list(labelled.values()), axis=0)) if known else []
    if not len(wanted) or bundle.preprocessing.needs_lungs:
        return {}, []
    boxes = {head.output: head.region.boxes(rows) for head in known}
    counts: dict[str, list[PixelCounts]] = {head.output: [] for head in known}
    patients: dict[str, list[str]] = {head.output: [] for head in known}
    of, failures, engine = patients_of(rows.frame), [], engine or keras_outputs(bundle)
    for i in track(wanted, "marking regions", total=len(wanted)):
        row = rows.frame.iloc[i]
        path = rows.file(row["image"])
        try:
            radiograph = read(path)
            shape = radiograph.pixels.shape
            prepared = prepare(radiograph.pixels, bundle.preprocessing)
            answered = engine(prepared.network_input)
            for head in known:
                truth = head.region.mask(rows, row, shape, boxes[head.output], radiograph.turn)
                if truth is not None:
                    called = prepared.geometry.restore(answered[head.output][0, ..., -1])
                    # Counted at once: the masks of a large split would not fit the memory.
                    counts[head.output].append(count_pixels([called], [truth]))
                    patients[head.output].append(of[i])
        except (CovidcxError, OSError) as error:
            logger.debug("cannot evaluate %s", row["image"], exc_info=True)
            failures.append(Failure(row["image"], short_reason(error, path, row["image"])))
    return {
        name: {
            "images": len(found),
            "patients": len(set(patients[name])),
            "metrics": {
                metric: interval.to_dict()
                for metric, interval in pixel_metrics(_joined(found), patients[name], repeats, seed).items()
            },
        }
        for name, found in counts.items() if found
    }, failures  # fmt: skip


def region_title(name: str) -> str:
    """Spell out a metric's name that begins with a head's; unknown names come back with spaces."""
    for end, text in _TITLES.items():
        if name.endswith(f"_{end}"):
            return f"{name.removesuffix(f'_{end}').capitalize()} {text}"
    return name.replace("_", " ")


def _joined(counts: list[PixelCounts]) -> PixelCounts:
    return PixelCounts(*(np.concatenate([getattr(one, f.name) for one in counts]) for f in fields(PixelCounts)))
