"""Several devices: a run on two virtual ones ends, and leaves weights that one device uses to the same effect."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from covidcx.data.cache import prepare_manifest
from covidcx.data.manifest import Manifest
from covidcx.models import restore

HERE = Path(__file__).parent


def run(*arguments: object) -> str:
    """Run the program; a run that hangs is ended after three minutes and fails the test."""
    command = [sys.executable, str(HERE / "mirrored_run.py"), *map(str, arguments)]
    search = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_devices_train_one_model(tmp_path):
    # 7 rows of validation in batches of 4: the last batch leaves a device a single image, then none.
    manifest = tiny_runs.write_manifest(tmp_path / "data", train=18, val=7)
    said = run(manifest, tmp_path / "run", 3)
    assert "replicas 2" in said and "epochs 3" in said
    log = np.genfromtxt(tmp_path / "run" / "log.csv", delimiter=",", names=True)
    assert log["epoch"].tolist() == [1, 2, 3] and all(np.isfinite(log[name]).all() for name in log.dtype.names)

    recipe = tiny_runs.recipe("classify")
    model = restore(recipe.model_spec(), tmp_path / "run" / "best.weights.h5")
    prepared = prepare_manifest(Manifest.read(manifest).subset("val"), recipe.preprocessing, None)
    alone = model.predict(prepared.images.astype(np.float32) / 255, verbose=0)["probabilities"]
    with (tmp_path / "run" / "val_predictions.csv").open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    compared = 0
    for image, expected in zip(prepared.rows["image"], alone, strict=True):
        if image in rows:
            found = [float(rows[image][f"p_{label}"]) for label in tiny_runs.LABELS]
            np.testing.assert_allclose(found, expected, atol=1e-4)
            compared += 1
    assert compared >= 5
