"""Hierarchical training: two runs, one model, resumable; and epochs in which only the dense layers learn."""

import csv
import json
import shutil

import numpy as np
import pytest
import tiny_runs

from covidcx.errors import RecipeError
from covidcx.models import restore
from covidcx.models.restore import by_path, read_weights
from covidcx.training import checkpoint, loop, recipes, train
from covidcx.training.hierarchical import stage_recipes

keras = pytest.importorskip("keras")


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def small_backbone():
    """One convolution instead of 120: what is tested here comes around it."""
    from covidcx.models import covid_cxnet

    def features(backbone, x, output_stride):
        x = keras.layers.Conv2D(6, 5, strides=8, name="Conv1")(x)
        return keras.layers.ReLU(name="out_relu")(keras.layers.BatchNormalization(name="bn_Conv1")(x))

    patch = pytest.MonkeyPatch()
    patch.setattr(covid_cxnet, "_features", features)
    yield
    patch.undo()


def settings():
    value = recipes.get("covid-cxnet-hierarchical").override({
        "preprocessing.size": "32,32", "preprocessing.roi": "none", "preprocessing.lung_statistics": "no",
        "preprocessing.clahe_tiles": "4,4", "initial_weights": "random", "optimizer.learning_rate": "1e-2",
        "stages.pneumonia": "3", "stages.covid": "2", "batch": "4",
    })  # fmt: skip
    return value


@pytest.fixture(scope="module")
def run(manifest, tmp_path_factory, small_backbone):
    return train(settings(), manifest, tmp_path_factory.mktemp("runs") / "hierarchical")


def test_one_command_trains_both_stages_on_their_own_rows_and_joins_them(run):
    assert (run.epochs, run.metric) == (5, "val_macro_f1")
    log = read(run.out / "log.csv")
    assert [(row["epoch"], row["stage"]) for row in log] == [
        ("1", "1"), ("2", "1"), ("3", "1"), ("4", "2"), ("5", "2"),
    ]  # fmt: skip
    rows = {
        name: json.loads((run.out / "stages" / name / "run.json").read_text())["data"]["rows"]["train"]
        for name in ("pneumonia", "covid")
    }
    assert rows == {"pneumonia": {"normal": 5, "pneumonia": 9}, "covid": {"cap": 5, "covid": 4}}
    weights = read_weights(run.weights)
    for name in ("pneumonia", "covid"):
        own = read_weights(run.out / "stages" / name / "best.weights.h5")
        np.testing.assert_array_equal(weights[f"{name}_fc/kernel"], own["fc/kernel"])


def test_predictions_are_those_of_the_joined_model_and_score_as_recorded(run):
    rows = read(run.predictions)
    found = np.array([[float(row[f"p_{label}"]) for label in tiny_runs.LABELS] for row in rows])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    hits = [row["label"] == tiny_runs.LABELS[k] for row, k in zip(rows, found.argmax(axis=1), strict=True)]
    record = json.loads((run.out / "run.json").read_text())
    assert record["scores"]["val_accuracy"] == pytest.approx(np.mean(hits))
    assert record["model"]["name"] == "covid-cxnet-hierarchical" and record["status"] == "finished"
    assert restore(record["model"], run.weights).output["probabilities"].shape == (None, 3)


def test_a_stopped_run_goes_on_where_it_was_and_ends_alike(run, manifest, tmp_path):
    out = shutil.copytree(run.out, tmp_path / "run")
    for name in ("best.weights.h5", "val_predictions.csv", "log.csv"):
        (out / name).unlink()
    # Killed after the first epoch of the second stage, say: its end is not there yet.
    second = out / "stages" / "covid"
    (second / "best.weights.h5").unlink()
    first = (out / "stages" / "pneumonia" / "best.weights.h5").stat().st_mtime_ns
    again = train(settings(), manifest, out, resume=True)
    assert (out / "stages" / "pneumonia" / "best.weights.h5").stat().st_mtime_ns == first
    before, after = read_weights(run.weights), read_weights(again.weights)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert (out / "log.csv").read_text() == (run.out / "log.csv").read_text()


def test_epochs_are_the_most_for_each_stage():
    value = stage_recipes(recipes.get("covid-cxnet-hierarchical").override({"epochs": "12"}))
    assert {name: one.epochs for name, one in value.items()} == {"pneumonia": 10, "covid": 12}
    assert value["pneumonia"].labels == ("normal", "pneumonia") and value["covid"].labels == ("cap", "covid")
    with pytest.raises(RecipeError, match="stages are pneumonia and covid, of a classifier of three labels"):
        recipes.get("covid-cxnet-hierarchical").override({"labels": "normal,covid"})


def test_frozen_epochs_change_dense_layers_alone_and_a_stop_there_changes_nothing(manifest, tmp_path, monkeypatch):
    value = tiny_runs.recipe("classify").override({"freeze_epochs": "1", "epochs": "2"})
    seen = {}

    def noted(name, stop=None):
        one_epoch = loop._one_epoch

        def epoch(recipe, model, feed, number):
            seen[name, number] = {key: np.array(v.numpy()) for key, v in by_path(model).items()}
            if number == stop:
                raise KeyboardInterrupt
            return one_epoch(recipe, model, feed, number)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "_one_epoch", epoch)
            train(value, manifest, tmp_path / name.split()[0], resume=True)
        return checkpoint.read_state(tmp_path / name.split()[0] / "state").arrays

    whole = noted("whole")
    start, border = seen["whole", 0], seen["whole", 1]
    changed = {key for key in start if not np.array_equal(start[key], border[key])}
    assert changed == {"probabilities/kernel", "probabilities/bias"}, "normalisation statistics are features too"
    last = {key.split("/", 2)[2]: values for key, values in whole.items() if key.startswith("model/")}
    for key in ("conv/kernel", "bn/moving_mean", "bn/gamma"):
        assert np.abs(last[key] - border[key]).max() > 1e-4, "everything learns after that"
    with pytest.raises(KeyboardInterrupt):
        noted("stopped", stop=1)
    again = noted("stopped again")
    # Keras numbers optimisers through the process, so their keys differ.
    assert all(np.array_equal(a, b) for a, b in zip(whole.values(), again.values(), strict=True))
