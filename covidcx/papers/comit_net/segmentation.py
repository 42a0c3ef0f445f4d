"""Figures 5 to 7: lungs and diseased regions by U-Net, Mask R-CNN, SegNet and COMiT-Net."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.cache import PreparedSet
from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.evaluation.pixels import count_pixels, pixel_metrics
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.sheets import Panel, sheet_figure
from covidcx.imaging.overlay import outline
from covidcx.papers.chosen import chosen
from covidcx.papers.comit_net.protocol import COMIT, described, not_comparable, subset, targets
from covidcx.papers.comparison import Comparison, Table, attempt
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Trained, trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS = {"U-Net": "unet", "Mask R-CNN": "mask-rcnn", "SegNet": "segnet", "COMiT-Net": COMIT}
"""Stem of every system's recipes; COMiT-Net does all of it in one."""
_LUNG_IOU = {"U-Net": 0.82, "Mask R-CNN": 0.85, "SegNet": 0.83, "COMiT-Net": 0.85}
_DISEASE_RATE = {"U-Net": 0.42, "Mask R-CNN": 0.51, "SegNet": 0.31, "COMiT-Net": 0.87}
_TRUTH, _FOUND = (0, 200, 83), (255, 82, 82)
_RATES = (
    "A true positive rate alone is won by calling everything: precision and false positive rate stand beside it. The "
    "rate is of all disease pixels pooled; the paper does not say whether it pools or averages."
)


def figure_5(context: Context) -> Result:
    """Train four lung segmenters, measure IoU on the test rows and show some."""
    published = {system: {"iou_mean": value} for system, value in _LUNG_IOU.items()}
    return _compared(context, "lung", published, {"iou_mean": "lung IoU, mean"}, tuple(SYSTEMS), "figure-5.png")


def figure_6(context: Context) -> Result:
    """Train four disease segmenters, measure the true positive rate on the test rows and show some."""
    published = {system: {"true_positive_rate": value} for system, value in _DISEASE_RATE.items()}
    shown = {
        "true_positive_rate": "disease true positive rate",
        "true_positive_rate_mean": "disease true positive rate, mean over images",
        "precision": "disease precision",
        "false_positive_rate": "disease false positive rate",
    }
    return _compared(context, "disease", published, shown, tuple(SYSTEMS), "figure-6.png")


def figure_7(context: Context) -> Result:
    """Show SegNet and COMiT-Net on diseased lungs without COVID-19, and what each calls outside the annotation."""
    shown = {"true_positive_rate": "disease true positive rate", "precision": "disease precision"}
    return _compared(context, "disease", {}, shown, ("SegNet", "COMiT-Net"), "figure-7.png", ("cap", "other"))


def _compared(
    context: Context,
    head: str,
    published: Mapping[str, Mapping[str, float]],
    shown: Mapping[str, str],
    systems: tuple[str, ...],
    picture: str,
    labels: tuple[str, ...] | None = None,
) -> Result:
    test = subset(context, picture.removesuffix(".png"), ("test",), head)
    if labels is not None:
        context.rows(picture.removesuffix(".png"), ("test",), labels)
        test = test.take(test.frame["label"].isin(labels).to_numpy())
    rows: list[Comparison] = []
    notes = [] if head == "lung" else [_RATES]
    columns: dict[str, np.ndarray] = {}
    shared: dict[str, np.ndarray] = {}

    def measure(system: str) -> list[Comparison]:
        stem = SYSTEMS[system]
        run = trained(context, stem if stem == COMIT else f"{stem}-{head}")
        prepared, truth, found = _masks(run, test, head)
        patients = patients_of(prepared.rows)
        metrics = pixel_metrics(count_pixels(found, truth), patients, context.budget.bootstrap, context.seed)
        notes.append(described(run))
        columns[system] = found
        # Drawn by a hash: nobody picks the rows that are shown by what they show.
        drawn = chosen(prepared.rows, 4, context.seed).index.to_numpy()
        shared.update(pixels=prepared.images[..., 0], truth=truth, rows=drawn)
        return [
            context.judge(system, title, published.get(system, {}).get(name), metrics[name], not_comparable(context))
            for name, title in shown.items()
        ]

    for system in systems:
        values = {title: published.get(system, {}).get(name) for name, title in shown.items()}
        rows += attempt(system, values, lambda system=system: measure(system))
    size = Table("Test images", ("images", "patients"), ((len(test), test.frame["patient_id"].nunique()),))
    drawn = (save_figure(_sheet(**shared, found=columns), context.out / picture),) if columns else ()
    return Result(tuple(rows), (size,), drawn, tuple(notes), split_hash(context.manifest.frame))


def _masks(run: Trained, test: Manifest, head: str) -> tuple[PreparedSet, np.ndarray, np.ndarray]:
    """Return prepared rows, true masks and probabilities, N x H x W on the network's grid."""
    prepared = run.prepare(test)
    truth = targets(prepared, test, head)[..., 0]
    return prepared, truth, run.outputs(prepared.images)[head][..., -1]


def _sheet(
    pixels: np.ndarray, truth: np.ndarray, rows: np.ndarray, found: Mapping[str, np.ndarray]
) -> "Figure":
    panels = []
    for i in rows:
        grey = np.repeat(pixels[i][..., None], 3, axis=2)
        panels.append(Panel(outline(grey, truth[i] == 1, _TRUTH), "truth"))
        panels += [Panel(outline(grey, masks[i] > 0.5, _FOUND), system) for system, masks in found.items()]
    return sheet_figure(panels, 1 + len(found), "Outlined: green the reference, red what a system calls at 0.5")


ITEMS = (
    Item("figure-5", "Lung segmentation: IoU of four systems", figure_5, "lung masks", trains=True),
    Item("figure-6", "Disease segmentation: true positive rate of four systems", figure_6, "disease masks or boxes",
         trains=True),
    Item("figure-7", "Disease of lungs without COVID-19", figure_7, "boxes or masks of cap and other", trains=True),
)  # fmt: skip
