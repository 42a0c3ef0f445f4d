"""How easily a model can read the hospital instead of the lungs.

Two questions. Can a linear model tell from a thumbnail of 32 x 32 pixels which source an image comes from? And how
much does the source alone say about the label? Where both answers are yes, a high score on this table proves nothing
about disease.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from covidcx.errors import MissingDependencyError

FOLDS = 5
LEVEL = 0.95
# A source with fewer patients cannot be learned and held out as well.
MIN_PATIENTS = 2 * FOLDS
_STRENGTH = 0.01
_HIGH = 0.8
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure with what chance would give and its 95% interval over patients; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    chance: float

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        interval = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{interval}"


def probe_sources(
    thumbnails: np.ndarray, sources: Sequence[str | None], patients: Sequence[str], labels: Sequence[str | None],
    repeats: int = 1000, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure the source-equals-label risk of a set of images, each of which should be in it once.

    Args:
        thumbnails: uint8, N x h x w.
        sources: source per image, None where unknown.
        patients: patient per image.
        labels: label per image, None where unknown.
        repeats: bootstrap resamples of patients.
        seed: of the folds and the resamples.

    Returns:
        JSON-ready: `images` with a source, `left_out` (images of sources too small to probe), `table` (images by source
        and label), `source_from_image` (accuracy, balanced accuracy, macro AUC and AUC per source, cross-validated by
        patient), `within_label` (the same among images of one label, where disease cannot give the source away),
        `label_from_source` (of looking at nothing but the source), and `notes` in words.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    sources, labels, patients = (np.asarray(values, dtype=object) for values in (sources, labels, patients))
    known = np.array([isinstance(source, str) for source in sources], bool)
    table = Counter((s, name) for s, name in zip(sources[known], labels[known], strict=True) if isinstance(name, str))
    result: dict[str, Any] = {
        "images": int(known.sum()),
        "without_source": int((~known).sum()),
        "table": {
            source: {name: n for (place, name), n in sorted(table.items()) if place == source}
            for source in sorted(set(sources[known]))
        },
        "source_from_image": None,
        "within_label": {},
        "label_from_source": label_from_source(sources, labels, patients, repeats, seed),
    }  # fmt: skip
    enough, left_out = _learnable(sources, patients, known)
    result["left_out"] = left_out
    if len(set(sources[enough])) > 1:
        result["source_from_image"] = _probe(thumbnails[enough], sources[enough], patients[enough], repeats, seed)
    for name in sorted({name for name in labels if isinstance(name, str)}):
        members, _ = _learnable(sources, patients, enough & (labels == name))
        if len(set(sources[members])) > 1:
            figures = _probe(thumbnails[members], sources[members], patients[members], repeats, seed)
            result["within_label"][name] = {key: figures[key] for key in ("images", "sources", "auc", "accuracy")}
    result["notes"] = _notes(result)
    return result


def label_from_source(
    sources: Sequence[str | None], labels: Sequence[str | None], patients: Sequence[str], repeats: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:  # fmt: skip
    """Measure how well the source alone gives the label, on this very set.

    Args:
        sources: source per image, None where unknown; such images are left out, as are those without a label.
        labels: label per image.
        patients: patient per image.
        repeats: bootstrap resamples of patients.
        seed: of the resamples.

    Returns:
        `accuracy` of naming each source's most frequent label, against naming the most frequent of all; `auc` per
        label of the share that the label has in the source. None where there are not two labels.
    """
    both = [isinstance(s, str) and isinstance(name, str) for s, name in zip(sources, labels, strict=True)]
    sources, labels, patients = (np.asarray(values, dtype=object)[both] for values in (sources, labels, patients))
    names, label = _numbered(labels)
    places, source = _numbered(sources)
    if len(names) < 2:
        return None
    one_hot = np.zeros((len(label), len(places) * len(names)))
    one_hot[np.arange(len(label)), source * len(names) + label] = 1.0

    def counts(weights: np.ndarray) -> np.ndarray:
        return (weights @ one_hot).reshape(len(weights), len(places), len(names))

    def accuracy(weights: np.ndarray) -> np.ndarray:
        table = counts(weights)
        return table.max(axis=2).sum(axis=1) / table.sum(axis=(1, 2))

    def auc_of(k: int) -> Callable[[np.ndarray], np.ndarray]:
        def figure(weights: np.ndarray) -> np.ndarray:
            table = counts(weights)
            positive, negative = table[:, :, k], table.sum(axis=2) - table[:, :, k]
            score = positive / np.maximum(positive + negative, 1e-12)
            above = (score[:, :, None] > score[:, None, :]) + 0.5 * (score[:, :, None] == score[:, None, :])
            pairs = np.einsum("rs,rst,rt->r", positive, above, negative)
            return _divide(pairs, positive.sum(axis=1) * negative.sum(axis=1))

        return figure

    chance = float(np.bincount(label).max() / len(label))
    return {
        "images": len(label),
        "accuracy": asdict(_estimate(accuracy, patients, chance, repeats, seed)),
        "auc": {name: asdict(_estimate(auc_of(k), patients, 0.5, repeats, seed)) for k, name in enumerate(names)},
    }


def _probe(
    thumbnails: np.ndarray, sources: np.ndarray, patients: np.ndarray, repeats: int, seed: int
) -> dict[str, Any]:
    """Cross-validate a linear model from thumbnail to source."""
    names, truth = _numbered(sources)
    scores = _held_out(thumbnails, truth, patients, len(names), seed)
    hit = (scores.argmax(axis=1) == truth).astype(np.float64)

    def accuracy(weights: np.ndarray) -> np.ndarray:
        return weights @ hit / weights.sum(axis=1)

    def balanced(weights: np.ndarray) -> np.ndarray:
        return np.mean([_divide(weights @ (hit * (truth == k)), weights @ (truth == k)) for k in range(len(names))], 0)

    aucs = [lambda weights, k=k: _auc(truth == k, scores[:, k], weights) for k in range(len(names))]

    def macro(weights: np.ndarray) -> np.ndarray:
        return np.mean([auc(weights) for auc in aucs], axis=0)

    def estimate(figure: Callable, chance: float) -> dict[str, Any]:
        return asdict(_estimate(figure, patients, chance, repeats, seed))

    return {
        "images": len(truth),
        "patients": len(set(patients)),
        "sources": {name: int((truth == k).sum()) for k, name in enumerate(names)},
        "accuracy": estimate(accuracy, float(np.bincount(truth).max() / len(truth))),
        "balanced_accuracy": estimate(balanced, 1 / len(names)),
        "auc": estimate(macro, 0.5),
        "auc_per_source": {name: estimate(aucs[k], 0.5) for k, name in enumerate(names)},
    }


def _held_out(thumbnails: np.ndarray, truth: np.ndarray, patients: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return a probability per image and source, from models that saw no image of the patient; float64, N x count."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "the source probe needs scikit-learn; run: pip install 'covidcx[train]'"
        ) from error
    values = thumbnails.reshape(len(thumbnails), -1).astype(np.float64) / 255.0
    scores = np.zeros((len(truth), count))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for learned, held in folds.split(values, truth, patients):
        if len(set(truth[learned])) < 2:
            scores[held, truth[learned][0]] = 1.0
            continue
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=300))
        model.fit(values[learned], truth[learned])
        scores[np.ix_(held, model[-1].classes_)] = model.predict_proba(values[held])
    return scores


def _numbered(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the distinct values in alphabetical order, and the position of each in that list."""
    names, position = np.unique(values.astype(str), return_inverse=True)
    return names.tolist(), position


def _learnable(sources: np.ndarray, patients: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Return which images are of a source with enough patients, and the number of images of the others."""
    homes: dict[str, set] = {}
    for source, patient in zip(sources[among], patients[among], strict=True):
        homes.setdefault(source, set()).add(patient)
    enough = {source for source, members in homes.items() if len(members) >= MIN_PATIENTS}
    left_out = Counter(source for source in sources[among] if source not in enough)
    return among & np.isin(sources.astype(str), list(enough)), dict(sorted(left_out.items()))


def _estimate(
    figure: Callable[[np.ndarray], np.ndarray], patients: np.ndarray, chance: float, repeats: int, seed: int
) -> Estimate:
    """Compute a figure of image weights, and its percentile interval over resampled patients (Efron 1993)."""
    value = float(figure(np.ones((1, len(patients))))[0])
    if np.isnan(value):
        return Estimate(None, None, None, chance)
    _, member = np.unique(patients.astype(str), return_inverse=True)
    count, rng, drawn = int(member.max()) + 1, np.random.default_rng(seed), []
    rows = max(1, _CHUNK // len(member))
    for start in range(0, repeats, rows):
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, repeats - start))
        drawn.append(figure(times[:, member].astype(np.float64)))
    defined = np.concatenate(drawn) if drawn else np.empty(0)
    defined = defined[~np.isnan(defined)]
    if not len(defined):
        return Estimate(value, None, None, chance)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), chance)


def _auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per row of image weights, ties counting half; NaN where a class is missing."""
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    hits = np.add.reduceat(weights[:, order] * positive[order], first, axis=1)
    misses = np.add.reduceat(weights[:, order] * ~positive[order], first, axis=1)
    below = np.cumsum(misses, axis=1) - 0.5 * misses
    return _divide((hits * below).sum(axis=1), hits.sum(axis=1) * misses.sum(axis=1))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _notes(result: dict[str, Any]) -> list[str]:
    """Say in words what the figures mean."""
    notes = []
    probe, shortcut = result["source_from_image"], result["label_from_source"]
    readable = probe is not None and probe["auc"]["value"] is not None and probe["auc"]["value"] >= _HIGH
    if probe is None:
        notes.append(f"There are not two sources with {MIN_PATIENTS} patients each: whether images give their source "
                     "away cannot be measured.")  # fmt: skip
    else:
        notes.append(f"A linear model on thumbnails names the source with AUC {probe['auc']['value']:.3f} (chance 0.5) "
                     f"and accuracy {probe['accuracy']['value']:.3f} (the largest source alone: "
                     f"{probe['accuracy']['chance']:.3f}).")  # fmt: skip
    given_away = {name: figure["value"] for name, figure in (shortcut or {}).get("auc", {}).items()
                  if figure["value"] is not None and figure["value"] >= _HIGH}  # fmt: skip
    for name, value in given_away.items():
        notes.append(f"The source alone gives label {name!r} with AUC {value:.3f}.")
    if readable and given_away:
        notes.append("High risk that source equals label: a model can score well on "
                     f"{', '.join(map(repr, given_away))} by recognising where an image comes from. Report on images "
                     "of one source, or of sources the model never saw.")  # fmt: skip
    return notes
