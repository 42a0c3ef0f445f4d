"""Weights files: what goes in comes out, on any backend, and nothing that does not fit goes in."""

import os
import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from covidcx.errors import RecipeError, WeightsError
from covidcx.models import load_weights, restore, save_weights
from covidcx.models.restore import read_weights
from covidcx.models.unet import lung_unet

DESCRIPTION = {"name": "lung-unet", "kwargs": {"filters": 2, "size": 32}}


@pytest.fixture
def model():
    built = lung_unet(filters=2, size=32)
    rng = np.random.default_rng(0)
    built.set_weights([rng.uniform(0.1, 1.0, w.shape).astype(np.float32) for w in built.weights])
    return built


@pytest.fixture
def saved(model, tmp_path):
    return save_weights(model, tmp_path / "weights.h5")


def test_float16_file_restores_every_weight_within_half_precision(model, saved):
    restored = restore(DESCRIPTION, saved)
    for before, after in zip(model.weights, restored.weights, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-3)
        assert np.array_equal(after, np.asarray(before).astype(np.float16).astype(np.float32))


def test_float32_file_restores_every_weight_exactly(model, tmp_path):
    restored = restore(DESCRIPTION, save_weights(model, tmp_path / "weights.h5", dtype="float32"))
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), restored.get_weights(), strict=True))


def test_values_that_float16_would_spoil_stay_float32(model, tmp_path):
    bn = model.get_layer("down0_a_bn")
    bn.moving_variance.assign([1e-7, 3.0])
    bn.moving_mean.assign([7e4, 1e-9])
    stored = read_weights(save_weights(model, tmp_path / "weights.h5"))
    np.testing.assert_array_equal(stored["down0_a_bn/moving_variance"], np.float32([1e-7, 3.0]))
    np.testing.assert_array_equal(stored["down0_a_bn/moving_mean"], np.float32([7e4, 1e-9]))
    assert stored["down0_a_bn/gamma"].dtype == np.float16


def test_the_same_weights_give_the_same_bytes(model, saved, tmp_path):
    again = save_weights(restore(DESCRIPTION, saved), tmp_path / "again.h5")
    assert again.read_bytes() == saved.read_bytes()


def test_the_file_says_what_it_is_and_holds_no_pickle(saved):
    with h5py.File(saved) as file:
        assert file.attrs["format"] == "covidcx-weights"
        assert file.attrs["model"] == "lung_unet"
        assert file["down0_a_conv/kernel"].shape == (3, 3, 1, 2)


def test_weights_of_another_shape_are_refused_with_both_shapes(saved):
    other = lung_unet(filters=4, size=32)
    before = other.get_weights()
    with pytest.raises(WeightsError, match=r"down0_a_conv/kernel is \(3, 3, 1, 2\) .* \(3, 3, 1, 4\)"):
        load_weights(other, saved)
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))


def test_missing_and_unknown_variables_are_named(saved):
    with pytest.raises(WeightsError, match=r"missing in the file \(down4_a_bn/beta"):
        load_weights(lung_unet(filters=2, depth=5, size=32), save_weights(lung_unet(2, 4, 32), saved))
    with pytest.raises(WeightsError, match=r"unknown to the model \(down3_a_bn/beta"):
        load_weights(lung_unet(filters=2, depth=3, size=32), saved)


@pytest.mark.parametrize("damage", ["absent", "text", "truncated", "other format", "dataset removed", "nan"])
def test_a_damaged_file_is_refused_in_one_line(damage, model, saved):
    if damage == "absent":
        saved.unlink()
    elif damage == "text":
        saved.write_text("not weights")
    elif damage == "truncated":
        saved.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    else:
        with h5py.File(saved, "a") as file:
            if damage == "other format":
                file.attrs["format"] = "something"
            elif damage == "dataset removed":
                del file["down0_a_bn/gamma"]
            else:
                file["down0_a_bn/gamma"][0] = np.nan
    with pytest.raises(WeightsError) as caught:
        load_weights(model, saved)
    assert str(saved) in str(caught.value) and "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(model, saved):
    before = saved.read_bytes()
    model.get_layer("lung").bias.assign([np.nan])
    with pytest.raises(WeightsError, match="lung/bias holds NaN"):
        save_weights(model, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["weights.h5"]


def test_unknown_dtype_and_unknown_model_are_refused(model, saved, tmp_path):
    with pytest.raises(WeightsError, match="float16"):
        save_weights(model, tmp_path / "x.h5", dtype="float61")
    with pytest.raises(RecipeError, match="Did you mean 'lung-unet'"):
        restore({"name": "lung-net"}, saved)
    with pytest.raises(WeightsError, match="name"):
        restore({}, saved)


def test_two_variables_with_one_path_are_refused(model, tmp_path):
    twins = SimpleNamespace(name="twins", weights=[model.weights[0], model.weights[0]])
    with pytest.raises(WeightsError, match="two variables at 'down0_a_conv/kernel'"):
        save_weights(twins, tmp_path / "twins.h5")


def test_a_file_written_under_tensorflow_gives_the_same_numbers_under_torch(model, saved, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")
    image = np.random.default_rng(1).random((1, 32, 32, 1), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    script = (
        "import sys, numpy as np; from keras import ops; from covidcx.models import restore\n"
        f"model = restore({DESCRIPTION!r}, sys.argv[1])\n"
        "out = model(np.load(sys.argv[2]), training=False)['lung']; np.save(sys.argv[3], ops.convert_to_numpy(out))"
    )
    arguments = [str(saved), str(tmp_path / "image.npy"), str(tmp_path / "out.npy")]
    subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, env={**os.environ, "KERAS_BACKEND": "torch"}
    )
    expected = restore(DESCRIPTION, saved)(image, training=False)["lung"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)
