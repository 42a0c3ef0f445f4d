"""The files of an evaluation: JSON, CSV, figures and a short report in words."""

import csv
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np

from covidcx.atomic import write_atomic
from covidcx.evaluation import plots
from covidcx.evaluation.classification import title
from covidcx.evaluation.evaluate import curves, metrics_csv, to_json
from covidcx.evaluation.masks import MaskTable, mask_title
from covidcx.evaluation.predictions import PredictionTable
from covidcx.evaluation.regions import region_title
from covidcx.evaluation.subgroups import SMALL, label_index

# Columns of the table by group: short enough to be read, the rest is in metrics.csv.
_GROUP_METRICS = (
    "accuracy", "macro_f1", "recall_covid", "specificity_covid", "auc_covid_vs_normal", "cap_called_covid"
)  # fmt: skip
_MASK_GROUP_METRICS = ("dice_mean", "dice_median", "surface_distance_mean", "hausdorff95_mean")
_SHOWN_FAILURES = 20


def write_report(result: dict[str, Any], answers: PredictionTable | MaskTable, out: Path, figures: bool = True) -> None:
    """Write everything an evaluation leaves behind; `metrics.json` comes last, so that it vouches for the others.

    Args:
        result: from `covidcx.evaluation.evaluate`.
        answers: the table the result was computed from.
        out: an existing folder.
        figures: draw the plots.
    """
    folder = out / "plots"
    drawn: dict[str, list[str]] = {}
    for name in result["splits"] if figures else ():
        folder.mkdir(exist_ok=True)
        own = answers.take([i for i, split in enumerate(answers.splits) if split == name])
        drawn[name] = _draw(own, f"{result['bundle']} on {name}", name, folder)
    write_atomic(out / "predictions.csv", answers.to_csv().encode())
    write_atomic(out / "metrics.csv", metrics_csv(result).encode())
    if result["task"] != "segment":
        write_atomic(out / "confusion.csv", confusion_csv(result).encode())
    write_atomic(out / "REPORT.md", report(result, drawn).encode())
    write_atomic(out / "metrics.json", to_json(result).encode())


def confusion_csv(result: dict[str, Any]) -> str:
    """Return the confusion matrices as CSV: split, true label, then one count per predicted label."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header: list[str] = []
    for split, section in result["splits"].items():
        labels = section.get("labels", [])
        if labels and not header:
            header = labels
            writer.writerow(["split", "label", *(f"called_{label}" for label in labels)])
        for label, row in zip(labels, section.get("confusion", []), strict=True):
            writer.writerow([split, label, *row])
    return stream.getvalue()


def report(result: dict[str, Any], figures: dict[str, list[str]] | None = None) -> str:
    """Write a result down in words and tables.

    Args:
        result: from `covidcx.evaluation.evaluate`.
        figures: per split paths of figures, relative to the report.

    Returns:
        Markdown.
    """
    lines = [
        f"# Evaluation of {result['bundle']}",
        "",
        f"**{result['disclaimer']}**",
        "",
        f"Values with 95% intervals from {result['bootstrap']} resamples of patients (percentile bootstrap, seed "
        f"{result['seed']}). An interval without width, marked `*`, means that no resample differed, not certainty. "
        "`[n]` counts the resamples in which a metric was undefined.",
        "",
    ]
    remarks = list(result["notes"])
    for name, section in result["splits"].items():
        remarks += [f"Split {name}: {note}" for note in section.get("shortcut", {}).get("notes", [])]
        if len(section.get("readers", [])) > 1:
            remarks.append(f"Split {name} pools masks of several readers ({', '.join(section['readers'])}), who may "
                           "draw lungs by different rules: read the table by reader.")  # fmt: skip
    if remarks:
        lines += ["## Read this first", "", *(f"- {note}" for note in remarks), ""]
    body = _mask_lines if result["task"] == "segment" else _class_lines
    for name, section in result["splits"].items():
        lines += body(name, section)
        lines += [f"![{Path(path).stem}]({path})" for path in (figures or {}).get(name, [])] + [""]
    lines += _failure_lines(result["failures"])
    lines += _provenance_lines(result)
    return "\n".join(lines)


def cell(interval: dict[str, Any] | None, digits: int = 3) -> str:
    """Show a metric's dictionary as text: value, interval, and remarks."""
    if interval is None or interval["value"] is None:
        return "undefined"
    text = f"{interval['value']:.{digits}f}"
    if interval["low"] is not None:
        text += f" ({interval['low']:.{digits}f} to {interval['high']:.{digits}f})"
        text += "*" if interval["low"] == interval["high"] else ""
    undefined = interval.get("undefined", 0)
    return text + (f" [{undefined}]" if undefined else "")


def _class_lines(name: str, section: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {label}" for label, count in section["per_label"].items())
    lines = [f"## Split {name}", "", f"{section['images']} images of {section['patients']} patients: {counts}."]
    if section["excluded"]:
        excluded = ", ".join(f"{count} {label}" for label, count in section["excluded"].items())
        lines.append(f"Left out of the metrics, for want of one of the model's labels: {excluded}.")
    lines += ["", "| metric | value (95% interval) |", "|---|---|"]
    defined = {key: value for key, value in section["metrics"].items() if value["value"] is not None}
    regions = section.get("regions", {})
    keys = [f"{head}_{key}" for head, block in regions.items() for key in block["metrics"]]
    naming = {key: region_title(key) for key in keys}
    lines += [f"| {naming.get(key) or title(key)} | {cell(value)} |" for key, value in defined.items()]
    if section.get("calibration_error") is not None:
        lines.append(f"| Expected calibration error, 15 bins | {section['calibration_error']:.3f} |")
    if len(defined) < len(section["metrics"]):
        undefined = "; ".join(_short(key, title) for key in section["metrics"] if key not in defined)
        lines += ["", f"Undefined on these images: {undefined}."]
    if regions:
        sizes = "; ".join(f"{head} {b['images']} images of {b['patients']} patients" for head, b in regions.items())
        lines += ["", f"Regions are measured where they are known: {sizes}."]
    lines += _few_negatives(section["per_label"])
    if section.get("called_covid"):
        lines += ["", "Called COVID without that label:", "", "| true label | images | share called COVID |"]
        lines.append("|---|---|---|")
        lines += [f"| {label} | {v['images']} | {cell(v)} |" for label, v in section["called_covid"].items()]
    if section.get("confusion"):
        labels = section["labels"]
        lines += ["", f"| true \\ called | {' | '.join(labels)} |", "|---" * (1 + len(labels)) + "|"]
        lines += [
            f"| {label} | " + " | ".join(map(str, row)) + " |"
            for label, row in zip(labels, section["confusion"], strict=True)
        ]
    return [*lines, "", *_group_lines(section["groups"], _GROUP_METRICS, title), ""]


def _few_negatives(per_label: dict[str, int]) -> list[str]:
    if not per_label.get("covid"):
        return []
    others = sum(count for label, count in per_label.items() if label != "covid")
    counts = {"normal": per_label.get("normal", 0), "other than covid": others}
    few = [f"{count} {name}" for name, count in counts.items() if 0 < count < 100]
    return ["", f"Under 100 negatives ({', '.join(few)}): 99% specificity allows no false positive."] if few else []


def _mask_lines(name: str, section: dict[str, Any]) -> list[str]:
    lines = [
        f"## Split {name}",
        "",
        f"{section['images']} images of {section['patients']} patients with a mask; {section['without_mask']} images "
        f"without one are left out. Boundary error undefined (one mask empty): {section['boundary_undefined']}. "
        f"Masks of two readers: {section['two_readers']}.",
        "",
        "| metric | value (95% interval) |",
        "|---|---|",
        *(f"| {mask_title(key)} | {cell(value)} |" for key, value in section["metrics"].items()),
        "",
    ]
    return [*lines, *_group_lines(section["groups"], _MASK_GROUP_METRICS, mask_title), ""]


def _group_lines(groups: dict[str, Any], wanted: tuple[str, ...], naming) -> list[str]:
    blocks = [(a, value, block) for a, values in groups.items() for value, block in values.items()]
    shown = [key for key in wanted if any(key in block["metrics"] for _, _, block in blocks)]
    if not shown:
        return []
    lines = [
        "By group:",
        "",
        "| group | images | patients | " + " | ".join(_short(key, naming) for key in shown) + " |",
        "|---" * (3 + len(shown)) + "|",
    ]
    for attribute, value, block in blocks:
        flag = " (few)" if block["small"] else ""
        cells = [cell(block["metrics"].get(key)) if key in block["metrics"] else "-" for key in shown]
        lines.append(f"| {attribute}: {value} | {block['images']}{flag} | {block['patients']} | {' | '.join(cells)} |")
    if any(block["small"] for _, _, block in blocks):
        lines += ["", f"(few): under {SMALL} images; do not compare such a group with others."]
    return lines


def _short(key: str, naming) -> str:
    removed = (", score p(covid) / (p(covid) + p(normal))", " (threshold found on this set's own negatives)")
    return functools.reduce(lambda text, part: text.replace(part, ""), removed, naming(key))


def _failure_lines(failures: list[dict[str, str]]) -> list[str]:
    if not failures:
        return []
    lines = [f"## Not evaluated: {len(failures)} images", ""]
    lines += [f"- {failure['image']}: {failure['reason']}" for failure in failures[:_SHOWN_FAILURES]]
    if len(failures) > _SHOWN_FAILURES:
        lines.append(f"- and {len(failures) - _SHOWN_FAILURES} more, all in metrics.json")
    return [*lines, ""]


def _provenance_lines(result: dict[str, Any]) -> list[str]:
    points = [
        f"- Operating point of {label}: {point['threshold']:.4g} ({point.get('rule', 'rule not recorded')})"
        for label, point in result["operating_points"].items()
    ]
    return [
        "## Where this comes from",
        "",
        f"- Bundle {result['bundle']}, checksum `{result['bundle_checksum']}`",
        f"- Manifest {result['manifest']}, split hash `{result['split_hash']}`, splits "
        f"{', '.join(result['evaluated'])}",
        *points,
        *([f"- Temperature {result['temperature']:.4g}"] if result["task"] != "segment" else []),
        f"- covidcx {result['covidcx']}, {result['created']}",
        f"- Command: `{result['command']}`",
        "",
    ]


def _draw(table: PredictionTable | MaskTable, heading: str, name: str, folder: Path) -> list[str]:
    figures = {}
    if isinstance(table, MaskTable):
        dice = np.array([score.dice for score in table.scores])
        readers = np.array([np.nan if reader is None else reader.dice for reader in table.readers])
        figures["dice"] = plots.dice_figure(dice, readers, heading)
    else:
        index, _ = label_index(table.truth, table.labels)
        known = index >= 0
        if known.any():
            own = curves(table)
            figures["roc"] = plots.roc_figure(own, heading)
            figures["precision_recall"] = plots.precision_recall_figure(own, heading)
            called = np.array([table.labels.index(label) for label in table.predicted])
            matrix = np.zeros((len(table.labels),) * 2, np.int64)
            np.add.at(matrix, (index[known], called[known]), 1)
            figures["confusion"] = plots.confusion_figure(matrix, table.labels, heading)
            figures["reliability"] = plots.reliability_figure(
                table.probabilities[known], index[known], title=heading
            )
        sources = table.attributes.get("source", (None,) * len(table))
        figures["sources"] = plots.source_figure(table.truth, table.predicted, sources, table.labels, heading)
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    for key, figure in figures.items():
        plots.save_figure(figure, folder / f"{safe}_{key}.png")
    return [f"plots/{safe}_{key}.png" for key in figures]
