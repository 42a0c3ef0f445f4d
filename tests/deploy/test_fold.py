"""Normalisation folded into convolutions before weights are rounded."""

import keras
import numpy as np

from covidcx.deploy.fold import folded
from covidcx.deploy.tflite import run_tflite, to_tflite
from covidcx.models import build
from covidcx.models.restore import restore, save_weights

KWARGS = {"input_shape": (64, 64, 1), "width": 0.0625}


def trained() -> keras.Model:
    """Return a small COMiT-Net whose normalisations have seen something."""
    keras.utils.set_random_seed(0)
    model, rng = build("comit-net", **KWARGS), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.5, 2, size), rng.normal(size=size), rng.normal(size=size),
                               rng.uniform(0.2, 3, size)])  # fmt: skip
    return model


def test_a_folded_model_computes_the_same_and_is_itself_again_afterwards():
    model, image = trained(), np.random.default_rng(1).random((2, 64, 64, 1), np.float32)
    before, weights = model.predict(image, verbose=0), model.get_weights()
    with folded(model):
        within = model.predict(image, verbose=0)
        assert not np.array_equal(model.get_layer("block1_conv1").get_weights()[0], weights[0])
    for name, values in before.items():
        np.testing.assert_allclose(within[name], values, atol=1e-5)
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def test_rounded_after_folding_keras_and_tflite_answer_more_alike(tmp_path):
    model, image = trained(), np.random.default_rng(1).random((1, 64, 64, 1), np.float32)

    def apart(name: str) -> float:
        kept = restore({"name": "comit-net", "kwargs": KWARGS}, tmp_path / name)
        lite = run_tflite(to_tflite(kept, "float16"), image)
        found = kept.predict(image, verbose=0)
        # Not the masks: where two cells of a pooling window nearly tie, one rounding more moves a maximum.
        return max(np.abs(lite[key] - found[key]).max() for key in ("healthy", "infection"))

    save_weights(model, tmp_path / "plain.weights.h5")
    with folded(model):
        save_weights(model, tmp_path / "folded.weights.h5")
    assert apart("folded.weights.h5") < apart("plain.weights.h5") / 3


def test_a_convolution_that_something_else_reads_too_is_left_alone():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3, use_bias=False)(image)
    model = keras.Model(image, [keras.layers.BatchNormalization()(x), keras.layers.ReLU()(x)])
    model.layers[2].set_weights([np.full(2, 3.0), np.ones(2), np.ones(2), np.ones(2)])
    weights = model.get_weights()
    with folded(model):
        for now, then in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)
