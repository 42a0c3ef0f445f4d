"""The folder of a run: what it is called inside, whether it may be written, what its `run.json` says."""

import csv
import importlib.metadata
import io
import json
import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import covidcx
from covidcx.atomic import write_atomic
from covidcx.errors import RecipeError
from covidcx.training.pretraining import Pretraining
from covidcx.training.recipe import Recipe
from covidcx.training.settings import differences

_PACKAGES = (
    "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "opencv-python-headless", "albumentations", "pandas"
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """Files of one training run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe, with every override applied."""
        return self.path / "recipe.json"

    @property
    def record(self) -> Path:
        """Data, seeds, versions, device, time and command."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """One row per epoch."""
        return self.path / "log.csv"

    @property
    def weights(self) -> Path:
        """Float32 weights of the best epoch."""
        return self.path / "best.weights.h5"

    @property
    def predictions(self) -> Path:
        """The best epoch's predictions on the validation rows."""
        return self.path / "val_predictions.csv"

    @property
    def state(self) -> Path:
        """What `--resume` goes on from."""
        return self.path / "state"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def cache(self) -> Path:
        """Where prepared images are kept: what `COVIDCX_CACHE` names, else `.prepared/` beside the run."""
        return Path(os.environ.get("COVIDCX_CACHE", self.path.parent / ".prepared"))

    @property
    def used(self) -> bool:
        """Whether a run was started here."""
        return self.recipe.exists() or self.record.exists() or self.state.exists()

    @property
    def finished(self) -> bool:
        """Whether a run was trained to its end here."""
        done = self.record.is_file() and self.weights.is_file() and self.predictions.is_file()
        return done and read_json(self.record).get("status") == "finished"

    def check(self, recipe: Recipe | Pretraining, data: Mapping[str, Any], resume: bool) -> None:
        """Refuse to mix two runs in one folder; nothing is written.

        Args:
            recipe: what is to be trained.
            data: what identifies the data (split hash and so on); must be the same when resuming.
            resume: go on with the run that lies there.

        Raises:
            RecipeError: another run lies there, or one and `resume` is not set.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RecipeError(f"{self.path} is a file; pass another folder as --out")
        if not self.used:
            return
        if not resume:
            raise RecipeError(f"{self.path} already holds a run; pass --resume to go on with it, or another --out")
        if not self.recipe.is_file():
            raise RecipeError(f"{self.path} holds a run without recipe.json; pass another --out")
        found = differences(read_json(self.recipe), recipe.to_dict(), "recipe")
        if self.record.is_file():
            now = json.loads(json.dumps(data))
            there = read_json(self.record).get("data", {})
            found += differences({key: there.get(key) for key in now}, now, "data")
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise RecipeError(
                f"{self.path} holds another run, it differs in {'; '.join(found[:5])}{more}. "
                "Resume with the same recipe and manifest, or pass another --out"
            )

    def claim(self, recipe: Recipe | Pretraining) -> None:
        """Make the folder and put the recipe into it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.recipe, recipe.to_dict())

    def write_log(self, rows: list[dict[str, float]]) -> None:
        """Write the log anew, whole."""
        text = io.StringIO()
        if rows:
            table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows({k: f"{v:.7g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
        write_atomic(self.log, text.getvalue().encode())

    def read_log(self) -> list[dict[str, float]]:
        """Read the log: one dict per epoch."""
        with self.log.open(newline="", encoding="utf-8") as stream:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def write_json(path: Path, value: Any) -> None:
    """Write JSON; the file is either complete or not there."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RecipeError: the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); pass another --out") from error


def versions() -> dict[str, str]:
    """Return the versions of what decides a result."""
    found = {"covidcx": covidcx.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line(name: str, manifest: Path, out: Path, overrides: Mapping[str, str], verb: str = "train") -> str:
    """Return the command that repeats a run."""
    settings = [part for key, text in overrides.items() for part in ("--set", f"{key}={text}")]
    return shlex.join(["covidcx", verb, name, "--data", str(manifest), "--out", str(out), *settings])
