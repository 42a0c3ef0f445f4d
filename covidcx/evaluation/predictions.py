"""What a bundle answers for the images of a manifest, kept apart from how good the answers are."""

import csv
import io
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import BundleError, CovidcxError, did_you_mean
from covidcx.evaluation.subgroups import ATTRIBUTES
from covidcx.progress import track

if TYPE_CHECKING:
    import pandas as pd

    from covidcx.bundle import Bundle
    from covidcx.data.manifest import Manifest

logger = logging.getLogger(__name__)

Engine = Callable[[np.ndarray], np.ndarray]
"""Maps float32 N x H x W x C in 0..1 to the model's output: N x K probabilities, or N x H x W x 1 for a segmenter."""

BATCH = 16
WORKERS = 2


@dataclass(frozen=True)
class Failure:
    """An image that could not be evaluated.

    Attributes:
        image: its name in the manifest.
        reason: one line that says why.
    """

    image: str
    reason: str


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """A bundle's answers, one row an image that could be read.

    Attributes:
        labels: K names in the order of the columns of `probabilities`.
        images: names as in the manifest, N.
        patients: patient per image.
        truth: label per image, None where it is missing.
        splits: split per image.
        probabilities: float64, N x K, calibrated.
        predicted: class at the operating point per image.
        attributes: further columns of the manifest (`source`, `view`, `sex`), None where a value is missing.
        failures: images that could not be read.
    """

    labels: tuple[str, ...]
    images: tuple[str, ...]
    patients: tuple[str, ...]
    truth: tuple[str | None, ...]
    splits: tuple[str, ...]
    probabilities: np.ndarray
    predicted: tuple[str, ...]
    attributes: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int] | np.ndarray) -> "PredictionTable":
        """Return the table of some rows; failures are not carried along."""
        rows = [int(row) for row in rows]
        return PredictionTable(
            labels=self.labels,
            images=tuple(self.images[i] for i in rows),
            patients=tuple(self.patients[i] for i in rows),
            truth=tuple(self.truth[i] for i in rows),
            splits=tuple(self.splits[i] for i in rows),
            probabilities=self.probabilities[rows],
            predicted=tuple(self.predicted[i] for i in rows),
            attributes={name: tuple(values[i] for i in rows) for name, values in self.attributes.items()},
        )

    def to_csv(self) -> str:
        """Return the table as CSV: image, patient, split, label, predicted, one probability column per label."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "patient_id", "split", "label", "predicted", *(f"p_{x}" for x in self.labels)])
        for i, image in enumerate(self.images):
            values = [f"{p:.6f}" for p in self.probabilities[i]]
            writer.writerow(
                [image, self.patients[i], self.splits[i], self.truth[i] or "", self.predicted[i], *values]
            )
        return stream.getvalue()


def select(frame: "pd.DataFrame", split: str | None) -> "tuple[pd.DataFrame, tuple[str, ...]]":
    """Choose the rows of one or several splits.

    Args:
        frame: the manifest's table.
        split: a name, several separated by commas, or None for all rows.

    Returns:
        The rows in the order of the table, and the names asked for.

    Raises:
        CovidcxError: a split is unknown, or nothing is left.
    """
    known = sorted(frame["split"].dropna().unique())
    names = tuple(known) if split is None else tuple(dict.fromkeys(s.strip() for s in split.split(",") if s.strip()))
    if not names:
        raise CovidcxError(f"no split named in {split!r}; known splits: {', '.join(known) or 'none'}")
    for name in names:
        if name not in known:
            raise CovidcxError(f"the manifest has no image in split {name!r}.{did_you_mean(name, known)}")
    return frame[frame["split"].isin(names)], names


def predict_manifest(
    bundle: "Bundle",
    manifest: "Manifest",
    split: str | None = "test",
    engine: Engine | None = None,
    segmenter: Engine | None = None,
) -> PredictionTable:
    """Run a classifier over the images of a manifest.

    Args:
        bundle: of task `classify` or `multi`.
        manifest: images and labels.
        split: see `select`.
        engine: the model as a function; the bundle's Keras model when omitted.
        segmenter: the lung segmenter as a function; the bundle's own when omitted and needed.

    Returns:
        Calibrated probabilities and classes per readable image; the others in `failures`.

    Raises:
        CovidcxError: no image is left, none can be read, or the model's output has the wrong shape.
        BundleError: the preprocessing needs lungs and the bundle names no segmenter.
    """
    from covidcx.bundle import calibrate, decide

    frame, _ = select(manifest.frame, split)
    engine = engine or keras_engine(bundle)
    lungs = _lung_finder(bundle, segmenter)
    rows, outputs, failures = [], [], []
    for positions, batch, bad in _batches(frame, Path(manifest.root), bundle, lungs):
        failures.extend(bad)
        if positions:
            rows.extend(positions)
            outputs.append(_checked(engine(batch), len(positions), len(bundle.labels)))
    if not rows:
        raise CovidcxError(
            f"none of the {len(frame)} images can be read; the first: {failures[0].image}: {failures[0].reason}"
        )
    probabilities = calibrate(np.concatenate(outputs), bundle.temperature)
    kept = frame.iloc[rows]
    return PredictionTable(
        labels=tuple(bundle.labels),
        images=tuple(kept["image"]),
        patients=patients_of(kept),
        truth=column(kept, "label"),
        splits=tuple(kept["split"]),
        probabilities=probabilities,
        predicted=tuple(decide(probabilities, bundle.labels, bundle.operating_points)),
        attributes={name: column(kept, name) for name in ATTRIBUTES if name in kept},
        failures=tuple(failures),
    )


def keras_engine(bundle: "Bundle", weights: str = "weights.h5") -> Engine:
    """Build a bundle's Keras model as a function.

    Args:
        bundle: of any task.
        weights: its file of weights.

    Returns:
        An engine over the output `lung` of a segmenter, `probabilities` of a classifier.
    """
    run = keras_outputs(bundle, weights)
    name = "probabilities" if bundle.classifies else "lung"
    return lambda images: run(images)[name]


def keras_outputs(bundle: "Bundle", weights: str = "weights.h5") -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Build a bundle's Keras model as a function that returns all its outputs by name.

    Args:
        bundle: of any task.
        weights: its file of weights.
    """
    from covidcx.models.restore import restore

    model = restore(bundle.model, bundle.path(weights))
    # Images are prepared in several threads, each of which asks the segmenter; Keras traces on the first call.
    lock = threading.Lock()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            outputs = model.predict_on_batch(np.ascontiguousarray(images, dtype=np.float32))
        return {name: np.asarray(values) for name, values in outputs.items()}

    return run


def patients_of(frame: "pd.DataFrame") -> tuple[str, ...]:
    """Return the patient per image; an image without one is its own patient."""
    return tuple(
        patient if patient is not None else f"image {image}"
        for patient, image in zip(column(frame, "patient_id"), frame["image"], strict=True)
    )


def column(frame: "pd.DataFrame", name: str) -> tuple[str | None, ...]:
    """Return a column as text, None where a value is missing or the column does not exist."""
    if name not in frame:
        return (None,) * len(frame)
    return tuple(str(v) if isinstance(v, str) and v.strip() else None for v in frame[name])


def short_reason(error: Exception, path: Path, image: str) -> str:
    """Return an error as one line that names the image as the manifest does, not where it lies on this machine."""
    first = (str(error) or type(error).__name__).splitlines()[0]
    return first.replace(str(path), image).replace(str(path.parent), "")


def _batches(
    frame: "pd.DataFrame", root: Path, bundle: "Bundle", lungs: Callable[[np.ndarray], np.ndarray] | None
) -> Iterator[tuple[list[int], np.ndarray, list[Failure]]]:
    """Prepare images in parallel (OpenCV and NumPy release the interpreter), a batch at a time."""
    from covidcx.imaging import prepare
    from covidcx.imaging.read import read

    images = [name or "" for name in column(frame, "image")]

    def one(position: int) -> np.ndarray | Failure:
        if not images[position]:
            return Failure("", "the manifest names no image in this row")
        path = root / images[position]
        try:
            pixels = read(path).pixels
            mask = lungs(pixels) if lungs is not None else None
            return prepare(pixels, bundle.preprocessing, mask).image
        except (CovidcxError, OSError) as error:
            logger.debug("cannot evaluate %s", images[position], exc_info=True)
            return Failure(images[position], short_reason(error, path, images[position]))

    with ThreadPoolExecutor(WORKERS) as pool:
        starts = range(0, len(images), BATCH)
        for start in track(starts, "predicting", total=len(starts)):
            positions = list(range(start, min(start + BATCH, len(images))))
            done = list(pool.map(one, positions))
            good = [(i, image) for i, image in zip(positions, done, strict=True) if not isinstance(image, Failure)]
            bad = [image for image in done if isinstance(image, Failure)]
            stack = np.stack([image for _, image in good]) if good else np.empty(0, np.uint8)
            yield [i for i, _ in good], stack.astype(np.float32) / np.float32(255.0), bad


def _lung_finder(bundle: "Bundle", segmenter: Engine | None) -> Callable[[np.ndarray], np.ndarray] | None:
    roi = bundle.preprocessing.roi
    if roi is None:
        return None
    from covidcx.imaging import segment_lungs

    if segmenter is None:
        opened = bundle.open_segmenter()
        if opened is None:
            raise BundleError(
                f"bundle {bundle.name!r} prepares images inside the lungs but names no segmenter; "
                "set 'segmenter' in bundle.json to a lung segmenter's bundle"
            )
        segmenter = keras_engine(opened)
    return lambda pixels: segment_lungs(pixels, segmenter, roi.enhance)


def _checked(output: Any, images: int, classes: int) -> np.ndarray:
    output = np.asarray(output, np.float64)
    columns = {classes, 1} if classes == 2 else {classes}
    if output.ndim != 2 or output.shape[0] != images or output.shape[1] not in columns:
        raise CovidcxError(
            f"the model answered an array of shape {output.shape} for {images} images and {classes} labels; "
            "the bundle's labels and its model do not belong together"
        )
    return output
