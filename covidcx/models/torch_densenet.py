"""DenseNet-121 checkpoints of PyTorch, in all published spellings, as arrays under Keras names.

Read with `torch.load(weights_only=True)` alone: a checkpoint is a file from the internet and a pickle runs code.
"""

import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from covidcx.errors import MissingDependencyError, WeightsError
from covidcx.models.densenet_names import HEAD, backbone_paths

TORCH_EPSILON = 1e-5
KERAS_EPSILON = 1.001e-5

_LABEL_KEYS = ("labels", "class_names", "pathologies")
_IGNORED = re.compile(r"(num_batches_tracked|op_threshs)$")
_KINDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


@dataclass(frozen=True, eq=False)
class Published:
    """What a published weights file holds, under Keras names and in Keras layouts.

    Attributes:
        arrays: float32 by `layer/kind`; the classifier under `head/kernel` (1024 x K) and `head/bias`.
        source: `torch`, `torchxrayvision` or `keras-h5`.
        scaling: input scaling the weights expect, see `covidcx.models.weights.SCALINGS`.
        final_relu: whether a ReLU stood between the last batch normalisation and the pooling.
        labels: label order the file itself records, or None.
        notes: remarks for the record.
    """

    arrays: dict[str, np.ndarray]
    source: str
    scaling: str = "imagenet"
    final_relu: bool = True
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def read_torch(path: Path) -> Published:
    """Read a DenseNet-121 checkpoint: torchvision's, CheXNet's (`arnoweng/CheXNet`) or torchxrayvision's.

    Understood: a state dictionary alone or under `state_dict`; any prefix (`module.densenet121.`, none); `norm.1`
    and `norm1`; a classifier that is a linear layer or a sequence that starts with one. A one-channel first
    convolution (torchxrayvision) is spread over three channels, a third of its weight on each, which gives the same
    numbers for a grey image.

    Args:
        path: `.pth`, `.pth.tar`, `.pt`.

    Returns:
        The arrays. Batch normalisation variances are lowered by 1e-8, the difference between the epsilons of
        Keras's DenseNet and PyTorch's, so that both compute the same.

    Raises:
        MissingDependencyError: PyTorch is not installed.
        WeightsError: the file is damaged, holds more than tensors, or is no DenseNet-121.
    """
    state, labels = _state(path)
    arrays: dict[str, np.ndarray] = {}
    unknown = []
    for key, tensor in state.items():
        if _IGNORED.search(str(key)):
            continue
        name = _keras_path(str(key))
        if name is None or not hasattr(tensor, "detach"):
            unknown.append(str(key))
            continue
        if name in arrays:
            raise WeightsError(f"{path} holds the weights of {name} twice; pass the state of a single DenseNet-121")
        arrays[name] = _keras_layout(name, tensor.detach().float().numpy())
    if unknown:
        raise WeightsError(
            f"{path} is no DenseNet-121 checkpoint: {len(unknown)} unknown keys ({', '.join(unknown[:3])}); "
            "expected keys such as features.denseblock1.denselayer1.norm1.weight and classifier.weight"
        )
    stem = arrays.get("conv1_conv/kernel")
    if stem is None or stem.ndim != 4 or stem.shape[2] != 1:
        return Published(arrays, "torch", labels=labels)
    arrays["conv1_conv/kernel"] = np.repeat(stem / 3.0, 3, axis=2)
    return Published(
        arrays,
        "torchxrayvision",
        scaling="torchxrayvision",
        labels=labels,
        notes=(
            "first convolution spread from one channel to three, a third on each",
            "probabilities are plain sigmoids: torchxrayvision's op_norm rescaling is not applied",
        ),
    )


def _state(path: Path) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a PyTorch checkpoint and PyTorch is not installed; run: pip install torch"
        ) from error
    try:
        loaded = _load(torch, path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as a plain PyTorch checkpoint ({reason}); a whole pickled model is refused: "
            "save torch.save(model.state_dict(), path) in the environment that made it"
        ) from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, expected a dictionary of tensors (a state_dict)")
    lists = [loaded[key] for key in _LABEL_KEYS if isinstance(loaded.get(key), list | tuple)]
    labels = tuple(map(str, lists[0])) if lists else None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded.get(key), dict):
            return loaded[key], labels
    return {key: value for key, value in loaded.items() if key not in _LABEL_KEYS}, labels


def _load(torch: Any, path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnicodeDecodeError:
        # Checkpoints that Python 2 wrote, as CheXNet's, hold byte strings.
        return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")


def _keras_path(key: str) -> str | None:
    """Return the Keras path of a PyTorch key, None where DenseNet-121 has no such weight."""
    match = re.match(r"(?:.*?\.)?(features|classifier)\.(.+)$", key)
    if match is None:
        return None
    part, rest = match.groups()
    if part == "classifier":
        kind = {"weight": "kernel", "bias": "bias"}.get(re.sub(r"^0\.", "", rest))
        return f"{HEAD}/{kind}" if kind else None
    # PyTorch 0.3 named the layers norm.1 and conv.2, later versions norm1 and conv2.
    rest = re.sub(r"\b(norm|conv)\.(\d)\b", r"\1\2", rest)
    layer, _, kind = rest.rpartition(".")
    name = _keras_layer(layer)
    if name is None:
        return None
    kinds = {"weight": "kernel"} if name.endswith("conv") else _KINDS
    path = f"{name}/{kinds.get(kind, '')}"
    return path if path in _PATHS else None


def _keras_layer(layer: str) -> str | None:
    fixed = {"conv0": "conv1_conv", "norm0": "conv1_bn", "norm5": "bn"}
    if layer in fixed:
        return fixed[layer]
    match = re.fullmatch(r"transition(\d)\.(norm|conv)", layer)
    if match:
        return f"pool{int(match[1]) + 1}_{'bn' if match[2] == 'norm' else 'conv'}"
    match = re.fullmatch(r"denseblock(\d)\.denselayer(\d+)\.(norm1|conv1|norm2|conv2)", layer)
    if match is None:
        return None
    kind = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}[match[3]]
    return f"conv{int(match[1]) + 1}_block{match[2]}_{kind}"


def _keras_layout(name: str, values: np.ndarray) -> np.ndarray:
    if name == f"{HEAD}/kernel":
        return values.T
    if name.endswith("/kernel") and values.ndim == 4:
        return values.transpose(2, 3, 1, 0)
    if name.endswith("/moving_variance"):
        return np.maximum(values - np.float32(KERAS_EPSILON - TORCH_EPSILON), 0.0)
    return values


_PATHS = frozenset(backbone_paths())
