"""A killed run, resumed, ends where an uninterrupted one ends."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs

from covidcx.models.restore import read_weights
from covidcx.training import train
from covidcx.training.checkpoint import read_state

HERE = Path(__file__).parent


def run(task: str, manifest: Path, out: Path, *kill: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / "tiny_runs.py"), task, str(manifest), str(out), *kill]
    search = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "kills"),
    [(task, (("state=2", 1), ("epoch=3", 2))) for task in ("segment", "classify")] + [("multi", (("epoch=3", 2),))],
)
def test_run_killed_ends_as_an_uninterrupted_one(task, kills, manifest, mixed, tmp_path):
    manifest = mixed if task == "multi" else manifest
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(tiny_runs.recipe(task), manifest, whole)
    for kill, epochs in kills:
        done = run(task, manifest, killed, kill)
        assert done.returncode == -9, done.stderr
        assert len((killed / "log.csv").read_text().splitlines()) == epochs + 1
        assert not (killed / "val_predictions.csv").exists()
    done = run(task, manifest, killed)
    assert done.returncode == 0, done.stderr
    rows = [np.genfromtxt(folder / "log.csv", delimiter=",", names=True) for folder in (whole, killed)]
    assert rows[1]["epoch"].tolist() == [1, 2, 3, 4]
    for column in rows[0].dtype.names:
        np.testing.assert_allclose(rows[0][column], rows[1][column], rtol=1e-4, atol=1e-5, err_msg=column)
    # The last epoch's weights and optimiser, not only the best epoch's, which may lie before the kill.
    first, second = (read_state(folder / "state") for folder in (whole, killed))
    assert first.epoch == second.epoch == 4
    for (key, a), b in zip(first.arrays.items(), second.arrays.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=key)
    first, second = (read_weights(folder / "best.weights.h5") for folder in (whole, killed))
    for key in first:
        np.testing.assert_allclose(first[key], second[key], rtol=1e-3, atol=1e-5, err_msg=key)
    assert (whole / "val_predictions.csv").read_text().count("\n") == 9


def test_state_that_does_not_follow_from_the_epoch_alone_is_restored(manifest, tmp_path):
    from covidcx.training import checkpoint
    from covidcx.training.fit import build_model
    from covidcx.training.loop import reseed
    from covidcx.training.tasks import task_of

    recipe = tiny_runs.recipe("classify")
    task = task_of(recipe)
    first, second = (build_model(recipe, recipe.model_spec(), 4, task) for _ in range(2))
    rng = np.random.default_rng(0)
    batch = rng.random((4, 32, 32, 1), dtype=np.float32), {"probabilities": np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]}
    first.fit(*batch, epochs=3, verbose=0)
    checkpoint.restore(second, checkpoint.capture(first))
    here, there = checkpoint.capture(first), checkpoint.capture(second)
    assert len(here) == len(there) > 10
    for a, b in zip(here.values(), there.values(), strict=True):
        np.testing.assert_array_equal(a, b)
    # The dropout generator moved while training, and the next epoch does not depend on how far.
    reseed(first, 3, 1)
    second.fit(*batch, epochs=1, verbose=0)
    reseed(second, 3, 1)
    states = [[v.numpy() for v in m.variables if v.path.endswith("seed_generator_state")] for m in (first, second)]
    assert len(states[0]) == 1
    np.testing.assert_array_equal(states[0], states[1])
