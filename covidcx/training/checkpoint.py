"""Epoch checkpoints that a kill at any moment cannot spoil.

A state is one `.npz` file: a JSON record (finished epochs, log rows, best value) and every variable of the model and
its optimiser. It is written under a temporary name, synced to the disk and renamed; the one before goes only after
that. Reading takes the newest state whose archive checksums hold.
"""

import io
import json
import logging
import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import RecipeError

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_RECORD = "record.json"
_NAME = re.compile(r"epoch-(\d{6})\.npz")


@dataclass(frozen=True, eq=False)
class State:
    """What training needs to go on after an epoch as if nothing had happened.

    Attributes:
        epoch: finished epochs.
        arrays: every variable by `model/INDEX/PATH` or `optimizer/INDEX/PATH`; the best epoch's weights by
            `best/INDEX/PATH`.
        record: log rows, best value and the like, JSON-ready.
    """

    epoch: int
    arrays: dict[str, np.ndarray]
    record: dict[str, Any] = field(default_factory=dict)


def write_state(folder: Path, state: State) -> Path:
    """Write a state so that at every moment a whole one lies in the folder, then drop the older ones.

    Args:
        folder: the run's `state/`; created where missing.
        state: what to keep.

    Returns:
        The file written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch-{state.epoch:06d}.npz"
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        _write_archive(file, state)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(folder)
    for old in folder.iterdir():
        found = _NAME.fullmatch(old.name)
        if old.suffix == ".part" or (found and int(found.group(1)) != state.epoch):
            old.unlink(missing_ok=True)
    return path


def read_state(folder: Path) -> State | None:
    """Read the newest whole state.

    Args:
        folder: the run's `state/`.

    Returns:
        The state, or None where no epoch was finished.

    Raises:
        RecipeError: states are there, but none can be read.
    """
    found = sorted(p for p in folder.glob("epoch-*.npz") if _NAME.fullmatch(p.name)) if folder.is_dir() else []
    for path in reversed(found):
        try:
            return _read_archive(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s cannot be read (%s); trying the state before it", path, error)
    if found:
        raise RecipeError(f"no readable state in {folder} ({len(found)} damaged); train into another folder")
    return None


def capture(model: "keras.Model") -> dict[str, np.ndarray]:
    """Copy every variable that training changes: weights, moving averages, dropout generators, optimiser.

    Args:
        model: compiled, with its optimiser built.

    Returns:
        Arrays by `model/INDEX/PATH` and `optimizer/INDEX/PATH`.
    """
    return _copy("model", model.variables) | _copy("optimizer", model.optimizer.variables)


def restore(model: "keras.Model", arrays: dict[str, np.ndarray]) -> None:
    """Put captured variables back.

    Args:
        model: built and compiled as the captured one.
        arrays: from `capture`; others are ignored.

    Raises:
        RecipeError: the model has other variables than the state.
    """
    _assign(_keyed("model", model.variables) | _keyed("optimizer", model.optimizer.variables), arrays)


def capture_best(model: "keras.Model") -> dict[str, np.ndarray]:
    """Copy the weights alone, by `best/INDEX/PATH`."""
    return _copy("best", model.weights)


def restore_best(model: "keras.Model", arrays: dict[str, np.ndarray]) -> None:
    """Put the weights of `capture_best` back.

    Raises:
        RecipeError: the model has other weights than the state.
    """
    _assign(_keyed("best", model.weights), arrays)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _keyed(group: str, variables: "list[keras.Variable]") -> "dict[str, keras.Variable]":
    # Paths alone may repeat (every dropout generator is called alike), positions may not.
    return {f"{group}/{i:05d}/{variable.path}": variable for i, variable in enumerate(variables)}


def _copy(group: str, variables: "list[keras.Variable]") -> dict[str, np.ndarray]:
    from keras import ops

    return {key: np.array(ops.convert_to_numpy(v.value)) for key, v in _keyed(group, variables).items()}


def _assign(variables: "dict[str, keras.Variable]", arrays: dict[str, np.ndarray]) -> None:
    groups = {key.split("/", 1)[0] for key in variables}
    here = {_stable(key): key for key in variables}
    there = {_stable(key): key for key in arrays if key.split("/", 1)[0] in groups}
    shapes = {k: tuple(variables[key].shape) for k, key in here.items()}
    stored = {k: arrays[key].shape for k, key in there.items()}
    if shapes != stored:
        keys = sorted(k for k in shapes.keys() | stored.keys() if shapes.get(k) != stored.get(k))
        raise RecipeError(
            f"the saved state has other variables than the model, first {keys[0]!r}: {stored.get(keys[0])} there, "
            f"{shapes.get(keys[0])} now; was covidcx or Keras updated in between? Train into another folder"
        )
    for k, key in here.items():
        variables[key].assign(arrays[there[k]])


def _stable(key: str) -> str:
    # Keras numbers generators and optimisers through the process: their paths differ from one run to the next.
    group, index, *path = key.split("/")
    return f"{group}/{index}/{path[-1]}"


def _write_archive(file: io.BufferedIOBase, state: State) -> None:
    record = {"epoch": state.epoch, "arrays": list(state.arrays), "record": state.record}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for i, values in enumerate(state.arrays.values()):
            with archive.open(f"{i:05d}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(values, order="C"), allow_pickle=False)
        archive.writestr(_RECORD, json.dumps(record))


def _read_archive(path: Path) -> State:
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read(_RECORD))
        arrays = {
            key: np.lib.format.read_array(io.BytesIO(archive.read(f"{i:05d}.npy")), allow_pickle=False)
            for i, key in enumerate(record["arrays"])
        }
    return State(record["epoch"], arrays, record["record"])
