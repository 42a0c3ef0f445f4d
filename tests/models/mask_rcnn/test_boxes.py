"""Anchors, IoU, offsets, suppression, ROI align and pasting against hand-computed cases and plain NumPy."""

import numpy as np
import pytest
from keras import ops

from covidcx.models.mask_rcnn import boxes as box
from covidcx.models.mask_rcnn.anchors import anchors, level_shapes
from covidcx.models.mask_rcnn.proposals import Proposals, suppress
from covidcx.models.mask_rcnn.roi_align import crop, flatten_levels, level_of, paste, roi_align


def numpy(x):
    return ops.convert_to_numpy(x)


def random_boxes(rng, *shape, side=64.0):
    corner = rng.uniform(0, side * 0.7, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(2, side * 0.3, (*shape, 2))], axis=-1).astype(np.float32)


def numpy_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_anchors_by_hand():
    found = anchors((64, 32), strides=(32, 64), scale=1.0, ratios=(0.25, 1.0, 4.0))
    assert level_shapes((64, 32), (32, 64)) == ((2, 1), (1, 1))
    assert found.shape == (9, 4) and found.dtype == np.float32
    # First cell of stride 32, centre (16, 16): width 64 and height 16, then 32 by 32, then 16 by 64.
    np.testing.assert_allclose(found[:3], [[-16, 8, 48, 24], [0, 0, 32, 32], [8, -16, 24, 48]])
    np.testing.assert_allclose(found[4], [0, 32, 32, 64])  # second row of the first level
    np.testing.assert_allclose(found[7], [0, 0, 64, 64])  # the only cell of the second


def test_iou_by_hand():
    first = np.array([[0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    second = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(numpy(box.iou(first, second)), [[1 / 7, 1, 0, 0], [0, 0, 0, 0]], atol=1e-6)


def test_offsets_by_hand_and_back():
    reference = np.array([[10, 10, 20, 30]], np.float32)
    moved = np.array([[12, 10, 32, 30]], np.float32)  # 7 right of 10 wide; twice as wide, as high
    np.testing.assert_allclose(numpy(box.encode(moved, reference)), [[0.7, 0, np.log(2), 0]], rtol=1e-6)
    rng = np.random.default_rng(0)
    boxes, reference = random_boxes(rng, 3, 50), random_boxes(rng, 3, 50)
    for weights in (box.RPN_WEIGHTS, box.HEAD_WEIGHTS):
        np.testing.assert_allclose(
            numpy(box.decode(box.encode(boxes, reference, weights), reference, weights)), boxes, atol=1e-3
        )
    # An untrained output cannot make a box of infinite size.
    assert np.isfinite(numpy(box.decode(np.full((1, 4), 1e4, np.float32), reference[0, :1]))).all()


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_suppression_is_the_greedy_loop(threshold):
    rng = np.random.default_rng(3)
    boxes, scores = random_boxes(rng, 2, 40, side=30), rng.normal(size=(2, 40)).astype(np.float32)
    scores[1, 5:] = -1e9  # the second image has five boxes only
    kept, meant = (numpy(x) for x in suppress(boxes, scores, 12, threshold))
    for image in range(2):
        expected = []
        for i in np.argsort(-scores[image]):
            if scores[image, i] > -1e8 and all(
                numpy_iou(boxes[image, i], boxes[image, j]) <= threshold for j in expected
            ):
                expected.append(int(i))
        expected = expected[:12]
        assert kept[image][meant[image]].tolist() == expected
        assert meant[image].sum() == len(expected)


def test_proposals_are_clipped_padded_and_without_slivers():
    start = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [60, 0, 80, 20], [-30, 0, 0.5, 20]], np.float32)
    layer = Proposals(start, (64, 64), candidates=4, count=4, threshold=0.5)
    logits = np.array([[0.0, 1.0, 2.0, 9.0]], np.float32)
    found = numpy(layer(logits, np.zeros((1, 4, 4), np.float32)))
    np.testing.assert_allclose(found[0], [[60, 0, 64, 20], [20, 20, 30, 30], [0, 0, 10, 10], [0, 0, 0, 0]], atol=1e-4)


def bilinear(plane, y, x):
    """Value of a feature map at row y and column x, centres of cells at whole numbers."""
    y, x = np.clip(y, 0, plane.shape[0] - 1), np.clip(x, 0, plane.shape[1] - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, plane.shape[0] - 1), min(x0 + 1, plane.shape[1] - 1)
    dy, dx = y - y0, x - x0
    return (
        plane[y0, x0] * (1 - dy) * (1 - dx) + plane[y0, x1] * (1 - dy) * dx
        + plane[y1, x0] * dy * (1 - dx) + plane[y1, x1] * dy * dx
    )  # fmt: skip


def test_roi_align_is_the_mean_of_bilinear_samples_on_the_boxs_level():
    rng = np.random.default_rng(1)
    strides, shapes = (4, 8), ((20, 16), (10, 8))
    levels = [rng.normal(size=(2, *shape, 3)).astype(np.float32) for shape in shapes]
    # 14 cells of stride 8 are 112 pixels: the second box is above that with sides 140 by 100, the others below.
    boxes = np.array([[[3, 5, 30, 41], [-20, -10, 120, 90], [0, 0, 64, 80]]] * 2, np.float32)
    boxes[1, 0] = [50.2, 60.7, 70.1, 90]
    assert numpy(level_of(boxes, strides)).tolist() == [[0, 1, 0], [0, 1, 0]]
    found = numpy(roi_align(flatten_levels(levels), boxes, shapes, strides, size=3, samples=2))
    assert found.shape == (2, 3, 3, 3, 3)
    for image in range(2):
        for r, (left, top, right, bottom) in enumerate(boxes[image]):
            level = [0, 1, 0][r]
            for i in range(3):
                for j in range(3):
                    points = [
                        bilinear(
                            levels[level][image],
                            (top + (i + a) / 3 * (bottom - top)) / strides[level] - 0.5,
                            (left + (j + b) / 3 * (right - left)) / strides[level] - 0.5,
                        )
                        for a in (0.25, 0.75)
                        for b in (0.25, 0.75)
                    ]
                    np.testing.assert_allclose(found[image, r, i, j], np.mean(points, axis=0), atol=1e-4)


def test_a_box_of_fourteen_cells_keeps_its_level():
    sides = np.array([1, 55, 56, 111, 112, 224, 448, 5000], np.float32)
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=-1)
    assert numpy(level_of(boxes, (4, 8, 16, 32))).tolist() == [0, 0, 0, 0, 1, 2, 3, 3]


def test_crop_and_paste_are_inverse_on_whole_pixels():
    rng = np.random.default_rng(2)
    masks = rng.random((5, 4, 4)).astype(np.float32)
    boxes = np.array([[3, 2, 7, 6]] * 5, np.float32)
    pasted = numpy(paste(masks, boxes, (10, 12)))
    assert pasted.shape == (5, 10, 12)
    np.testing.assert_allclose(pasted[:, 2:6, 3:7], masks, atol=1e-6)
    assert pasted.sum() == pytest.approx(masks.sum(), rel=1e-5)  # nothing outside the box
    np.testing.assert_allclose(numpy(crop(pasted, boxes, 4)), masks, atol=1e-6)
    # A box half outside the image and one of no size are pasted without a trace outside.
    edge = numpy(paste(np.ones((2, 4, 4), np.float32), np.array([[-4, 0, 4, 4], [5, 5, 5, 5]], np.float32), (8, 8)))
    assert edge[0].sum() == 16 and edge[1].sum() == 0
