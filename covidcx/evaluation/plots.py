"""Figures of an evaluation: ROC, precision-recall, confusion, reliability, answers per source, Dice.

Every function returns a `matplotlib.figure.Figure` of its own; pyplot and its global state are never touched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.evaluation.calibration import expected_calibration_error, reliability
from covidcx.evaluation.roc import auc, average_precision, precision_recall_points, roc_points
from covidcx.evaluation.subgroups import groups_of
from covidcx.finding import DISCLAIMER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers as well.
_COLOURS = {"normal": "#0072B2", "cap": "#E69F00", "covid": "#D55E00"}
_SPARE = ("#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999")

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Per curve's name: bool N (positive) and float N (score)."""


def roc_figure(curves: Curves, title: str = "") -> "Figure":
    """Draw ROC curves; those with one class only are named in the legend as undefined.

    Args:
        curves: see `Curves`.
        title: heading.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 5.6, 5.2)
    axes.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, label="chance")
    for i, (name, (positive, score)) in enumerate(curves.items()):
        value = auc(positive, score)[0]
        if np.isnan(value):
            axes.plot([], [], color="none", label=f"{name}: undefined, one class only")
            continue
        fpr, tpr, _ = roc_points(positive, score)
        axes.plot(fpr[0], tpr[0], color=_colour(name, i), linestyle=_style(name), label=f"{name}: AUC {value:.3f}")
    _square(axes, "False positive rate (1 - specificity)", "True positive rate (sensitivity)")
    axes.legend(loc="lower right", fontsize=8, framealpha=0.85, edgecolor="none")
    return figure


def precision_recall_figure(curves: Curves, title: str = "") -> "Figure":
    """Draw precision over recall; the dotted line of a curve's colour is the share of positives.

    Args:
        curves: see `Curves`.
        title: heading.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 5.6, 5.2)
    for i, (name, (positive, score)) in enumerate(curves.items()):
        value = average_precision(positive, score)[0]
        if np.isnan(value):
            axes.plot([], [], color="none", label=f"{name}: undefined, no positive")
            continue
        precision, recall = precision_recall_points(positive, score)
        colour = _colour(name, i)
        axes.step(recall[0], precision[0], where="pre", color=colour, linestyle=_style(name),
                  label=f"{name}: AP {value:.3f}")  # fmt: skip
        axes.axhline(np.mean(positive), color=colour, linestyle=":", linewidth=0.8, alpha=0.7)
    _square(axes, "Recall (sensitivity)", "Precision (dotted: share of positives)")
    axes.legend(loc="lower left", fontsize=8, framealpha=0.85, edgecolor="none")
    return figure


def confusion_figure(matrix: np.ndarray, labels: Sequence[str], title: str = "") -> "Figure":
    """Draw a confusion matrix: counts, and the share of each true class below them.

    Args:
        matrix: int, K x K, rows true, columns predicted.
        labels: K names.
        title: heading.

    Returns:
        The figure.
    """
    matrix = np.asarray(matrix)
    figure, axes = _figure(title, 1.9 + 1.1 * len(labels), 1.7 + 0.95 * len(labels))
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, col), count in np.ndenumerate(matrix):
        below = f"\n{share[row, col]:.0%}" if total[row, 0] else ""
        colour = "white" if share[row, col] > 0.55 else "black"
        axes.text(col, row, f"{count}{below}", ha="center", va="center", color=colour, fontsize=11)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("Predicted at the operating point")
    axes.set_ylabel("True")
    return figure


def reliability_figure(probabilities: np.ndarray, index: np.ndarray, bins: int = 10, title: str = "") -> "Figure":
    """Draw how often the most probable class is right over how probable it was said to be.

    Args:
        probabilities: float, N x K, calibrated.
        index: int, N, true class.
        bins: number of bins of equal width.
        title: heading.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure

    confidence, right, count = reliability(probabilities, index, bins)
    figure = Figure(figsize=(5.6, 5.6), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.arange(bins) / bins
    filled = count > 0
    upper.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=1, label="perfect calibration")
    upper.bar(edges[filled], right[filled], width=1 / bins, align="edge", color="#56B4E9", edgecolor="white",
              label="share right")  # fmt: skip
    upper.plot(confidence[filled], right[filled], "o", color="#0072B2", markersize=4, label="at mean confidence")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="Share right")
    upper.legend(loc="upper left", fontsize=8, frameon=False)
    error = expected_calibration_error(probabilities, index)
    upper.set_title(f"{title}\nexpected calibration error {error:.3f} (15 bins)".strip(), fontsize=10)
    lower.bar(edges, count, width=1 / bins, align="edge", color="#999999", edgecolor="white")
    lower.set(xlabel="Probability of the most probable class", ylabel="Images")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    add_disclaimer(figure)
    return figure


def source_figure(
    truth: Sequence[Any], predicted: Sequence[str], sources: Sequence[Any], labels: Sequence[str], title: str = ""
) -> "Figure":
    """Draw what each source's images of each true label are called: a source recogniser shows as one colour a source.

    Args:
        truth: label per image, None where it is missing.
        predicted: class per image.
        sources: source per image.
        labels: K names, in the order of the bars.
        title: heading.

    Returns:
        The figure.
    """
    rows = [
        (f"{source}: {label}", members[own])
        for source, members in groups_of(sources).items()
        for label, own in groups_of([truth[i] for i in members]).items()
    ]
    figure, axes = _figure(title, 7.0, 1.7 + 0.36 * len(rows))
    names = np.array(predicted, dtype=object)
    for i, label in enumerate(labels):
        share = np.array([np.mean(names[members] == label) for _, members in rows])
        start = np.array([np.mean(np.isin(names[members], list(labels[:i]))) for _, members in rows])
        axes.barh(range(len(rows)), share, left=start, color=_colour(label, i), edgecolor="white", label=label)
        ink = "black" if label == "cap" else "white"
        for row, (left, width) in enumerate(zip(start, share, strict=True)):
            if width >= 0.08:
                axes.text(left + width / 2, row, f"{width:.0%}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_yticks(range(len(rows)), [f"{name} (n={len(members)})" for name, members in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="Share called", ylabel="Source: true label")
    axes.legend(title="called", loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False)
    return figure


def dice_figure(dice: np.ndarray, readers: np.ndarray | None = None, title: str = "") -> "Figure":
    """Draw the Dice of every image in rising order, with the readers' median agreement as the ceiling.

    Args:
        dice: float, N, NaN where undefined.
        readers: float, M, Dice between two readers, or None.
        title: heading.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 6.4, 4.0)
    ranked = np.sort(dice[~np.isnan(dice)])
    share = (np.arange(len(ranked)) + 0.5) / max(1, len(ranked))
    axes.plot(share, ranked, color="#0072B2", marker=".", markersize=4, linewidth=1,
              label=f"segmenter, median {np.median(ranked):.3f} (n={len(ranked)})")  # fmt: skip
    if readers is not None and not np.isnan(readers).all():
        ceiling = np.nanmedian(readers)
        axes.axhline(ceiling, color="#D55E00", linestyle="--", linewidth=1,
                     label=f"two readers, median {ceiling:.3f} (n={int((~np.isnan(readers)).sum())})")  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(min(0.5, float(ranked.min(initial=0.5))), 1.0), ylabel="Dice",
             xlabel="Share of images, worst first")  # fmt: skip
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def learning_figure(
    curves: Mapping[str, Sequence[float]],
    quantity: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
    mark: int = 0,
) -> "Figure":
    """Draw what was logged after each epoch of a training.

    Args:
        curves: per curve's name one value per epoch; names that start with `validation` are dashed.
        quantity: what the values are.
        title: heading.
        limits: of the vertical axis; chosen from the values by default.
        mark: epoch after which a line is drawn, such as the last with a frozen backbone; 0 draws none.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 5.6, 4.0)
    if mark:
        axes.axvline(mark + 0.5, color="#BBBBBB", linewidth=1, label=f"until epoch {mark}: backbone frozen")
    for i, (name, values) in enumerate(curves.items()):
        dashed = name.startswith("validation")
        axes.plot(range(1, len(values) + 1), values, label=name, color=_SPARE[i // 2 % len(_SPARE)],
                  linestyle="--" if dashed else "-", marker="." if len(values) < 30 else None)  # fmt: skip
    axes.set(xlabel="Epoch", ylabel=quantity)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if limits is not None:
        axes.set_ylim(limits)
    axes.legend(fontsize=8, frameon=False)
    return figure


def learning_rate_figure(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestion: float, title: str = ""
) -> "Figure":
    """Draw a learning-rate range test: the loss over the logarithm of the rate.

    Args:
        rates: float, N.
        losses: float, N: of each step's batch.
        smoothed: float, N.
        suggestion: the rate to mark.
        title: heading.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 5.6, 4.0)
    axes.plot(rates, losses, ".", color="#BBBBBB", markersize=4, label="loss of a batch")
    axes.plot(rates, smoothed, color=_SPARE[0], label="smoothed")
    axes.axvline(suggestion, color="#D55E00", linestyle="--", label=f"steepest fall: {suggestion:.1e}")
    # What comes after the loss has risen above its start would squeeze everything else.
    top = max(float(smoothed[0]), float(np.median(losses)))
    axes.set(xlabel="Learning rate", ylabel="Loss", xscale="log", ylim=(0, 1.5 * top))
    axes.legend(fontsize=8, frameon=False)
    return figure


def bars_figure(
    groups: Mapping[str, Sequence[float]], names: Sequence[str], quantity: str, title: str = "", most: float = 1.0
) -> "Figure":
    """Draw one horizontal bar per name and group, such as a model's outputs for two images.

    Args:
        groups: per group's name one value per entry of `names`, 0..`most`.
        names: what the bars stand for.
        quantity: what the values are.
        title: heading.
        most: the largest value that there is room for.

    Returns:
        The figure.
    """
    figure, axes = _figure(title, 6.4, 1.4 + 0.2 * len(names) * len(groups))
    height = 0.8 / len(groups)
    for i, (group, values) in enumerate(groups.items()):
        places = np.arange(len(names)) + (i - (len(groups) - 1) / 2) * height
        drawn = axes.barh(places, values, height, color=_colour(group, i), label=group)
        axes.bar_label(drawn, fmt="%.2f" if most >= 1 else "%.3f", fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.08 * most), xlabel=quantity)
    if len(groups) > 1:
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def save_figure(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG and return its path."""
    figure.savefig(path, format="png", metadata={"Software": "covidcx"})
    return path


def _figure(title: str, width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    add_disclaimer(figure)
    return figure, axes


def add_disclaimer(figure: "Figure") -> None:
    """Put the disclaimer below a figure."""
    figure.supxlabel(DISCLAIMER, fontsize=6, color="#666666")


def _square(axes: "Axes", horizontal: str, vertical: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=horizontal, ylabel=vertical)
    axes.set_box_aspect(1)


def _colour(name: str, position: int) -> str:
    return _COLOURS.get(name.split(" ")[0], _SPARE[position % len(_SPARE)])


def _style(name: str) -> str:
    return "--" if "against normal" in name else "-"
