"""DenseNet-121 weights in the HDF5 layout of Keras 2 (and Keras 3's legacy `.h5`), read with h5py alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from covidcx.errors import WeightsError
from covidcx.models.densenet_names import HEAD, backbone_layers, backbone_paths
from covidcx.models.restore import FORMAT
from covidcx.models.torch_densenet import Published

_SKIPPED = ("optimizer_weights", "training_config")


def read_keras_h5(path: Path) -> Published:
    """Read a whole model or weights alone, as `model.save` and `model.save_weights` of Keras 2 wrote them.

    The layers are found by name (`conv1/conv`, `conv2_block1_0_bn`, or with underscores as Keras 3 spells them), at
    the top level or inside a nested model; the one remaining dense layer is the classifier.

    Keras before 2.2.3 had no ReLU behind DenseNet's last batch normalisation (keras-applications issue 31), and the
    CheXNet-Keras weights were trained with such a version; the file's list of layers tells.

    Args:
        path: `.h5` or `.hdf5`.

    Returns:
        The arrays under Keras names.

    Raises:
        WeightsError: the file is damaged or holds other layers than DenseNet-121 and one dense layer.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            own = file.attrs.get("format") == FORMAT
            stored, relu = _datasets(file), _final_relu(file)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as an HDF5 file ({error}); fetch it again") from error
    if own:
        raise WeightsError(f"{path} was written by covidcx itself; load it with covidcx.models.load_weights")
    notes = () if relu is not None else ("the file does not say whether a ReLU follows the last layer; one is assumed",)
    if relu is False:
        notes = ("trained without a ReLU behind the last batch normalisation (Keras before 2.2.3), rebuilt that way",)
    return Published(_arrays(path, stored), "keras-h5", final_relu=relu is not False, notes=notes)


def _arrays(path: Path, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    known, paths = backbone_layers(), frozenset(backbone_paths())
    arrays: dict[str, np.ndarray] = {}
    heads: dict[str, dict[str, np.ndarray]] = {}
    for key, values in stored.items():
        parent, _, kind = key.rpartition("/")
        kind = kind.split(":")[0]
        name = f"{_layer(parent, known)}/{kind}"
        if name in paths:
            if name in arrays:
                raise WeightsError(f"{path} holds the weights of {name} twice; pass the file of a single DenseNet-121")
            arrays[name] = values.astype(np.float32)
        else:
            heads.setdefault(parent, {})[kind] = values.astype(np.float32)
    if len(heads) > 1 or any(set(kinds) - {"kernel", "bias"} for kinds in heads.values()):
        raise WeightsError(
            f"{path} is no DenseNet-121 with one dense layer: {len(heads)} other layers "
            f"({', '.join(list(heads)[:3])}); expected conv1/conv ... bn and a single classifier"
        )
    for kinds in heads.values():
        arrays |= {f"{HEAD}/{kind}": values for kind, values in kinds.items()}
    return arrays


def _datasets(file: Any) -> dict[str, np.ndarray]:
    import h5py

    group = file.get("model_weights", file)
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.split("/")[0] not in _SKIPPED:
            arrays[name] = item[()]

    group.visititems(collect)
    return arrays


def _layer(parent: str, known: dict[str, tuple[str, ...]]) -> str | None:
    """Find a layer's name in a dataset's folders: `conv1/conv/conv1/conv` and `densenet121/conv1_bn` alike."""
    parts = parent.split("/")
    tails = ["_".join(parts[start:]) for start in range(len(parts))]
    heads = ["_".join(parts[:stop]) for stop in range(len(parts) - 1, 0, -1)]
    return next((name for name in (*tails, *heads) if name in known), None)


def _final_relu(file: Any) -> bool | None:
    """Say whether the recorded network had a layer named `relu`; None where the file lists no layers of DenseNet."""
    group = file.get("model_weights", file)
    names: list[str] = []
    for key in group.attrs:
        # A long list is spread over layer_names0, layer_names1, ... because an HDF5 attribute holds at most 64 kB.
        if key.startswith("layer_names"):
            names += [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs[key]]
    if "model_config" in file.attrs:
        config = file.attrs["model_config"]
        names += _config_names(json.loads(config))
    return "relu" in names if "bn" in names else None


def _config_names(config: Any) -> list[str]:
    """Collect every `name` in a model's configuration, nested models included."""
    if isinstance(config, dict):
        own = [config["name"]] if isinstance(config.get("name"), str) else []
        return own + [name for value in config.values() for name in _config_names(value)]
    if isinstance(config, list):
        return [name for value in config for name in _config_names(value)]
    return []
