"""`train`: what it leaves behind, what it refuses, where images and first weights come from."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny_runs

from covidcx.data.augment import Augmentation
from covidcx.errors import ManifestError, RecipeError, WeightsError
from covidcx.models import restore
from covidcx.models.restore import read_weights, save_weights
from covidcx.training import Recipe, train

SHORT = {"epochs": "2", "optimizer.warmup_epochs": "0"}


@pytest.fixture(scope="module")
def unet(manifest, tmp_path_factory):
    """A finished run of the lung segmenter."""
    return train(tiny_runs.recipe("segment"), manifest, tmp_path_factory.mktemp("runs") / "unet", {"epochs": "1"})


@pytest.fixture(scope="module")
def classifier(manifest, tmp_path_factory):
    """A finished run of the classifier."""
    return train(tiny_runs.recipe("classify"), manifest, tmp_path_factory.mktemp("runs") / "classifier", SHORT)


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_folder_holds_recipe_log_weights_predictions_and_record(classifier, manifest):
    out = classifier.out
    recipe = Recipe.from_dict(json.loads((out / "recipe.json").read_text()))
    assert recipe == classifier.recipe and recipe.epochs == 2
    log = read(out / "log.csv")
    assert list(log[0]) == [
        "epoch", "learning_rate", "loss", "val_loss", "val_macro_f1", "val_accuracy"
    ]  # fmt: skip
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert float(log[-1]["learning_rate"]) == pytest.approx(3e-5, rel=0.3), "cosine ends at a hundredth"
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["recipe"]["seed"] == 3
    assert record["data"]["rows"]["train"] == {"cap": 5, "covid": 4, "normal": 5, "other": 4}
    assert {"keras", "numpy", "python"} <= record["versions"].keys() and record["precision"] == "float32"
    assert record["command"].startswith("covidcx train tiny-classifier --data")
    assert "--set epochs=2" in record["command"]
    assert record["best"]["value"] == classifier.best_value
    assert classifier.best_value == pytest.approx(max(float(row["val_macro_f1"]) for row in log), rel=1e-5)
    assert any((out / "tensorboard").iterdir())


def test_predictions_are_those_of_the_best_weights(classifier, manifest):
    import cv2

    from covidcx.imaging import prepare

    rows = read(classifier.predictions)
    assert len(rows) == 8 and list(rows[0]) == ["image", "patient_id", "label", "p_normal", "p_cap", "p_covid"]
    model = restore(classifier.recipe.model_spec(), classifier.weights)
    pixels = cv2.imread(str(manifest.parent / rows[0]["image"]), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    expected = model.predict(prepare(pixels, classifier.recipe.preprocessing).network_input, verbose=0)
    found = [float(rows[0][f"p_{label}"]) for label in tiny_runs.LABELS]
    np.testing.assert_allclose(found, expected["probabilities"][0], atol=1e-4)


def test_tensorboard_holds_every_epoch_once_after_resuming(classifier, manifest, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = shutil.copytree(classifier.out, tmp_path / "run")
    (out / "val_predictions.csv").unlink()
    again = train(classifier.recipe, manifest, out, resume=True)
    assert again.epochs == 2 and again.predictions.is_file()
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert (out / "log.csv").read_text() == (classifier.out / "log.csv").read_text()


def test_resuming_a_finished_run_changes_nothing(classifier, manifest):
    before = {p.name: p.stat().st_mtime_ns for p in classifier.out.iterdir()}
    again = train(classifier.recipe, manifest, classifier.out, resume=True)
    assert again == classifier
    assert {p.name: p.stat().st_mtime_ns for p in classifier.out.iterdir()} == before


def test_folder_of_a_run_is_not_overwritten(classifier, manifest):
    with pytest.raises(RecipeError, match=r"already holds a run; pass --resume .* or another --out"):
        train(classifier.recipe, manifest, classifier.out)


def test_resume_refuses_another_recipe_and_names_the_difference(classifier, manifest):
    with pytest.raises(RecipeError, match=r"recipe\.optimizer\.learning_rate: 0\.003 there, 0\.01 now"):
        train(classifier.recipe, manifest, classifier.out, {"optimizer.learning_rate": "0.01"}, resume=True)


def test_resume_refuses_another_manifest(classifier, manifest, tmp_path):
    shutil.copytree(manifest.parent, tmp_path / "data", ignore=shutil.ignore_patterns(".prepared"))
    other = tmp_path / "data" / "manifest.csv"
    other.write_text(manifest.read_text().replace("images/0.png,p0,normal", "images/0.png,p0,cap"))
    with pytest.raises(RecipeError, match=r"data\.split_hash: '\w{12}' there, '\w{12}' now"):
        train(classifier.recipe, other, classifier.out, resume=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("images/1.png", "images/none.png", r"line 3, image 'images/none.png': no such file"),
        ("images/1.png,p1,cap", "images/1.png,p1,capp", "Did you mean 'cap'"),
        ("images/25.png,p25", "images/25.png,p0", r"patient is in splits"),
        ("images/2.png", "images/1.png", "already on line 3"),
    ],
)
def test_problems_in_used_rows_stop_before_anything_is_written(manifest, tmp_path, old, new, message):
    broken = manifest.with_name(f"broken-{tmp_path.name}.csv")
    broken.write_text(manifest.read_text().replace(old, new))
    recipe = tiny_runs.recipe("segment")
    with pytest.raises(ManifestError, match=message):
        train(recipe, broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_problems_in_unused_rows_do_not_stop(manifest, tmp_path):
    other = manifest.with_name(f"unused-{tmp_path.name}.csv")
    other.write_text(manifest.read_text() + "images/none.png,p99,covid,test,\n")
    assert train(tiny_runs.recipe("classify"), other, tmp_path / "run", {"epochs": "1"}).epochs == 1
    other.write_text(manifest.read_text() + "images/none.png,p0,covid,test,\n")
    with pytest.raises(ManifestError, match="this patient is in splits"):
        train(tiny_runs.recipe("classify"), other, tmp_path / "leak", {"epochs": "1"})


def test_empty_split_and_missing_class_are_named(manifest, tmp_path):
    with pytest.raises(ManifestError, match="no row with a lung mask in split pediatric"):
        train(tiny_runs.recipe("segment"), manifest, tmp_path / "a", {"train_splits": "pediatric"})
    none = manifest.with_name(f"none-{tmp_path.name}.csv")
    none.write_text(manifest.read_text().replace(",cap,", ",other,"))
    with pytest.raises(ManifestError, match="no training image of cap"):
        train(tiny_runs.recipe("classify"), none, tmp_path / "b")


def test_early_stopping_holds_across_resume(manifest, tmp_path):
    settings = {"epochs": "9", "early_stop": "2", "monitor": "val_loss", "optimizer.learning_rate": "1e-9"}
    settings |= {"augmentation.tone": "0", "optimizer.warmup_epochs": "0"}
    recipe = tiny_runs.recipe("classify").override(settings)
    done = train(recipe, manifest, tmp_path / "run")
    losses = [float(row["val_loss"]) for row in read(done.out / "log.csv")]
    assert done.epochs == len(losses) and done.best_epoch == int(np.argmin(losses)) + 1
    if done.epochs < 9:
        assert done.epochs - done.best_epoch == 2
        (done.out / "val_predictions.csv").unlink()
        assert train(recipe, manifest, done.out, resume=True).epochs == done.epochs


def test_the_last_epoch_is_kept_where_the_recipe_says_so(manifest, tmp_path, monkeypatch):
    from covidcx.training.tasks import Classification

    weights = []
    for monitor, kept in (("auto", 1), ("epoch", 3)):
        falling = iter((0.9, 0.8, 0.7))
        scores = lambda *_, f=falling: {"val_macro_f1": next(f), "val_accuracy": 0.5}  # noqa: E731
        monkeypatch.setattr(Classification, "scores", scores)
        done = train(tiny_runs.recipe("classify"), manifest, tmp_path / monitor, {"epochs": "3", "monitor": monitor})
        assert done.best_epoch == kept
        weights.append(read_weights(done.weights)["conv/kernel"])
    assert not np.array_equal(*weights)


def test_divergence_is_reported_and_names_the_learning_rate(manifest, tmp_path, monkeypatch):
    from covidcx.training.tasks import Classification

    monkeypatch.setattr(Classification, "scores", lambda *_: {"val_macro_f1": float("nan"), "val_accuracy": 0.0})
    with pytest.raises(RecipeError, match=r"val_macro_f1 is nan in epoch 1; try a lower optimizer\.learning_rate"):
        train(tiny_runs.recipe("classify"), manifest, tmp_path / "run", {"epochs": "1"})


def test_same_seed_same_weights_and_global_random_state_untouched(manifest, tmp_path, classifier):
    import random

    random.seed(5)
    expected = random.Random(5).random()
    again = train(tiny_runs.recipe("classify"), manifest, tmp_path / "again", SHORT)
    assert random.random() == expected
    other = train(tiny_runs.recipe("classify"), manifest, tmp_path / "other", {**SHORT, "seed": "4", "epochs": "1"})
    first, second, third = (read_weights(run.weights)["conv/kernel"] for run in (classifier, again, other))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert np.abs(first - third).max() > 1e-2


def test_lungs_come_from_a_finished_run_of_the_right_size_and_enhancement(manifest, tmp_path, unet):
    from covidcx.data.manifest import Manifest
    from covidcx.imaging import read as read_image
    from covidcx.models import build
    from covidcx.training.lungs import lung_masks
    from covidcx.training.run_folder import write_json

    table = Manifest.read(manifest)
    folder = tmp_path / "segmenter"
    folder.mkdir()
    segmenter = unet.recipe.override({"preprocessing.size": "256,256", "model.kwargs.depth": "2"})
    write_json(folder / "recipe.json", segmenter.to_dict())
    recipe = tiny_runs.recipe("classify").override({"preprocessing.roi.enhance": "clahe", "segmenter": str(folder)})
    with pytest.raises(RecipeError, match="holds no finished run"):
        lung_masks(recipe, table)
    spec = segmenter.model_spec()
    save_weights(build(spec["name"], **spec["kwargs"]), folder / "best.weights.h5", dtype="float32")
    find, named = lung_masks(recipe, table)
    mask = find(table.frame.iloc[0], read_image(table.file(table.frame["image"][0])))
    assert mask.shape == (48, 48) and mask.dtype == bool and named.startswith("lung-unet-")
    with pytest.raises(RecipeError, match=r"'clahe', the ROI feeds it 'ahe'; set preprocessing\.roi\.enhance=clahe"):
        lung_masks(recipe.override({"preprocessing.roi.enhance": "ahe"}), table)
    with pytest.raises(RecipeError, match=r"works at \(32, 32\)"):
        lung_masks(recipe.override({"segmenter": str(unet.out)}), table)


def test_lungs_come_from_the_manifest(manifest, tmp_path):
    settings = {**SHORT, "epochs": "1", "preprocessing.roi.blank": "yes", "segmenter": "manifest"}
    done = train(tiny_runs.recipe("classify"), manifest, tmp_path / "run", settings)
    record = json.loads((done.out / "run.json").read_text())
    assert record["data"]["segmenter"] == "manifest" and record["left_out"] == []


def test_initial_weights_are_taken_over_by_name(manifest, tmp_path, classifier):
    import keras

    from covidcx.training.start import seeded_build, transfer

    two = classifier.recipe.override({"labels": "normal,covid", "label_sets": "{}"})
    model = seeded_build(two.model_spec(), 0)
    taken = transfer(model, classifier.out)
    assert "conv/kernel" in taken and not any(key.startswith("probabilities") for key in taken)
    np.testing.assert_allclose(
        model.get_layer("conv").kernel.numpy(), read_weights(classifier.weights)["conv/kernel"], atol=1e-7
    )
    foreign = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="else")])
    path = save_weights(foreign, tmp_path / "foreign.h5")
    with pytest.raises(WeightsError, match="shares no variable"):
        transfer(model, path)
    done = train(two, manifest, tmp_path / "two", {"epochs": "1", "initial_weights": str(classifier.weights)})
    row = read(done.predictions)[0]
    assert list(row)[-2:] == ["p_normal", "p_covid"]
    assert float(row["p_normal"]) + float(row["p_covid"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("task", "steps"), [("segment", 4), ("classify", 4), ("multi", 9)])
def test_batches_are_the_same_with_and_without_tensorflow(manifest, mixed, tmp_path, task, steps):
    from covidcx.data.manifest import Manifest
    from covidcx.training.feed import Batches, prepare_feed
    from covidcx.training.rows import select
    from covidcx.training.tasks import task_of

    recipe = tiny_runs.recipe(task)
    table = Manifest.read(mixed if task == "multi" else manifest)
    feed = prepare_feed(recipe, task_of(recipe), select(recipe, task_of(recipe), table), tmp_path)
    plain = Batches(feed.training, recipe, 2)
    pipeline = list(feed.train(2).as_numpy_iterator())
    assert len(pipeline) == plain.num_batches == feed.steps == steps
    for i, (images, targets, weights) in enumerate(pipeline):
        np.testing.assert_allclose(plain[i][0], images, atol=1e-6)
        assert sorted(targets) == sorted(task_of(recipe).losses()) == sorted(plain[i][1]) == sorted(plain[i][2])
        for name, values in targets.items():
            np.testing.assert_array_equal(plain[i][1][name], values)
            np.testing.assert_allclose(plain[i][2][name], weights)
    assert np.abs(plain[0][0] - Batches(feed.training, recipe, 3)[0][0]).max() > 0.05


def test_a_share_of_the_labels_in_more_passes_takes_the_same_steps(manifest, tmp_path):
    from covidcx.data.manifest import Manifest
    from covidcx.training.feed import Batches, prepare_feed
    from covidcx.training.rows import select
    from covidcx.training.tasks import task_of

    whole, half = tiny_runs.recipe("classify"), replace(tiny_runs.recipe("classify"), label_share=0.5, passes=2)
    half = replace(half, augmentation=Augmentation())
    feeds = []
    for recipe in (whole, half):
        rows = select(recipe, task_of(recipe), Manifest.read(manifest))
        feeds.append(prepare_feed(recipe, task_of(recipe), rows, tmp_path))
    assert len(feeds[0].validation) == len(feeds[1].validation)
    seen = set(feeds[1].training.rows["image"])
    assert len(seen) == 10 and seen < set(feeds[0].training.rows["image"])
    assert feeds[0].steps == 4 and feeds[1].steps == 5
    images = np.concatenate([batch for batch, _, _ in feeds[1].train(1).as_numpy_iterator()])
    plain = Batches(feeds[1].training, half, 1)
    np.testing.assert_allclose(images, np.concatenate([plain[i][0] for i in range(5)]), atol=1e-6)
    _, counts = np.unique(images.reshape(20, -1), axis=0, return_counts=True)
    assert counts.tolist() == [2] * 10
    with pytest.raises(RecipeError, match="passes=2 is for task 'classify'"):
        replace(tiny_runs.recipe("segment"), passes=2)
