"""A trained model's folder: weights, and the `bundle.json` that says everything needed to run them rightly.

`bundle.json` holds a SHA-256 of every file beside it and one of its own content, so a changed byte anywhere is refused.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidcx.atomic import write_atomic
from covidcx.decision import calibrate as calibrate
from covidcx.decision import decide as decide
from covidcx.errors import BundleError, ImageError, did_you_mean
from covidcx.finding import DISCLAIMER
from covidcx.imaging.preprocessing import Preprocessing

FORMAT = 1
"""Version of the `bundle.json` layout; a newer one is refused, an older one would be read here."""

BUNDLE_FILE = "bundle.json"
TASKS = ("segment", "classify", "multi")
GATE_LABEL = "frontal"
"""Class of a gate that lets an image pass."""
DISEASE_OUTPUTS = ("disease", "opacity")
"""Outputs of a network that mark disease; the first that it has counts."""
_FIELDS = (
    "name", "task", "labels", "heads", "preprocessing", "model", "operating_points", "temperature", "segmenter",
    "gate", "training", "metrics", "licence", "data_licences", "disclaimer",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "heads": {}, "operating_points": {}, "temperature": 1.0, "segmenter": None, "gate": None, "training": {},
    "metrics": {}, "data_licences": [], "disclaimer": DISCLAIMER,
}  # fmt: skip
# Fields that bundles written before them lack; their default holds there.
_LATER = ("gate", "heads")
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,), "task": (str,), "labels": (list,), "preprocessing": (dict,), "model": (dict,),
    "operating_points": (dict,), "temperature": (int, float), "segmenter": (str, type(None)),
    "gate": (str, type(None)), "heads": (dict,), "training": (dict,), "metrics": (dict,),
    "licence": (str,), "data_licences": (list,), "files": (dict,), "disclaimer": (str,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: where it lies.
        name: the bundle's name, which is its folder's name in `saved_models/`.
        task: `segment`, `classify`, or `multi`: a classifier that has further outputs, such as masks.
        labels: class of each channel of the output `lung` or `probabilities`, in order.
        heads: classes of every trained output of a `multi` bundle, by the output's name; of a mask, what its last
            channel is.
        preprocessing: how a radiograph becomes the network's input.
        model: `{"name": ..., "kwargs": {...}}` for `covidcx.models.build`.
        operating_points: `{label: {"threshold": t, "rule": how it was chosen}}`, on calibrated probabilities.
        temperature: see `calibrate`; not part of the exported graph.
        segmenter: name of the lung segmenter's bundle, or None.
        gate: name of the bundle that refuses what is no upright frontal chest radiograph, or None.
        training: data, split hash, recipe, command, seed and date.
        metrics: measured figures.
        licence: licence of the weights.
        data_licences: licences of the data they were trained on.
        files: SHA-256 of every file in the folder.
        disclaimer: shown with every result.
        checksum: SHA-256 of `bundle.json`'s content, and so of everything above.
    """

    folder: Path
    name: str
    task: str
    labels: tuple[str, ...]
    heads: dict[str, list[str]]
    preprocessing: Preprocessing
    model: dict[str, Any]
    operating_points: dict[str, dict[str, Any]]
    temperature: float
    segmenter: str | None
    gate: str | None
    training: dict[str, Any]
    metrics: dict[str, Any]
    licence: str
    data_licences: tuple[str, ...]
    files: dict[str, str]
    disclaimer: str
    checksum: str

    @classmethod
    def open(cls, name_or_path: str | Path) -> "Bundle":
        """Find a bundle, verify every checksum and read it.

        Args:
            name_or_path: a name (looked up in `search_folders()`) or the folder itself.

        Returns:
            The bundle.

        Raises:
            BundleError: not found, incomplete, altered, or written by a newer covidcx.
        """
        folder = _locate(name_or_path)
        value = _read_json(folder / BUNDLE_FILE)
        _check_fields(folder, value)
        for filename, expected in value["files"].items():
            _verify(folder, filename, expected)
        try:
            preprocessing = Preprocessing.from_dict(value["preprocessing"])
        except (ImageError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / BUNDLE_FILE}: field 'preprocessing' is unusable: {error}") from error
        return cls(
            folder=folder,
            preprocessing=preprocessing,
            labels=tuple(value["labels"]),
            data_licences=tuple(value["data_licences"]),
            temperature=float(value["temperature"]),
            files=dict(value["files"]),
            checksum=value["checksum"],
            **{
                key: value.get(key, _DEFAULTS.get(key))
                for key in _FIELDS
                if key not in ("preprocessing", "labels", "data_licences", "temperature")
            },
        )

    @property
    def classifies(self) -> bool:
        """Whether it gives the probabilities of its labels."""
        return self.task != "segment"

    def path(self, filename: str) -> Path:
        """Return the path of one of the bundle's files.

        Raises:
            BundleError: the bundle has no such file.
        """
        if filename not in self.files:
            raise BundleError(f"bundle {self.name!r} has no file {filename!r}.{did_you_mean(filename, self.files)}")
        return self.folder / filename

    def _beside(self, name: str) -> "Bundle":
        """Open a bundle that this one names: the one in the same folder, else by name."""
        beside = self.folder.parent / name
        return Bundle.open(beside if (beside / BUNDLE_FILE).is_file() else name)

    def open_segmenter(self) -> "Bundle | None":
        """Open the lung segmenter's bundle: the one beside this bundle, else by name; None where none is needed.

        Raises:
            BundleError: it is missing, altered, or no segmenter.
        """
        if self.segmenter is None:
            return None
        segmenter = self._beside(self.segmenter)
        if segmenter.task != "segment":
            raise BundleError(
                f"bundle {self.name!r} names {self.segmenter!r} as its lung segmenter, but that is a bundle of task "
                f"{segmenter.task!r}; name one of task 'segment'"
            )
        return segmenter

    def open_gate(self) -> "Bundle | None":
        """Open the gate's bundle: the one beside this bundle, else by name; None where there is none.

        Raises:
            BundleError: it is missing, altered, or no gate.
        """
        if self.gate is None:
            return None
        gate = self._beside(self.gate)
        if gate.task != "classify" or GATE_LABEL not in gate.operating_points or gate.preprocessing.needs_lungs:
            raise BundleError(
                f"bundle {self.name!r} names {self.gate!r} as its gate, but that is no classifier of whole images with "
                f"an operating point for {GATE_LABEL!r}; name one such as frontal-gate"
            )
        return gate


def search_folders() -> tuple[Path, ...]:
    """Return the folders in which bundle names are looked up, in order."""
    listed = [Path(p) for p in os.environ.get("COVIDCX_BUNDLES", "").split(os.pathsep) if p]
    return (
        *listed,
        Path("saved_models"),
        Path(__file__).resolve().parents[1] / "saved_models",
        Path(sys.prefix) / "share" / "covidcx" / "saved_models",
    )


def names() -> tuple[str, ...]:
    """Return the names of all bundles that can be found."""
    found = {entry.parent.name for folder in search_folders() for entry in folder.glob(f"*/{BUNDLE_FILE}")}
    return tuple(sorted(found))


def write_bundle_json(folder: str | Path, **fields: Any) -> Path:
    """Write `bundle.json` into a folder whose other files are complete: checksums of all of them, atomically.

    Args:
        folder: the bundle's folder.
        **fields: the fields of `Bundle` without `folder`, `files` and `checksum`; `preprocessing` may be a
            `Preprocessing`. `heads`, `operating_points`, `temperature`, `segmenter`, `gate`, `training`, `metrics`,
            `data_licences` and `disclaimer` have defaults.

    Returns:
        Path of the written file.

    Raises:
        BundleError: a field is missing, unknown or of the wrong kind.
    """
    folder = Path(folder)
    for key in fields:
        if key not in _FIELDS:
            raise BundleError(f"unknown bundle field {key!r}.{did_you_mean(key, _FIELDS)}")
    value = {"format": FORMAT, **_DEFAULTS, **fields}
    if isinstance(value.get("preprocessing"), Preprocessing):
        value["preprocessing"] = value["preprocessing"].to_dict()
    value["files"] = {
        path.name: _sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != BUNDLE_FILE and not path.name.startswith(".")
    }
    try:
        value = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"the fields of bundle {value.get('name')!r} cannot be written as JSON: {error}") from error
    value["checksum"] = _own_checksum(value)
    _check_fields(folder, value)
    target = folder / BUNDLE_FILE
    write_atomic(target, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
    return target


def update_bundle(folder: str | Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> Path:
    """Verify a bundle, then replace some of its files and fields, such as a model card and its metrics.

    Args:
        folder: the bundle's folder.
        files: new content by file name.
        **changes: fields of `Bundle` to replace.

    Returns:
        Path of `bundle.json`.

    Raises:
        BundleError: the bundle was altered before, or a change is unusable.
    """
    bundle = Bundle.open(Path(folder))
    kept = {key: getattr(bundle, key) for key in _FIELDS}
    for filename, content in (files or {}).items():
        write_atomic(bundle.folder / filename, content)
    return write_bundle_json(bundle.folder, **{**kept, **changes})


def _locate(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.name == BUNDLE_FILE:
        path = path.parent
    if (path / BUNDLE_FILE).is_file():
        return path
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or path.is_absolute() or len(path.parts) > 1 or text.startswith("."):
        state = f"holds no {BUNDLE_FILE}" if path.is_dir() else "is no folder"
        raise BundleError(f"no bundle at {text!r}: it {state}; give a bundle's folder or one of the names: "
                          f"{', '.join(names()) or 'none found'}")  # fmt: skip
    for folder in search_folders():
        if (folder / text / BUNDLE_FILE).is_file():
            return folder / text
    known = names()
    hint = did_you_mean(text, known) if known else f" No bundles in {', '.join(map(str, search_folders()))}."
    raise BundleError(f"unknown bundle {text!r}.{hint}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); fetch the bundle again") from error
    except ValueError as error:
        raise BundleError(f"{path} is no valid JSON ({error}); fetch the bundle again") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path} holds a {type(value).__name__} instead of an object; fetch the bundle again")
    return value


def _check_fields(folder: Path, value: dict[str, Any]) -> None:
    """Raise BundleError unless the dictionary is a sound `bundle.json`."""
    path = folder / BUNDLE_FILE
    version = value.get("format")
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{path}: 'format' is {version!r}, expected the number {FORMAT}; fetch the bundle again")
    if version > FORMAT:
        raise BundleError(
            f"{path} has format {version}, this covidcx reads up to {FORMAT}; upgrade with: pip install -U covidcx"
        )
    for key, types in _TYPES.items():
        if key not in value and key in _LATER:
            continue
        if key not in value:
            raise BundleError(f"{path}: field {key!r} is missing; fetch the bundle again")
        if not isinstance(value[key], types) or isinstance(value[key], bool):
            expected = " or ".join(t.__name__ for t in types)
            raise BundleError(f"{path}: field {key!r} is {value[key]!r}, expected {expected}")
    expected, found = str(value.get("checksum")), _own_checksum(value)
    if expected != found:
        raise BundleError(_altered(path, expected, found))
    _check_values(path, value)


def _check_values(path: Path, value: dict[str, Any]) -> None:
    labels = value["labels"]
    if value["task"] not in TASKS:
        raise BundleError(f"{path}: task is {value['task']!r}, expected one of {', '.join(TASKS)}")
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) != len(labels):
        raise BundleError(f"{path}: labels are {labels!r}, expected distinct names in the order of the outputs")
    if not (math.isfinite(value["temperature"]) and value["temperature"] > 0):
        raise BundleError(f"{path}: temperature is {value['temperature']}, expected a positive number")
    if not isinstance(value["model"].get("name"), str) or not isinstance(value["model"].get("kwargs"), dict):
        raise BundleError(f"{path}: model is {value['model']!r}, expected {{'name': ..., 'kwargs': {{...}}}}")
    for label, point in value["operating_points"].items():
        if label not in labels:
            raise BundleError(f"{path}: operating point for the unknown label {label!r}.{did_you_mean(label, labels)}")
        threshold = point.get("threshold") if isinstance(point, dict) else None
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
            raise BundleError(f"{path}: operating point of {label!r} is {point!r}, expected a threshold within 0..1")
    if value["task"] != "segment" and value["preprocessing"].get("roi") and not value["segmenter"]:
        raise BundleError(f"{path}: the preprocessing needs lungs but 'segmenter' is null; name a segmenter bundle")


def _own_checksum(value: dict[str, Any]) -> str:
    content = {key: entry for key, entry in value.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _verify(folder: Path, filename: str, expected: str) -> None:
    if Path(filename).name != filename:
        raise BundleError(f"{folder / BUNDLE_FILE} names the file {filename!r} outside its folder; do not use it")
    path = folder / filename
    if not path.is_file():
        raise BundleError(f"{path} is missing although {BUNDLE_FILE} lists it; fetch the bundle again")
    try:
        found = _sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if found != expected:
        raise BundleError(_altered(path, str(expected), found))


def _altered(path: Path, expected: str, found: str) -> str:
    return (
        f"{path} was altered or damaged: checksum {expected[:12]} expected, {found[:12]} found; "
        "restore it (git checkout) or fetch the bundle again"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
