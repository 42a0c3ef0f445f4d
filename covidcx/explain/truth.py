"""Lung masks, disease masks and boxes of a manifest, found by file, to measure heat maps against."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from covidcx.errors import ExplainError, ImageError, ManifestError
from covidcx.imaging.masks import read_levels
from covidcx.imaging.orientation import UPRIGHT, Turn

Box = tuple[float, float, float, float]

# Masks hold 255 inside, 127 ignore, 0 outside (lungs), or 128 and 255 for two kinds of disease.
_INSIDE, _MARKED = 191, 63


@dataclass(frozen=True, eq=False)
class Regions:
    """What is known about one image.

    Attributes:
        lungs: bool, H x W, or None.
        ignored: bool, H x W: neither inside nor outside the lungs; None without lungs.
        target: bool H x W disease mask, or boxes as x, y, width, height, or None.
    """

    lungs: np.ndarray | None = None
    ignored: np.ndarray | None = None
    target: np.ndarray | Sequence[Box] | None = None


@dataclass(frozen=True)
class Truth:
    """Masks and boxes by image file.

    Attributes:
        lungs: lung mask file by image file.
        disease: disease mask file by image file.
        boxes: boxes by image file.
    """

    lungs: dict[Path, Path] = field(default_factory=dict)
    disease: dict[Path, Path] = field(default_factory=dict)
    boxes: dict[Path, list[Box]] = field(default_factory=dict)

    def of(self, path: Path, shape: tuple[int, int], turn: Turn = UPRIGHT) -> Regions:
        """Read what is known about an image.

        Args:
            path: the image file.
            shape: its height and width, upright.
            turn: what brought it upright (`Radiograph.turn`); masks and boxes are turned likewise.

        Returns:
            Its regions; all None for a file the manifest does not list.

        Raises:
            ExplainError: a mask is missing, unreadable or of another shape.
        """
        key = Path(path).resolve()
        lungs = ignored = target = None
        if key in self.lungs:
            mask = _mask(self.lungs[key], shape, turn)
            lungs = mask > _INSIDE
            ignored = (mask > _MARKED) & ~lungs
        if key in self.disease:
            marked = _mask(self.disease[key], shape, turn) > _MARKED
            target = marked if marked.any() else None
        if target is None and key in self.boxes:
            target = [tuple(box) for box in turn.boxes(self.boxes[key], shape).tolist()]
        return Regions(lungs, ignored, target)


def read_truth(manifest: Path) -> Truth:
    """Read the mask columns of a manifest, and `boxes.csv` beside it where there is one.

    Args:
        manifest: CSV file with the column `image`, or a folder that holds `manifest.csv`.

    Returns:
        The files and boxes by resolved image path.

    Raises:
        ManifestError: a table cannot be read, or lacks its columns.
    """
    path = Path(manifest)
    path = path / "manifest.csv" if path.is_dir() else path
    root, truth = path.parent, Truth()
    for row in _rows(path, ("image",)):
        image = (root / row["image"]).resolve()
        for column, masks in (("lung_mask", truth.lungs), ("disease_mask", truth.disease)):
            if row.get(column):
                masks[image] = root / row[column]
    boxes = root / "boxes.csv"
    if boxes.is_file():
        for line, row in enumerate(_rows(boxes, ("image", "x", "y", "width", "height")), 2):
            try:
                box = tuple(float(row[key]) for key in ("x", "y", "width", "height"))
            except ValueError as error:
                raise ManifestError(f"{boxes}, line {line}: a box is four numbers ({error})") from error
            truth.boxes.setdefault((root / row["image"]).resolve(), []).append(box)
    return truth


def _rows(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in required if column not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} cannot be read as a table ({error}); give a manifest.csv") from error
    if missing:
        raise ManifestError(f"{path} lacks the columns {', '.join(missing)}; see the manifest's schema")
    return rows


def _mask(path: Path, shape: tuple[int, int], turn: Turn) -> np.ndarray:
    try:
        return read_levels(path, shape, turn)
    except ImageError as error:
        raise ExplainError(f"{error}; correct the manifest") from error
