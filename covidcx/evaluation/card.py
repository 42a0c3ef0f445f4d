"""The model card that travels in every bundle (Mitchell et al. 2019): recorded facts, and limits that hold for all."""

from collections.abc import Mapping
from typing import Any

from covidcx.bundle import GATE_LABEL
from covidcx.evaluation.classification import title
from covidcx.evaluation.masks import mask_title
from covidcx.evaluation.regions import region_title
from covidcx.evaluation.report import cell
from covidcx.finding import DISCLAIMER

# What a reader of a card wants first; the other metrics are in the evaluation's metrics.csv.
_CLASSIFY = (
    "accuracy", "macro_f1", "auc_covid_vs_normal", "auc_covid", "auc_cap", "auc_normal",
    "sensitivity_at_90_specificity_covid_vs_normal", "sensitivity_at_99_specificity_covid_vs_normal",
    "eer_covid_vs_normal", "recall_covid", "specificity_covid", "precision_covid", "cap_called_covid", "brier",
)  # fmt: skip
# Beside those above: the figures of COMiT-Net's section 4, of a network with several heads.
_MULTI = (
    "auc_other", "sensitivity_at_90_specificity_covid_vs_rest", "sensitivity_at_99_specificity_covid_vs_rest",
    "eer_covid_vs_rest",
)  # fmt: skip
_REGION = ("iou_mean", "true_positive_rate", "true_positive_rate_mean", "precision", "false_positive_rate")
_GATE = (
    "accuracy", "macro_f1", "recall_frontal", "specificity_frontal", "auc_frontal", "recall_sideways",
    "recall_upside_down", "recall_inverted", "recall_lateral", "recall_no_chest",
)  # fmt: skip
_SEGMENT = ("dice_mean", "dice_median", "iou_mean", "surface_distance_mean", "hausdorff95_mean", "reader_dice_median")
_LIMITS_CLASSIFY = (
    "The public images of COVID-19 and of other findings come from different sources. A classifier trained on them "
    "can recognise the source instead of the disease; the rate at which pneumonia from the COVID source is called "
    "COVID (split control) shows how far it does.",
    "Labels of NIH ChestX-ray14 were mined from reports and are noisy; some COVID images show no visible abnormality.",
    "Adults with frontal images (PA or AP) only; not for children, lateral images, or other modalities.",
    "Probabilities hold for the class shares of the validation split, not for the prevalence at any site.",
)
_LIMITS_GATE = (
    "Laterals were drawn, for training and for testing alike: no real lateral radiograph was seen, so how many of "
    "those are refused is not known.",
    "Turned and inverted images were made from frontal ones; tilts of up to 15 degrees count as frontal.",
    "What is no chest is a small choice of photographs, sections and drawings; something else may pass. The checks of "
    "the lungs that follow in `covidcx.edge` stay necessary.",
    "Left and right exchanged (a mirrored image) is not noticed.",
)
_LIMITS_REGIONS = (
    "Masks of disease are few, and boxes are drawn around findings, not along them: a true positive rate alone says "
    "little, read it with the precision beside it. Masks drawn by another rule score low by construction.",
)
_LIMITS_SEGMENT = (
    "Public lung masks differ by rule: some include the lung behind the heart, others leave it out. Scores against "
    "masks drawn by another rule than the training masks are low by construction.",
    "Two readers agree on the same image only up to a point; where the table gives their Dice, it is the ceiling.",
    "Frontal images only.",
)


def model_card(bundle_info: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Write a model card.

    Args:
        bundle_info: fields of `bundle.json`; what is missing is named as not recorded.
        metrics: from `covidcx.evaluation.evaluate`, its `headline`, or an empty dictionary.

    Returns:
        Markdown, self-contained.
    """
    kind = _kind(bundle_info)
    name = bundle_info.get("name", "unnamed")
    lines = [f"# {name}", "", f"**{bundle_info.get('disclaimer', DISCLAIMER)}**", ""]
    lines += ["## What it is", "", *_what(bundle_info, kind), ""]
    lines += ["## Intended use", "", *_use(kind), ""]
    lines += ["## Training data", "", *_data(bundle_info), ""]
    lines += ["## Preprocessing", "", *_preprocessing(bundle_info.get("preprocessing") or {}), ""]
    lines += ["## Metrics", "", *_metrics(bundle_info, metrics, kind), ""]
    if kind != "segment":
        lines += ["## Operating points", "", *_points(bundle_info), ""]
    lines += ["## Known shortcuts and limits", "", *_limits(metrics, kind), ""]
    lines += ["## How to reproduce", "", *_reproduce(bundle_info, metrics), ""]
    lines += [f"_{bundle_info.get('disclaimer', DISCLAIMER)}_", ""]
    return "\n".join(lines)


def _kind(info: Mapping[str, Any]) -> str:
    if info.get("task") == "segment":
        return "segment"
    if info.get("task") == "multi":
        return "multi"
    return "gate" if GATE_LABEL in (info.get("labels") or ()) else "classify"


def _what(info: Mapping[str, Any], kind: str) -> list[str]:
    model = info.get("model") or {}
    settings = ", ".join(f"{key}={value}" for key, value in (model.get("kwargs") or {}).items())
    task = {"segment": "segments the lungs in", "classify": "classifies", "gate": "tells other images from upright",
            "multi": "classifies, and with further heads segments or labels,"}
    lines = [
        f"A Keras model (`{model.get('name', 'not recorded')}`{f', {settings}' if settings else ''}) that {task[kind]} "
        "frontal chest radiographs.",
        "",
        f"- Labels, in the order of the outputs: {', '.join(info.get('labels') or ['not recorded'])}",
        f"- Licence of the weights: {info.get('licence') or 'not recorded'}",
    ]
    if info.get("heads"):
        parts = [f"`{output}` ({', '.join(classes)})" for output, classes in info["heads"].items()]
        lines.append(f"- Heads: {', '.join(parts)}")
    if info.get("segmenter"):
        lines.append(f"- Lung segmenter in front of it: `{info['segmenter']}`")
    if info.get("gate"):
        lines.append(f"- Gate in front of it: `{info['gate']}`; it refuses what is no upright frontal chest radiograph")
    if info.get("files"):
        lines.append(f"- Files: {', '.join(sorted(info['files']))} (SHA-256 of each in `bundle.json`)")
    return lines


def _use(kind: str) -> list[str]:
    task = {
        "segment": "finding the lung field before another model",
        "classify": "studying how such classifiers behave",
        "multi": "studying how such classifiers behave and what they look at",
        "gate": "refusing images that another model must not be asked about",
    }[kind]
    return [
        f"Research and teaching: {task}, reproducing published work, and trying a portable X-ray workflow.",
        "",
        "Not intended: diagnosis, triage or any decision about a patient; ruling COVID-19 out; images of children; "
        "any use without a radiologist and, where it is due, an RT-PCR test.",
    ]


def _data(info: Mapping[str, Any]) -> list[str]:
    training = info.get("training") or {}
    lines = [f"- Data: {_plain(training.get('data'))}", f"- Split hash: `{_plain(training.get('split_hash'))}`"]
    licences = info.get("data_licences") or []
    lines.append(f"- Licences of the data: {'; '.join(map(str, licences)) if licences else 'not recorded'}")
    lines.append("- No image of the training data is part of this bundle.")
    return lines


def _preprocessing(spec: Mapping[str, Any]) -> list[str]:
    if not spec:
        return ["Not recorded."]
    size = spec.get("size") or ()
    lines = [
        f"- Input: {' x '.join(map(str, size)) or 'size not recorded'} pixels (rows x columns), 0..1, channels "
        f"{', '.join(spec.get('channels') or ['not recorded'])}"
    ]
    roi = spec.get("roi")
    if roi:
        steps = {"crop": "cropped to the lungs", "blank": "blanked outside them"}
        parts = [text for key, text in steps.items() if roi.get(key)]
        lines.append(
            f"- Lungs: found after {roi.get('enhance')}, mask dilated {roi.get('iterations')} times by "
            f"{roi.get('kernel')} x {roi.get('kernel')}, {' and '.join(parts) or 'image kept whole'}"
        )
    else:
        lines.append("- Lungs: the whole image is used")
    if spec.get("winsorise") is not None:
        lines.append(f"- Grey levels clipped at percentiles {spec.get('winsorise_low', 0)} and {spec['winsorise']}")
    if spec.get("histogram") is not None:
        lines.append("- Histogram matched to a reference stored in `bundle.json`")
    if spec.get("lung_statistics"):
        lines.append("- Grey-level statistics are taken inside the lungs only")
    return lines


def _metrics(info: Mapping[str, Any], metrics: Mapping[str, Any], kind: str) -> list[str]:
    splits = _splits(metrics)
    if not splits:
        return ["Not evaluated yet: run `covidcx evaluate`."]
    wanted = {"segment": _SEGMENT, "classify": _CLASSIFY, "gate": _GATE, "multi": (*_CLASSIFY, *_MULTI)}[kind]
    naming = mask_title if kind == "segment" else title
    regions = {f"{head}_{key}": region_title(f"{head}_{key}")
               for head in (info.get("heads") or {}) for key in _REGION}  # fmt: skip
    lines = ["Values with 95% patient-level bootstrap intervals; `*` marks an interval without width, which is no "
             "certainty; `-` stands where a split has no images for a metric."]  # fmt: skip
    sizes = ", ".join(
        f"{name} {s.get('images', '?')} images of {s.get('patients', '?')} patients" for name, s in splits.items()
    )
    lines += ["", f"Evaluated on: {sizes}.", ""]
    lines += ["| metric | " + " | ".join(splits) + " |", "|---" * (1 + len(splits)) + "|"]
    for key in (*wanted, *regions):
        values = [section["metrics"].get(key) for section in splits.values()]
        if any(value is not None and value["value"] is not None for value in values):
            cells = ["-" if value is None or value["value"] is None else cell(value) for value in values]
            lines.append(f"| {regions.get(key) or naming(key)} | {' | '.join(cells)} |")
    return lines


def _points(info: Mapping[str, Any]) -> list[str]:
    points = info.get("operating_points") or {}
    lines = [
        f"- {label}: called at probability >= {point['threshold']:.4g}; rule: {point.get('rule', 'not recorded')}"
        for label, point in points.items()
    ] or ["- None: the most probable class is called."]
    temperature = f"{info.get('temperature', 1.0):.4g}"
    return [*lines, f"- Temperature: {temperature}, applied to the probabilities before the threshold"]


def _limits(metrics: Mapping[str, Any], kind: str) -> list[str]:
    measured = []
    for name, section in _splits(metrics).items():
        share = section["metrics"].get("cap_called_covid")
        if share and share["value"] is not None:
            measured.append(f"On split {name} the share of other pneumonia that is called COVID is {cell(share)}.")
        measured += [f"Split {name}: {note}" for note in (section.get("shortcut") or {}).get("notes", [])]
    limits = {"segment": _LIMITS_SEGMENT, "classify": _LIMITS_CLASSIFY, "gate": _LIMITS_GATE,
              "multi": (*_LIMITS_CLASSIFY, *_LIMITS_REGIONS)}[kind]  # fmt: skip
    return [f"- {text}" for text in (*measured, *metrics.get("notes", ()), *limits)]


def _reproduce(info: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    training = info.get("training") or {}
    lines = [
        "Training (recipe " + f"`{_plain(training.get('recipe'))}`, seed {_plain(training.get('seed'))}, "
        f"{_plain(training.get('date'))}):",
        "",
        f"    {_plain(training.get('command'))}",
    ]
    if metrics.get("command"):
        checksum = metrics.get("split_hash", "not recorded")
        lines += ["", f"Evaluation (manifest with split hash `{checksum}`):", "", f"    {metrics['command']}"]
    return lines


def _splits(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    candidates = metrics.get("splits", metrics)
    return {
        name: section
        for name, section in candidates.items()
        if isinstance(section, Mapping) and isinstance(section.get("metrics"), Mapping)
    }


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "not recorded"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
