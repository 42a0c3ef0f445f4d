"""Targets, weights and scores."""

import numpy as np
import pandas as pd
import pytest
import tiny_runs

from covidcx.data.manifest import Manifest
from covidcx.errors import ManifestError
from covidcx.training.scores import dice, macro_f1, ranking
from covidcx.training.tasks import Classification, Segmentation


def table(*labels: str | float) -> Manifest:
    return Manifest(pd.DataFrame({"image": [f"{i}.png" for i in range(len(labels))], "label": labels}), None, None)


def test_partial_labels_become_sets_and_foreign_ones_are_left_out():
    task = Classification(tiny_runs.recipe("classify"))
    manifest = table("covid", "other", "normal", "typical", np.nan)
    assert task.usable(manifest).tolist() == [True, True, True, False, False]
    assert task.targets(manifest)[:3].tolist() == [[0, 0, 1], [1, 1, 0], [1, 0, 0]]


def test_two_classes_have_one_target():
    recipe = tiny_runs.recipe("classify").override({"labels": "normal,covid", "label_sets": '{"other": ["normal"]}'})
    assert Classification(recipe).targets(table("covid", "other", "normal")).tolist() == [[1], [0], [0]]


def test_class_weights_give_every_class_the_same_say():
    task = Classification(tiny_runs.recipe("classify"))
    labels = ["normal"] * 6 + ["cap"] * 2 + ["covid"] * 4 + ["other"] * 3
    weights = task.weights(labels)
    assert [weights[name] * labels.count(name) for name in tiny_runs.LABELS] == pytest.approx([4, 4, 4])
    assert weights["other"] == pytest.approx((weights["normal"] + weights["cap"]) / 2)
    off = Classification(tiny_runs.recipe("classify").override({"class_weights": "no"}))
    assert set(off.weights(labels).values()) == {1.0}
    with pytest.raises(ManifestError, match="no training image of cap"):
        task.weights(["normal", "covid"])


def test_macro_f1_agrees_with_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    for classes in (2, 3, 4):
        truth, predicted = rng.integers(0, 3, 50) % classes, rng.integers(0, classes, 50)
        assert macro_f1(truth, predicted, classes) == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_scores_leave_label_sets_out():
    task = Classification(tiny_runs.recipe("classify"))
    predictions = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]], np.float32)
    figures = task.figures({}, {"probabilities": predictions})
    rows = pd.DataFrame({"label": ["normal", "other", "cap"]}).assign(**figures)
    assert task.scores(rows) == {"val_macro_f1": 1.0, "val_accuracy": 1.0}


def test_dice_ignores_unlabelled_pixels():
    target = np.zeros((3, 4, 4, 1), np.int8)
    target[:2, :2] = 1
    target[0, 3] = -1
    found = np.zeros((3, 4, 4, 1), np.float32)
    found[0, :2], found[0, 3] = 0.9, 0.9
    found[1, 0] = 0.9
    assert dice(target, found).tolist() == pytest.approx([1.0, 2 * 4 / (4 + 8), 1.0])
    figures = Segmentation(tiny_runs.recipe("segment")).figures({"lung": target}, {"lung": found})
    assert figures["dice"].tolist() == pytest.approx([1.0, 2 / 3, 1.0])


def test_ranking_agrees_with_the_evaluation_and_knows_no_answer_for_one_class():
    from covidcx.evaluation.roc import auc

    rng = np.random.default_rng(0)
    positive, score = rng.random(40) < 0.3, rng.integers(0, 6, 40) / 6
    assert ranking(positive, score) == pytest.approx(auc(positive, score).item())
    assert np.isnan(ranking(np.ones(3, bool), np.arange(3.0)))
