"""Table 4 and Figures 8 and 9: COMiT-Net, four networks and four classifiers on its embeddings."""

from collections.abc import Mapping

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError
from covidcx.evaluation.embedding_classifiers import Points, embedding_scores
from covidcx.evaluation.intervals import Interval, bootstrap_all, ratio
from covidcx.evaluation.plots import bars_figure, roc_figure, save_figure
from covidcx.evaluation.predictions import patients_of
from covidcx.evaluation.roc import equal_error_rate, sensitivity_at_specificity
from covidcx.explain.embeddings import embeddings
from covidcx.papers.comit_net.protocol import (
    COMIT,
    NETWORKS,
    SPECIFICITY,
    Scored,
    covid_scores,
    described,
    not_comparable,
    operating_point,
    subset,
    targets,
)
from covidcx.papers.comparison import Comparison, Table, attempt
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.sweep import seeds, spread, sweep
from covidcx.papers.trained import Trained, trained

EMBEDDED = {
    "COMiT-Net Embedding + RDF": "rdf",
    "COMiT-Net Embedding + SVM (Sigmoid)": "svm-sigmoid",
    "COMiT-Net Embedding + SVM (Polynomial)": "svm-polynomial",
    "COMiT-Net Embedding + SVM (Gaussian, RBF)": "svm-gaussian",
}
_METRICS = ("sensitivity at 99% specificity", "sensitivity at 90% specificity", "EER")
_PUBLISHED: Mapping[str, tuple[float | None, ...]] = {
    "DenseNet121 + FC": (0.608, 0.904, 0.0982),
    "MobileNetv2 + FC": (0.672, 0.936, 0.0804),
    "ResNet18 + FC": (0.560, 0.816, 0.1378),
    "VGG19 + FC": (0.504, 0.824, 0.1370),
    "COMiT-Net Embedding + RDF": (0.792, 0.952, 0.0734),
    "COMiT-Net Embedding + SVM (Sigmoid)": (0.064, 0.240, 0.4146),
    "COMiT-Net Embedding + SVM (Polynomial)": (None, None, None),
    "COMiT-Net Embedding + SVM (Gaussian, RBF)": (0.824, 0.888, 0.1138),
    "COMiT-Net": (0.872, 0.968, 0.0730),
}
_KERNELS = (
    "Gaussian and RBF are one kernel; the paper's two rows carry the same numbers and are one row here. Embeddings are "
    "the pooled last map of COMiT-Net's encoder on the training rows; scikit-learn's defaults, nothing tuned."
)


def table_4(context: Context) -> Result:
    """Train every system and measure it on the test rows; beside it, what it calls pneumonia of the COVID source."""
    rows, control, notes = [], [], [_KERNELS]

    def measure(system: str, recipe: str) -> list[Comparison]:
        run = trained(context, recipe)
        scored = {system: covid_scores(run, _test(context))}
        if recipe == COMIT:
            scored = {**embedded_scores(run, context), **scored}
        notes.append(described(run))
        control.append((system, *_control(run, context)))
        return [
            context.judge(name, metric, value, ours, not_comparable(context))
            for name, own in scored.items()
            for metric, value, ours in zip(_METRICS, _PUBLISHED[name], measured(own, context), strict=True)
        ]

    for system, recipe in NETWORKS.items():
        published = dict(zip(_METRICS, _PUBLISHED[system], strict=True))
        rows += attempt(system, published, lambda system=system, recipe=recipe: measure(system, recipe))
    table = Table(
        "CAP of the COVID source (`control`) called COVID at the threshold of 90% specificity on val",
        ("system", "share (95% interval)", "images"), tuple(control),
    )  # fmt: skip
    return Result(tuple(rows), (table,), notes=tuple(notes), split_hash=split_hash(context.manifest.frame))


def figure_8(context: Context) -> Result:
    """Repeat every system over initialisations and measure how far its sensitivity at 99% specificity varies."""
    found: dict[str, list[float]] = {}
    for system, recipe in NETWORKS.items():

        def measure(run: Trained, system: str = system, recipe: str = recipe) -> dict[str, float]:
            scored = {system: covid_scores(run, _test(context))}
            if recipe == COMIT:
                scored |= embedded_scores(run, context)
            return {name: float(sensitivity_at_specificity(s.positive, s.score, 0.99)[0]) for name, s in scored.items()}

        for values in sweep(context, seeds(context, recipe), measure).values():
            for name, value in values.items():
                found.setdefault(name, []).append(value)
    rows = [
        Comparison(name, "sensitivity at 99% specificity, mean and range", None, spread(values), "ours only")
        for name, values in found.items()
    ]
    deviation = {name: float(np.std(values)) for name, values in found.items()}
    table = Table(
        f"Standard deviation over {context.budget.seeds} initialisations", ("system", "standard deviation"),
        tuple((name, round(value, 4)) for name, value in deviation.items()),
    )  # fmt: skip
    title = f"Sensitivity at 99% specificity over {context.budget.seeds} initialisations"
    figure = bars_figure(
        {"all": list(deviation.values())}, list(deviation), "Standard deviation", title,
        most=max(0.05, *deviation.values()),
    )  # fmt: skip
    notes = ["Published as bars without numbers, of three initialisations; COMiT-Net has the shortest there."]
    if context.budget.seeds < 2:
        notes.append("One initialisation has no spread: pass --seeds 3.")
    picture = save_figure(figure, context.out / "figure-8.png")
    return Result(tuple(rows), (table,), (picture,), tuple(notes), split_hash(context.manifest.frame))


def figure_9(context: Context) -> Result:
    """Draw the ROC curves of the networks, and of the classifiers on COMiT-Net's embeddings."""
    networks, embedded, notes = {}, {}, []
    for system, recipe in NETWORKS.items():
        try:
            run = trained(context, recipe)
        except MissingDataError as error:
            notes.append(f"{system} left out: {error}")
            continue
        networks[system] = covid_scores(run, _test(context))
        if recipe == COMIT:
            embedded = {**embedded_scores(run, context), system: networks[system]}
    parts = {
        "figure-9a.png": (networks, "COMiT-Net and other networks"),
        "figure-9b.png": (embedded, "COMiT-Net's embeddings with other classifiers"),
    }
    pictures = tuple(
        save_figure(roc_figure({name: (s.positive, s.score) for name, s in part.items()}, title), context.out / file)
        for file, (part, title) in parts.items()
        if part
    )
    return Result(figures=pictures, notes=tuple(notes), split_hash=split_hash(context.manifest.frame))


def embedded_scores(run: Trained, context: Context) -> dict[str, Scored]:
    """Score the test rows by every classifier trained on COMiT-Net's embeddings of the training rows."""
    test = _test(context)
    points = [_points(run, part) for part in (subset(context, "embeddings", ("train",), "infection"), test)]
    found = {}
    for system, name in EMBEDDED.items():
        score = embedding_scores(name, *points, seed=run.recipe.seed)
        found[system] = Scored(points[1].positive, score, points[1].patients)
    return found


def measured(scored: Scored, context: Context) -> list[Interval]:
    """Return Table 4's three columns with their intervals."""
    positive, score = scored.positive, scored.score
    metrics = {
        _METRICS[0]: lambda w: sensitivity_at_specificity(positive, score, 0.99, w),
        _METRICS[1]: lambda w: sensitivity_at_specificity(positive, score, SPECIFICITY, w),
        _METRICS[2]: lambda w: equal_error_rate(positive, score, w),
    }
    return list(bootstrap_all(metrics, scored.patients, context.budget.bootstrap, context.seed).values())


def _points(run: Trained, manifest: Manifest) -> Points:
    from covidcx.models.comit_net import EMBEDDING

    prepared = run.prepare(manifest)
    truth = targets(prepared, manifest, "infection")[:, 0]
    known = ~np.isnan(truth)
    vectors = embeddings(run.model, prepared.images[known], EMBEDDING)
    patients = [patient for patient, kept in zip(patients_of(prepared.rows), known, strict=True) if kept]
    return Points(vectors, truth[known] > 0.5, patients)


def _test(context: Context) -> Manifest:
    return subset(context, "Table 4", ("test",), "infection")


def _control(run: Trained, context: Context) -> tuple[str, int]:
    """Share of the `control` CAP images called COVID, as text, and their number."""
    try:
        frame = context.rows("the control", ("control",), ("cap", "other"))
    except MissingDataError:
        return "no control rows", 0
    chosen = context.manifest.subset(split="control", labels=tuple(frame["label"].unique()))
    prepared = run.prepare(chosen)
    called = run.outputs(prepared.images)["infection"][:, 0] >= operating_point(run, context)
    share = bootstrap_all(
        {"share": lambda w: ratio(w @ called.astype(float), w.sum(axis=1))}, patients_of(prepared.rows),
        context.budget.bootstrap, context.seed,
    )["share"]  # fmt: skip
    return str(share), len(called)


ITEMS = (
    Item("table-4", "COVID-19 prediction against existing algorithms", table_4, "labels, masks", trains=True),
    Item("figure-8", "Stability over initialisations", figure_8, "labels, masks", trains=True),
    Item("figure-9", "ROC curves", figure_9, "labels, masks", trains=True),
)
