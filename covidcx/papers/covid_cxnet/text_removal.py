"""Figure 17: burned-in dates and letters taken out, and what that does to a model."""

import numpy as np
import pandas as pd

from covidcx.data.splits import split_hash
from covidcx.evaluation.intervals import bootstrap_all, mean
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.roc import auc
from covidcx.evaluation.sheets import Panel, heat_panel, sheet_figure
from covidcx.explain import heat_inside
from covidcx.imaging.overlay import outline
from covidcx.imaging.resize import to_uint8
from covidcx.imaging.text import remove_text
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.covid_cxnet.images import Study, studies
from covidcx.papers.covid_cxnet.measures import Looking
from covidcx.papers.covid_cxnet.models import CXNET_V1, run_of, start_of
from covidcx.papers.item import Context, Item, Result
from covidcx.progress import track

_EXAMPLES = 3
_MARK = (255, 90, 90)
_METRICS = {"heat on the marks": None, "mean change of p(COVID-19)": None, "AUC before": None, "AUC after": None}


def figure_17(context: Context) -> Result:
    """Remove burned-in marks from every test image; show the most marked and measure what changes in COVID-CXNet v1."""
    frame = context.rows("figure-17", split=("test",), labels=("normal", "covid"))
    marked: list[tuple[Study, np.ndarray, np.ndarray]] = []
    found, kept = [], []
    for study in track(studies(context, frame), "marks", total=len(frame)):
        clean, mask = remove_text(study.pixels, study.lungs)
        found.append(float(mask.mean()))
        kept.append(study.row)
        # Only the most marked are kept in memory.
        marked = sorted([*marked, (study, clean, mask)], key=lambda entry: -entry[2].mean())[:_EXAMPLES]
    shares, frame = np.array(found), pd.DataFrame(kept)
    figures = [save_figure(sheet_figure(_pairs(marked), 2, "Text removal"), context.out / "figure-17.png")]
    share = bootstrap_all(
        {"share": lambda w: mean((shares > 0).astype(float), w)}, patients_of(frame), context.budget.bootstrap,
        context.seed,
    )["share"]  # fmt: skip
    comparisons = [context.judge(f"{len(frame)} test images", "share with marks found", None, share)]
    notes = ["The images with most marks are shown; on all others nothing or less was found."]

    def rows() -> list[Comparison]:
        run = run_of(context, CXNET_V1)
        looking = Looking(context, run)
        covid = run.recipe.labels.index("covid")
        before, after, heat = [], [], []
        for study in track(studies(context, frame), "before and after", total=len(frame)):
            clean, mask = remove_text(study.pixels, study.lungs)
            prepared, cleaned = looking.prepare(study, clean)
            first, second = looking.probabilities([prepared, cleaned])
            before.append(first[covid])
            after.append(second[covid])
            on_marks = np.nan
            if mask.any():
                on_marks = heat_inside(looking.grids([prepared], [int(first.argmax())])[0], mask)
            heat.append(on_marks)
        panels = []
        for study, clean, _ in marked:
            panels += _heat_pair(looking, study, clean)
        title = f"{CXNET_V1.name} before and after text removal ({start_of(run)} start)"
        figures.append(save_figure(sheet_figure(panels, 2, title, "heat"), context.out / "figure-17-heat.png"))
        positive = (frame["label"] == "covid").to_numpy()
        p, q, h = np.array(before), np.array(after), np.array(heat)
        changed = np.where(shares > 0, np.abs(q - p), np.nan)
        metrics = bootstrap_all(
            {
                "heat on the marks": lambda w: mean(h, w),
                "their share of the image": lambda w: mean(np.where(shares > 0, shares, np.nan), w),
                "mean change of p(COVID-19)": lambda w: mean(changed, w),
                "AUC before": lambda w: auc(positive, p, w),
                "AUC after": lambda w: auc(positive, q, w),
            },
            patients_of(frame), context.budget.bootstrap, context.seed,
        )  # fmt: skip
        notes.append(
            "Heat on the marks and the change of p are means over the images with marks; Grad-CAM of the called class."
        )
        return [context.judge(CXNET_V1.name, name, None, value) for name, value in metrics.items()]

    comparisons += attempt(CXNET_V1.name, _METRICS, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=tuple(notes),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def _pairs(marked: list[tuple[Study, np.ndarray, np.ndarray]]) -> list[Panel]:
    panels = []
    for number, (study, clean, mask) in enumerate(marked):
        grey, cleaned = (np.repeat(to_uint8(pixels)[..., None], 3, axis=2) for pixels in (study.pixels, clean))
        first = number == 0
        panels += [
            Panel(outline(grey, mask, _MARK), "as published, marks outlined" if first else ""),
            Panel(cleaned, "marks removed" if first else ""),
        ]
    return panels


def _heat_pair(looking: Looking, study: Study, clean: np.ndarray) -> list[Panel]:
    covid = looking.recipe.labels.index("covid")
    panels = []
    for pixels, prepared, told in zip(
        (study.pixels, clean), looking.prepare(study, clean), ("with marks", "removed"), strict=True
    ):
        p = looking.probabilities([prepared])[0]
        heat = looking.grids([prepared], [int(p.argmax())])[0]
        panels.append(heat_panel(pixels, heat, f"{told}: p(COVID-19) {p[covid]:.2f}", study.lungs))
    return panels


ITEMS = (
    Item("figure-17", "Text removal before and after, and its effect on COVID-CXNet v1", figure_17,
         "split test with normal and covid; weights chexnet for the effect", trains=True),
)  # fmt: skip
