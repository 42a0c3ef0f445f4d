"""Figures 3, 4, 5 and 7: feature maps, Grad-CAM with boxes, and t-SNE of the last block."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidcx import imaging
from covidcx.data.splits import split_hash
from covidcx.errors import ExplainError, MissingDataError
from covidcx.evaluation.plots import add_disclaimer, save_figure
from covidcx.explain.embeddings import embeddings, separation, tsne
from covidcx.explain.feature_maps import contrast, feature_maps, tile
from covidcx.explain.gradcam import grad_cam
from covidcx.explain.localisation import Box, heat_inside, pointing_hit
from covidcx.papers.comparison import Table
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.siim import studies
from covidcx.papers.siim.approaches import by_key, train_approach
from covidcx.papers.trained import Trained, trained
from covidcx.training.heads.opacity import OPACITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from covidcx.data.manifest import Manifest

EARLY = "pool2_relu"
"""DenseNet's map of stride 4, behind the first dense block: fine enough to see a lesion."""
STRONGEST, SHOWN = 4, 16
CAVITATING = ("Tuberculosis", "Cavity", "Mass", "Nodule")
"""Findings of figure 3, in this order of preference; the phantom draws no tuberculosis, but its cavities."""
_COLUMNS = ("baseline", "moco-cxr", "inpainting")
"""Approaches of figure 5, as in the paper."""
_PAIRS = (("typical", "indeterminate"), ("typical", "atypical"), ("atypical", "indeterminate"))
_COLOURS = {"negative": "#999999", "typical": "#D55E00", "indeterminate": "#0072B2", "atypical": "#009E73",
            "positive": "#D55E00"}  # fmt: skip


def figure_3(context: Context) -> Result:
    """Show which channels answer to tuberculosis (on the phantom: a cavity or a mass)."""
    model = trained(studies.findings_set(context), "siim-findings")
    frame = studies.findings_set(context).manifest
    found = frame.frame["findings"].fillna("").astype(str)
    for name in CAVITATING:
        rows = np.flatnonzero(found.str.split("|").map(lambda names, n=name: n in names).to_numpy(bool))
        boxes = OPACITIES.boxes(frame)
        rows = [row for row in rows if frame.frame["image"].iloc[row] in boxes]
        if len(rows):
            return _channels(context, model, frame, rows[0], boxes, f"{name.lower()} (stage 1's encoder)", "figure-3")
    raise MissingDataError(f"figure 3 needs an image with a box and one of the findings {', '.join(CAVITATING)}")


def figure_4(context: Context) -> Result:
    """Show which channels answer to an opacity of COVID-19."""
    split = studies.eighty_twenty(context)
    model, table = train_approach(by_key("mt-full"), context, split), split.manifest.subset(split="test")
    boxes = OPACITIES.boxes(table)
    rows = [
        row for row, (image, label) in enumerate(zip(table.frame["image"], table.frame["label"], strict=True))
        if label == "typical" and image in boxes
    ]  # fmt: skip
    if not rows:
        raise MissingDataError("figure 4 needs a typical test image with a box; there is none")
    return _channels(context, model, table, rows[0], boxes, "COVID-19, typical appearance", "figure-4")


def figure_5(context: Context) -> Result:
    """Show Grad-CAM of the approaches for images that are called right and wrong, with the readers' boxes."""
    split = studies.eighty_twenty(context)
    runs = {key: train_approach(by_key(key), context, split) for key in _COLUMNS}
    test = split.manifest.subset(split="test")
    boxes = OPACITIES.boxes(test)
    test = test.take(test.frame["image"].isin(boxes).to_numpy())
    if not len(test):
        raise MissingDataError("figure 5 needs test images with boxes; there are none")
    maps = {key: _Maps(run, test, boxes) for key, run in runs.items()}
    last = maps[_COLUMNS[-1]]
    right = [np.flatnonzero(last.right)[:3], np.flatnonzero(~last.right)[:3]]
    path = save_figure(_grid(maps, np.concatenate(right)), context.out / "grad-cam.png")
    rows = tuple((by_key(key).title, *of.summary(True), *of.summary(False)) for key, of in maps.items())
    table = Table(
        f"Heat of the called class on {len(test)} test images with boxes",
        ("approach", "right: images", "heat in boxes", "maximum in a box", "wrong: images", "heat in boxes",
         "maximum in a box"),
        rows,
    )  # fmt: skip
    area = np.mean([of.area for of in maps.values()])
    notes = (
        f"Boxes cover {area:.0%} of these images on average: a map that knows nothing has that share of heat inside.",
        "Rows: up to three images that the last column's approach calls right, then up to three it calls wrong: the "
        "first of each in the table's order, not chosen by eye. Each title names what that approach calls.",
        "Published: the self-supervised starts localise the lungs better than the baseline; correct calls have large, "
        "typical lesions.",
    )  # fmt: skip
    return Result((), (table,), (path,), notes, split_hash(split.manifest.frame))


def figure_7(context: Context) -> Result:
    """Show t-SNE of the last block by true label, for each pair and positive against negative."""
    split = studies.eighty_twenty(context)
    run, test = train_approach(by_key("mt-full"), context, split), split.manifest.subset(split="test")
    done = run.prepare(test)
    points, labels = embeddings(run.model, done.images), done.rows["label"].to_numpy()
    views = [(f"{first}-{second}", np.isin(labels, (first, second)), labels) for first, second in _PAIRS]
    either = np.where(labels == "negative", "negative", "positive")
    views.append(("positive-negative", np.ones(len(labels), bool), either))
    figure, rows = _panels(2, 2, 8.0, 8.0), []
    for axes, letter, (title, keep, named) in zip(figure.axes, "abcd", views, strict=True):
        flat = tsne(points[keep], context.seed)
        for label in dict.fromkeys(named[keep].tolist()):
            own = named[keep] == label
            axes.scatter(*flat[own].T, s=14, color=_COLOURS[label], label=label, alpha=0.8)
        axes.set_title(f"({letter}) {title}", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(fontsize=8, frameon=False)
        rows.append((title, int(keep.sum()), f"{separation(points[keep], named[keep]):.3f}",
                     f"{separation(flat, named[keep]):.3f}"))  # fmt: skip
    path = save_figure(figure, context.out / "t-sne.png")
    table = Table(
        "How far the groups stand apart: mean silhouette, 1 apart, 0 mixed",
        ("labels", "test images", "in the last block", "on the map"), tuple(rows),
    )  # fmt: skip
    note = (
        "Published: poorly defined clusters between the appearances, a clearer separation of positive and negative. "
        f"Test images of approach {by_key('mt-full').title}, layer relu averaged over positions."
    )
    return Result((), (table,), (path,), (note,), split_hash(split.manifest.frame))


class _Maps:
    """Answers and heat maps of one run on images with boxes, in the images' own pixels."""

    def __init__(self, run: Trained, table: "Manifest", boxes: dict[str, list[Box]]) -> None:
        done = run.prepare(table)
        answers = run.probabilities(done.images).argmax(axis=1)
        labels, pixels = run.recipe.labels, done.images.astype(np.float32) / np.float32(255)
        self.called = [labels[index] for index in answers]
        self.truth = done.rows["label"].tolist()
        self.right = np.array([called == truth for called, truth in zip(self.called, self.truth, strict=True)])
        self.boxes = [boxes[image] for image in done.rows["image"]]
        self.files = [table.file(image) for image in done.rows["image"]]
        self.heat: list[np.ndarray] = [np.zeros(0)] * len(done)
        for index in set(answers.tolist()):
            own = np.flatnonzero(answers == index)
            for i, heat in zip(own, grad_cam(run.model, pixels[own], index, output="probabilities"), strict=True):
                self.heat[i] = done.geometry(int(i)).restore(heat)
        masks = [_inside(heat.shape, held) for heat, held in zip(self.heat, self.boxes, strict=True)]
        self.share = np.array([heat_inside(heat, mask) for heat, mask in zip(self.heat, masks, strict=True)])
        self.hit = np.array([pointing_hit(h, b) for h, b in zip(self.heat, self.boxes, strict=True)])
        self.area = float(np.mean([mask.mean() for mask in masks]))

    def summary(self, right: bool) -> tuple[int, str, str]:
        """Return the number of images called right (or wrong), mean share of heat in boxes, share of hits."""
        own = self.right == right
        values = (self.share[own & ~np.isnan(self.share)], self.hit[own])
        inside, hits = (f"{part.mean():.2f}" if len(part) else "-" for part in values)
        return int(own.sum()), inside, hits


def _channels(
    context: Context, run: Trained, table: "Manifest", row: int, boxes: dict[str, list[Box]], what: str, name: str
) -> Result:
    """Crop near the largest box, as the paper does, and show the channels that answer most to it."""
    image = table.frame["image"].iloc[row]
    pixels = imaging.read(table.file(image)).pixels
    box = max(boxes[image], key=lambda held: held[2] * held[3])
    near, place = _crop(pixels, box, 1.8)
    on, _ = _crop(pixels, box, 1.0)
    spec = run.recipe.preprocessing
    done = imaging.prepare(near, spec, None)
    region = _inside(near.shape, [place])
    region = done.geometry.project(region, spec.size)
    maps = feature_maps(run.model, done.image.astype(np.float32) / np.float32(255), EARLY)
    try:
        answer = contrast(maps, region)
    except ExplainError as error:
        raise MissingDataError(f"{name}: {error}") from error
    order = np.argsort(-np.abs(answer))[:SHOWN]
    figure = _panels(1, 4, 11.0, 3.6, (1, 1, 1, 2.0))
    first, second, third, fourth = figure.axes
    for axes, picture, title in ((first, pixels, "radiograph"), (second, near, "near the lesion (input)"),
                                 (third, on, "on the lesion")):  # fmt: skip
        axes.imshow(picture, cmap="gray")
        axes.set_title(title, fontsize=9)
    _draw(first, boxes[image])
    _draw(second, [place])
    fourth.imshow(tile(maps[..., order], columns=4), cmap="gray")
    fourth.set_title(f"{len(order)} channels of {EARLY}, strongest first", fontsize=9)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.suptitle(what, fontsize=10)
    path = save_figure(figure, context.out / "feature-maps.png")
    strong = np.sort(np.abs(answer))[::-1]
    table_ = Table(
        "How much the channels answer to the box: |mean inside - mean outside| / standard deviation",
        ("image", "strongest", f"mean of the strongest {STRONGEST}", "median of all", "channels"),
        ((what, f"{strong[0]:.2f}", f"{strong[:STRONGEST].mean():.2f}", f"{np.median(strong):.2f}", len(strong)),),
    )
    notes = (
        "Published: the features of tuberculosis are found by several channels, those of COVID-19 by one. Compare this "
        "table between figure-3 and figure-4.",
        *(("The phantom draws no tuberculosis; a finding with an edge stands for it in figure 3.",)
          if context.phantom and name == "figure-3" else ()),
    )  # fmt: skip
    return Result((), (table_,), (path,), notes, split_hash(table.frame))


def _crop(pixels: np.ndarray, box: Box, factor: float) -> tuple[np.ndarray, Box]:
    """Cut a square around a box, `factor` times its longer side, and return it with the box in its pixels."""
    x, y, width, height = box
    side = min(max(32, round(factor * max(width, height))), *pixels.shape)
    left = int(np.clip(round(x + width / 2 - side / 2), 0, pixels.shape[1] - side))
    top = int(np.clip(round(y + height / 2 - side / 2), 0, pixels.shape[0] - side))
    return pixels[top : top + side, left : left + side], (x - left, y - top, width, height)


def _inside(shape: tuple[int, ...], boxes: Sequence[Box]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for x, y, width, height in boxes:
        mask[max(round(y), 0) : max(round(y + height), 0), max(round(x), 0) : max(round(x + width), 0)] = True
    return mask


def _grid(maps: dict[str, _Maps], rows: np.ndarray) -> "Figure":
    figure = _panels(max(len(rows), 1), 1 + len(maps), 2.6 * (1 + len(maps)), 2.8 * max(len(rows), 1))
    panels = iter(figure.axes)
    for row in rows:
        any_map = next(iter(maps.values()))
        pixels = imaging.read(Path(any_map.files[row])).pixels
        axes = next(panels)
        axes.imshow(pixels, cmap="gray")
        axes.set_title(f"true: {any_map.truth[row]}", fontsize=8)
        _draw(axes, any_map.boxes[row])
        for key, of in maps.items():
            axes, heat = next(panels), of.heat[row]
            top = float(heat.max())
            axes.imshow(pixels, cmap="gray")
            # The paper's colours rise from red to blue.
            axes.imshow(heat / top if top > 0 else heat, cmap="jet_r", alpha=0.4, vmin=0, vmax=1)
            axes.set_title(f"{by_key(key).title}\n{of.called[row]}", fontsize=7)
            _draw(axes, of.boxes[row])
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def _draw(axes: "Axes", boxes: Sequence[Box]) -> None:
    from matplotlib.patches import Rectangle

    for x, y, width, height in boxes:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="#F0E442", linewidth=1.2))


def _panels(
    rows: int, columns: int, width: float, height: float, ratios: Sequence[float] | None = None
) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    figure.subplots(rows, columns, width_ratios=ratios)
    add_disclaimer(figure)
    return figure


ITEMS = (
    Item("figure-3", "Feature maps of tuberculosis", figure_3, needs="findings and boxes to pre-train", trains=True),
    Item("figure-4", "Feature maps of COVID-19", figure_4, needs="the four labels and boxes", trains=True),
    Item("figure-5", "Grad-CAM successes and failures", figure_5, needs="the four labels and boxes", trains=True),
    Item("figure-7", "t-SNE of the last DenseNet-121 block", figure_7, needs="the four labels", trains=True),
)
