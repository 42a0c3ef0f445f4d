"""The tables of studies behind each experiment: 80/20, five folds, positive and negative, the pre-training sets.

Every table is written in a folder of its own below `Context.work`, with its boxes beside it, so that the command line
can be pointed at it too. Splits are by patient. The paper has no validation rows: an eighth of its 80% is taken from
training to choose the checkpoint on, so that the test rows are looked at once.
"""

from dataclasses import replace

from covidcx.data.manifest import Manifest, box_problems, boxes_beside, pd, read_boxes
from covidcx.data.phantom import write_phantom
from covidcx.data.prepare import reroot, write_or_remove, write_table
from covidcx.data.splits import folds, split_by_patient
from covidcx.errors import ManifestError, MissingDataError
from covidcx.papers.item import Context
from covidcx.training.heads.appearance import CLASSES
from covidcx.training.heads.findings import truth_of
from covidcx.training.heads.opacity import FREE, OPACITIES, unread

FOLDS = 5
NEGATIVE, POSITIVE = "negative", "positive"
_PATHS = ("image", "lung_mask", "lung_mask_2", "disease_mask")


def eighty_twenty(context: Context) -> Context:
    """Return the context with the paper's 80/20 split: 70% train, 10% val, 20% test, by patient.

    Raises:
        MissingDataError: no row has one of the four appearances.
        ManifestError: an appearance is absent from a part.
    """
    frame = split_by_patient(_appearances(context), {"train": 0.7, "val": 0.1, "test": 0.2}, context.seed)
    _check_parts(frame)
    return _written(context, "split", frame)


def fold(context: Context, number: int) -> Context:
    """Return the context with one of five folds as test; an eighth of the rest is val.

    Args:
        context: of the item.
        number: 0 to 4.

    Raises:
        MissingDataError: no row has one of the four appearances.
        ManifestError: an appearance is absent from a fold or a part.
    """
    frame = _appearances(context)
    part = folds(frame, FOLDS, context.seed)
    rest = split_by_patient(frame[part != number], {"train": 0.875, "val": 0.125}, context.seed)
    whole = pd.concat([rest, frame[part == number].assign(split="test")]).sort_index()
    _check_parts(whole)
    return _written(context, f"fold{number}", whole)


def positive_negative(context: Context) -> Context:
    """Return the 80/20 split with the three appearances of pneumonia as one label."""
    split = eighty_twenty(context)
    frame = split.manifest.frame
    label = frame["label"].where(frame["label"] == NEGATIVE, POSITIVE)
    return _written(replace(context, manifest_path=split.manifest_path), "binary", frame.assign(label=label))


def findings_set(context: Context) -> Context:
    """Return what stage 1 learns from: findings of ChestX-ray14.

    On the phantom that is a second phantom with twelve of the fourteen findings. Of real images it is the manifest's
    rows whose findings are ChestX-ray14's and whose label is none of the four appearances.

    Raises:
        MissingDataError: the manifest has none.
    """
    if context.phantom:
        return _phantom(context, "phantom-findings", "comit-net", 1)
    from covidcx.data.sources.nih import FINDINGS

    frame = context.manifest.frame
    known = ~pd.isna(truth_of(context.manifest, FINDINGS)).all(axis=1)
    return _pretraining(context, "findings", frame[known & ~frame["label"].isin(CLASSES)], "findings of ChestX-ray14")


def opacity_set(context: Context) -> Context:
    """Return what stage 2 learns from: images with and without opacities, and boxes (the RSNA challenge).

    On the phantom that is a third phantom: normal chests and pneumonias. Of real images it is the manifest's rows of
    label normal, of label other where a reader saw no opacity, and of label cap where a box is drawn.

    Raises:
        MissingDataError: the manifest has none.
    """
    if context.phantom:
        return _phantom(context, "phantom-opacities", "covid-cxnet", 2)
    frame = context.manifest.frame
    drawn = (frame["label"] == "cap") & frame["image"].isin(OPACITIES.boxes(context.manifest))
    free = frame["label"].isin(FREE) & (frame["label"] != NEGATIVE) & ~unread(context.manifest)
    keep = free | drawn
    return _pretraining(context, "opacities", frame[keep], "boxes of opacities (covidcx data prepare rsna)")


def unlabelled_set(context: Context) -> Context:
    """Return the images that self-supervision learns from, whose labels nobody looks at.

    On the phantom that is stage 1's phantom. Of real images it is the manifest's rows that show none of the four
    appearances (the paper takes CheXpert), so that no test image was seen before.

    Raises:
        MissingDataError: the manifest has none.
    """
    if context.phantom:
        return findings_set(context)
    frame = context.manifest.frame
    return _pretraining(context, "unlabelled", frame[~frame["label"].isin(CLASSES)], "images of another data set")


def _appearances(context: Context) -> pd.DataFrame:
    return context.rows("four-class appearance", labels=CLASSES).reset_index(drop=True)


def _check_parts(frame: pd.DataFrame) -> None:
    counts = frame.groupby(["split", "label"]).size().unstack(fill_value=0).reindex(columns=list(CLASSES), fill_value=0)
    empty = [f"{label} in {split}" for split, row in counts.iterrows() for label in CLASSES if not row[label]]
    if empty:
        raise ManifestError(
            f"no image of {', '.join(empty)}: a class that is absent cannot be learnt or measured; add patients of it"
        )


def _phantom(context: Context, name: str, labels: str, offset: int) -> Context:
    frame = context.manifest.frame
    path = write_phantom(
        context.work / name, patients=int(frame["patient_id"].nunique()), size=int(frame["width"].iloc[0]),
        seed=context.seed + offset, labels=labels, splits={"train": 0.85, "val": 0.15},
    )  # fmt: skip
    return replace(context, manifest_path=path)


def _pretraining(context: Context, name: str, frame: pd.DataFrame, what: str) -> Context:
    if frame.empty:
        raise MissingDataError(
            f"pre-training needs rows with {what}; {context.manifest_path.name} has none: covidcx data merge adds them"
        )
    parts = split_by_patient(frame.reset_index(drop=True), {"train": 0.85, "val": 0.15}, context.seed)
    return _written(context, name, parts)


def _written(context: Context, name: str, frame: pd.DataFrame) -> Context:
    """Write a table with its boxes, unless it is there already, and return the context on it."""
    old, folder = context.manifest.root, context.work / "tables" / name
    frame = frame.copy()
    boxes = _boxes(context, frame)
    for column in _PATHS:
        frame[column] = reroot(frame[column], old, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "manifest.csv", frame)
    if boxes is not None:
        boxes["image"] = reroot(boxes["image"], old, folder)
    write_or_remove(folder / "boxes.csv", boxes)
    return replace(context, manifest_path=folder / "manifest.csv")


def _boxes(context: Context, frame: pd.DataFrame) -> pd.DataFrame | None:
    path = boxes_beside(context.manifest_path)
    if path is None:
        return None
    boxes = read_boxes(path)
    boxes = boxes[boxes["image"].isin(frame["image"])]
    problems = box_problems(boxes, Manifest(frame, context.manifest.root, context.manifest_path))
    if problems:
        raise ManifestError(f"{path} has {len(problems)} boxes that do not fit their image: {problems[0]}; mend them")
    return boxes.reset_index(drop=True)
