"""The record of a run, `run.json`, as it stands when training begins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from covidcx.training.device import gpus, precision_of
from covidcx.training.pretraining import Pretraining
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import RunFolder, now, read_json, versions, write_json


def begin(
    folder: RunFolder,
    recipe: Recipe | Pretraining,
    command: str,
    manifest: Path,
    data: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    **more: Any,
) -> dict[str, Any]:
    """Take a run's folder and write who trains what there, on which data, with which versions.

    Args:
        folder: the run's folder; a record found there keeps its starting time.
        recipe: with every override applied.
        command: the command that repeats the run.
        manifest: table of studies.
        data: what identifies the data.
        failures: image and reason of every row left out.
        **more: further fields.

    Returns:
        The record, status `running`.
    """
    started = read_json(folder.record)["started"] if folder.record.is_file() else now()
    folder.claim(recipe)
    record = {
        "status": "running",
        "recipe": {"name": recipe.name, "hash": recipe.hash, "seed": recipe.seed},
        **more,
        "command": command,
        "manifest": str(manifest.resolve()),
        "data": dict(data),
        "left_out": [list(pair) for pair in failures],
        "versions": versions(),
        "backend": keras.backend.backend(),
        "gpus": gpus(),
        "precision": precision_of(recipe),
        "started": started,
    }
    write_json(folder.record, record)
    return record
