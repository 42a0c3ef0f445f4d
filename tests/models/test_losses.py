"""Losses against numbers worked out by hand."""

import math

import numpy as np
import pytest

from covidcx.models.losses import DiceCrossEntropy, SetCrossEntropy, SigmoidCrossEntropy

NAN = float("nan")


def _set(target, probability, **kwargs):
    loss = SetCrossEntropy(reduction="none", **kwargs)
    return np.asarray(loss(np.array([target], np.float32), np.array([probability], np.float32)))[0]


def test_one_allowed_class_is_the_ordinary_cross_entropy():
    assert _set([0, 1, 0], [0.2, 0.5, 0.3]) == pytest.approx(-math.log(0.5), abs=1e-6)


def test_two_allowed_classes_add_their_probabilities():
    assert _set([1, 1, 0], [0.2, 0.5, 0.3]) == pytest.approx(-math.log(0.7), abs=1e-6)


@pytest.mark.parametrize("target", [[1, 1, 1], [NAN, NAN, NAN], [NAN, 1, 0]])
def test_a_missing_label_costs_exactly_nothing(target):
    assert _set(target, [0.2, 0.5, 0.3]) == 0.0
    assert _set(target, [0.2, 0.5, 0.3], smoothing=0.1) == 0.0


def test_smoothing_spreads_a_share_of_a_single_label_over_all_classes():
    mean = -(math.log(0.2) + math.log(0.5) + math.log(0.3)) / 3
    assert _set([0, 1, 0], [0.2, 0.5, 0.3], smoothing=0.1) == pytest.approx(0.9 * -math.log(0.5) + 0.1 * mean, abs=1e-6)


def test_smoothing_leaves_a_set_of_classes_alone():
    assert _set([1, 1, 0], [0.2, 0.5, 0.3], smoothing=0.1) == pytest.approx(-math.log(0.7), abs=1e-6)


def test_an_images_loss_is_multiplied_by_its_classs_weight_and_a_sets_by_the_mean():
    weights = (1.0, 3.0, 8.0)
    assert _set([0, 1, 0], [0.2, 0.5, 0.3], class_weights=weights) == pytest.approx(-3 * math.log(0.5), abs=1e-5)
    assert _set([1, 1, 0], [0.2, 0.5, 0.3], class_weights=weights) == pytest.approx(-2 * math.log(0.7), abs=1e-5)
    assert _set([NAN] * 3, [0.2, 0.5, 0.3], class_weights=weights) == 0.0


def test_each_labels_loss_is_multiplied_by_the_weight_of_its_side():
    loss = SigmoidCrossEntropy(smoothing=0.2, class_weights=[[2.0, 3.0], [5.0, 7.0]], reduction="none")
    targets, found = np.array([[1, 0], [0, NAN]], np.float32), np.array([[0.6, 0.3], [0.25, 0.5]], np.float32)
    # Smoothed by 0.2, a present label is 0.9 and an absent one 0.1.
    first = 3 * -(0.9 * math.log(0.6) + 0.1 * math.log(0.4)) + 5 * -(0.1 * math.log(0.3) + 0.9 * math.log(0.7))
    second = 2 * -(0.1 * math.log(0.25) + 0.9 * math.log(0.75))
    np.testing.assert_allclose(np.asarray(loss(targets, found)), [first, second], rtol=1e-5)


def test_certainty_and_its_opposite_stay_finite():
    assert _set([1, 0], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-6)
    assert _set([0, 1], [1.0, 0.0]) == pytest.approx(-math.log(1e-7), rel=1e-4)


def test_set_gradient_pulls_only_rows_with_labels_and_only_towards_the_set():
    tf = pytest.importorskip("tensorflow")
    probability = tf.Variable([[0.2, 0.5, 0.3]] * 3)
    with tf.GradientTape() as tape:
        loss = SetCrossEntropy(reduction="sum")(tf.constant([[1.0, 1, 0], [NAN] * 3, [1, 1, 1]]), probability)
    gradient = tape.gradient(loss, probability).numpy()
    np.testing.assert_allclose(gradient[0], [-1 / 0.7, -1 / 0.7, 0], rtol=1e-5)
    assert not gradient[1:].any()


def _dice(target, probability, weight, class_weights=None):
    shape = (1, 1, len(target), 1)
    loss = DiceCrossEntropy(weight, class_weights, reduction="none")
    target, probability = np.array(target, np.float32).reshape(shape), np.array(probability, np.float32).reshape(shape)
    return np.asarray(loss(target, probability))[0]


def test_dice_term_by_hand():
    # Overlap 0.9 + 0.4, sums 2 and 0.9 + 0.4 + 0.2.
    expected = 1 - (2 * 1.3 + 1) / (2 + 1.5 + 1)
    assert _dice([1, 1, 0], [0.9, 0.4, 0.2], 1.0) == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_term_is_the_mean_over_pixels():
    expected = -(math.log(0.9) + math.log(0.4) + math.log(0.8)) / 3
    assert _dice([1, 1, 0], [0.9, 0.4, 0.2], 0.0) == pytest.approx(expected, abs=1e-5)


def test_pixels_outside_and_inside_are_weighed_in_the_cross_entropy_alone():
    expected = -(3.0 * math.log(0.9) + 3.0 * math.log(0.4) + 0.5 * math.log(0.8)) / 3
    assert _dice([1, 1, 0, -1], [0.9, 0.4, 0.2, 0.9], 0.0, (0.5, 3.0)) == pytest.approx(expected, abs=1e-5)
    assert _dice([1, 1, 0], [0.9, 0.4, 0.2], 1.0, (0.5, 3.0)) == _dice([1, 1, 0], [0.9, 0.4, 0.2], 1.0)


def test_ignored_pixels_change_neither_term():
    for weight in (0.0, 0.5, 1.0):
        with_ignored = _dice([1, 1, 0, -1], [0.9, 0.4, 0.2, 0.99], weight)
        assert with_ignored == pytest.approx(_dice([1, 1, 0], [0.9, 0.4, 0.2], weight), abs=1e-6)


def test_an_image_without_any_labelled_pixel_costs_exactly_nothing():
    assert _dice([-1, -1], [0.1, 0.9], 0.5) == 0.0


@pytest.mark.parametrize(
    ("loss", "setting"),
    [
        (SetCrossEntropy(0.2), "smoothing"),
        (SetCrossEntropy(0.2, [1.0, 3.0]), "class_weights"),
        (SigmoidCrossEntropy(0.2, [[1.0, 3.0]]), "class_weights"),
        (DiceCrossEntropy(0.7), "dice_weight"),
        (DiceCrossEntropy(0.7, (0.5, 2.0)), "class_weights"),
    ],
)
def test_losses_survive_serialisation(loss, setting):
    import keras

    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss)
    assert getattr(copy, setting) == getattr(loss, setting)
