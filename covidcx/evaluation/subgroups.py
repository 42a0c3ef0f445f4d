"""Who the numbers hold for: groups of images, and whether a label and its source can be told apart at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from covidcx.decision import own_label
from covidcx.evaluation.roc import auc

ATTRIBUTES = ("source", "view", "sex")
SMALL = 10
UNKNOWN = "unknown"


def text(value: Any) -> str:
    """Return a table's cell as text, `unknown` where it is missing."""
    return str(value).strip() if isinstance(value, str) and value.strip() else UNKNOWN


def label_index(truth: Sequence[Any], labels: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Turn label names into positions; labels count as `covidcx.decision.own_label` names them.

    Args:
        truth: label per image; None, NaN and empty text are missing.
        labels: K known names.

    Returns:
        int64, N, with -1 for an image that has none of these labels, and the count of those per reason.
    """
    position = {name: i for i, name in enumerate(labels)}
    index = np.full(len(truth), -1, np.int64)
    excluded: dict[str, int] = {}
    for i, name in enumerate(truth):
        known = position.get(own_label(name, labels), -1) if isinstance(name, str) else -1
        index[i] = known
        if known < 0:
            reason = name if isinstance(name, str) and name.strip() else "missing"
            excluded[reason] = excluded.get(reason, 0) + 1
    return index, excluded


def groups_of(values: Sequence[Any]) -> dict[str, np.ndarray]:
    """Split images by an attribute.

    Args:
        values: the attribute per image; missing becomes `unknown`.

    Returns:
        Positions per value, the values in alphabetical order and `unknown` last.
    """
    named = np.array([text(value) for value in values], dtype=object)
    order = sorted(set(named), key=lambda name: (name == UNKNOWN, name))
    return {name: np.flatnonzero(named == name) for name in order}


def source_only_auc(positive: Sequence[bool], sources: Sequence[Any]) -> float:
    """AUC of a 'classifier' that looks at nothing but where the image comes from.

    Its score is the share of positives in the image's source, on this very set. One means that the label follows
    from the source, so that no score on this set can tell a reader of lungs from a reader of hospitals.

    Args:
        positive: bool per image.
        sources: source per image.

    Returns:
        0.5..1; NaN where one of the classes is missing.
    """
    positive = np.asarray(positive, bool)
    score = np.zeros(len(positive))
    for members in groups_of(sources).values():
        score[members] = positive[members].mean()
    return float(auc(positive, score)[0])


def shortcut_notes(truth: Sequence[Any], sources: Sequence[Any], label: str = "covid") -> list[str]:
    """Say in words where performance may be source recognition.

    Args:
        truth: label per image, all known.
        sources: source per image.
        label: the class that is detected.

    Returns:
        Sentences for a report; empty where source and label are mixed or cannot be compared.
    """
    positive = np.array([name == label for name in truth], bool)
    if len(positive) == 0 or positive.all() or not positive.any():
        return []
    with_label = sorted({text(s) for s, p in zip(sources, positive, strict=True) if p})
    without = sorted({text(s) for s, p in zip(sources, positive, strict=True) if not p})
    if not set(with_label) & set(without):
        return [
            f"Source equals label: every {label} image comes from {', '.join(with_label)} and every other image from "
            f"{', '.join(without)}. The performance on this set may be source recognition rather than disease "
            f"recognition; looking at the source alone scores AUC 1.000 for {label}."
        ]
    ceiling = source_only_auc(positive, sources)
    if ceiling < 0.8:
        return []
    return [
        f"Source and label largely coincide: looking at the source alone scores AUC {ceiling:.3f} for {label} on this "
        "set. Part of the performance may be source recognition rather than disease recognition."
    ]
