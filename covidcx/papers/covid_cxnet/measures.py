"""What the paper could only look at, measured: where a model's heat lies and what its score needs to see.

One pass over the test and control images of a finished run; the per-image values are kept in the work folder, so that
Table 6, `shortcuts` and the figures share them and an interrupted session goes on.
"""

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from covidcx.atomic import write_atomic
from covidcx.errors import MissingDataError
from covidcx.evaluation.classification import pair_score
from covidcx.evaluation.intervals import Interval, bootstrap_all, mean
from covidcx.evaluation.predictions import PredictionTable, patients_of
from covidcx.evaluation.shortcuts import COVERS, WHOLE, survival
from covidcx.explain import grad_cam, heat_inside, pointing_hit
from covidcx.explain.explain import OUTPUT, TOLERANCE
from covidcx.imaging import prepare
from covidcx.imaging.preprocessing import Prepared
from covidcx.papers.covid_cxnet.images import Study, studies
from covidcx.papers.item import Context
from covidcx.papers.trained import Trained, answer_table
from covidcx.progress import track
from covidcx.training.lungs import lung_masks
from covidcx.training.tasks import all_classes

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

SPLITS = ("test", "control")
LABELS = ("normal", "cap", "covid")
_VERSION = 1  # raised whenever the same run gives other values
_BATCH = 16
TITLES = {
    "heat_inside": "heat inside the lungs",
    "lungs_share": "lungs' share of what is shown (heat by chance)",
    "pointing_mask": "pointing game, disease masks",
    "pointing_box": "pointing game, boxes",
    "auc_whole": "AUC COVID-19 against normal",
    "auc_lungs_black": "AUC, lungs blacked out",
    "survives_lungs_black": "score that survives without the lungs",
    "auc_border_only": "AUC, border only",
    "survives_border_only": "score that survives on the border alone",
    "cap_called_covid": "CAP called COVID-19, test",
    "control": "CAP of the COVID source called COVID-19, control",
}


@dataclass(frozen=True, eq=False)
class Measures:
    """Per-image values of one model on test and control images.

    Attributes:
        labels: the model's classes.
        truth: label per image, N.
        splits: split per image.
        patients: patient per image.
        probabilities: per condition (`whole` and each cover) float64, N x K.
        heat_inside: share of the called class's heat inside the lungs, N; NaN without heat.
        lungs_share: the lungs' share of the part of the image that the model is given, N.
        pointing: 1 where the maximum of the heat for the disease lies on its mask or box, 0 where not, NaN without.
        by_mask: bool, N: the target is a mask, not a box.
    """

    labels: tuple[str, ...]
    truth: tuple[str, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]
    probabilities: dict[str, np.ndarray]
    heat_inside: np.ndarray
    lungs_share: np.ndarray
    pointing: np.ndarray
    by_mask: np.ndarray

    @property
    def called(self) -> np.ndarray:
        """Most probable class of each image, N."""
        return np.array(self.labels)[self.probabilities[WHOLE].argmax(axis=1)]

    def table(self, split: str) -> PredictionTable:
        """Return the answers on a split as `covidcx.evaluation` measures them."""
        rows = [i for i, name in enumerate(self.splits) if name == split]
        kept = pd.DataFrame(
            {"image": "", "patient_id": self.patients, "label": self.truth, "split": self.splits}, dtype=object
        ).iloc[rows]
        return answer_table(self.labels, kept, self.probabilities[WHOLE][rows])

    def figures(self, repeats: int, seed: int) -> dict[str, Interval]:
        """Return every figure of `TITLES` that the rows allow, with its patient-level interval.

        Args:
            repeats: bootstrap resamples.
            seed: of the resampling.
        """
        truth, test = np.array(self.truth), np.array(self.splits) == "test"
        covid = (self.called == "covid").astype(np.float64)
        found: dict[str, Interval] = {}
        for name, values, rows in (
            ("heat_inside", self.heat_inside, test),
            ("lungs_share", self.lungs_share, test),
            ("pointing_mask", self.pointing, self.by_mask),
            ("pointing_box", self.pointing, ~self.by_mask),
            ("cap_called_covid", covid, test & (truth == "cap")),
            ("control", covid, ~test & (truth == "cap")),
        ):
            rows = rows & ~np.isnan(values)
            if rows.any():
                groups = [patient for patient, used in zip(self.patients, rows, strict=True) if used]
                kept = values[rows]
                found[name] = bootstrap_all({name: lambda w, v=kept: mean(v, w)}, groups, repeats, seed)[name]
        pair = test & np.isin(truth, ("normal", "covid"))
        if len(set(truth[pair])) == 2:
            scores = {name: self._score(values)[pair] for name, values in self.probabilities.items()}
            groups = [patient for patient, used in zip(self.patients, pair, strict=True) if used]
            found |= survival(truth[pair] == "covid", scores, groups, repeats, seed)
        return {name: found[name] for name in TITLES if name in found}

    def _score(self, probabilities: np.ndarray) -> np.ndarray:
        return pair_score(probabilities, self.labels.index("covid"), self.labels.index("normal"))


def measured(context: Context, run: Trained) -> Measures:
    """Measure a finished run, or find it measured.

    Args:
        context: of the item.
        run: a classifier of `covid` and `normal`, at least.

    Raises:
        MissingDataError: there is no test image, or no lungs for one.
    """
    digest = hashlib.sha256(f"{_VERSION}|{SPLITS}|{context.manifest_path.stat().st_size}".encode())
    for path in (run.folder.weights, run.folder.recipe, context.manifest_path):
        digest.update(path.read_bytes())
    file = context.work / ".measured" / f"{run.folder.path.name}-{digest.hexdigest()[:12]}.npz"
    if not file.is_file():
        arrays = _measure(context, run)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, stream.getvalue())
    with np.load(file, allow_pickle=False) as stored:
        probabilities = {name: stored[f"p_{name}"] for name in (WHOLE, *COVERS)}
        texts = {name: tuple(stored[name].tolist()) for name in ("truth", "splits", "patients")}
        numbers = {name: stored[name] for name in ("heat_inside", "lungs_share", "pointing", "by_mask")}
    return Measures(labels=run.recipe.labels, probabilities=probabilities, **texts, **numbers)


def _measure(context: Context, run: Trained) -> dict[str, np.ndarray]:
    frame = context.rows("where a model looks", split=SPLITS, labels=LABELS)
    if not (frame["split"] == "test").any():
        raise MissingDataError("where a model looks is measured on split test; the manifest has none")
    seen = Looking(context, run)
    log.info("%s: heat and covered images of %d radiographs", run.folder.path.name, len(frame))
    rows: list[dict[str, np.ndarray]] = []
    batch: list[Study] = []
    for study in track(studies(context, frame), "looking", total=len(frame)):
        batch.append(study)
        if len(batch) == _BATCH:
            rows.append(seen.measure(batch))
            batch = []
    if batch:
        rows.append(seen.measure(batch))
    if not rows:
        raise MissingDataError("where a model looks cannot be measured: no image of split test can be read")
    return {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}


class Looking:
    """A run's network together with the way its images are prepared, for single radiographs.

    Args:
        context: of the item.
        run: a finished classifier.
    """

    def __init__(self, context: Context, run: Trained) -> None:
        self.recipe, self.run = run.recipe, run
        self._lungs, _ = lung_masks(run.recipe, context.manifest)

    def roi(self, study: Study) -> np.ndarray | None:
        """Return the lungs that the model's own preprocessing finds: bool, H x W, or None where it asks for none."""
        if self._lungs is None:
            return None
        if study.lungs_from == self.recipe.segmenter:
            return study.lungs
        return self._lungs(study.row, study.radiograph)

    def prepare(self, study: Study, *others: np.ndarray) -> list[Prepared]:
        """Prepare a radiograph, and other pixels in its place, all with the lungs found on the radiograph itself."""
        roi = self.roi(study)
        return [prepare(pixels, self.recipe.preprocessing, roi) for pixels in (study.pixels, *others)]

    def probabilities(self, prepared: Sequence[Prepared]) -> np.ndarray:
        """Return float64 N x K."""
        return self.run.probabilities(np.stack([one.image for one in prepared]))

    def grids(self, prepared: Sequence[Prepared], classes: Sequence[int]) -> list[np.ndarray]:
        """Return Grad-CAM of one class for each image, in the original's pixels: float32 H x W."""
        images = np.concatenate([one.network_input for one in prepared])
        wanted, maps = np.asarray(classes), [np.empty(0)] * len(prepared)
        for label in np.unique(wanted):
            rows = np.flatnonzero(wanted == label)
            for row, grid in zip(rows, grad_cam(self.run.model, images[rows], int(label), output=OUTPUT), strict=True):
                maps[row] = prepared[row].geometry.restore(grid)
        return maps

    def measure(self, batch: Sequence[Study]) -> dict[str, np.ndarray]:
        """Return the per-image values of `Measures` for some radiographs."""
        labels = self.recipe.labels
        shown = [
            self.prepare(study, *(cover(study.pixels, study.lungs) for cover in COVERS.values())) for study in batch
        ]
        found = {
            f"p_{name}": self.probabilities(images)
            for name, images in zip((WHOLE, *COVERS), zip(*shown, strict=True), strict=True)
        }
        prepared = [images[0] for images in shown]
        called = found[f"p_{WHOLE}"].argmax(axis=1)
        heats = self.grids(prepared, called)
        inside = [
            heat_inside(np.where(study.ignored, 0.0, heat), study.lungs)
            for study, heat in zip(batch, heats, strict=True)
        ]
        disease = [labels.index(study.row["label"] if study.row["label"] in labels else "covid") for study in batch]
        hits = np.full(len(batch), np.nan)
        aimed = [i for i, study in enumerate(batch) if study.target is not None and study.row["label"] != "normal"]
        if aimed:
            for i, heat in zip(
                aimed, self.grids([prepared[i] for i in aimed], [disease[i] for i in aimed]), strict=True
            ):
                hits[i] = pointing_hit(heat, batch[i].target, TOLERANCE * max(heat.shape))
        kept = pd.DataFrame([study.row for study in batch])
        return {
            **found,
            "truth": np.array(kept["label"], "U"),
            "splits": np.array(kept["split"], "U"),
            "patients": np.array(patients_of(kept), "U"),
            "heat_inside": np.array(inside),
            "lungs_share": np.array([self._chance(s, p) for s, p in zip(batch, prepared, strict=True)]),
            "pointing": hits,
            "by_mask": np.array([study.lesion is not None for study in batch]),
        }

    @staticmethod
    def _chance(study: Study, prepared: Prepared) -> float:
        """What a map that knows nothing gets: the lungs' share of what the model is shown."""
        top, bottom, left, right = prepared.geometry.box
        return float(study.lungs[top:bottom, left:right].mean())


def probability_of(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return a model's probabilities for network inputs, float32 N x H x W x C in 0..1, for LIME: float64 N x K."""
    from keras import ops

    values = ops.convert_to_numpy(model(images, training=False)[OUTPUT])
    return all_classes(np.asarray(values, np.float64))
