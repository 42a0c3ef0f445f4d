"""The whole network: it learns phantom lungs, and unlabelled images are silent."""

import keras
import numpy as np
import pytest
from keras import ops

from covidcx.data.instances import split_instances
from covidcx.data.phantom import phantom
from covidcx.errors import RecipeError
from covidcx.models import build
from covidcx.models.mask_rcnn import boxes as box
from covidcx.models.mask_rcnn import targets

SIDE = 64
SMALL = {
    "input_shape": (SIDE, SIDE, 1), "width": 0.25, "filters": 128, "units": 256, "detections": 4, "proposals": 16,
    "candidates": 64, "anchor_samples": 64, "roi_samples": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def lungs():
    """Four phantoms: images float32, N x 64 x 64 x 1, and instance planes of their lungs, N x 64 x 64 x 2."""
    made = [phantom("normal", seed, SIDE) for seed in range(4)]
    images = np.stack([m.pixels for m in made]).astype(np.float32)[..., None]
    planes = np.stack([split_instances(m.lung_mask.astype(np.int8), 2) for m in made])
    return images / images.max(), planes.astype(np.float32)


@pytest.fixture(scope="module")
def trained(lungs):
    """A small Mask R-CNN after 70 steps on four phantoms, and its losses."""
    keras.utils.set_random_seed(0)
    model = build("mask-rcnn", **SMALL, labels=("lung",))
    images, planes = lungs
    model.compile(keras.optimizers.Adam(2e-3, clipnorm=1.0))
    history = model.fit(images, {"lung": planes}, batch_size=4, epochs=70, shuffle=False, verbose=0)
    return model, history.history["loss"]


def test_it_learns_the_boxes_and_masks_of_phantom_lungs(lungs, trained):
    (images, planes), (model, loss) = lungs, trained
    assert np.mean(loss[-5:]) < 0.35 * loss[0]
    found = {name: np.asarray(value) for name, value in model.predict(images, verbose=0).items()}
    truth = ops.convert_to_numpy(targets.read_planes([planes]).boxes)
    overlaps = []
    for image in range(len(images)):
        sure = found["boxes"][image][found["scores"][image, :, 0] > 0.5] * SIDE
        corners = np.concatenate([sure[:, :2], sure[:, :2] + sure[:, 2:]], axis=1).astype(np.float32)
        assert len(sure) == 2, "one box a lung"
        overlaps.append(ops.convert_to_numpy(box.iou(truth[image], corners)).max(axis=1))
    assert np.min(overlaps) > 0.5
    inside, called = planes.max(axis=-1) > 0, found["lung"][..., 0] > 0.5
    iou = (inside & called).sum(axis=(1, 2)) / (inside | called).sum(axis=(1, 2))
    assert iou.min() > 0.5
    # Rows that hold no detection are zeros.
    unused = found["scores"].max(axis=-1) == 0
    assert not found["boxes"][unused].any() and not found["masks"][unused].any()


def test_an_image_nobody_labelled_is_silent_and_weights_count(lungs, trained):
    (images, planes), (model, _) = lungs, trained
    first = model(images, training=True)
    unknown = planes.copy()
    unknown[1] = -1
    parts = {name: ops.convert_to_numpy(value) for name, value in model.losses_of({"lung": unknown}, first).items()}
    assert set(parts) == {"objectness", "anchor_box", "class", "box", "mask"}
    assert all(value[1] == 0 and np.isfinite(value).all() for value in parts.values())
    assert parts["objectness"][0] > 0
    nothing = model.compute_loss(None, {"lung": np.full_like(planes, -1)}, first)
    assert float(nothing) == 0
    muted = model.compute_loss(None, {"lung": planes}, first, sample_weight={"lung": np.zeros(4, np.float32)})
    assert float(muted) == 0


def test_an_image_without_any_instance_teaches_background_alone(lungs, trained):
    (images, planes), (model, _) = lungs, trained
    parts = model.losses_of({"lung": np.zeros_like(planes)}, model(images, training=True))
    parts = {name: ops.convert_to_numpy(value) for name, value in parts.items()}
    assert all(np.isfinite(value).all() for value in parts.values())
    assert (parts["anchor_box"] == 0).all() and (parts["box"] == 0).all() and (parts["mask"] == 0).all()
    assert (parts["objectness"] > 0).all() and (parts["class"] > 0).all()


def test_settings_that_cannot_be_built_say_so():
    with pytest.raises(RecipeError, match="multiples of 32, received 100 x 64"):
        build("mask-rcnn", **{**SMALL, "input_shape": (100, 64, 1)})
    with pytest.raises(RecipeError, match="needs one label"):
        build("mask-rcnn", **SMALL, labels=())
    with pytest.raises(RecipeError, match="resnet18"):
        build("mask-rcnn", **SMALL, backbone="resnet19")
