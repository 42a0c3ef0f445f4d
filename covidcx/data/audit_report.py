"""An audit in words and tables."""

from collections.abc import Mapping
from typing import Any

from covidcx.data.source_probe import Estimate

_SHOWN_PROBLEMS = 50
_SHOWN_CLUSTERS = 200
_NAMES = {"split": "splits", "label": "labels", "patient_id": "patients", "source": "sources"}


def report(result: Mapping[str, Any]) -> str:
    """Write an audit down.

    Args:
        result: from `covidcx.data.audit.audit`.

    Returns:
        Markdown.
    """
    lines = [
        f"# Audit of {result['manifest']}",
        "",
        f"{result['rows']} rows, {result['images_compared']} images read and compared, split hash "
        f"`{result['split_hash']}`, covidcx {result['covidcx']}.",
        "",
        *_summary(result),
        *_problems(result),
        *_refused(result["refused"]),
        *_clusters(result),
        *_cleaned(result),
        *_probe(result["source_probe"]),
    ]
    return "\n".join(lines) + "\n"


def _summary(result: Mapping[str, Any]) -> list[str]:
    groups = result["clusters"]
    extra = sum(len(group["images"]) - 1 for group in groups)
    lines = [f"- {_count(len(result['problems']), 'problem')} in the table"]
    lines.append(f"- {_count(len(groups), 'cluster')} of duplicates, {_count(extra, 'superfluous row')}")
    for what, count in result["straddling"].items():
        if count:
            lines.append(f"- {_count(count, 'cluster')} across {_NAMES[what]}")
    lines += [
        f"- one file, two labels: `{pair['images'][0]}` ({pair['labels'][0] or 'none'}) = `{pair['images'][1]}` "
        f"({pair['labels'][1] or 'none'})"
        for pair in result["two_labels"]
    ]
    if result["refused"] is not None:
        lines.append(f"- {_count(len(result['refused']), 'picture')} refused by the gate")
    lines += [f"- {note}" for note in result["source_probe"]["notes"]]
    return [*lines, ""]


def _problems(result: Mapping[str, Any]) -> list[str]:
    problems, unreadable = result["problems"], result["unreadable"]
    if not problems and not unreadable:
        return ["## Problems of the table", "", "None.", ""]
    lines = ["## Problems of the table", ""]
    lines += [f"- line {p['row']}, {p['column']} `{p['value']}`: {p['message']}" for p in problems[:_SHOWN_PROBLEMS]]
    lines += [f"- line {u['line']}: cannot be read: {u['reason']}" for u in unreadable[:_SHOWN_PROBLEMS]]
    hidden = max(0, len(problems) - _SHOWN_PROBLEMS) + max(0, len(unreadable) - _SHOWN_PROBLEMS)
    return [*lines, *([f"- and {hidden} more, all in audit.json"] if hidden else []), ""]


def _refused(refused: list[Mapping[str, Any]] | None) -> list[str]:
    lines = ["## Pictures that are no upright frontal chest radiographs", ""]
    if not refused:
        return [*lines, "Not looked for." if refused is None else "None found.", ""]
    lines += [
        "The gate's opinion; they stay in the cleaned table. One that is turned or inverted is as good as certain, "
        "`no_chest` may be an odd chest (a baby in a wide frame, a white-out): look at the first sheet and decide.",
        "",
        "| line | image | label | split | shows | why |",
        "|---|---|---|---|---|---|",
    ]
    for one in refused:
        place = (str(one["line"]), f"`{one['image']}`", one["label"] or "-", one["split"] or "-")
        lines.append(f"| {' | '.join((*place, one['shows'], one['reason']))} |")
    return [*lines, ""]


def _clusters(result: Mapping[str, Any]) -> list[str]:
    groups = result["clusters"]
    if not groups:
        return ["## Duplicates", "", "None found.", ""]
    lines = [
        "## Duplicates",
        "",
        "Look at them before you believe them: "
        + ", ".join(f"[{sheet}]({sheet})" for sheet in result["sheets"])
        + ". All rows are in duplicates.csv, the evidence pair by pair in audit.json.",
        "",
        f"Kept of every cluster: {result['keep_rule']}.",
        "",
    ]
    if result["straddling"]["label"]:
        lines += ["Where labels disagree the rule knows no better than you: decide these by hand.", ""]
    lines += ["| cluster | across | kept | others | weakest evidence |", "|---|---|---|---|---|"]
    lines += [_cluster_line(group) for group in groups[:_SHOWN_CLUSTERS]]
    if len(groups) > _SHOWN_CLUSTERS:
        lines.append(f"| ... | | {len(groups) - _SHOWN_CLUSTERS} more in duplicates.csv | | |")
    return [*lines, ""]


def _cluster_line(group: Mapping[str, Any]) -> str:
    def shown(image: Mapping[str, Any]) -> str:
        place = "/".join(image[what] or "-" for what in ("source", "label", "split", "patient_id"))
        return f"`{image['image']}` line {image['line']} ({place})"

    altered = [pair for pair in group["pairs"] if pair["keypoints"]]
    evidence = group["pairs"][0]["kind"]
    if altered:
        weakest = min(altered, key=lambda pair: pair["correlation"])
        turned = "" if weakest["orientation"] == "same" else f", {weakest['orientation']}"
        evidence = f"{weakest['keypoints']} keypoints, correlation {weakest['correlation']:.2f}{turned}"
    kept, *others = (shown(image) for image in group["images"])
    across = ", ".join(_NAMES[what] for what in group["straddles"]) or "-"
    return f"| {group['number']} | {across} | {kept} | {'<br>'.join(others)} | {evidence} |"


def _cleaned(result: Mapping[str, Any]) -> list[str]:
    cleaned, merged = result["cleaned"], result["merged_patients"]
    lines = [
        "## The cleaned table",
        "",
        f"`{cleaned['file']}`: {cleaned['rows']} rows, split hash `{cleaned['split_hash']}`. One row a cluster (column "
        f"`duplicate_lines` names the rows it stands for), unreadable images left out, "
        f"{_count(len(merged), 'patient')} merged into others who share an image with them.",
        "",
    ]
    if merged:
        lines += ["Merged: " + ", ".join(f"{one} into {other}" for one, other in sorted(merged.items())) + ".", ""]
    several = cleaned["patients_in_several_splits"]
    if several:
        named = ", ".join(f"{patient} ({', '.join(splits)})" for patient, splits in sorted(several.items()))
        lines += [
            f"{_count(len(several), 'patient')} still in more than one split, whose images are no duplicates: {named}. "
            "Put each into one split, or divide the table anew with `covidcx data split`.",
            "",
        ]
    return lines


def _probe(probe: Mapping[str, Any]) -> list[str]:
    lines = ["## Does the source give the label away?", ""]
    names = sorted({name for counts in probe["table"].values() for name in counts})
    if probe["table"]:
        lines += [f"| source | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
        for source, counts in probe["table"].items():
            lines.append(f"| {source} | {' | '.join(str(counts.get(name, 0)) for name in names)} |")
        lines.append("")
    own = probe["source_from_image"]
    lines += [
        "Values with 95% intervals over resampled patients. The probe is a logistic regression on thumbnails of 32 x "
        "32 pixels, one image a cluster, tested on patients it did not learn from.",
        "",
        "| question | figure | value (95% interval) | chance |",
        "|---|---|---|---|",
    ]
    if own is not None:
        for key, title in (("auc", "macro AUC"), ("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy")):
            lines.append(_figure("source from the thumbnail", title, own[key]))
        lines += [_figure("source from the thumbnail", f"AUC {s}", v) for s, v in own["auc_per_source"].items()]
    for name, figures in probe["within_label"].items():
        where = ", ".join(f"{n} {source}" for source, n in figures["sources"].items())
        lines.append(_figure(f"source from the thumbnail, among {name} ({where})", "macro AUC", figures["auc"]))
    label = probe["label_from_source"]
    if label is not None:
        lines.append(_figure("label from the source alone", "accuracy", label["accuracy"]))
        lines += [_figure("label from the source alone", f"AUC {name}", v) for name, v in label["auc"].items()]
    if probe["left_out"]:
        small = ", ".join(f"{source} ({n})" for source, n in probe["left_out"].items())
        lines += ["", f"Sources with too few patients to be probed, left out of the first: {small}."]
    if probe["without_source"]:
        lines += ["", f"{_count(probe['without_source'], 'image')} without a source left out."]
    return lines


def _figure(question: str, name: str, figure: Mapping[str, Any]) -> str:
    return f"| {question} | {name} | {Estimate(**figure)} | {figure['chance']:.3f} |"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
