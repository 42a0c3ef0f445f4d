"""Figure 6: how large the annotated opacities are, by appearance; from a manifest, or from SIIM's own tables."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import pd
from covidcx.data.sources.siim import APPEARANCES, opacities
from covidcx.data.sources.tables import read_table
from covidcx.data.splits import split_hash
from covidcx.errors import ManifestError, MissingDataError
from covidcx.evaluation.intervals import Interval, bootstrap, mean
from covidcx.evaluation.plots import add_disclaimer, save_figure
from covidcx.papers.comparison import Table
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.siim import studies
from covidcx.training.heads.opacity import OPACITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 224
POSITIVE = ("typical", "indeterminate", "atypical")
IMAGE_TABLE, STUDY_TABLE = "train_image_level.csv", "train_study_level.csv"
_PUBLISHED_COLUMNS = {"id", "boxes", "label", "StudyInstanceUID"}
_COLOURS = {"typical": "#D55E00", "indeterminate": "#0072B2", "atypical": "#009E73"}


def box_sides(context: Context, side: int = SIDE) -> pd.DataFrame:
    """Measure the boxes of a manifest after its images were rescaled to squares.

    Args:
        context: its manifest has width and height, and boxes beside it.
        side: pixels of the square.

    Returns:
        One row a box: patient, label, dimension (square root of its area, in pixels of the square).

    Raises:
        MissingDataError: no image with one of the three appearances has a box.
    """
    split = studies.eighty_twenty(context)
    frame = split.manifest.frame
    frame = frame[frame["label"].isin(POSITIVE)]
    boxes, rows = OPACITIES.boxes(split.manifest), []
    for row in frame.to_dict("records"):
        for _, _, width, height in boxes.get(row["image"], ()):
            share = width / float(row["width"]) * height / float(row["height"])
            rows.append((row["patient_id"], row["label"], side * np.sqrt(share)))
    if not rows:
        raise MissingDataError(f"figure 6 needs boxes beside {context.manifest_path.name}; there are none")
    return pd.DataFrame(rows, columns=["patient", "label", "dimension"])


def published_sides(images: Path, studies_table: Path) -> pd.DataFrame:
    """Measure the boxes of SIIM's own tables, in pixels of the original images, whose sizes the tables do not tell.

    Args:
        images: train_image_level.csv.
        studies_table: train_study_level.csv.

    Returns:
        One row a box: patient (the study), label, dimension (square root of its area).

    Raises:
        ManifestError: a table cannot be read or lacks a column.
    """
    read = read_table(studies_table, ("id", *APPEARANCES))
    names = {
        str(row["id"]).removesuffix("_study"): [label for column, label in APPEARANCES.items() if row[column] == "1"]
        for row in read.to_dict("records")
    }
    rows = []
    for row in read_table(images, ("label", "StudyInstanceUID")).to_dict("records"):
        study = str(row["StudyInstanceUID"])
        label = names.get(study, [])
        for left, top, right, bottom in opacities(row["label"]):
            if len(label) == 1:
                rows.append((study, label[0], np.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))))
    return pd.DataFrame(rows, columns=["patient", "label", "dimension"])


def mean_sides(boxes: pd.DataFrame, context: Context) -> dict[str, Interval]:
    """Return the mean dimension of each appearance that has boxes, with its patient-level interval."""
    found = {}
    for label in POSITIVE:
        part = boxes[boxes["label"] == label]
        if len(part):
            found[label] = bootstrap(
                mean, part["dimension"].to_numpy(), groups=part["patient"].tolist(), repeats=context.budget.bootstrap,
                seed=context.seed,
            )  # fmt: skip
    return found


def box_figure(boxes: pd.DataFrame, unit: str) -> "Figure":
    """Draw the distribution of box dimensions by appearance, each scaled to the same area; dashed lines are means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, boxes["dimension"].max(), 31)
    for label in POSITIVE:
        values = boxes["dimension"][boxes["label"] == label].to_numpy()
        if not len(values):
            continue
        name = f"{label}: {len(values)} boxes, mean {values.mean():.0f}"
        axes.hist(values, edges, density=True, histtype="step", linewidth=1.8, color=_COLOURS[label], label=name)
        axes.axvline(values.mean(), color=_COLOURS[label], linestyle="--", linewidth=1)
    axes.set(xlabel=f"square root of the box's area ({unit})", ylabel="density")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    add_disclaimer(figure)
    return figure


def figure_6(context: Context) -> Result:
    """Compare box dimensions between the appearances; `--data` may also be SIIM's own train_image_level.csv."""
    published = _is_published(context.manifest_path)
    if published:
        boxes = published_sides(context.manifest_path, context.manifest_path.with_name(STUDY_TABLE))
        unit, code = "pixels of the original image", None
    else:
        boxes, unit = box_sides(context), f"pixels after rescaling to {SIDE} x {SIDE}"
        code = split_hash(context.manifest.frame)
    means = mean_sides(boxes, context)
    comparisons = tuple(
        context.judge(label, f"mean box dimension, {unit}", None, value) for label, value in means.items()
    )
    path = save_figure(box_figure(boxes, unit), context.out / "box-dimensions.png")
    rows = tuple(
        (label, len(part), f"{part.mean():.1f}", f"{part.median():.1f}")
        for label in POSITIVE
        if len(part := boxes["dimension"][boxes["label"] == label])
    )
    notes = [
        "Published: the mean box dimension of the typical class is higher than that of atypical and indeterminate (the "
        f"figure prints no numbers). Here: {_order(means)}."
    ]
    if published:
        notes.append(
            "SIIM's tables do not hold the sizes of the images, so these are pixels of the originals; a manifest from "
            "`covidcx data prepare siim` has them and gives the paper's 224 x 224. Nor do they name patients: "
            "intervals resample studies."
        )
    table = Table("Boxes by appearance", ("appearance", "boxes", "mean", "median"), rows)
    return Result(comparisons, (table,), (path,), tuple(notes), code)


def _order(means: dict[str, Interval]) -> str:
    if "typical" not in means:
        return "no typical box"
    typical, told = means["typical"], []
    for label in POSITIVE[1:]:
        if label in means:
            apart = typical.low > means[label].high or typical.high < means[label].low
            side = "higher" if typical.value > means[label].value else "not higher"
            told.append(f"{side} than {label}, intervals {'apart' if apart else 'overlapping'}")
    return "typical is " + "; ".join(told) if told else "only typical has boxes"


def _is_published(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        columns = {name.strip() for name in stream.readline().split(",")}
    if not columns >= _PUBLISHED_COLUMNS:
        return False
    if not path.with_name(STUDY_TABLE).is_file():
        raise ManifestError(f"{path} needs {STUDY_TABLE} beside it, which tells the appearance of each study")
    return True


ITEMS = (
    Item("figure-6", "Distribution of the boxes' dimensions by appearance", figure_6,
         needs=f"boxes, width and height; or SIIM's {IMAGE_TABLE} itself"),
)  # fmt: skip
