"""States on disk: whole or not there, whatever moment the process dies at."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covidcx.errors import RecipeError
from covidcx.training.checkpoint import State, read_state, write_state

REPO = Path(__file__).resolve().parents[2]

# Writes epoch 1, then dies at one place while writing epoch 2.
CHILD = """
import os, pathlib, signal, sys
import numpy as np
from covidcx.training import checkpoint

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def state(epoch):
    arrays = {f"model/{i:05d}/kernel": np.full((300, 40), epoch + i, np.float32) for i in range(4)}
    return checkpoint.State(epoch, arrays, {"rows": list(range(epoch))})

folder = pathlib.Path(sys.argv[1])
checkpoint.write_state(folder, state(1))
place = sys.argv[2]
if place == "third array":
    seen, write = [], np.lib.format.write_array
    def write_array(*args, **kwargs):
        seen.append(1)
        write(*args, **kwargs) if len(seen) < 3 else die()
    np.lib.format.write_array = write_array
elif place == "before sync":
    os.fsync = die
elif place == "before rename":
    pathlib.Path.replace = die
elif place == "before folder sync":
    checkpoint.sync_folder = die
elif place == "before dropping the old":
    pathlib.Path.unlink = die
checkpoint.write_state(folder, state(2))
"""


def make(epoch: int) -> State:
    rng = np.random.default_rng(epoch)
    arrays = {
        "model/00000/conv/kernel": rng.random((3, 3, 1, 4), dtype=np.float32),
        "model/00001/seed_generator/seed_generator_state": rng.integers(0, 9, 2, dtype=np.uint32),
        "optimizer/00000/iteration": np.array(epoch, np.int64),
    }
    return State(epoch, arrays, {"rows": [{"epoch": 1, "loss": 0.1 + 1e-17}], "best_value": None})


def test_state_comes_back_exactly_and_the_one_before_is_dropped(tmp_path):
    assert read_state(tmp_path / "none") is None
    write_state(tmp_path, make(1))
    write_state(tmp_path, make(2))
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-000002.npz"]
    found, expected = read_state(tmp_path), make(2)
    assert found.epoch == 2 and found.record == expected.record
    assert found.arrays.keys() == expected.arrays.keys()
    for key, values in expected.arrays.items():
        assert found.arrays[key].dtype == values.dtype and found.arrays[key].shape == values.shape
        np.testing.assert_array_equal(found.arrays[key], values)


@pytest.mark.parametrize(
    ("place", "epoch"),
    [
        ("third array", 1),
        ("before sync", 1),
        ("before rename", 1),
        ("before folder sync", 2),
        ("before dropping the old", 2),
    ],
)
def test_kill_while_writing_leaves_a_whole_state(tmp_path, place, epoch):
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), place], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    found = read_state(tmp_path)
    assert found.epoch == epoch and found.record == {"rows": list(range(epoch))}
    assert all((values == epoch + i).all() for i, values in enumerate(found.arrays.values()))
    write_state(tmp_path, make(3))
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-000003.npz"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_state_gives_way_to_the_one_before(tmp_path, damage, caplog):
    write_state(tmp_path, make(1))
    kept = (tmp_path / "epoch-000001.npz").read_bytes()
    path = write_state(tmp_path, make(2))
    (tmp_path / "epoch-000001.npz").write_bytes(kept)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[200] ^= 0xFF
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    assert read_state(tmp_path).epoch == 1
    assert "epoch-000002.npz cannot be read" in caplog.text
    (tmp_path / "epoch-000001.npz").unlink()
    with pytest.raises(RecipeError, match="no readable state"):
        read_state(tmp_path)
