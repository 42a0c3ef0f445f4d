"""Figures 10 to 12: what COMiT-Net misses, how its embeddings lie, where its heads look."""

from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError
from covidcx.evaluation.intervals import Interval, bootstrap_all, mean
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.sheets import Panel, heat_panel, sheet_figure
from covidcx.explain import grad_cam
from covidcx.explain.embeddings import embeddings, separation, tsne
from covidcx.explain.localisation import heat_inside
from covidcx.imaging.resize import resize_area
from covidcx.papers.chosen import chosen
from covidcx.papers.comit_net.protocol import COMIT, described, operating_point, subset, targets
from covidcx.papers.comparison import Comparison, Table
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Trained, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 8
_COLOURS = ("#0072B2", "#D55E00")


def figure_10(context: Context) -> Result:
    """Show COVID-19 test images that task 3 calls healthy and task 4 not COVID-19, and count them."""
    run = _comit(context)
    test = _test(context, ("covid",))
    prepared = run.prepare(test)
    found = run.outputs(prepared.images)
    threshold = operating_point(run, context)
    missed = found["infection"][:, 0] < threshold
    healthy = found["healthy"][:, 1] > 0.5
    both = missed & healthy
    shares = bootstrap_all(
        {name: lambda w, v=v: mean(v.astype(float), w)
         for name, v in (("called unhealthy", ~healthy), ("called COVID-19", ~missed), ("missed by both", both))},
        patients_of(prepared.rows), context.budget.bootstrap, context.seed,
    )  # fmt: skip
    published = {"called unhealthy": 0.9725, "called COVID-19": 0.968, "missed by both": None}
    rows = [context.judge("COVID-19 test images", name, published[name], shares[name]) for name in shares]
    kept = prepared.rows[both]
    notes = [
        described(run), f"Threshold of 90% specificity on val: {threshold:.4g}; {len(kept)} images missed by both.",
    ]  # fmt: skip
    if kept.empty:
        notes.append("Nothing to show: no image is missed by both tasks.")
        return Result(tuple(rows), notes=tuple(notes), split_hash=split_hash(context.manifest.frame))
    panels = []
    for i in chosen(kept, _SHOWN, context.seed).index:
        row, score = prepared.rows.loc[i], found["infection"][i, 0]
        day = row["offset"] if "offset" in row and row["offset"] == row["offset"] else "unknown"
        panels.append(Panel(prepared.images[i, ..., 0] / np.float32(255), f"P(covid) {score:.2f}\nday {day}"))
    figure = sheet_figure(panels, 4, "COVID-19 called healthy and not COVID-19")
    picture = save_figure(figure, context.out / "figure-10.png")
    return Result(tuple(rows), figures=(picture,), notes=tuple(notes), split_hash=split_hash(context.manifest.frame))


def figure_11(context: Context) -> Result:
    """Map the test embeddings onto a plane, coloured by true and by predicted label; measure how far apart they lie."""
    from covidcx.models.comit_net import EMBEDDING

    run = _comit(context)
    test = _test(context)
    prepared = run.prepare(test)
    truth = targets(prepared, test, "infection")[:, 0]
    known = ~np.isnan(truth)
    images, truth = prepared.images[known], truth[known] > 0.5
    vectors = embeddings(run.model, images, EMBEDDING)
    called = run.outputs(images)["infection"][:, 0] >= operating_point(run, context)
    figure = _scatter(tsne(vectors, context.seed), truth, called)
    patients = np.asarray(patients_of(prepared.rows))[known]
    rows = [
        Comparison("embeddings of test images", f"mean silhouette by {name} label", None,
                   Interval(separation(vectors, labels), np.nan, np.nan, 0, 0), "ours only")
        for name, labels in (("true", truth), ("predicted", called))
    ]  # fmt: skip
    picture = save_figure(figure, context.out / "figure-11.png")
    agree = Table("Images", ("true", "called COVID-19", "called other", "patients"), tuple(
        (name, int(called[mask].sum()), int((~called[mask]).sum()), len(set(patients[mask])))
        for name, mask in (("COVID-19", truth), ("other", ~truth))
    ))  # fmt: skip
    notes = (described(run), "t-SNE keeps neighbours; how far apart distant groups lie means little.")
    return Result(tuple(rows), (agree,), (picture,), notes, split_hash(context.manifest.frame))


def figure_12(context: Context) -> Result:
    """Draw Grad-CAM of both classifying heads; measure the share of the heat that lies inside the lungs."""
    run = _comit(context)
    shown = {"healthy": (0, "unhealthy"), "infection": (0, "COVID-19")}
    panels, inside, rows = [], {}, []
    for label in ("covid", "cap", "other"):
        try:
            test = _test(context, (label,))
        except MissingDataError:
            continue
        drawn = chosen(test.frame.reset_index(drop=True), 2, context.seed).index.to_numpy()
        prepared = run.prepare(test.take(np.isin(np.arange(len(test)), drawn)))
        for i, image in enumerate(prepared.images):
            pixels = image[..., 0] / np.float32(255)
            panels.append(Panel(pixels, label))
            for head, (column, title) in shown.items():
                heat = _heat(run, prepared.images[i : i + 1], head, column)[0]
                panels.append(heat_panel(pixels, heat, f"{title}"))
    frame = context.rows("heat inside the lungs", ("test",), column="lung_mask")
    masked = context.manifest.subset(split="test")
    masked = masked.take(masked.frame["image"].isin(frame["image"]).to_numpy())
    prepared = run.prepare(masked)
    lungs = targets(prepared, masked, "lung")[..., 0] == 1
    for head, (column, title) in shown.items():
        heat = _heat(run, prepared.images, head, column)
        inside[title] = np.array([heat_inside(h, m) for h, m in zip(heat, lungs, strict=True)])
    inside["a map that knows nothing"] = lungs.mean(axis=(1, 2))
    shares = bootstrap_all(
        {name: lambda w, v=v: mean(v, w) for name, v in inside.items()}, patients_of(prepared.rows),
        context.budget.bootstrap, context.seed,
    )  # fmt: skip
    rows = [context.judge(name, "share of heat inside the lungs, mean", None, value) for name, value in shares.items()]
    title = "Grad-CAM of COMiT-Net's classifying heads at the encoder's last map"
    picture = save_figure(sheet_figure(panels, 3, title, "heat"), context.out / "figure-12.png")
    cells = " x ".join(str(side // 32) for side in prepared.images.shape[1:3])
    note = f"A map has {cells} cells at this input size; one without positive heat has no share and does not count."
    return Result(tuple(rows), figures=(picture,), notes=(described(run), note),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def _heat(run: Trained, images: np.ndarray, head: str, column: int) -> np.ndarray:
    """Grad-CAM of an output's column on the input's grid, float N x H x W."""
    from covidcx.models.comit_net import FEATURES

    maps = grad_cam(run.model, images.astype(np.float32) / np.float32(255), column, FEATURES, head)
    return np.stack([resize_area(each, *images.shape[1:3]) for each in maps])


def _scatter(points: np.ndarray, truth: np.ndarray, called: np.ndarray) -> "Figure":
    from matplotlib.figure import Figure

    from covidcx.evaluation.plots import add_disclaimer

    figure = Figure(figsize=(8.4, 4.4), dpi=120, layout="constrained")
    for axes, labels, title in zip(figure.subplots(1, 2), (truth, called), ("(a) true", "(b) predicted"), strict=True):
        for value, name in ((False, "not COVID-19"), (True, "COVID-19")):
            mask = labels == value
            axes.scatter(*points[mask].T, s=9, alpha=0.7, color=_COLOURS[int(value)], label=f"{name} ({mask.sum()})")
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.legend(fontsize=8, frameon=False)
    add_disclaimer(figure)
    return figure


def _comit(context: Context) -> Trained:
    return trained(context, COMIT)


def _test(context: Context, labels: tuple[str, ...] | None = None) -> Manifest:
    context.rows("the figure", ("test",), labels)
    test = subset(context, "the figure", ("test",))
    return test if labels is None else test.take(test.frame["label"].isin(labels).to_numpy())


ITEMS = (
    Item("figure-10", "COVID-19 called healthy and not COVID-19", figure_10, "labels", trains=True),
    Item("figure-11", "t-SNE of the embeddings by true and predicted label", figure_11, "labels", trains=True),
    Item("figure-12", "Grad-CAM of the classifying heads", figure_12, "labels, lung masks", trains=True),
)
