"""Self-supervised runs: images without labels in, an encoder out that classifiers start from."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_runs

from covidcx.data.manifest import Manifest
from covidcx.errors import ManifestError, RecipeError
from covidcx.models import build, save_weights
from covidcx.models.contrast import contrast_encoder
from covidcx.models.densenet_names import backbone_paths
from covidcx.models.encoders import encoder_of
from covidcx.models.restore import by_path, read_weights
from covidcx.training import pretrain, recipes
from covidcx.training.checkpoint import read_state
from covidcx.training.fit_encoder import build_network
from covidcx.training.pretrain_feed import Batches, prepare_pretraining
from covidcx.training.pretraining import Pretraining
from covidcx.training.start import transfer

HERE = Path(__file__).parent


def edited(manifest: Path, name: str, edit) -> Path:
    """Write a copy of a manifest's table beside it, with its rows changed."""
    with manifest.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    path = manifest.with_name(f"{name}.csv")
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *(edit(dict(zip(header, row, strict=True))) for row in rows)])
    return path


@pytest.fixture(scope="module")
def contrast_run(manifest, tmp_path_factory):
    return pretrain(tiny_runs.pretraining("contrast"), manifest, tmp_path_factory.mktemp("runs") / "contrast")


@pytest.mark.slow
def test_a_killed_run_ends_as_an_uninterrupted_one(contrast_run, manifest, tmp_path):
    search = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    out, codes = tmp_path / "killed", []
    for kill in (["epoch=3"], []):
        command = [sys.executable, str(HERE / "tiny_runs.py"), "contrast", str(manifest), str(out), *kill]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True)
        codes.append(done.returncode)
    assert codes == [-9, 0], done.stderr
    first, second = (read_state(folder / "state") for folder in (contrast_run.out, out))
    assert first.epoch == second.epoch == 4
    queue = next(key for key in first.arrays if key.startswith("model/") and key.endswith("/queue"))
    assert first.arrays[queue].shape == (12, 8)
    for (key, a), b in zip(first.arrays.items(), second.arrays.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=key)
    a, b = (read_weights(folder / "encoder.weights.h5") for folder in (contrast_run.out, out))
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-3, atol=1e-5, err_msg=key)


def test_inpainting_learns_to_fill_and_keeps_its_network(manifest, tmp_path):
    recipe = replace(tiny_runs.pretraining("inpainting"), epochs=6)
    result = pretrain(recipe, manifest, tmp_path / "run")
    with (result.out / "log.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0]
    stored = read_weights(result.out / "best.weights.h5")
    assert set(stored) == set(by_path(build_network(recipe)))
    assert set(read_weights(result.encoder)) < set(stored)
    assert Pretraining.from_dict(json.loads((result.out / "recipe.json").read_text())) == recipe


def test_every_layer_of_the_encoder_reaches_a_classifier(contrast_run):
    backbone = contrast_run.recipe.backbone_kwargs
    classifier = build("cnn-baseline", input_shape=(64, 64, 3), classes=3, **backbone)
    before = {key: np.array(variable) for key, variable in by_path(classifier).items()}
    filled = transfer(classifier, contrast_run.encoder)
    stored, head = read_weights(contrast_run.encoder), {"probabilities/kernel", "probabilities/bias"}
    assert set(filled) == set(stored) == set(before) - head
    for key, variable in by_path(classifier).items():
        np.testing.assert_array_equal(np.array(variable), before[key] if key in head else stored[key], err_msg=key)
    # Not the random start: training moved every kernel.
    fresh = by_path(contrast_encoder((32, 32, 3), **backbone))
    assert all(not np.array_equal(stored[key], np.array(fresh[key])) for key in stored if key.endswith("kernel"))


def test_densenet_121_and_mobilenet_v2_fill_covid_cxnet(tmp_path):
    for backbone, count in (("densenet121", len(backbone_paths())), ("mobilenet_v2", 260)):
        keras.backend.clear_session()
        network = contrast_encoder((32, 32, 3), backbone=backbone, splits=2)
        path = save_weights(encoder_of(network), tmp_path / f"{backbone}.h5", dtype="float32")
        classifier = build("covid-cxnet", input_shape=(32, 32, 3), backbone=backbone)
        filled = transfer(classifier, path)
        assert len(filled) == count == len(by_path(classifier)) - 4  # all but the two dense layers
        stored = read_weights(path)
        for key, variable in by_path(classifier).items():
            if key in stored:
                np.testing.assert_array_equal(np.array(variable), stored[key], err_msg=key)


@pytest.mark.parametrize("task", ["contrast", "inpainting"])
def test_batches_are_the_same_with_and_without_tensorflow(task, manifest):
    recipe = tiny_runs.pretraining(task)
    feed = prepare_pretraining(recipe, Manifest.read(manifest), None)
    pipeline, plain = list(feed.train(2).as_numpy_iterator()), Batches(feed, 2)
    assert len(pipeline) == plain.num_batches == feed.steps == 6
    for i, (images, targets, _) in enumerate(pipeline):
        np.testing.assert_allclose(plain[i][0], images, atol=1e-6)
        for name, values in targets.items():
            np.testing.assert_allclose(plain[i][1][name], values, atol=1e-6)
    if task == "contrast":
        assert sorted(targets["order"]) == [0, 1, 2, 3]
        assert np.abs(images - targets["key"]).mean() > 0.02
    else:
        hole = targets["image_filled"][..., 3] == 1
        np.testing.assert_allclose(images[~hole], targets["image_filled"][..., :3][~hole], atol=1e-6)
        assert 2 * 2 * 4 <= hole.sum() <= 2 * 5 * 5 * 4


def test_only_the_asked_splits_are_seen_and_labels_are_not_needed(contrast_run, manifest, tmp_path):
    assert contrast_run.images == 18
    unlabelled = edited(manifest, "unlabelled", lambda row: [*({**row, "label": ""}).values()])
    recipe = replace(tiny_runs.pretraining("contrast"), epochs=1)
    result = pretrain(recipe, unlabelled, tmp_path / "unlabelled")
    assert result.images == 18
    leaking = edited(manifest, "leaking", lambda row: [*({**row, "patient_id": row["patient_id"][:2]}).values()])
    with pytest.raises(ManifestError, match="patient"):
        pretrain(recipe, leaking, tmp_path / "leaking")
    assert not (tmp_path / "leaking").exists()


def test_a_queue_larger_than_the_data_is_refused_before_anything_is_written(manifest, tmp_path):
    recipe = tiny_runs.pretraining("contrast")
    with pytest.raises(RecipeError, match=r"queue of 19 keys .* 18 images.*contrast\.queue=9"):
        pretrain(recipe, manifest, tmp_path / "run", {"contrast.queue": "19"})
    assert not (tmp_path / "run").exists()


def test_settings_are_typed_and_recipes_are_found_by_name():
    for name in recipes.pretraining_names():
        recipe = recipes.get_pretraining(name)
        assert recipe.name == name and Pretraining.from_dict(recipe.to_dict()) == recipe
        assert recipe.splits == ("train",)
    changed = recipes.get_pretraining("moco-v2").override({"contrast.views.rotate": "5", "backbone_kwargs.growth": "8"})
    assert changed.contrast.views.rotate == 5 and changed.backbone_kwargs == {"growth": 8}
    for key, text, message in (
        ("contrast.temprature", "1", "temperature"), ("inpainting.context", "1", "has no inpainting"),
        ("contrast.bn_splits", "5", "does not divide"), ("contrast", "none", "contrast or of inpainting"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            recipes.get_pretraining("moco-v2").override({key: text})
    with pytest.raises(RecipeError, match="moco-cxr"):
        recipes.get_pretraining("moco-crx")
