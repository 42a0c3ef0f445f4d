"""Figures 1 and 2: where holes are cut for inpainting, and what the networks put into them."""

import numpy as np

from covidcx.data.cache import prepare_manifest
from covidcx.data.splits import split_hash
from covidcx.evaluation.intervals import bootstrap, ratio
from covidcx.evaluation.plots import add_disclaimer, save_figure
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.pretrained import pretrained
from covidcx.training.reconstruct import Reconstruction, reconstruct
from covidcx.training.run_folder import RunFolder

KINDS = {"inpainting-centre": "(a) centre mask", "inpainting": "(b) targeted left and right masks"}
_SHOWN, _TILE = 3, 2.0


def figure_1(context: Context) -> Result:
    """Show the region that lung masks keep to, and where a thousand of them lie."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from covidcx.training.recipes import get_pretraining

    recipe = get_pretraining("inpainting")
    masks, (height, width) = recipe.inpainting.masks, recipe.preprocessing.size
    frame = context.rows("figure 1", split=("test",)).iloc[:1]
    image = prepare_manifest(context.manifest.take(context.manifest.frame.index.isin(frame.index)),
                             recipe.preprocessing, None).images[0]  # fmt: skip
    heat, rng = np.zeros((height, width)), np.random.default_rng(context.seed)
    for _ in range(1000):
        for y, x, tall, wide in masks.boxes(height, width, rng):
            heat[y : y + tall, x : x + wide] += 1
    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained")
    for axes, title in zip(figure.subplots(1, 2), ("region of the lung masks", "1,000 pairs of masks"), strict=True):
        axes.imshow(image[..., 0], cmap="gray")
        left, top = masks.sides * width - 0.5, masks.top * height - 0.5
        box = Rectangle((left, top), (1 - 2 * masks.sides) * width, (1 - masks.top - masks.bottom) * height,
                        fill=False, edgecolor="#E69F00", linewidth=1.5)  # fmt: skip
        axes.add_patch(box)
        axes.set_title(title, fontsize=10)
        axes.axis("off")
    figure.axes[1].imshow(heat, cmap="inferno", alpha=0.6)
    add_disclaimer(figure)
    note = (
        f"{masks.sides:.0%} from the left and right, {masks.top:.0%} from the top and {masks.bottom:.0%} from the "
        f"bottom are left out; squares of {masks.lungs[0]} to {masks.lungs[1]} of {masks.reference} pixels."
    )
    return Result((), (), (save_figure(figure, context.out / "figure-1.png"),), (note,),
                  split_hash(context.manifest.frame))  # fmt: skip


def figure_2(context: Context) -> Result:
    """Show reconstructions of test images, and measure them against filling with the image's mean grey."""
    from matplotlib.figure import Figure

    runs = {name: pretrained(context, name) for name in KINDS}
    context.rows("figure 2", split=("test",))
    comparisons, shown = [], {}
    for name, run in runs.items():
        test = context.manifest.subset(split="test")
        done = prepare_manifest(test, run.recipe.preprocessing, RunFolder(run.out).cache)
        found = reconstruct(run, done.images, context.seed)
        ours, mean = found.error(found.output), found.error(found.masked)
        share = bootstrap(
            lambda a, b, weights: ratio(weights @ a, weights @ b), ours, mean,
            groups=done.rows["patient_id"].tolist(), repeats=context.budget.bootstrap, seed=context.seed,
        )  # fmt: skip
        system = f"{name}, {len(done)} test images"
        comparisons.append(context.judge(system, "squared error in the holes / that of the mean grey", None, share))
        shown[name] = found
    figure = Figure(figsize=(4 * _TILE, len(shown) * _SHOWN * _TILE), dpi=150, layout="constrained")
    parts = figure.subfigures(len(shown), 1, squeeze=False)
    for part, (name, found) in zip(np.ravel(parts), shown.items(), strict=True):
        part.suptitle(f"{KINDS[name]}, {runs[name].epochs} epochs", fontsize=10)
        _panel(part, found)
    add_disclaimer(figure)
    notes = tuple(
        f"{name}: {run.images} images, {run.epochs} epochs of batch {run.recipe.batch} at "
        f"{run.recipe.preprocessing.size[0]} pixels." for name, run in runs.items()
    )
    return Result(tuple(comparisons), (), (save_figure(figure, context.out / "figure-2.png"),), notes,
                  split_hash(context.manifest.frame))  # fmt: skip


def _panel(part, found: Reconstruction) -> None:
    rows = min(_SHOWN, len(found.images))
    columns = {"image": found.images, "masked": found.masked, "filled": found.filled, "network": found.output}
    grid = part.subplots(rows, len(columns), squeeze=False)
    for i, line in enumerate(grid):
        for axes, (title, images) in zip(line, columns.items(), strict=True):
            axes.imshow(images[i, ..., 0], cmap="gray", vmin=0, vmax=1)
            axes.axis("off")
            if i == 0:
                axes.set_title(title, fontsize=8)


ITEMS = (
    Item("figure-1", "Region of the lung masks", figure_1, needs="a test image"),
    Item("figure-2", "Reconstructions from a centre mask and from lung masks", figure_2, needs="images of train and "
         "test", trains=True),
)  # fmt: skip
