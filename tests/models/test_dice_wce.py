"""Dice-Weighted Cross Entropy (SIIM multi-class, eq. 1) against numbers worked out by hand."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from covidcx.errors import RecipeError
from covidcx.models.losses import DiceCrossEntropy, WeightedCrossEntropy

NAN = float("nan")
PAPER = (0.2, 0.2, 0.3, 0.3)


def _entropy(target, probability, weights=PAPER):
    loss = WeightedCrossEntropy(weights, reduction="none")
    return np.asarray(loss(np.array(target, np.float32), np.array(probability, np.float32)))


def test_each_class_has_its_own_weight():
    p = [0.1, 0.2, 0.3, 0.4]
    each = _entropy(np.eye(4), [p] * 4)
    np.testing.assert_allclose(each, [-w * math.log(q) for w, q in zip(PAPER, p, strict=True)], rtol=1e-5)


def test_equal_weights_of_one_are_the_plain_cross_entropy():
    assert _entropy([[0, 1, 0]], [[0.2, 0.5, 0.3]], (1, 1, 1))[0] == pytest.approx(math.log(2), rel=1e-6)


def test_a_missing_class_and_an_unread_mask_cost_nothing_and_move_nothing():
    tf = pytest.importorskip("tensorflow")
    probability, mask = tf.Variable([[0.2, 0.3, 0.1, 0.4]]), tf.Variable(np.full((1, 2, 2, 1), 0.4, np.float32))
    with tf.GradientTape(persistent=True) as tape:
        entropy = WeightedCrossEntropy(PAPER)(tf.constant([[NAN] * 4]), probability)
        dice = DiceCrossEntropy(1.0)(tf.fill((1, 2, 2, 1), -1.0), mask)
    assert float(entropy) == float(dice) == 0.0
    assert not np.any(tape.gradient(entropy, probability)) and not np.any(tape.gradient(dice, mask))


def test_the_compound_is_04_of_the_classes_and_06_of_the_mask():
    image = keras.Input((1, 2, 1), name="image")
    model = keras.Model(image, {"probabilities": ops.mean(image, axis=(1,))[..., 0] * 1.0, "opacity": image * 1.0})
    model.compile(
        loss={"probabilities": WeightedCrossEntropy((0.2, 0.3)), "opacity": DiceCrossEntropy(1.0)},
        loss_weights={"probabilities": 0.4, "opacity": 0.6},
    )
    pixels = np.array([0.25, 0.75], np.float32).reshape(1, 1, 2, 1)
    targets = {"probabilities": np.array([[0, 1]], np.float32), "opacity": np.array([0, 1.0]).reshape(1, 1, 2, 1)}
    # Dice is smoothed by one pixel above and below: 1 - (2 * 0.75 + 1) / (1 + 1 + 1).
    expected = 0.4 * 0.3 * -math.log(0.75) + 0.6 * (1 - 2.5 / 3)
    assert model.evaluate(pixels, targets, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [(), (1,), (0.5, -0.1), (0, 0)])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(RecipeError, match="class weights"):
        WeightedCrossEntropy(weights)


def test_another_number_of_classes_is_refused():
    with pytest.raises(RecipeError, match="4 class weights for 3 classes"):
        _entropy([[0, 1, 0]], [[0.2, 0.5, 0.3]])


def test_it_survives_serialisation():
    loss = WeightedCrossEntropy(PAPER)
    assert keras.losses.deserialize(keras.losses.serialize(loss)).get_config() == loss.get_config()
