"""A finished training run becomes a bundle: temperature and operating point chosen on its validation rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covidcx.bundle import GATE_LABEL, Bundle, calibrate, update_bundle
from covidcx.decision import own_label
from covidcx.deploy.write import CARD_FILE, write_bundle
from covidcx.errors import BundleError
from covidcx.training import heads
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import RunFolder, read_json

WEIGHTS_LICENCE = "CC-BY-NC-SA-4.0"
"""Licence of trained weights, the strictest among the usual training data's (Cohen et al., RSNA)."""
_THRESHOLDS = ("covid", GATE_LABEL)  # the classes that are called at a threshold


def bundle_from_run(
    run: str | Path,
    folder: str | Path,
    *,
    name: str | None = None,
    rule: str = "sensitivity>=0.95",
    gate: str | None = None,
    licence: str = WEIGHTS_LICENCE,
    data: str = "",
    data_licences: Sequence[str] = (),
    quantize: str = "none",
) -> Bundle:
    """Write the bundle of a finished run.

    Args:
        run: folder written by `covidcx train`.
        folder: the bundle's folder.
        name: the bundle's name; the folder's name by default.
        rule: how the threshold of COVID (of a gate: of the frontal view) is chosen on the run's validation rows, see
            `choose_operating_point`.
        gate: name of the bundle that refuses what is no upright frontal chest radiograph before this one is asked.
        licence: licence of the weights.
        data: what the model was trained on, in a sentence.
        data_licences: licences of that data.
        quantize: see `covidcx.deploy.tflite.to_tflite`.

    Returns:
        The bundle.

    Raises:
        BundleError: the run is not finished, or its files do not fit together.
    """
    from covidcx.models import restore

    source = RunFolder(Path(run))
    if not source.record.is_file():
        raise BundleError(f"{run} holds no run.json; give a folder that `covidcx train --out` wrote")
    record, recipe = read_json(source.record), Recipe.from_dict(read_json(source.recipe))
    if record["status"] != "finished":
        raise BundleError(f"the run in {run} is {record['status']}, not finished; finish it with --resume")
    model = restore(record["model"], source.weights)
    choices = {} if recipe.task == "segment" else _choices(recipe, source.predictions, rule)
    trained = [heads.get(head) for head in recipe.heads]
    return write_bundle(
        folder,
        model,
        architecture=record["model"],
        name=name or Path(folder).name,
        task=recipe.task,
        labels=recipe.labels,
        heads={head.output: head.classes for head in trained},
        preprocessing=recipe.preprocessing,
        licence=licence,
        segmenter=Path(recipe.segmenter).name if recipe.preprocessing.needs_lungs else None,
        gate=gate,
        training=_training(record, recipe, data),
        data_licences=data_licences,
        quantize=quantize,
        **choices,
    )


def add_card(folder: str | Path, metrics: str | Path) -> Path:
    """Put measured figures and the model card that tells them into a bundle.

    Args:
        folder: the bundle's folder.
        metrics: `metrics.json` written by `covidcx evaluate` for this bundle.

    Returns:
        Path of the card.

    Raises:
        BundleError: the figures belong to another bundle.
    """
    from covidcx.evaluation import headline
    from covidcx.evaluation.card import model_card

    bundle, figures = Bundle.open(Path(folder)), read_json(Path(metrics))
    measured = figures.get("bundle_checksum")
    if measured not in (bundle.checksum, bundle.metrics.get("bundle_checksum")):
        raise BundleError(
            f"{metrics} was measured on a bundle with checksum {str(measured)[:12]}, {folder} has "
            f"{bundle.checksum[:12]}; run covidcx evaluate on it again"
        )
    info = {
        key: getattr(bundle, key)
        for key in ("name", "task", "labels", "heads", "operating_points", "temperature", "segmenter", "gate",
                    "training", "licence", "data_licences", "model")
    } | {"preprocessing": bundle.preprocessing.to_dict()}  # fmt: skip
    card = model_card(info, figures)
    update_bundle(bundle.folder, {CARD_FILE: card.encode()}, metrics=headline(figures) | {"bundle_checksum": measured})
    return bundle.folder / CARD_FILE


def _choices(recipe: Recipe, predictions: Path, rule: str) -> dict[str, Any]:
    import pandas as pd

    from covidcx.evaluation.calibration import choose_operating_point, fit_temperature

    table = pd.read_csv(predictions)
    probabilities = table[[f"p_{label}" for label in recipe.labels]].to_numpy(np.float64)
    truth = [own_label(label, recipe.labels) for label in table["label"]]
    temperature = fit_temperature(probabilities, truth, recipe.labels)
    label = next((label for label in _THRESHOLDS if label in recipe.labels), None)
    if label is None:
        return {"temperature": temperature}
    point = choose_operating_point(calibrate(probabilities, temperature), truth, recipe.labels, rule, label)
    return {"temperature": temperature, "operating_points": {label: point}}


def _training(record: dict[str, Any], recipe: Recipe, data: str) -> dict[str, Any]:
    return {
        "data": data,
        "rows": record["data"]["rows"],
        "split_hash": record["data"]["split_hash"],
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "command": record["command"],
        "seed": recipe.seed,
        "date": record["finished"],
        "seconds": record["seconds"],
        "best": record["best"],
        "versions": record["versions"],
        "backend": record["backend"],
    }
