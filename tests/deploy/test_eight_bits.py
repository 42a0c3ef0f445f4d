"""8 bits: how much of a network's start stays in float32 is decided by what the images say."""

import keras
import numpy as np
import pytest
from keras import layers

from covidcx.deploy import eight_bits
from covidcx.deploy.eight_bits import quantised
from covidcx.deploy.tflite import run_tflite, to_tflite
from covidcx.models.comit_net import finding_probabilities


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """Noisy squares in a black surround, 8 bits deep."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    coarse[:, :6] = coarse[:, :, :6] = 0.0
    noisy = np.clip(coarse + rng.normal(0, 0.02, coarse.shape), 0, 1)
    return [np.float32(np.round(one * 255) / 255)[None] for one in noisy]


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Channels whose sizes differ a hundredfold, then kernels that take differences of them."""
    rng = np.random.default_rng(1)
    image = layers.Input((32, 32, 3), name="image")
    drawn = keras.initializers.GlorotUniform(seed=0)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, kernel_initializer=drawn, name="first")(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="first_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    seeded = keras.initializers.GlorotUniform(seed=1)
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, padding="same", kernel_initializer=seeded)(x))
    x = layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, {"probabilities": layers.Softmax(name="probabilities")(x)})
    sizes = np.geomspace(0.03, 3.0, 8).astype(np.float32)
    model.get_layer("first_bn").gamma.assign(sizes)
    model.get_layer("first_bn").beta.assign(0.3 * sizes)
    kernel = rng.normal(size=(3, 3, 8, 1)) / sizes[:, None]
    model.get_layer("depthwise").set_weights([kernel - kernel.mean(axis=(0, 1), keepdims=True)])
    model.get_layer("head").set_weights([rng.normal(size=(8, 4)) * 4, np.zeros(4)])
    return model


def test_the_start_stays_in_float32_only_where_8_bits_lose_too_much(network, monkeypatch):
    train, held_out = pictures(24, 0), pictures(40, 1)
    expected = network.predict_on_batch(np.concatenate(held_out))["probabilities"]
    calibrated: list[bytes] = []

    def kept(content: bytes, images) -> bytes:
        calibrated.append(content)
        return content

    monkeypatch.setattr("covidcx.deploy.tflite.quantised", kept)
    to_tflite(network, "int8", train)

    def loss(content: bytes) -> float:
        found = np.concatenate([run_tflite(content, image)["probabilities"] for image in held_out])
        return float(np.abs(found - expected).mean())

    whole = quantised(calibrated[0], train, starts=(0,))
    mixed = quantised(calibrated[0], train, starts=(0, 2), limit=0.0)
    assert float_convolutions(whole) == 0 and float_convolutions(mixed) == 2
    assert loss(mixed) < loss(whole) / 2
    # Close enough at once: nothing is left in float32.
    assert quantised(calibrated[0], train, starts=(0, 2), limit=1.0) == whole


def test_shares_of_next_to_nothing_survive_8_bits():
    image = layers.Input((32, 32, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu", name="conv")(image))
    # One of three sigmoids, as sure as can be by the brightness; the other two then next to nothing, as COMiT-Net's.
    three = layers.Dense(3, activation="sigmoid", name="three")(x)
    covid, healthy = three[:, :1], three[:, 1:2]
    shares = finding_probabilities(layers.Concatenate()([covid, healthy]), three[:, 1:])
    model = keras.Model(image, {"probabilities": shares})
    model.get_layer("conv").set_weights([np.full((3, 3, 3, 8), 1 / 27), np.zeros(8)])
    model.get_layer("three").set_weights([np.tile([6.0, -6.0, -6.0], (8, 1)), np.array([-16.0, 16.0, 16.0])])
    levels = [np.full((1, 32, 32, 3), level, np.float32) for level in np.linspace(0, 1, 24)]
    expected = model.predict_on_batch(np.concatenate(levels))["probabilities"]
    content = to_tflite(model, "int8", levels)
    found = np.concatenate([run_tflite(content, level)["probabilities"] for level in levels])
    assert expected[-1, 2] > 0.999 and expected[0, 2] < 0.001
    np.testing.assert_allclose(found, expected, atol=0.05)


def float_convolutions(content: bytes) -> int:
    """Convolutions whose kernel is not stored in 8 bits."""
    from tensorflow.lite.python.schema_py_generated import TensorType

    graph, kinds = eight_bits._parsed(content)
    names = eight_bits._first_operations(graph, kinds, 99)
    operators = [op for op in graph.operators if graph.tensors[op.outputs[0]].name.decode() in names]
    kernels = [graph.tensors[op.inputs[1]].type for op in operators if len(op.inputs) == 3]
    return sum(kind == TensorType.FLOAT32 for kind in kernels)
