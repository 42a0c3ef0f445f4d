"""What a lung segmenter answers for the images of a manifest that have a mask."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.intervals import Interval, bootstrap_all, mean, median
from covidcx.evaluation.predictions import Engine, Failure, column, keras_engine, patients_of, select, short_reason
from covidcx.evaluation.segmentation import MaskScore, read_mask, score_mask
from covidcx.evaluation.subgroups import ATTRIBUTES
from covidcx.progress import track

if TYPE_CHECKING:
    from covidcx.bundle import Bundle
    from covidcx.data.manifest import Manifest

SCORES = ("dice", "iou", "surface_distance", "hausdorff95", "surface_distance_mm", "hausdorff95_mm")
_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "surface_distance": "Mean symmetric surface distance, pixels",
    "hausdorff95": "95% Hausdorff distance, pixels",
    "surface_distance_mm": "Mean symmetric surface distance, mm",
    "hausdorff95_mm": "95% Hausdorff distance, mm",
}


@dataclass(frozen=True, eq=False)
class MaskTable:
    """A segmenter's scores, one row an image that has a mask and could be read.

    Attributes:
        images: names as in the manifest, N.
        patients: patient per image.
        splits: split per image.
        scores: agreement with the reference mask per image.
        readers: agreement of the second reader's mask with the reference, None where there is no second one.
        attributes: further columns of the manifest, None where a value is missing.
        without_mask: images per split that have no reference mask and were left out.
        failures: images or masks that could not be read.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]
    splits: tuple[str, ...]
    scores: tuple[MaskScore, ...]
    readers: tuple[MaskScore | None, ...]
    attributes: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    without_mask: dict[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> "MaskTable":
        """Return the table of some rows; failures are not carried along."""
        return MaskTable(
            *(tuple(getattr(self, name)[i] for i in rows)
              for name in ("images", "patients", "splits", "scores", "readers")),
            attributes={name: tuple(values[i] for i in rows) for name, values in self.attributes.items()},
        )  # fmt: skip

    def to_csv(self) -> str:
        """Return the table as CSV: image, patient, split and one column per score, empty where undefined."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "patient_id", "split", *SCORES])
        for i, score in enumerate(self.scores):
            values = ["" if np.isnan(v) else f"{v:.6f}" for v in score.to_dict().values()]
            writer.writerow([self.images[i], self.patients[i], self.splits[i], *values])
        return stream.getvalue()


def predict_masks(
    bundle: "Bundle", manifest: "Manifest", split: str | None = "test", segmenter: Engine | None = None
) -> MaskTable:
    """Run a lung segmenter over the images of a manifest that have a lung mask, and score each.

    Args:
        bundle: of task `segment`; its first channel says the enhancement before the network.
        manifest: images and masks (columns `lung_mask` and, for the readers' own agreement, `lung_mask_2`).
        split: see `covidcx.evaluation.predictions.select`.
        segmenter: the model as a function; the bundle's Keras model when omitted.

    Returns:
        Scores per image, in the image's own pixels.

    Raises:
        CovidcxError: no image has a mask, or none can be read.
    """
    from covidcx.imaging import segment_lungs
    from covidcx.imaging.masks import read_levels
    from covidcx.imaging.read import read

    chosen, names = select(manifest.frame, split)
    frame = chosen[[mask is not None for mask in column(chosen, "lung_mask")]]
    if frame.empty:
        raise CovidcxError(
            f"no image of split {', '.join(names)} has a lung mask (column 'lung_mask'); "
            "a segmenter is evaluated on splits that have masks"
        )
    segmenter, enhance = segmenter or keras_engine(bundle), enhancement(bundle)
    root, second = Path(manifest.root), column(frame, "lung_mask_2")
    rows, scores, readers, failures = [], [], [], []
    for i in track(range(len(frame)), "segmenting", total=len(frame)):
        image, mask = frame["image"].iloc[i], frame["lung_mask"].iloc[i]
        try:
            radiograph = read(root / image)
            lungs, ignore = read_mask(read_levels(root / mask, radiograph.shape, radiograph.turn))
            found = segment_lungs(radiograph.pixels, segmenter, enhance)
            other = None
            if second[i] is not None:
                levels = read_levels(root / second[i], radiograph.shape, radiograph.turn)
                other_lungs, other_ignore = read_mask(levels)
                other = score_mask(other_lungs, lungs, ignore | other_ignore)
        except (CovidcxError, OSError) as error:
            failures.append(Failure(image, short_reason(error, root / image, image)))
            continue
        rows.append(i)
        scores.append(score_mask(found, lungs, ignore, radiograph.spacing))
        readers.append(other)
    if not rows:
        raise CovidcxError(
            f"none of the {len(frame)} images can be read; the first: {failures[0].image}: {failures[0].reason}"
        )
    kept = frame.iloc[rows]
    return MaskTable(
        images=tuple(kept["image"]),
        patients=patients_of(kept),
        splits=tuple(kept["split"]),
        scores=tuple(scores),
        readers=tuple(readers),
        attributes={
            name: column(kept, name) for name in ("label", *ATTRIBUTES, "lung_mask_reader") if name in kept
        },
        without_mask={name: int((chosen["split"] == name).sum() - (frame["split"] == name).sum()) for name in names},
        failures=tuple(failures),
    )


def mask_metrics(table: MaskTable, repeats: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Compute mean and median of every score with patient-level intervals.

    Args:
        table: at least one image.
        repeats: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Per name (`dice_mean`, `dice_median`, ...) its interval; scores in mm only where some spacing is known, and
        `reader_dice_mean`, `reader_dice_median` where two readers drew the same image.
    """
    arrays = {name: np.array([getattr(s, name) for s in table.scores]) for name in SCORES}
    known = {name: values for name, values in arrays.items() if not np.isnan(values).all()}
    both = np.array([np.nan if r is None else r.dice for r in table.readers])
    if not np.isnan(both).all():
        known["reader_dice"] = both
    metrics = {}
    for name, values in known.items():
        metrics[f"{name}_mean"] = _bind(mean, values)
        metrics[f"{name}_median"] = _bind(median, values)
    return bootstrap_all(metrics, table.patients, repeats, seed)


def mask_title(name: str) -> str:
    """Spell a metric of `mask_metrics` out."""
    if name.startswith("reader_dice_"):
        return f"Dice of a second reader with the first, {name.rpartition('_')[2]} (the ceiling)"
    score, _, statistic = name.rpartition("_")
    return f"{_TITLES.get(score, score)}, {statistic}"


def enhancement(bundle: "Bundle") -> str:
    """Return the contrast enhancement a segmenter's bundle was trained on, as `segment_lungs` names it.

    Raises:
        CovidcxError: its first channel is none that the segmenter's executor knows.
    """
    from covidcx.imaging.roi import ROI_ENHANCEMENTS, enhancement_of_channel

    name = enhancement_of_channel(bundle.preprocessing.channels[0])
    if name not in ROI_ENHANCEMENTS:
        raise CovidcxError(
            f"bundle {bundle.name!r} enhances by {name!r}; a lung segmenter takes one of {', '.join(ROI_ENHANCEMENTS)}"
        )
    return name


def _bind(function: Callable, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: function(values, weights)
