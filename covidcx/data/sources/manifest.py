"""A folder that already holds a `manifest.csv` in the house's own schema, such as the phantom or the shared set.

Citation: that of the images in it.
Licence: per image, column `licence`.
Where: `covidcx data phantom --out phantom` writes one.
Tree:
    manifest.csv   columns image, patient_id, label, split, ...
    boxes.csv      optional
    (the images that the table names)
"""

from pathlib import Path

import numpy as np

from covidcx.data.manifest import LABELS, VIEWS, Manifest, read_boxes
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import FRONTAL, NO_FILE, NOT_FRONTAL, UNKNOWN_LABEL, nothing_usable

SOURCE = Source(
    name="manifest",
    title="a folder with a manifest.csv",
    citation="that of the images in it",
    licence="per image, column `licence`",
    url="covidcx data phantom --out phantom",
    images=None,
    labels=LABELS,
    views=VIEWS,
    masks=("lung", "disease", "boxes"),
    tree=tree_of(__doc__),
)


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the folder's `manifest.csv`.

    Raises:
        ManifestError: there is none, it lacks a required column, or no image of it is there.
    """
    if not (folder / "manifest.csv").is_file():
        raise nothing_usable(folder, SOURCE, "manifest.csv is not there")
    manifest = Manifest.read(folder)
    frame, keep, skipped = manifest.frame, np.ones(len(manifest), bool), []
    for row, (image, label, view) in enumerate(zip(frame["image"], frame["label"], frame["view"], strict=True)):
        reason = None
        if not manifest.file(str(image)).is_file():
            reason = NO_FILE
        elif isinstance(label, str) and label not in LABELS:
            reason = UNKNOWN_LABEL
        elif isinstance(view, str) and view not in FRONTAL and not all_views:
            reason = NOT_FRONTAL
        if reason:
            keep[row] = False
            skipped.append((str(image), reason))
    if not keep.any():
        raise nothing_usable(folder, SOURCE, "no image of manifest.csv is there")
    kept = manifest.take(keep)
    boxes = read_boxes(folder) if (folder / "boxes.csv").is_file() else None
    if boxes is not None:
        boxes = boxes[boxes["image"].isin(kept.frame["image"])].reset_index(drop=True)
    return Reading(kept, boxes, tuple(skipped))
