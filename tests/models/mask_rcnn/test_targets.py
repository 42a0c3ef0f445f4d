"""What the two stages are asked to answer, and the five losses, on hand-computed cases."""

import keras
import numpy as np
import pytest
from keras import ops

from covidcx.models.mask_rcnn import losses, targets


def numpy(x):
    return ops.convert_to_numpy(x)


@pytest.fixture
def planes():
    """Two images: a lung and a lesion; nothing known about the lesion's class in the second."""
    lung, disease = np.zeros((2, 32, 48, 2), np.float32), np.zeros((2, 32, 48, 1), np.float32)
    lung[:, 4:20, 6:16, 0] = 1
    lung[:, 10:14, 8:10, 0] = -1  # a hole nobody labelled
    disease[0, 24:30, 30:40, 0] = 1
    disease[1] = -1
    return [lung, disease]


def test_instances_are_read_off_their_planes(planes):
    truth = targets.read_planes(planes)
    assert numpy(truth.boxes)[0].tolist() == [[6, 4, 16, 20], [0, 0, 0, 0], [30, 24, 40, 30]]
    assert numpy(truth.classes).tolist() == [[1, 0, 2], [1, 0, 0]]
    assert numpy(truth.labelled).tolist() == [1, 0]


def test_anchors_are_matched_as_faster_rcnn_says():
    overlap = np.array([[[0.8, 0.1], [0.4, 0.35], [0.2, 0.1], [0.0, 0.0], [0.75, 0.0], [0.5, 0.2]]], np.float32)
    hit, miss, match = (numpy(x)[0].tolist() for x in targets.match_anchors(overlap, np.array([[1, 1]])))
    # The second anchor is below 0.7 but the best of the second instance; the last is between and counts for nothing.
    assert hit == [True, True, False, False, True, False]
    assert miss == [False, False, True, True, False, False]
    assert match[0] == 0 and match[4] == 0
    # Padding is no instance: without any, every anchor is background.
    hit, miss, _ = targets.match_anchors(overlap, np.array([[0, 0]]))
    assert not numpy(hit).any() and numpy(miss).all()


def test_samples_are_marked_ones_and_never_too_many():
    mask = np.zeros((3, 50), bool)
    mask[0, :40], mask[1, 7] = True, True
    chosen = numpy(targets.sample(mask, np.array([8, 8, 8]), 10, seed=1))
    assert chosen.sum(axis=1).tolist() == [8, 1, 0]
    assert not (chosen & ~mask).any()
    assert not numpy(targets.sample(mask, 0, 10, seed=1)).any()
    again = numpy(targets.sample(mask, np.array([8, 8, 8]), 10, seed=2))
    assert (again[0] != chosen[0]).any()
    hit, miss = targets.sample_anchors(mask, ~mask, 20, seed=3)
    assert numpy(hit).sum(axis=1).tolist() == [10, 1, 0]
    assert numpy(miss).sum(axis=1).tolist() == [10, 19, 20]


def test_rois_are_proposals_and_true_boxes_positives_first(planes):
    truth = targets.read_planes([planes[0][:1], planes[1][:1]])
    proposals = np.zeros((1, 6, 4), np.float32)
    proposals[0, 0] = [0, 0, 5, 5]  # background
    proposals[0, 1] = [6, 4, 16, 18]  # 140 of 160 pixels of the lung
    proposals[0, 2] = [20, 20, 25, 25]  # background; the rest is padding
    rois = targets.sample_rois(proposals, truth, total=6, positives=4, seed=1)
    classes, used = numpy(rois.classes)[0], numpy(rois.used)[0]
    assert sorted(classes[:3].tolist()) == [1, 1, 2] and not classes[3:].any()
    assert used.tolist() == [1, 1, 1, 1, 1, 0]
    boxes = numpy(rois.boxes)[0]
    assert {tuple(b) for b in boxes[:3]} == {(6, 4, 16, 20), (6, 4, 16, 18), (30, 24, 40, 30)}
    assert {tuple(b) for b in boxes[3:5]} == {(0, 0, 5, 5), (20, 20, 25, 25)}


def test_mask_targets_are_the_instance_inside_its_box_without_unknown_pixels(planes):
    truth = targets.read_planes([planes[0][:1], planes[1][:1]])
    rois = targets.Rois(
        np.array([[[6, 4, 16, 20], [6, 4, 26, 20]]], np.float32), np.ones((1, 2), np.float32),
        np.array([[1, 0]]), np.array([[0, 0]], np.int32),
    )  # fmt: skip
    target, weight = (numpy(x) for x in targets.mask_targets(rois, truth, positives=2, size=16))
    # The hole covers rows 6 to 9 of 16 and columns 2 and 3 of 10, which are samples 3 to 5 of 16 and their neighbours.
    assert weight[0, 0, 7, 4] == 0 and weight[0, 0, 0].all() and weight[0, 0, 15].all()
    # A border sample lies between an inner and an outer pixel: the first at column 6 + 10 / 32 - 0.5 = 5.8125.
    assert target[0, 0, 1, 0] == 0.8125 and (target[0, 0, 1:6, 1:-1] == 1).all()
    assert not weight[0, 1].any()  # background has no mask


def test_losses_by_hand():
    half = np.log(2)
    logits = np.array([[0.0, 0.0, 50.0, 3.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    hit = np.array([[True, False, True, False], [False] * 4])
    miss = np.array([[False, True, False, False], [False] * 4])
    np.testing.assert_allclose(numpy(losses.objectness_loss(logits, hit, miss)), [2 * half / 3, 0], rtol=1e-5)

    offsets = np.zeros((1, 4, 4), np.float32)
    target = np.zeros((1, 4, 4), np.float32)
    target[0, 0, 0], target[0, 1, 0], target[0, 2, 3] = 1.0, 9.0, 0.1
    # |1| is beyond 1/9: 1 - 1/18; 0.1 is within: 0.5 * 0.01 * 9; the second anchor is negative. Over three anchors.
    expected = (1 - 1 / 18 + 0.045) / 3
    np.testing.assert_allclose(numpy(losses.anchor_box_loss(offsets, target, hit[:1], miss[:1])), [expected], rtol=1e-5)

    classes, used = np.array([[2, 0, 1]]), np.array([[1.0, 1.0, 0.0]], np.float32)
    scores = np.log(np.array([[[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]], np.float32))
    np.testing.assert_allclose(
        numpy(losses.class_loss(scores, classes, used)), [-(np.log(0.5) + np.log(0.1)) / 2], rtol=1e-5
    )
    moves = np.zeros((1, 3, 2, 4), np.float32)
    moves[0, 0, 0] = 99  # the other class's offsets do not count
    aim = np.full((1, 3, 4), 0.5, np.float32)
    np.testing.assert_allclose(numpy(losses.box_loss(moves, aim, classes, used)), [4 * 0.125 / 2], rtol=1e-5)

    masks = np.zeros((1, 3, 2, 2, 2), np.float32)
    masks[0, 0, ..., 1] = [[0.0, 0.0], [100.0, -100.0]]
    masks[0, 0, ..., 0] = 77
    truth = np.array([[[1, 0], [1, 1]]] * 3, np.float32)[None]
    weight = np.ones((1, 3, 2, 2), np.float32)
    weight[0, 0, 1, 1], weight[0, 1:] = 0, 0
    np.testing.assert_allclose(numpy(losses.mask_loss(masks, truth, weight, classes)), [2 * half / 3], rtol=1e-5)


def test_binary_entropy_is_kerass_and_survives_large_logits():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(0, 5, (4, 9)).astype(np.float32), rng.random((4, 9)).astype(np.float32)
    expected = keras.ops.binary_crossentropy(target, logits, from_logits=True)
    np.testing.assert_allclose(numpy(losses.binary_entropy(target, logits)), numpy(expected), atol=1e-5)
    assert np.isfinite(numpy(losses.binary_entropy(np.float32(1), np.float32(-500))))
