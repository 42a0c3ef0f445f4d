"""Section 4.4: sensitivity on positives from elsewhere, at a threshold chosen before; Figures 13 and 14.

A set of positives alone has no specificity: the threshold comes from the validation rows and is not moved.
"""

from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.cache import PreparedSet
from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError
from covidcx.evaluation.intervals import bootstrap, mean
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.sheets import Panel, sheet_figure
from covidcx.imaging.overlay import outline
from covidcx.papers.chosen import chosen
from covidcx.papers.comit_net.protocol import COMIT, SPECIFICITY, described, operating_point
from covidcx.papers.comparison import Comparison, skipped
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PUBLISHED = {"bimcv": 0.8546, "armiro": 0.9875, "ml-workgroup": 0.9945}
"""Sensitivity by source: BIMCV-COVID19+ (1,793 of 2,098), and two subsets of the COVID-19 Radiography dataset."""
_METRIC = "sensitivity at the threshold of 90% specificity on val"
_DISEASE, _LUNGS = (255, 82, 82), (0, 176, 255)
_COUNT = 8


def section_4_4(context: Context) -> Result:
    """Call every COVID-19 image that was not learnt from at a fixed threshold; show what was found and what missed."""
    run = trained(context, COMIT)
    threshold = operating_point(run, context)
    outside = _outside(context, (*run.recipe.train_splits, *run.recipe.val_splits))
    prepared = run.prepare(outside)
    found = run.outputs(prepared.images)
    called = found["infection"][:, 0] >= threshold
    source = prepared.rows["source"].fillna("unknown").str.lower().to_numpy()
    learnt = context.manifest.subset(split=list(run.recipe.train_splits), labels=("covid",))
    seen = set(learnt.frame["source"].dropna().str.lower())
    rows: list[Comparison] = []
    for name in sorted(set(source)):
        where = source == name
        value = bootstrap(mean, called[where].astype(float), groups=patients_of(prepared.rows[where]),
                          repeats=context.budget.bootstrap, seed=context.seed)  # fmt: skip
        known = "other patients of it were trained on" if name in seen else "nothing of it was trained on"
        reason = "the source was trained on here" if name in seen else "another training set"
        system = f"{name}, {where.sum()} images ({known})"
        rows.append(context.judge(system, _METRIC, _PUBLISHED.get(name), value, reason))
    missing = [name for name in _PUBLISHED if name not in set(source)]
    rows += [skipped(name, _METRIC, _PUBLISHED[name], "the manifest has no such source") for name in missing]
    pictures = []
    for file, mask, title in (
        ("figure-13.png", called, "Called COVID-19: disease in red, lungs in blue"),
        ("figure-14.png", ~called, "Labelled positive, called negative"),
    ):
        if mask.any():
            pictures.append(save_figure(_gallery(prepared, found, mask, title, context), context.out / file))
    notes = (
        described(run),
        f"Threshold {threshold:.4g}: specificity {SPECIFICITY:.0%} on val, not moved since. Galleries drawn by a hash.",
        "An image that was called negative may truly show nothing: in the paper radiologists saw no abnormality in 115 "
        "of 305 such images.",
    )
    return Result(tuple(rows), figures=tuple(pictures), notes=notes, split_hash=split_hash(context.manifest.frame))


def _outside(context: Context, learnt: tuple[str, ...]) -> Manifest:
    frame = context.rows("section 4.4", labels=("covid",))
    where = context.manifest.frame["image"].isin(frame["image"][~frame["split"].isin(learnt)]).to_numpy()
    if not where.any():
        raise MissingDataError("section 4.4 needs COVID-19 images in a split that is not learnt from, such as test")
    return context.manifest.take(where)


def _gallery(
    prepared: PreparedSet, found: dict[str, np.ndarray], mask: np.ndarray, title: str, context: Context
) -> "Figure":
    panels = []
    for i in chosen(prepared.rows[mask], _COUNT, context.seed).index:
        grey = np.repeat(prepared.images[i, ..., :1], 3, axis=2)
        drawn = grey
        for head, colour in (("lung", _LUNGS), ("disease", _DISEASE)):
            if head in found:
                drawn = outline(drawn, found[head][i, ..., -1] > 0.5, colour)
        panels.append(Panel(drawn, f"P(covid) {found['infection'][i, 0]:.2f}"))
    return sheet_figure(panels, 4, title)


ITEMS = (
    Item("section-4.4", "Unseen COVID-19 images at a fixed threshold (Figs. 13 and 14)", section_4_4,
         "COVID-19 images outside train and val", trains=True),
)  # fmt: skip
