"""Figures 2 to 4: contrast enhancement, BEASF over its slope, and the extraction of the lungs."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd

from covidcx.data.splits import split_hash
from covidcx.errors import CovidcxError, MissingDataError
from covidcx.evaluation.intervals import Interval, bootstrap_all, mean
from covidcx.evaluation.masks import mask_metrics, predict_masks
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.sheets import Panel, sheet_figure
from covidcx.imaging import LungROI, equalize, equalize_adaptive, equalize_beasf, equalize_clahe, resize_area, to_uint8
from covidcx.imaging.overlay import outline
from covidcx.imaging.roi import SEGMENTER_SIZE, bounding_box, grow, segmenter_input
from covidcx.papers.chosen import chosen
from covidcx.papers.comparison import Comparison, attempt
from covidcx.papers.covid_cxnet.images import SEGMENTER, Study, studies
from covidcx.papers.item import Context, Item, Result

Enhance = Callable[[np.ndarray], np.ndarray]
GAMMAS = (0.5, 1.0, 1.5, 2.0, 3.0)
_ENHANCEMENTS: dict[str, Enhance] = {
    "original": lambda image: image,
    "HE": equalize,
    "AHE": equalize_adaptive,
    "CLAHE": equalize_clahe,
}
_BEASF: dict[str, Enhance] = {
    "original": lambda image: image,
    "CLAHE": equalize_clahe,
    **{f"BEASF {gamma:g}": lambda image, gamma=gamma: equalize_beasf(image, gamma) for gamma in GAMMAS},
}
_LESION = (255, 170, 0)
_AROUND = 16
_MEASURED = (
    "Measured, where the paper judges by eye: (mean grey level of the opacity - mean of the lung within 16 pixels of "
    "it) / standard deviation there, on 256 x 256 pixels; larger stands out more."
)


def lesion_contrast(image: np.ndarray, lesion: np.ndarray, lungs: np.ndarray) -> float:
    """Measure how far an opacity stands out from the lung around it.

    Only lung within `_AROUND` pixels counts: masks that reach behind heart and diaphragm are brighter there.

    Args:
        image: uint8, H x W.
        lesion: bool, H x W.
        lungs: bool, H x W.

    Returns:
        (mean of the lesion - mean of the lung around it) / standard deviation there; NaN where either is missing.
    """
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _AROUND + 1, 2 * _AROUND + 1))
    rest = lungs & (cv2.dilate(lesion.astype(np.uint8), disk) > 0) & ~lesion
    if not lesion.any() or not rest.any():
        return float("nan")
    values = image.astype(np.float64)
    deviation = values[rest].std()
    return float((values[lesion].mean() - values[rest].mean()) / deviation) if deviation > 0 else float("nan")


def figure_2(context: Context) -> Result:
    """Show HE, AHE and CLAHE on one image and measure what they do to opacities."""
    return _enhanced(context, _ENHANCEMENTS, "figure-2.png", "Contrast enhancement", 4)


def figure_3(context: Context) -> Result:
    """Show BEASF with several slopes beside CLAHE and measure what they do to opacities."""
    found = _enhanced(context, _BEASF, "figure-3.png", "BEASF over gamma", 4)
    note = "The paper does not print its gammas; 1.5 is the one it uses. BEASF as its authors ran it (`covid_cxnet`)."
    return replace(found, notes=(*found.notes, note))


def _enhanced(context: Context, ways: Mapping[str, Enhance], name: str, title: str, columns: int) -> Result:
    shown = _shown(context)
    image = to_uint8(shown.pixels)
    panels = [Panel(_grey(way(image)), f"({chr(97 + i)}) {label}") for i, (label, way) in enumerate(ways.items())]
    if shown.lesion is not None:
        panels[0] = Panel(outline(panels[0].image, shown.lesion, _LESION), "(a) original, opacities outlined")
    figure = sheet_figure(panels, columns, title)
    rows = attempt("opacities", {f"contrast, {label}": None for label in ways}, lambda: _contrasts(context, ways))
    picture = save_figure(figure, context.out / name)
    return Result(tuple(rows), figures=(picture,), notes=(_MEASURED,), split_hash=split_hash(context.manifest.frame))


def _contrasts(context: Context, ways: Mapping[str, Enhance]) -> list[Comparison]:
    frame = context.rows("the contrast of opacities", labels=("cap", "covid"), column="disease_mask")
    frame = frame[frame["lung_mask"].notna()]
    if frame.empty:
        raise MissingDataError("the contrast of opacities needs rows with disease_mask and lung_mask")
    values: dict[str, list[float]] = {label: [] for label in ways}
    rows = []
    for found in studies(context, frame):
        lesion = np.zeros_like(found.lungs) if found.lesion is None else found.lesion
        image, marked, lungs = (
            resize_area(part, SEGMENTER_SIZE, SEGMENTER_SIZE) for part in (found.pixels, lesion, found.lungs | lesion)
        )
        rows.append(found.row)
        for label, way in ways.items():
            values[label].append(lesion_contrast(way(to_uint8(image)), marked > 0.5, lungs > 0.5))
    intervals = bootstrap_all(
        {label: lambda w, v=v: mean(np.array(v), w) for label, v in values.items()}, patients_of(pd.DataFrame(rows)),
        context.budget.bootstrap, context.seed,
    )  # fmt: skip
    system = f"opacities of {len(rows)} images"
    return [context.judge(system, f"contrast, {label}", None, ours) for label, ours in intervals.items()]


def figure_4(context: Context) -> Result:
    """Show every step of the lung extraction and measure the U-Net's overlap with the masks."""
    found = _shown(context)
    roi = LungROI()
    grid = grow(found.lungs, roi)
    top, bottom, left, right = bounding_box(grid, found.pixels.shape, roi.margin)
    height, width = found.pixels.shape
    grown = cv2.resize(grid.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    grey = _grey(to_uint8(found.pixels))
    cropped = grey[top:bottom, left:right]
    panels = [
        Panel(grey, "(a) radiograph"),
        Panel(_grey(segmenter_input(found.pixels, roi.enhance)), f"(b) {roi.enhance.upper()}, U-Net's input"),
        Panel(_grey(found.lungs.astype(np.uint8) * 255), f"(c) lungs, {found.lungs_from}"),
        Panel(outline(outline(grey, grown, (255, 255, 255)), found.lungs), "(d) dilated (white)"),
        Panel(cropped, "(e) cropped with margin"),
        Panel(np.where(grown[..., None], grey, 0).astype(np.uint8)[top:bottom, left:right], "(f) blanked outside"),
    ]
    figure = sheet_figure(panels, 3, "Lung extraction (ROI)")
    rows = attempt("lung U-Net", {"Dice": None, "IoU": None}, lambda: _overlaps(context))
    picture = save_figure(figure, context.out / "figure-4.png")
    return Result(tuple(rows), figures=(picture,), split_hash=split_hash(context.manifest.frame))


def _overlaps(context: Context) -> list[Comparison]:
    from covidcx.bundle import Bundle

    context.rows("the U-Net's overlap", split=("test",), column="lung_mask")
    try:
        table = predict_masks(Bundle.open(SEGMENTER), context.manifest, "test")
    except CovidcxError as error:
        raise MissingDataError(f"the U-Net's overlap cannot be measured: {error}") from error
    metrics: dict[str, Interval] = mask_metrics(table, context.budget.bootstrap, context.seed)
    system = f"{SEGMENTER}, {len(table)} test images"
    rows = [("Dice", "dice_mean"), ("IoU", "iou_mean"), ("Dice of a second reader", "reader_dice_mean")]
    return [context.judge(system, name, None, metrics[key]) for name, key in rows if key in metrics]


def _shown(context: Context) -> Study:
    """One COVID-19 image of the test split, with its opacities marked where there is such an image."""
    frame = context.rows("the figure", labels=("covid",))
    for wanted in (frame["disease_mask"].notna() & (frame["split"] == "test"), frame["disease_mask"].notna()):
        if wanted.any():
            frame = frame[wanted]
            break
    return next(studies(context, chosen(frame, 1, context.seed)))


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


ITEMS = (
    Item("figure-2", "Enhancement by HE, AHE and CLAHE", figure_2, needs="a COVID-19 image"),
    Item("figure-3", "BEASF with different gamma beside CLAHE", figure_3, needs="a COVID-19 image"),
    Item("figure-4", "Extraction of the lungs by a U-Net", figure_4, needs="a COVID-19 image"),
)
