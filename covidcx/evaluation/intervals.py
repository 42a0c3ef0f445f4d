"""Patient-level bootstrap intervals: images of one patient are drawn together, because they are not independent.

Every metric of this room is written over a matrix of image weights, one row a resample. The plain value is the row
of ones, so a value and its interval can never come from two implementations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from covidcx.errors import CovidcxError

LEVEL = 0.95
# Weights of at most this many entries are held at once: 16 MiB in float64, whatever the number of images.
_CHUNK = 2_000_000

WeightedMetric = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A value with its 95% percentile bootstrap interval.

    Attributes:
        value: the metric on the set itself; NaN where it is undefined.
        low: 2.5th percentile of the resamples where the metric is defined; NaN without any.
        high: 97.5th percentile.
        repeats: how many resamples were drawn.
        undefined: in how many of them the metric was undefined (one class only, say) and left out.
    """

    value: float
    low: float
    high: float
    repeats: int
    undefined: int

    @property
    def degenerate(self) -> bool:
        """True where no resample differs: the set shows no variation, which is not the same as certainty."""
        return self.repeats > self.undefined and self.low == self.high

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary with None for NaN."""
        return {key: None if isinstance(v, float) and np.isnan(v) else v for key, v in asdict(self).items()}

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def resampled_weights(groups: Sequence[Any], repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Draw patients with replacement and count how often each image comes along.

    Args:
        groups: patient of each image, N.
        repeats: number of resamples.
        seed: the same seed gives the same resamples, whatever the order of the images.

    Returns:
        Chunks of float64, r x N; the chunks' rows add up to `repeats`.
    """
    patients, member = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
    count = len(patients)
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(1, len(member)))
    for start in range(0, repeats, rows):
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=min(rows, repeats - start))
        yield drawn[:, member].astype(np.float64)


def bootstrap_all(
    metrics: Mapping[str, WeightedMetric], groups: Sequence[Any], repeats: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Compute many metrics and their intervals from one set of resamples.

    Args:
        metrics: per name a function from image weights (float64, r x N) to values (r), NaN where undefined.
        groups: patient of each image, N.
        repeats: number of resamples; 0 gives values without intervals.
        seed: see `resampled_weights`.

    Returns:
        An `Interval` per name, in the order of `metrics`.

    Raises:
        CovidcxError: there is no image, or `repeats` is negative.

    Source: percentile bootstrap, Efron and Tibshirani 1993, chapter 13; resampled by cluster (Field and Welsh 2007).
    """
    if len(groups) == 0 or repeats < 0:
        raise CovidcxError(
            f"a bootstrap needs at least one image and repeats >= 0, received {len(groups)} images and {repeats} "
            "repeats; check the split and the number of repeats"
        )
    ones = np.ones((1, len(groups)))
    values = {name: float(_evaluate(metric, ones)[0]) for name, metric in metrics.items()}
    samples: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for weights in resampled_weights(groups, repeats, seed):
        for name, metric in metrics.items():
            samples[name].append(_evaluate(metric, weights))
    return {name: _interval(values[name], samples[name], repeats) for name in metrics}


def bootstrap(
    metric: Callable[..., np.ndarray],
    *arrays: np.ndarray,
    groups: Sequence[Any] | None = None,
    repeats: int = 1000,
    seed: int = 0,
) -> Interval:
    """Compute one metric with its patient-level 95% interval.

    Args:
        metric: called as `metric(*arrays, weights=w)` with w float64, r x N; returns r values, NaN where undefined.
            `repeated(f)` turns an ordinary function of arrays into one.
        *arrays: what the metric is computed from, each with N rows.
        groups: patient of each row; every row its own patient when omitted.
        repeats: number of resamples.
        seed: of the resampling.

    Returns:
        The value, its interval and the number of undefined resamples.

    Raises:
        CovidcxError: the arrays differ in length or are empty.
    """
    groups = np.arange(len(arrays[0])) if groups is None else groups
    lengths = {len(array) for array in arrays} | {len(groups)}
    if len(lengths) != 1:
        raise CovidcxError(f"arrays and groups must have one row per image, received lengths {sorted(lengths)}")
    return bootstrap_all({"metric": lambda w: metric(*arrays, weights=w)}, groups, repeats, seed)["metric"]


def repeated(function: Callable[..., float]) -> Callable[..., np.ndarray]:
    """Turn a function of plain arrays into a weighted metric by really repeating the drawn rows (slower).

    Args:
        function: takes the arrays, returns a number; NaN where undefined.

    Returns:
        A metric as `bootstrap` takes it.
    """

    def metric(*arrays: np.ndarray, weights: np.ndarray) -> np.ndarray:
        rows = np.arange(weights.shape[1])
        drawn = [np.repeat(rows, row.astype(np.int64)) for row in weights]
        return np.array([function(*(np.asarray(a)[index] for a in arrays)) for index in drawn], np.float64)

    return metric


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the values that are not NaN, per row of weights.

    Args:
        values: float, N.
        weights: float64, r x N.

    Returns:
        float64, r; NaN where no drawn value is known.
    """
    known = ~np.isnan(values)
    return ratio(weights[:, known] @ values[known], weights[:, known].sum(axis=1))


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median of the values that are not NaN, per row of whole-number weights (as of the repeated sample).

    Args:
        values: float, N.
        weights: float64, r x N, whole numbers.

    Returns:
        float64, r; NaN where no drawn value is known.
    """
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    if order.size == 0:
        return np.full(len(weights), np.nan)
    ranked, cumulative = np.asarray(values, np.float64)[order], np.cumsum(weights[:, order], axis=1)
    total = cumulative[:, -1:]
    lower = np.argmax(cumulative > (total - 1) // 2, axis=1)
    upper = np.argmax(cumulative > total // 2, axis=1)
    return np.where(total[:, 0] > 0, (ranked[lower] + ranked[upper]) / 2, np.nan)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide element by element; NaN where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    result = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)


def _evaluate(metric: WeightedMetric, weights: np.ndarray) -> np.ndarray:
    return np.asarray(metric(weights), np.float64).reshape(len(weights))


def _interval(value: float, samples: list[np.ndarray], repeats: int) -> Interval:
    drawn = np.concatenate(samples) if samples else np.empty(0)
    defined = drawn[~np.isnan(drawn)]
    if defined.size == 0 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"), repeats, int(repeats - defined.size))
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), repeats, int(repeats - defined.size))
