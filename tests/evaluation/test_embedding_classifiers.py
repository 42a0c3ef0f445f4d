import numpy as np
import pytest

from covidcx.errors import CovidcxError
from covidcx.evaluation.embedding_classifiers import CLASSIFIERS, Points, embedding_scores
from covidcx.evaluation.roc import auc


def points(count, seed, shift=2.0, prefix="p"):
    """Embeddings of 6 dimensions in which one of them, of a small scale, tells the classes apart."""
    rng = np.random.default_rng(seed)
    positive = np.arange(count) % 3 == 0
    vectors = rng.normal(size=(count, 6)) * [1, 100, 1, 1, 1, 1]
    vectors[:, 0] += shift * positive
    return Points(vectors, positive, [f"{prefix}{i // 2}" for i in range(count)])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_ranks_other_patients_and_repeats_itself(name):
    train, test = points(120, 0), points(90, 1, prefix="q")
    scores = embedding_scores(name, train, test, seed=3)
    assert scores.shape == (90,)
    assert auc(test.positive, scores)[0] > 0.75
    np.testing.assert_array_equal(scores, embedding_scores(name, train, test, seed=3))


def test_the_truth_of_the_scored_images_is_not_looked_at():
    train, test = points(60, 0), points(30, 1, prefix="q")
    flipped = Points(test.vectors, ~test.positive, test.patients)
    np.testing.assert_array_equal(embedding_scores("rdf", train, test), embedding_scores("rdf", train, flipped))


def test_what_would_leak_or_cannot_be_learnt_is_refused():
    train, test = points(60, 0), points(30, 1, prefix="q")
    with pytest.raises(CovidcxError, match=r"15 patients are in both sets, such as 'p0'"):
        embedding_scores("rdf", train, points(30, 1))
    with pytest.raises(CovidcxError, match="one kind only"):
        embedding_scores("rdf", Points(train.vectors, np.ones(60, bool), train.patients), test)
    with pytest.raises(CovidcxError, match="Did you mean 'svm-sigmoid'"):
        embedding_scores("svm-sigmoids", train, test)
    with pytest.raises(CovidcxError, match="NaN"):
        Points(np.full((2, 2), np.nan), np.ones(2, bool), [1, 2])
    with pytest.raises(CovidcxError, match="2 truths and 3 patients"):
        Points(np.zeros((3, 2)), np.ones(2, bool), [1, 2, 3])
