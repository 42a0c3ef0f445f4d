"""Weights pass between the stages of SIIM multi-class by name, and every layer that should transfer does."""

import logging

import numpy as np
import pytest

from covidcx.data.phantom import write_phantom
from covidcx.models import save_weights
from covidcx.models.encoders import encoder_of
from covidcx.models.restore import by_path, read_weights
from covidcx.training import recipes, train
from covidcx.training.start import seeded_build, transfer

SMALL = {"preprocessing.size": "32,32", "model.kwargs.blocks": "1,1,1,1", "model.kwargs.growth": "4"}


def _built(recipe, seed, **overrides):
    value = recipes.get(recipe).override({**SMALL, **overrides})
    return seeded_build(value.model_spec(), seed)


def _values(model):
    return {path: np.array(variable.numpy()) for path, variable in by_path(model).items()}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Weights files of stages 1 and 2, every value drawn."""
    folder, rng = tmp_path_factory.mktemp("stages"), np.random.default_rng(0)
    files = {}
    for name in ("siim-findings", "siim-opacity"):
        model = _built(name, 1)
        for variable in model.weights:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        files[name] = save_weights(model, folder / f"{name}.h5", "float32")
    return files


def _check(model, before, file, expected):
    """Exactly the variables of `expected` took the file's values; the others kept theirs."""
    stored, after = read_weights(file), _values(model)
    assert expected and expected <= set(stored)
    for path, values in after.items():
        np.testing.assert_array_equal(values, stored[path] if path in expected else before[path], err_msg=path)


def test_stage_1_gives_its_whole_encoder_to_stage_2(stages):
    model = _built("siim-opacity", 2)
    before, encoder = _values(model), set(by_path(encoder_of(model)))
    taken = transfer(model, stages["siim-findings"])
    assert set(taken) == encoder and len(encoder) == 64
    _check(model, before, stages["siim-findings"], encoder)


@pytest.mark.parametrize("layers", ["all", "encoder"])
def test_stage_2_gives_encoder_and_decoder_or_the_encoder_alone(stages, layers):
    model = _built("siim-multitask", 2)
    before = _values(model)
    # Two classes become four: the classes' layer starts anew.
    everything = {path for path in before if not path.startswith("probabilities/")}
    expected = everything if layers == "all" else set(by_path(encoder_of(model)))
    assert any(path.startswith("decoder1_b_conv") for path in everything) and "opacity/kernel" in everything
    assert set(transfer(model, stages["siim-opacity"], layers)) == expected
    _check(model, before, stages["siim-opacity"], expected)


def test_the_baseline_shares_the_encoder_with_every_stage(stages):
    model = _built("siim-baseline", 2)
    assert set(transfer(model, stages["siim-opacity"])) == set(by_path(encoder_of(model)))


@pytest.mark.slow
def test_stage_3_learns_both_tasks_from_stage_2_and_can_go_on(stages, tmp_path, caplog):
    manifest = write_phantom(tmp_path / "set", patients=24, size=64, labels="rsna")
    overrides = {**SMALL, "epochs": "1", "batch": "4", "initial_weights": str(stages["siim-opacity"]),
                 "initial_layers": "encoder"}  # fmt: skip
    with caplog.at_level(logging.INFO):
        done = train("siim-multitask", manifest, tmp_path / "run", overrides)
    assert "initial weights: 64 of 64" in caplog.text
    assert {"val_probabilities_macro_f1", "val_opacity_dice", "val_score"} <= set(done.scores)
    again = train("siim-multitask", manifest, tmp_path / "run", overrides, resume=True)
    assert again.scores == done.scores
