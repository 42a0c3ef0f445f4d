"""Momentum contrast: the loss, the key encoder, the queue and the batch statistics, each against its definition."""

import keras
import numpy as np
import pytest
from keras import ops

from covidcx.models.contrast import EMBEDDING, MomentumContrast, SplitBatchNormalization, contrast_encoder, info_nce

tf = pytest.importorskip("tensorflow")
SMALL = {"input_shape": (32, 32, 3), "dim": 8, "blocks": (1, 1, 1, 1), "growth": 4, "splits": 2}
BATCH, QUEUE, MOMENTUM, TEMPERATURE = 4, 10, 0.9, 0.2


def unit(rng, *shape):
    values = rng.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def step(model, images, views, order):
    """Return loss, gradients of everything and the queries' gradient tape of one eager training step."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([v.value for v in model.key.variables])
        loss = model.compute_loss(None, {"key": views, "order": order}, model(images, training=True), training=True)
    return loss, tape


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    encoders = [contrast_encoder(**SMALL) for _ in range(2)]
    made = MomentumContrast(*encoders, queue=QUEUE, momentum=MOMENTUM, temperature=TEMPERATURE)
    # The query encoder has moved away from the key encoder, as after some steps.
    rng = np.random.default_rng(1)
    for variable in made.query.trainable_variables:
        variable.assign(variable + 0.05 * rng.normal(size=variable.shape).astype(np.float32))
    return made


@pytest.fixture
def batch():
    rng = np.random.default_rng(2)
    images, views = rng.random((2, BATCH, 32, 32, 3), dtype=np.float32)
    return images, views, np.array([2, 0, 3, 1], np.float32)


def test_info_nce_is_equation_2():
    rng = np.random.default_rng(0)
    queries, keys, negatives = unit(rng, 5, 8), unit(rng, 5, 8), unit(rng, 7, 8)
    losses, first = (ops.convert_to_numpy(x) for x in info_nce(queries, keys, negatives, 0.07))
    for i, query in enumerate(queries.astype(np.float64)):
        cosines = [float(query @ key) for key in (keys[i], *negatives)]
        parts = np.exp(np.array(cosines) / 0.07)
        assert losses[i] == pytest.approx(-np.log(parts[0] / parts.sum()), rel=1e-5, abs=1e-6)
        assert first[i] == (np.argmax(cosines) == 0)


def test_key_encoder_follows_by_momentum_and_gets_no_gradient(model, batch):
    before = [(np.array(q), np.array(k)) for q, k in model.pairs]
    loss, tape = step(model, *batch)
    gradients = tape.gradient(loss, [v.value for v in model.query.trainable_variables])
    assert all(gradient is not None and np.any(gradient) for gradient in gradients)
    assert tape.gradient(loss, [v.value for v in model.key.variables]) == [None] * len(model.key.variables)
    assert {v.path for v in model.trainable_variables} == {v.path for v in model.query.trainable_variables}
    assert len(model.trainable_variables) == len(before)
    for (query, key), (_, now) in zip(before, model.pairs, strict=True):
        np.testing.assert_allclose(np.array(now), MOMENTUM * key + (1 - MOMENTUM) * query, rtol=1e-6, atol=1e-7)


def test_queue_turns_and_wraps_and_a_key_comes_after_its_own_loss(model, batch):
    images = batch[0]
    expected, pointer = np.array(model.queue), 0
    for _ in range(4):
        old, (loss, _) = expected.copy(), step(model, *batch)
        places = (pointer + np.arange(BATCH)) % QUEUE
        pointer = (pointer + BATCH) % QUEUE
        assert int(model.pointer.numpy()) == pointer
        queue = np.array(model.queue)
        expected[places] = queue[places]
        np.testing.assert_array_equal(queue, expected)
        assert not np.allclose(queue[places], old[places])
        # The keys just enqueued were this step's positives: with them the loss follows from the old queue.
        queries = model.query(images, training=True)[EMBEDDING]
        direct = float(ops.mean(info_nce(queries, queue[places], old, TEMPERATURE)[0]))
        assert float(loss) == pytest.approx(direct, rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, rtol=1e-5)


def test_keys_are_normalised_in_shuffled_groups_and_put_back_in_order(model, batch):
    images, views, order = batch
    step(model, images, views, order)
    keys, shuffled = np.array(model.queue)[:BATCH], order.astype(int)
    halves = [np.array(model.key(views[shuffled], training=True)[EMBEDDING])]
    np.testing.assert_allclose(keys[shuffled], halves[0], atol=1e-5)
    # In the batch's own order other images share statistics: the keys differ.
    assert not np.allclose(keys, np.array(model.key(views, training=True)[EMBEDDING]), atol=1e-3)


def test_split_normalisation_is_batch_normalisation_of_each_part():
    x = np.random.default_rng(0).normal(2, 3, (6, 4, 4, 5)).astype(np.float32)
    split, plain = SplitBatchNormalization(3, momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)
    got = np.array(split(x, training=True))
    parts, means = [], []
    for part in x.reshape(3, 2, 4, 4, 5):
        parts.append(np.array(plain(part, training=True)))
        means.append(part.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(got, np.concatenate(parts), atol=1e-5)
    np.testing.assert_allclose(np.array(split.moving_mean), 0.5 * np.mean(means, axis=0), atol=1e-5)
    plain.set_weights(split.get_weights())
    np.testing.assert_allclose(np.array(split(x)), np.array(plain(x)), atol=1e-5)
