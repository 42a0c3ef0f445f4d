"""Prepared images for calibrating and checking what is exported: a network's very inputs, of real files or phantoms."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcx.bundle import Bundle
from covidcx.edge.lite import LiteModel
from covidcx.errors import BundleError, ImageError
from covidcx.imaging.preprocessing import prepare
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read
from covidcx.imaging.roi import enhancement_of_channel, segment_lungs
from covidcx.progress import track

log = logging.getLogger(__name__)

PHANTOM = "phantom"


@dataclass(frozen=True, eq=False)
class Sample:
    """One radiograph as the networks of a bundle see it.

    Attributes:
        label: what is known of it, or None.
        inputs: float32, 1 x H x W x C, 0..1, by the name of the bundle that takes it.
    """

    label: str | None
    inputs: dict[str, np.ndarray]


def phantoms(count: int, seed: int) -> Iterable[tuple[str, Radiograph]]:
    """Return synthetic radiographs with their labels, the classes in turn."""
    from covidcx.data.phantom import phantom

    labels = ("normal", "cap", "covid")
    return (
        (labels[i % 3], Radiograph(phantom(labels[i % 3], seed=seed * 100_000 + i, size=512).pixels))
        for i in range(count)
    )


def radiographs(manifest: Path, split: str, labels: tuple[str, ...], count: int, seed: int):
    """Return radiographs of a manifest's split with their labels, drawn at random.

    Args:
        manifest: table of studies.
        split: which split.
        labels: labels that are drawn from.
        count: how many at most.
        seed: of the draw.

    Yields:
        Label and radiograph; files that cannot be read are left out and named in the log.
    """
    from covidcx.data.manifest import Manifest

    table = Manifest.read(manifest).subset(split)
    rows = table.frame[table.frame["label"].isin(labels)]
    if rows.empty:
        raise BundleError(f"{manifest} has no image of {', '.join(labels)} in split {split!r}; name another manifest")
    order = np.random.default_rng(seed).permutation(len(rows))[:count]
    for _, row in rows.iloc[np.sort(order)].iterrows():
        try:
            yield row["label"], read(table.file(row["image"]))
        except ImageError as error:
            log.warning("left out: %s", error)


def prepared(bundles: dict[str, Bundle], items: Iterable[tuple[str, Radiograph]], total: int) -> list[Sample]:
    """Prepare radiographs for every network of a bundle.

    Args:
        bundles: `classifier`, and `segmenter` and `gate` where there are any.
        items: labels and radiographs.
        total: how many there are, for the progress bar.

    Returns:
        The samples.
    """
    classifier, segmenter = bundles["classifier"], bundles.get("segmenter")
    network = None if segmenter is None else LiteModel(segmenter.path("model.tflite"))
    samples = []
    for label, radiograph in track(items, "preparing images", total):
        inputs, lungs = {}, None
        if segmenter is not None:
            lungs, inputs["segmenter"] = _lungs(radiograph, segmenter, network)
        inputs["classifier"] = prepare(radiograph.pixels, classifier.preprocessing, lungs).network_input
        if "gate" in bundles:
            inputs["gate"] = prepare(radiograph.pixels, bundles["gate"].preprocessing).network_input
        samples.append(Sample(label, inputs))
    return samples


def _lungs(radiograph: Radiograph, segmenter: Bundle, network: LiteModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the lungs, and what the segmenter was shown to find them."""
    shown: list[np.ndarray] = []

    def segment(image: np.ndarray) -> np.ndarray:
        shown.append(image)
        return network(image)["lung"]

    enhance = enhancement_of_channel(segmenter.preprocessing.channels[0])
    lungs = segment_lungs(radiograph.pixels, segment, enhance)
    return lungs, shown[0]
