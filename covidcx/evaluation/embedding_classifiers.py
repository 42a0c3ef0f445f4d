"""Classical classifiers on a network's embeddings: the lower rows of COMiT-Net's Table 4.

The paper names kernels and no settings: scikit-learn's defaults are used and nothing is tuned, on no split. Its rows
"Gaussian" and "RBF" are two names of one kernel and carry the same three numbers; a polynomial kernel is offered beside
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.errors import CovidcxError, did_you_mean

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

TREES = 500
KERNELS = {"svm-sigmoid": "sigmoid", "svm-polynomial": "poly", "svm-gaussian": "rbf"}
CLASSIFIERS = ("rdf", *KERNELS)
"""Random decision forest, and support vector machines by kernel."""


@dataclass(frozen=True, eq=False)
class Points:
    """Embeddings of images with what is known about them.

    Attributes:
        vectors: float, N x D.
        positive: bool, N: COVID-19.
        patients: patient of each image, N.
    """

    vectors: np.ndarray
    positive: np.ndarray
    patients: Sequence[Any]

    def __post_init__(self) -> None:
        lengths = (len(self.vectors), len(self.positive), len(self.patients))
        if np.ndim(self.vectors) != 2 or len(set(lengths)) != 1:
            raise CovidcxError(
                f"embeddings are N x D with a truth and a patient each, received shape {np.shape(self.vectors)}, "
                f"{lengths[1]} truths and {lengths[2]} patients"
            )
        if not np.isfinite(self.vectors).all():
            raise CovidcxError("the embeddings hold NaN or infinite values; check the model's weights")


def embedding_scores(name: str, train: Points, test: Points, seed: int = 0) -> np.ndarray:
    """Train a classifier on some patients' embeddings and score other patients'.

    Args:
        name: one of `CLASSIFIERS`.
        train: learnt from; both classes.
        test: scored; its truth is not looked at.
        seed: of the forest.

    Returns:
        float64, N of `test`: higher is more likely positive. A probability for the forest, a distance from the
        separating surface for the machines.

    Raises:
        CovidcxError: the name is unknown, a patient is in both sets, or a class is missing in `train`.

    Source: COMiT-Net, section 4.2 and Table 4.
    """
    shared = {str(p) for p in train.patients} & {str(p) for p in test.patients}
    if shared:
        raise CovidcxError(
            f"{len(shared)} patients are in both sets, such as {sorted(shared)[0]!r}; split by patient"
        )
    if len(np.unique(np.asarray(train.positive, bool))) < 2:
        raise CovidcxError("a classifier needs positive and negative training images, received one kind only")
    fitted = _classifier(name, seed).fit(train.vectors, np.asarray(train.positive, bool))
    if hasattr(fitted, "decision_function"):
        return fitted.decision_function(test.vectors).astype(np.float64)
    return fitted.predict_proba(test.vectors)[:, 1]


def _classifier(name: str, seed: int) -> "Pipeline":
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "rdf":
        return make_pipeline(RandomForestClassifier(TREES, random_state=seed, class_weight="balanced", n_jobs=1))
    if name not in KERNELS:
        raise CovidcxError(f"unknown classifier {name!r}.{did_you_mean(name, CLASSIFIERS)}")
    # Kernels compare distances: without one scale for all dimensions the largest alone would decide.
    return make_pipeline(StandardScaler(), SVC(kernel=KERNELS[name], class_weight="balanced"))
