"""Where lungs and findings lie: masks and boxes of a manifest as targets on a network's grid; unknown stays unknown."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidcx.data.cache import BACKGROUND, IGNORE, LUNG, PreparedSet, read_mask
from covidcx.data.instances import split_instances
from covidcx.data.manifest import Manifest, boxes_beside, read_boxes
from covidcx.imaging.masks import read_levels
from covidcx.imaging.orientation import Turn
from covidcx.imaging.resize import resize_area

LUNG_BOXES = ("lung", "left lung", "right lung")
"""Findings in `boxes.csv` that mark a lung; every other box marks a finding."""

Boxes = dict[str, list[tuple[float, float, float, float]]]


def read_findings(path: Path, shape: tuple[int, int], turn: Turn) -> np.ndarray:
    """Read a disease mask file (0 none, any other level a finding): int8, H x W, 1 and 0."""
    return (read_levels(path, shape, turn) > 0).astype(np.int8)


@dataclass(frozen=True)
class Region:
    """What says where something is, in this order: a mask file, boxes drawn solid, a label that excludes it.

    Attributes:
        column: the manifest's column of mask files, or None.
        read: reads such a file, given its upright image's shape and turn, as int8, H x W: 1 inside, 0 outside, -1
            ignored.
        box: whether a box with this finding belongs to it.
        absent: labels of images that have none of it, and so an empty mask.
        boxed: whether a mask file becomes its two boxes drawn solid, as COMiT-Net's lungs were annotated.
    """

    column: str | None = None
    read: Callable[[Path, tuple[int, int], Turn], np.ndarray] = read_mask
    box: Callable[[str], bool] = lambda finding: False
    absent: tuple[str, ...] = ()
    boxed: bool = False

    def known(self, manifest: Manifest) -> np.ndarray:
        """Return bool, N: of which rows the region is known."""
        frame = manifest.frame
        found = frame["image"].isin(self.boxes(manifest)).to_numpy() | frame["label"].isin(self.absent).to_numpy()
        return found if self.column is None else found | frame[self.column].notna().to_numpy()

    def boxes(self, manifest: Manifest) -> Boxes:
        """Return the region's boxes by image, from the table beside the manifest where there is one."""
        found: Boxes = defaultdict(list)
        path = boxes_beside(manifest.path)
        if path is not None:
            for row in read_boxes(path).itertuples():
                if self.box(str(row.finding).strip().lower()):
                    found[row.image].append((row.x, row.y, row.width, row.height))
        return dict(found)

    def on_grid(self, manifest: Manifest, prepared: PreparedSet) -> np.ndarray:
        """Return the region as targets of prepared images.

        Args:
            manifest: the rows of `prepared`, in its order.
            prepared: from `covidcx.data.cache.prepare_manifest`.

        Returns:
            int8, N x H x W x 1: 1 inside, 0 outside, -1 ignored; -1 everywhere where the region is unknown.

        Raises:
            ImageError: a mask file is unreadable or does not fit its image.
        """
        boxes, size = self.boxes(manifest), prepared.images.shape[1:3]
        targets = np.full((len(manifest), *size, 1), IGNORE, np.int8)
        for i, row in enumerate(manifest.frame.to_dict("records")):
            geometry = prepared.geometry(i)
            mask = self.mask(manifest, row, geometry.shape, boxes, prepared.turn(i))
            if mask is not None:
                targets[i, ..., 0] = shrink(mask, geometry.box, size)
        return targets

    def mask(
        self, manifest: Manifest, row: Mapping[str, object], shape: tuple[int, int], boxes: Boxes, turn: Turn
    ) -> np.ndarray | None:
        """Return the region of one image in its own pixels.

        Args:
            manifest: the table, whose folder the mask files lie in.
            row: the image's cells by column.
            shape: its height and width.
            boxes: from `boxes`.
            turn: how the image was turned upright when it was read (`Radiograph.turn`); masks turn with it.

        Returns:
            int8, H x W: 1 inside, 0 outside, -1 ignored; None where the region is unknown.

        Raises:
            ImageError: the mask file is unreadable or does not fit the image.
        """
        if self.column is not None and isinstance(row[self.column], str):
            mask = self.read(manifest.file(row[self.column]), shape, turn)
            return as_boxes(mask) if self.boxed else mask
        if row["image"] in boxes:
            return solid(turn.boxes(boxes[row["image"]], shape).tolist(), shape)
        return np.full(shape, BACKGROUND, np.int8) if row["label"] in self.absent else None


LUNGS = Region("lung_mask", read_mask, lambda finding: finding in LUNG_BOXES)
FINDINGS = Region("disease_mask", read_findings, lambda finding: finding not in LUNG_BOXES)


def solid(boxes: list[tuple[float, float, float, float]], shape: tuple[int, int]) -> np.ndarray:
    """Draw boxes as solid rectangles (COMiT-Net section 3.2).

    Args:
        boxes: x, y (top left), width, height in pixels; parts outside the image are cut off.
        shape: height and width of the image.

    Returns:
        int8, H x W: 1 inside, 0 outside.
    """
    mask = np.full(shape, BACKGROUND, np.int8)
    for x, y, width, height in boxes:
        top, left = max(round(y), 0), max(round(x), 0)
        mask[top : max(round(y + height), 0), left : max(round(x + width), 0)] = LUNG
    return mask


def as_boxes(mask: np.ndarray, most: int = 2) -> np.ndarray:
    """Draw solid boxes around the largest connected pieces of a mask (COMiT-Net section 3.2).

    Args:
        mask: int8, H x W: 1 inside, 0 outside, -1 ignored.
        most: number of pieces; smaller ones get no box. Lungs that touch are one piece and one box.

    Returns:
        int8, H x W: 1 in a box, -1 where the mask or a further piece is ignored outside the boxes, else 0.
    """
    planes = split_instances(mask, most)
    found = np.where((planes == IGNORE).any(axis=-1), np.int8(IGNORE), np.int8(BACKGROUND))
    for plane in np.moveaxis(planes == LUNG, -1, 0):
        if plane.any():
            y, x = np.nonzero(plane)
            found[y.min() : y.max() + 1, x.min() : x.max() + 1] = LUNG
    return found


def shrink(mask: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Bring a mask onto a network's grid and keep every ignored spot, however thin.

    Args:
        mask: int8, H x W of the original: 1, 0, -1.
        box: top, bottom, left, right of the part that the network sees.
        size: height and width of the grid.

    Returns:
        int8, size: 1 where most of a cell is inside, -1 where any of it is ignored.
    """
    top, bottom, left, right = box
    part = mask[top:bottom, left:right]
    small = (resize_area(part == LUNG, *size) > 0.5).astype(np.int8)
    small[resize_area(part == IGNORE, *size) > 1e-6] = IGNORE
    return small
