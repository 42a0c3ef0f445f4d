"""A model's weights as one small HDF5 file, by variable path: no pickle, no Keras version, no backend inside.

Layout (format 1): one dataset per variable at the variable's Keras path (`conv1_conv/kernel`), attributes on the root
that say the format, its version and the model's name. Float16 halves the file; a variable that float16 would spoil
stays float32.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import WeightsError, did_you_mean
from covidcx.models.registry import build

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

FORMAT = "covidcx-weights"
VERSION = 1
DTYPES = ("float16", "float32")

_FLOAT16_MAX, _FLOAT16_TINY = float(np.finfo(np.float16).max), float(np.finfo(np.float16).tiny)
_PACKED = {"compression": "gzip", "compression_opts": 6, "shuffle": True}
_SMALL = 1024  # elements below which compression costs more bytes than it saves


def restore(model: dict[str, Any], weights: Path) -> "keras.Model":
    """Build a model by name and fill it from a weights file.

    Args:
        model: `{"name": ..., "kwargs": {...}}`, as a bundle records it.
        weights: file written by `save_weights`.

    Returns:
        The model with every weight loaded.

    Raises:
        RecipeError: the model's name is unknown.
        WeightsError: the file is damaged or does not fit the model.
    """
    if "name" not in model:
        raise WeightsError(f"a model is described by its 'name' and 'kwargs', received the keys {sorted(model)}")
    built = build(model["name"], **model.get("kwargs", {}))
    load_weights(built, weights)
    return built


def save_weights(model: "keras.Model", path: Path, dtype: str = "float16") -> Path:
    """Write a model's weights; the file appears whole or not at all, and the same weights give the same bytes.

    Args:
        model: any Keras model whose variable paths are unique.
        path: file to write; its folder is created.
        dtype: `"float16"` or `"float32"`. With float16 a variable that would overflow, or a variance that would lose
            its digits below float16's smallest normal number, is kept in float32.

    Returns:
        `path`.

    Raises:
        WeightsError: two variables share a path, a value is NaN or infinite, or the dtype is unknown.
    """
    import h5py

    if dtype not in DTYPES:
        raise WeightsError(f"unknown weights dtype {dtype!r}.{did_you_mean(dtype, DTYPES)}")
    variables = by_path(model)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(partial, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = VERSION
            file.attrs["model"] = model.name
            file.attrs["variables"] = len(variables)
            for key, variable in variables.items():
                values = _storable(key, _numpy(variable), dtype)
                file.create_dataset(key, data=values, track_times=False, **(_PACKED if values.size >= _SMALL else {}))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_weights(model: "keras.Model", path: Path) -> None:
    """Fill a model from a weights file; nothing is changed unless everything fits.

    Args:
        model: the model to fill, on any Keras backend.
        path: file written by `save_weights`.

    Raises:
        WeightsError: the file is missing, damaged, of another format, or a variable is missing, left over or of
            another shape (both shapes are named).
    """
    stored = read_weights(path)
    variables = by_path(model)
    missing = sorted(set(variables) - set(stored))
    extra = sorted(set(stored) - set(variables))
    if missing or extra:
        raise WeightsError(
            f"{path} does not fit model {model.name!r}: {_listing('missing in the file', missing)}"
            f"{_listing('unknown to the model', extra)}build the model with the arguments it was saved with"
        )
    wrong = [
        f"{key} is {stored[key].shape} in the file and {tuple(variable.shape)} in the model"
        for key, variable in variables.items()
        if stored[key].shape != tuple(variable.shape)
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit model {model.name!r}: {'; '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}; "
            "build the model with the arguments it was saved with"
        )
    for key, variable in variables.items():
        variable.assign(stored[key].astype(np.float32))


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a weights file without a model.

    Args:
        path: file written by `save_weights`.

    Returns:
        Array by variable path, float16 or float32 as stored.

    Raises:
        WeightsError: the file is missing, damaged or of another format.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist; check the path or fetch the bundle again")
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            found, version = file.attrs.get("format"), file.attrs.get("version")
            expected = file.attrs.get("variables")
            if found == FORMAT and version == VERSION:
                file.visititems(collect)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a weights file ({error}); fetch it again") from error
    if found != FORMAT or version != VERSION:
        raise WeightsError(
            f"{path} has format {found!r} version {version}, expected {FORMAT!r} version {VERSION}; "
            "published weights are imported with covidcx.models.weights"
        )
    if expected != len(arrays):
        raise WeightsError(f"{path} promises {expected} variables and holds {len(arrays)}; fetch it again")
    broken = sorted(key for key, values in arrays.items() if not np.isfinite(values).all())
    if broken:
        raise WeightsError(f"{path} holds NaN or infinite values in {', '.join(broken[:3])}; fetch it again")
    return arrays


def by_path(model: "keras.Model") -> "dict[str, keras.Variable]":
    """Return a model's weights by path, without the states of random generators.

    Raises:
        WeightsError: two variables share a path.
    """
    variables: dict[str, Any] = {}
    for variable in model.weights:
        if variable.path in variables:
            raise WeightsError(
                f"model {model.name!r} has two variables at {variable.path!r}; give its layers names of their own"
            )
        variables[variable.path] = variable
    return variables


def _storable(key: str, values: np.ndarray, dtype: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise WeightsError(f"weight {key} holds NaN or infinite values; the training diverged, save an earlier state")
    values = values.astype(np.float32)
    if dtype == "float32" or values.size == 0:
        return values
    size = np.abs(values)
    # Batch normalisation divides by the root of its variance: a small one turned to zero changes the output greatly.
    spoiled = key.endswith("variance") and float(size.min()) < _FLOAT16_TINY
    if spoiled or float(size.max()) > _FLOAT16_MAX:
        log.debug("%s stays float32: its range %g..%g does not suit float16", key, size.min(), size.max())
        return values
    return values.astype(np.float16)


def _numpy(variable: Any) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable.value))


def _listing(what: str, keys: Iterable[str]) -> str:
    keys = list(keys)
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {what} ({', '.join(keys[:3])}{more}); "
