"""tf.data pipelines: right values, every image once, and the same batches when a training resumes."""

import cv2
import numpy as np
import pytest

from covidcx.data.pipeline import class_weights, evaluation_dataset, steps, training_dataset
from covidcx.errors import ManifestError

pytest.importorskip("tensorflow")


@pytest.fixture
def images() -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3)).astype(np.uint8)
    images[:, 0, 0, 0] = np.arange(10)
    return images


@pytest.fixture
def targets() -> dict[str, np.ndarray]:
    return {"probabilities": np.arange(20).reshape(10, 2), "aux": np.arange(10)[:, None] * 2}


def noise(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = batch ^ rng.integers(0, 256, batch.shape, dtype=np.uint8)
    changed[:, 0, 0, 0] = batch[:, 0, 0, 0]
    return changed


def collect(dataset) -> list[np.ndarray]:
    return [batch[0] for batch in dataset.as_numpy_iterator()]


def ids(batches) -> list[int]:
    return [round(float(value) * 255) for batch in batches for value in batch[:, 0, 0, 0]]


def test_images_targets_and_weights_stay_together(images, targets):
    dataset = training_dataset(
        images, targets, batch=4, seed=0, sample_weight=np.arange(10) + 1, drop_remainder=False
    )
    seen = []
    for image, target, weight in dataset.as_numpy_iterator():
        assert image.dtype == target["aux"].dtype == weight.dtype == np.float32
        for i in range(len(image)):
            row = round(float(image[i, 0, 0, 0]) * 255)
            np.testing.assert_allclose(image[i], images[row] / 255, atol=1e-6)
            np.testing.assert_array_equal(target["probabilities"][i], [2 * row, 2 * row + 1])
            assert (target["aux"][i, 0], weight[i]) == (2 * row, row + 1)
            seen.append(row)
    assert sorted(seen) == list(range(10))
    assert seen != list(range(10))


def test_missing_labels_pass_as_nan(images):
    dataset = training_dataset(images, {"probabilities": np.full((10, 3), np.nan)}, batch=4, seed=0)
    _, target, weight = next(dataset.as_numpy_iterator())
    assert np.isnan(target["probabilities"]).all()
    assert (weight == 1).all()


def test_resumed_epoch_equals_the_uninterrupted_one(images, targets):
    whole = collect(training_dataset(images, targets, 4, seed=7, augment=noise, epochs=3))
    count = steps(10, 4)
    assert len(whole) == 3 * count
    resumed = collect(training_dataset(images, targets, 4, seed=7, augment=noise, epoch=2))
    np.testing.assert_array_equal(np.concatenate(resumed), np.concatenate(whole[2 * count :]))
    assert ids(whole[:count]) != ids(whole[count : 2 * count])
    assert not np.array_equal(whole[0], collect(training_dataset(images, targets, 4, seed=8, augment=noise))[0])


def test_batches_do_not_depend_on_the_number_of_workers(images, targets):
    one = collect(training_dataset(images, targets, 2, seed=1, augment=noise, epochs=4))
    many = collect(training_dataset(images, targets, 2, seed=1, augment=noise, epochs=4, workers=4))
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(many))


def test_same_image_is_augmented_differently_every_epoch(images, targets):
    epochs = [collect(training_dataset(images, targets, 10, 0, noise, shuffle=False, epoch=e))[0] for e in (0, 1)]
    assert ids([epochs[0]]) == ids([epochs[1]]) == list(range(10))
    assert (epochs[0] != epochs[1]).mean() > 0.9


def test_companions_reach_the_augmentation_row_by_row(images, targets):
    lungs = np.zeros((10, 8, 8), bool)
    lungs[np.arange(10) % 2 == 0] = True

    def blank(batch, rng, lungs):
        batch = batch.copy()
        batch[:, 1:] *= lungs[:, 1:, :, None]
        return batch

    dataset = training_dataset(images, targets, 4, 0, blank, companions={"lungs": lungs}, drop_remainder=False)
    for batch in collect(dataset):
        for image in batch:
            row = round(float(image[0, 0, 0]) * 255)
            assert image[4:].any() == (row % 2 == 0)


def test_pair_augmentation_changes_image_and_mask_alike(images):
    masks = (images[..., :1] > 100).astype(np.int8)

    def flip(batch, chosen, rng):
        return batch[:, :, ::-1], {"lung": chosen["lung"][:, :, ::-1]}

    dataset = training_dataset(images, {"lung": masks}, 5, 0, shuffle=False, augment_pair=flip)
    image, target, _ = next(dataset.as_numpy_iterator())
    np.testing.assert_array_equal(target["lung"], image[..., :1] > 100.5 / 255)
    np.testing.assert_allclose(image[:, :, ::-1], images[:5] / 255, atol=1e-6)


def test_remainder_is_left_out_only_where_order_changes(images, targets):
    assert [len(b) for b in collect(training_dataset(images, targets, 4, 0))] == [4, 4]
    assert [len(b) for b in collect(training_dataset(images, targets, 4, 0, shuffle=False))] == [4, 4, 2]
    assert [len(b) for b in collect(training_dataset(images, targets, 16, 0))] == [10]
    assert steps(10, 4) == 2
    assert steps(10, 4, drop_remainder=False) == 3
    assert int(training_dataset(images, targets, 4, 0, epochs=3).cardinality()) == 6


def test_evaluation_keeps_all_in_order(images, targets):
    plain = list(evaluation_dataset(images, 4).as_numpy_iterator())
    np.testing.assert_allclose(np.concatenate(plain), images / 255, atol=1e-6)
    image, target, weight = list(evaluation_dataset(images, 4, targets).as_numpy_iterator())[2]
    assert len(image) == 2
    np.testing.assert_array_equal(target["aux"], [[16], [18]])
    np.testing.assert_array_equal(weight, 1)


def test_keras_takes_one_long_dataset_with_named_outputs(images, targets):
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    outputs = {name: keras.layers.Dense(n)(pooled) for name, n in (("probabilities", 2), ("aux", 1))}
    model = keras.Model(image, outputs)
    model.compile("sgd", {"probabilities": "mse", "aux": "mse"}, run_eagerly=False)
    seen = []

    def record(batch, rng):
        seen.extend(batch[:, 0, 0, 0].tolist())
        return batch

    zero = {name: value * 0.0 for name, value in targets.items()}
    dataset = training_dataset(images, zero, 5, 0, record, sample_weight=np.full(10, 0.5), epoch=1, epochs=2)
    history = model.fit(dataset, initial_epoch=1, epochs=3, steps_per_epoch=steps(10, 5), verbose=0)
    assert history.epoch == [1, 2]
    assert seen[:10] != seen[10:20]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    weighted = model.evaluate(evaluation_dataset(images, 5, zero, np.full(10, 0.5)), verbose=0, return_dict=True)
    plain = model.evaluate(evaluation_dataset(images, 5, zero), verbose=0, return_dict=True)
    assert weighted["loss"] == pytest.approx(plain["loss"] / 2, rel=1e-5)


def test_slow_augmentation_does_not_change_the_order(images, targets):
    def slow(batch, rng):
        for _ in range(int(batch[0, 0, 0, 0])):
            cv2.GaussianBlur(np.zeros((300, 300), np.float32), (21, 21), 3)
        return batch

    plain = ids(collect(training_dataset(images, targets, 1, 3)))
    assert ids(collect(training_dataset(images, targets, 1, 3, slow, workers=3))) == plain


def test_arrays_that_do_not_fit_are_refused(images, targets):
    with pytest.raises(ManifestError, match="aux has 9 rows for 10 images"):
        training_dataset(images, {"aux": np.zeros(9)}, 4, 0)
    with pytest.raises(ManifestError, match="received float64"):
        training_dataset(images / 255, targets, 4, 0)
    with pytest.raises(ManifestError, match="not both"):
        training_dataset(images, targets, 4, 0, augment=noise, augment_pair=noise)
    with pytest.raises(ManifestError, match="batch and epochs"):
        training_dataset(images, targets, 0, 0)


def test_class_weights_balance_and_ignore_missing_labels():
    weights = class_weights(np.array(["normal"] * 6 + ["covid"] * 2 + [np.nan, None], dtype=object))
    assert weights == {"covid": 2.0, "normal": pytest.approx(2 / 3)}
    assert class_weights(np.array([0, 0, 1, 1])) == {0: 1.0, 1: 1.0}
    with pytest.raises(ManifestError, match="at least one label"):
        class_weights(np.array([np.nan, np.nan]))
