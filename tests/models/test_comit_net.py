"""COMiT-Net: unpooling, the switches of equation 8, ImageNet's VGG16, the finding made of tasks 3 and 4."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from covidcx.errors import RecipeError, WeightsError
from covidcx.models import build
from covidcx.models.comit_net import BLOCKS, finding_probabilities
from covidcx.models.unpooling import pool_with_places, unpool
from covidcx.models.vgg16_weights import imagenet_vgg16, vgg16_layers
from covidcx.training import heads
from covidcx.training.recipe import LossSettings
from covidcx.training.recipes import get
from covidcx.training.start import start_from

tf = pytest.importorskip("tensorflow")
SMALL = {"input_shape": (32, 32, 1), "width": 0.0625}
TASKS = ("lung", "disease", "healthy", "infection")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return build("comit-net", **SMALL)


def direct_unpool(x, values):
    out = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*values.shape):
        row, column = np.unravel_index(x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].argmax(), (2, 2))
        out[n, 2 * i + row, 2 * j + column, c] = values[n, i, j, c]
    return out


def test_unpooling_is_that_by_indices():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 6, 5)).astype(np.float32)
    values = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
    image, small = layers.Input(x.shape[1:]), layers.Input(values.shape[1:])
    pooled, places = pool_with_places(image, "a")
    network = keras.Model([image, small], [pooled, unpool(small, places, "a")])
    found = [np.asarray(part) for part in network([x, values])]
    np.testing.assert_array_equal(found[0], x.reshape(2, 4, 2, 3, 2, 5).max(axis=(2, 4)))
    np.testing.assert_array_equal(found[1], direct_unpool(x, values))


def test_network_is_vgg16_with_two_mirrored_decoders(model):
    kinds = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    # 13 convolutions of VGG16, and as many in each of two decoders.
    assert len(kinds) == 3 * sum(count for _, count in BLOCKS) == 39
    filters = [layer.filters for layer in kinds if layer.name.startswith("lung")]
    assert filters == [32, 32, 32, 32, 32, 16, 16, 16, 8, 8, 4, 4, 2]
    assert {name: tensor.shape[1:] for name, tensor in model.output.items()} == {
        "lung": (32, 32, 2), "disease": (32, 32, 1), "healthy": (2,), "infection": (2,), "probabilities": (3,)
    }  # fmt: skip
    # VGG16 itself has 14,714,688 parameters; batch normalisation has 3 more per filter where it has one bias.
    whole = build("comit-net")
    encoder = sum(layer.count_params() for layer in whole.layers if layer.name.startswith("block"))
    assert encoder == 14_714_688 + 3 * sum(filters * count for filters, count in BLOCKS)


@pytest.mark.parametrize("tasks", [("infection",), ("lung",), ("lung", "infection"), ("disease", "healthy")])
def test_any_subset_can_be_built_and_the_recipe_names_it(tasks):
    built = build("comit-net", tasks=tasks, **SMALL)
    assert set(built.output) == {*tasks, *(["probabilities"] if "infection" in tasks else [])}
    recipe = get("comit-net-small").override({"heads": ",".join(tasks), "head_splits": "{}", "loss.head_weights": "{}"})
    assert recipe.model_spec()["kwargs"]["tasks"] == list(tasks)


def test_wrong_tasks_and_sides_are_refused():
    with pytest.raises(RecipeError, match=r"no task 'lungs'.*lung"):
        build("comit-net", tasks=("lungs", "infection"))
    with pytest.raises(RecipeError, match="needs a task"):
        build("comit-net", tasks=())
    with pytest.raises(RecipeError, match="multiples of 32"):
        build("comit-net", input_shape=(100, 96, 3))


def labelled(seed=0, count=4):
    """Return images and targets with every label present."""
    rng = np.random.default_rng(seed)
    masks = {name: rng.integers(0, 2, (count, 32, 32, 1)).astype(np.float32) for name in ("lung", "disease")}
    classes = {"healthy": np.eye(2, dtype=np.float32)[rng.integers(0, 2, count)],
               "infection": rng.integers(0, 2, (count, 2)).astype(np.float32)}  # fmt: skip
    return rng.random((count, 32, 32, 1), dtype=np.float32), {**masks, **classes}


def total(model, images, targets, dice_weight=0.0):
    """Return the sum of equation 8 over the images, and its gradients; batch statistics fixed, so images stay apart."""
    with tf.GradientTape() as tape:
        outputs, loss = model(images, training=False), 0.0
        for name in TASKS:
            each = heads.get(name).loss(LossSettings(dice_weight=dice_weight))
            each.reduction = "sum"
            loss += each(targets[name], outputs[name])
    weights = [weight.value for weight in model.trainable_weights]
    return float(loss), [np.asarray(g) if g is not None else None for g in tape.gradient(loss, weights)]


def without(targets, **missing):
    targets = {name: values.copy() for name, values in targets.items()}
    for name, rows in missing.items():
        targets[name][rows] = -1 if targets[name].ndim == 4 else np.nan
    return targets


def test_losses_are_equations_2_3_5_and_7(model):
    images, targets = labelled(count=1)
    found, _ = total(model, images, targets)
    out = {name: np.asarray(values, np.float64)[0] for name, values in model(images, training=False).items()}
    truth = {name: values[0] for name, values in targets.items()}

    def entropy(true, p):
        return -(true * np.log(p) + (1 - true) * np.log(1 - p))

    expected = (
        entropy(truth["lung"][..., 0], out["lung"][..., 1]).mean() + entropy(truth["disease"], out["disease"]).mean()
        - (truth["healthy"] * np.log(out["healthy"])).sum() + entropy(truth["infection"], out["infection"]).sum()
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5])
def test_image_without_lung_mask_gives_the_lung_decoder_exactly_nothing(model, dice_weight):
    images, targets = labelled(count=1)
    _, gradients = total(model, images, without(targets, lung=[0]), dice_weight)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        if weight.path.startswith("lung"):
            assert gradient is None or not np.any(gradient), weight.path
        elif weight.path.startswith("block5_conv1/"):
            assert np.any(gradient), "the other tasks still teach the encoder"


def test_batch_of_mixed_availability_is_the_sum_of_its_parts_and_empty_tasks_are_no_nan(model):
    images, targets = labelled()
    targets = without(targets, lung=[0, 2], disease=[0, 1, 2, 3], healthy=[1], infection=[2])
    targets["infection"][3, 1] = np.nan
    whole, gradients = total(model, images, targets)
    parts = [total(model, images[i : i + 1], {k: v[i : i + 1] for k, v in targets.items()}) for i in range(4)]
    assert whole == pytest.approx(sum(loss for loss, _ in parts), rel=1e-5)
    for i, gradient in enumerate(gradients):
        each = [part[i] for _, part in parts if part[i] is not None]
        if gradient is not None:
            assert np.isfinite(gradient).all()
            np.testing.assert_allclose(gradient, np.sum(each, axis=0), rtol=1e-3, atol=1e-5)
    nothing, gradients = total(model, images, without(targets, **dict.fromkeys(TASKS, range(4))))
    assert nothing == 0 and not any(np.any(gradient) for gradient in gradients if gradient is not None)


def test_finding_shares_what_the_covid_sigmoid_leaves():
    infection, healthy = layers.Input((2,)), layers.Input((2,))
    network = keras.Model([infection, healthy], finding_probabilities(infection, healthy))
    said = np.array([[0.2, 0.6], [0.9, 0.0], [0.0, 0.0]]), np.array([[0.8, 0.2], [1.0, 0.0], [1.0, 0.0]])
    found = np.asarray(network(list(said)))
    np.testing.assert_allclose(found, [[0.2, 0.6, 0.2], [0.05, 0.05, 0.9], [0.5, 0.5, 0]], atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def write_vgg16(path):
    """Write a file as keras.applications published it in 2016, with random numbers; return a reference network."""
    keras.utils.set_random_seed(5)
    reference = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        for layer in reference.layers:
            if layer.name in vgg16_layers():
                layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
                group = file.create_group(layer.name)
                group[f"{layer.name}_W_1:0"], group[f"{layer.name}_b_1:0"] = (np.asarray(w) for w in layer.weights)
    return reference


def test_imagenet_start_computes_what_vgg16_computes(tmp_path):
    path = tmp_path / "vgg16.h5"
    reference = write_vgg16(path)
    model = build("comit-net", input_shape=(64, 64, 3), tasks=("infection",))
    assert start_from(model, str(path)) == vgg16_layers()
    # VGG16's padding is the mean; with an image of it at the border both see the same there.
    image = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    expected = reference.get_layer("block1_conv2").output
    expected = keras.Model(reference.input, expected)(keras.applications.vgg16.preprocess_input(image * 255))
    found = keras.Model(model.input, layers.ReLU()(model.get_layer("block1_conv2_bn").output))(image)
    inner = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(np.asarray(found)[inner], np.asarray(expected)[inner], rtol=1e-3, atol=2e-2)
    deep = reference.get_layer("block5_conv3")
    np.testing.assert_array_equal(np.asarray(model.get_layer("block5_conv3").kernel), np.asarray(deep.kernel))
    assert float(np.max(found)) > 10, "grey levels of 0..255 reach the first block"


def test_weights_that_do_not_fit_or_cannot_be_had_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "vgg16.h5"
    write_vgg16(path)
    narrow = build("comit-net", tasks=("infection",), **SMALL)
    with pytest.raises(WeightsError, match=r"block1_conv1 is \(3, 3, 3, 64\) there and \(3, 3, 1, 4\) here.*random"):
        imagenet_vgg16(narrow, path)
    with h5py.File(path, "a") as file:
        del file["block3_conv2"]
    with pytest.raises(WeightsError, match=r"no VGG16 of keras\.applications: kernel and bias of block3_conv2"):
        imagenet_vgg16(narrow, path)

    def offline(*_, **__):
        raise Exception("URL fetch failure")  # as Keras raises it

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(WeightsError, match=r"could not be downloaded.*initial_weights=random"):
        start_from(narrow, get("comit-net").initial_weights)
    before = narrow.get_weights()
    assert start_from(narrow, "random") == () and all(map(np.array_equal, before, narrow.get_weights()))


