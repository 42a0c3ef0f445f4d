"""Figures that show radiographs side by side: panels, heat maps with their colour bar, LIME's superpixels.

Like `covidcx.evaluation.plots`, nothing touches pyplot, and every figure carries the disclaimer.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import CovidcxError
from covidcx.evaluation.plots import add_disclaimer
from covidcx.imaging.overlay import HEAT_FLOOR, overlay
from covidcx.imaging.resize import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTERS_PER_INCH = 12  # of a heading of 10 points
_FOR, _AGAINST = (40, 180, 60), (215, 40, 40)


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a sheet.

    Attributes:
        image: uint8 H x W x 3, or float H x W in 0..1.
        title: above it, a line or two.
    """

    image: np.ndarray
    title: str = ""


def sheet_figure(
    panels: Sequence[Panel],
    columns: int,
    title: str = "",
    scale: str = "",
    width: float = 2.1,
    row_titles: Sequence[str] = (),
) -> "Figure":
    """Lay panels out in rows.

    Args:
        panels: in reading order.
        columns: panels per row.
        title: heading.
        scale: what a colour bar shows, `heat` (of `covidcx.imaging.overlay`), `signed` (see `signed_overlay`), or
            nothing.
        width: of a panel, in inches.
        row_titles: left of the first panel of each row.

    Returns:
        The figure.

    Raises:
        CovidcxError: there is no panel, or the scale is unknown.
    """
    from matplotlib.figure import Figure

    if not panels or scale not in ("", *_SCALES):
        raise CovidcxError(f"a sheet needs a panel and a scale of {', '.join(_SCALES)} or none, received {scale!r}")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    tall = max(panel.image.shape[0] / panel.image.shape[1] for panel in panels)
    lines = max(panel.title.count("\n") + 1 if panel.title else 0 for panel in panels)
    across = max(columns * width + (0.9 if scale else 0), 4.2)
    heading = textwrap.wrap(title, round(_LETTERS_PER_INCH * across))
    height = rows * (width * min(tall, 1.4) + 0.14 * lines) + 0.25 + 0.2 * len(heading)
    figure = Figure(figsize=(across, height), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.imshow(panel.image, cmap="gray", vmin=0, vmax=1 if panel.image.dtype.kind == "f" else None)
        axes.set_title(panel.title, fontsize=8)
    for axes, text in zip(grid[:, 0], row_titles, strict=False):
        axes.set_ylabel(text, fontsize=9)
    if title:
        figure.suptitle("\n".join(heading), fontsize=10)
    if scale:
        _colour_bar(figure, grid, scale)
    add_disclaimer(figure)
    return figure


def heat_panel(pixels: np.ndarray, heat: np.ndarray, title: str = "", lungs: np.ndarray | None = None) -> Panel:
    """Return a radiograph with a heat map over it, as `covidcx explain` draws it.

    Args:
        pixels: float, H x W, 0..1.
        heat: float, H x W; divided by its maximum, negative values count as none.
        title: above it.
        lungs: bool, H x W, drawn as an outline, or None.
    """
    return Panel(overlay(pixels, lungs, heat, alpha=0.55), title)


def signed_overlay(pixels: np.ndarray, weights: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Tint regions by their weight, as COVID-CXNet's Fig. 12 shows LIME: green for the class, red against it.

    Args:
        pixels: float, H x W, 0..1.
        weights: float, H x W; the largest magnitude gets the full tint.
        alpha: opacity of the full tint, 0..1.

    Returns:
        uint8, H x W x 3, RGB.
    """
    plain = np.repeat(to_uint8(pixels)[..., None], 3, axis=2).astype(np.float32)
    peak = float(np.abs(weights).max(initial=0.0))
    if peak <= 0:
        return plain.astype(np.uint8)
    share = (np.abs(weights) / peak)[..., None]
    # What counts for little stays untinted, so that the radiograph can be read there.
    opacity = alpha * np.clip((share - HEAT_FLOOR) / (1 - HEAT_FLOOR), 0, 1)
    tint = np.where(weights[..., None] > 0, np.float32(_FOR), np.float32(_AGAINST))
    return np.floor(plain * (1 - opacity) + tint * opacity + 0.5).astype(np.uint8)


_SCALES = {
    "heat": ("turbo", (0.0, 1.0), "share of the map's maximum"),
    "signed": ((_AGAINST, (235, 235, 235), _FOR), (-1.0, 1.0), "LIME weight: against ... for the class"),
}


def _colour_bar(figure: "Figure", grid: np.ndarray, scale: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colours, limits, label = _SCALES[scale]
    if not isinstance(colours, str):
        colours = LinearSegmentedColormap.from_list(scale, [np.array(c) / 255 for c in colours])
    bar = figure.colorbar(ScalarMappable(Normalize(*limits), colours), ax=grid, shrink=0.8, pad=0.01, fraction=0.04)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
