"""Tables 1 to 3: images by source and view, and by task and split, from the manifest."""

from collections import Counter

import numpy as np
import pandas as pd

from covidcx.data.copies import COPIES
from covidcx.data.splits import split_hash
from covidcx.papers.comparison import Table
from covidcx.papers.item import Context, Item, Result
from covidcx.training import heads, recipes

VIEWS = ("PA", "AP")
_PUBLISHED_1 = (
    ("ChestX-ray14", "healthy", 4088, 2688), ("ChestX-ray14", "unhealthy", 3469, 3115),
    ("CheXpert", "healthy", 1331, 2163), ("CheXpert", "unhealthy", 3279, 11305),
)  # fmt: skip
_PUBLISHED_2 = (
    ("GitHub", 26, 50, 76), ("Italy", 39, 30, 69), ("Spain", 110, 0, 110), ("RadioPaedia", 85, 9, 94),
    ("BSTI", 39, 3, 42), ("EuroRad", 18, 6, 24), ("BIMCV-COVID19+", "NA", "NA", 2098),
)  # fmt: skip
_PUBLISHED_3 = {
    "train": {"Lung": 8730, "Disease": 1456, "Normal": 8173, "Covid": 1740, "Others": 16551, "PA": 10161, "AP": 16690},
    "test": {"Lung": 1837, "Disease": 251, "Normal": 2077, "Covid": 2223, "Others": 4097, "PA": 2464, "AP": 3968},
}


def table_1(context: Context) -> Result:
    """Count healthy and unhealthy images that are not COVID-19 by source and view."""
    frame = context.rows("table 1", labels=("normal", "cap", "other"))
    kind = np.where(frame["label"] == "normal", "healthy", "unhealthy")
    rows = []
    for source in sorted(frame["source"].fillna("unknown").unique()):
        for state in ("healthy", "unhealthy"):
            views = _views(frame[(frame["source"].fillna("unknown") == source) & (kind == state)])
            rows.append((source, state, *views, sum(views)))
    header = ("source", "state", *VIEWS, "view unknown", "images")
    ours = Table("Images by source, state and view", header, tuple(rows))
    published = Table("Published", header[:4], _PUBLISHED_1)
    return Result(tables=(ours, published), split_hash=split_hash(context.manifest.frame))


def table_2(context: Context) -> Result:
    """Count COVID-19 images by source and view."""
    frame = context.rows("table 2", labels=("covid",))
    rows = []
    for source in sorted(frame["source"].fillna("unknown").unique()):
        views = _views(frame[frame["source"].fillna("unknown") == source])
        rows.append((source, *views, sum(views)))
    total = _views(frame)
    rows.append(("all", *total, sum(total)))
    ours = Table("COVID-19 images by source and view", ("source", *VIEWS, "view unknown", "images"), tuple(rows))
    published = Table("Published", ("source", *VIEWS, "images"), _PUBLISHED_2)
    return Result(tables=(ours, published), split_hash=split_hash(context.manifest.frame))


def table_3(context: Context) -> Result:
    """Count what each split offers to each task, the training rows with their copies."""
    recipe, rows = recipes.get("comit-net"), []
    for split in [name for name in context.manifest.frame["split"].dropna().unique() if name]:
        part = context.manifest.subset(split=[split])
        times = np.where(part.frame["label"].isin(recipe.copies), len(COPIES), 1)
        times = times if split in recipe.train_splits else np.ones(len(part), int)
        infection = heads.get("infection").truth(part)
        healthy = heads.get("healthy").truth(part)[:, 1]
        view = part.frame["view"].to_numpy(object)
        counted = {
            "Lung": heads.get("lung").known(part),
            "Disease": heads.get("disease").known(part),
            "Normal": healthy == 1,
            "Covid": infection[:, 0] == 1,
            "Others": infection[:, 1] == 1,
            **{name: view == name for name in VIEWS},
        }
        rows.append((split, *(int((times * mask).sum()) for mask in counted.values())))
    header = ("split", *_PUBLISHED_3["train"])
    ours = Table("Images by split, task and view", header, tuple(rows))
    published = Table(
        "Published", header, tuple((split, *values.values()) for split, values in _PUBLISHED_3.items())
    )
    notes = (
        f"An image of {', '.join(recipe.copies)} in {', '.join(recipe.train_splits)} counts {len(COPIES)} times: "
        "itself and five changed copies (section 3.1).",
        *(f"Head {head} learns from {', '.join(splits)} alone." for head, splits in recipe.head_splits.items()),
    )
    return Result(tables=(ours, published), notes=notes, split_hash=split_hash(context.manifest.frame))


def _views(frame: pd.DataFrame) -> tuple[int, ...]:
    counts = Counter(frame["view"].where(frame["view"].isin(VIEWS), "unknown"))
    return (*(counts[view] for view in VIEWS), counts["unknown"])


ITEMS = (
    Item("table-1", "Databases: healthy and unhealthy by view", table_1, "labels and views"),
    Item("table-2", "COVID-19 databases by view", table_2, "labels and views"),
    Item("table-3", "Train and test split across tasks, classes and views", table_3, "labels, masks and views"),
)
