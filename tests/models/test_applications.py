"""ImageNet weights of keras.applications: the same numbers on each network's own input scale, or a clear refusal."""

import json

import keras
import numpy as np
import pytest

from covidcx.errors import WeightsError
from covidcx.models.applications import NETWORKS, fill_imagenet, fill_tfjs_resnet50, network_of
from covidcx.models.cnn_baseline import cnn_baseline
from covidcx.models.covid_cxnet import backbone_of, covid_cxnet, heatmap_layer
from covidcx.models.restore import by_path
from covidcx.training.recipes import get
from covidcx.training.start import check_start, start_from, transfer

pytest.importorskip("tensorflow")

SHAPE = (64, 64, 3)
OLD_EPSILON, NEW_EPSILON = 1e-3, 1.001e-5


@pytest.fixture(scope="module")
def resnet():
    """A ResNet-50 whose normalisations have lived."""
    keras.utils.set_random_seed(0)
    network = keras.applications.ResNet50(include_top=False, weights=None, input_shape=SHAPE)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    return network


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((2, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def expected(resnet, images):
    """What the network sees: 0..255, blue first, less ImageNet's mean."""
    return np.asarray(resnet(images[..., ::-1] * 255 - [103.939, 116.779, 123.68], training=False))


@pytest.fixture(scope="module")
def target():
    return covid_cxnet(SHAPE, 2, backbone="resnet50", normalization="imagenet")


def features(model, images):
    return np.asarray(keras.Model(model.input, model.get_layer(heatmap_layer(model)).output)(images, training=False))


def old_name(layer):
    fixed = {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}
    if layer in fixed:
        return fixed[layer]
    stage, block, number, kind = layer.split("_")
    branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[number]
    return f"{'res' if kind == 'conv' else 'bn'}{stage[-1]}{'abcdef'[int(block[5:]) - 1]}_branch{branch}"


def write_tfjs(folder, network, drop=0):
    """Write the format of the npm package: names and epsilon of Keras 2.2.4, float32 shards of uneven size."""
    arrays = {}
    for path, variable in by_path(network).items():
        layer, kind = path.split("/")
        values = np.asarray(variable.value, np.float32)
        if kind == "moving_variance":
            values = values - np.float32(OLD_EPSILON - NEW_EPSILON)
        arrays[f"{old_name(layer)}/{kind}"] = values
    arrays |= {"fc1000/kernel": np.zeros((2048, 4), np.float32), "fc1000/bias": np.zeros(4, np.float32)}
    content = b"".join(values.astype("<f4").tobytes() for values in arrays.values())
    content = content[: len(content) - drop]
    parts = [content[:4_000_001], content[4_000_001:]]
    names = [f"group1-shard{i + 1}of2.bin" for i in range(2)]
    for name, part in zip(names, parts, strict=True):
        (folder / name).write_bytes(part)
    layers = [{"class_name": "x", "config": {"name": key.split("/")[0], "epsilon": OLD_EPSILON}} for key in arrays]
    weights = [{"name": key, "shape": list(v.shape), "dtype": "float32"} for key, v in arrays.items()]
    value = {
        "format": "layers-model",
        "modelTopology": {"model_config": {"config": {"layers": layers}}},
        "weightsManifest": [{"paths": names, "weights": weights}],
    }
    (folder / "model.json").write_text(json.dumps(value))
    return folder / "model.json"


def test_tensorflow_js_shards_compute_what_the_network_computes(resnet, images, expected, target, tmp_path):
    filled = transfer(target, write_tfjs(tmp_path, resnet))
    assert {"conv1_conv", "conv5_block3_3_bn"} <= set(filled) and not {"fc", "probabilities"} & set(filled)
    found = features(target, images)
    # Zero padding is another grey level in each scale: compare where it does not reach.
    assert expected.std() > 0.1
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
    plain = covid_cxnet(SHAPE, 2, backbone="resnet50")
    fill_tfjs_resnet50(plain, tmp_path / "model.json")
    shifted = keras.Model(plain.input, plain.get_layer("conv1_bn").output)(images, training=False)
    own = keras.Model(resnet.input, resnet.get_layer("conv1_bn").output)(
        images[..., ::-1] * 255 - [103.939, 116.779, 123.68], training=False
    )
    np.testing.assert_allclose(shifted[:, 4:-4, 4:-4], own[:, 4:-4, 4:-4], rtol=1e-3, atol=1e-2)


def test_keras_applications_fill_every_layer_but_the_head(resnet, target, monkeypatch):
    asked = {}

    def network(**kwargs):
        asked.update(kwargs)
        return resnet

    monkeypatch.setattr(keras.applications, "ResNet50", network)
    recipe = get("imagenet-resnet50")
    assert recipe.initial_weights == "imagenet" and backbone_of(target) == "resnet50"
    before = np.asarray(target.get_layer("fc").kernel.value).copy()
    start_from(target, recipe.initial_weights)
    assert asked == {"include_top": False, "weights": "imagenet", "input_shape": SHAPE}
    for name in ("conv2_block1_1_conv", "conv5_block3_3_conv"):
        np.testing.assert_array_equal(target.get_layer(name).kernel.numpy(), resnet.get_layer(name).kernel.numpy())
    np.testing.assert_array_equal(target.get_layer("fc").kernel.numpy(), before)


def test_offline_is_an_error_that_says_so_and_never_a_random_start(target, monkeypatch):
    def offline(**kwargs):
        raise Exception("URL fetch failure on https://storage.googleapis.com/...: None -- no route to host")

    monkeypatch.setattr(keras.applications, "ResNet50", offline)
    before = [np.asarray(w.value).copy() for w in target.weights[:4]]
    with pytest.raises(WeightsError, match=r"ResNet50 could not be downloaded.*offline\?.*initial_weights=FILE"):
        fill_imagenet(target, "resnet50")
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, target.weights[:4], strict=True))


def test_a_damaged_or_foreign_tensorflow_js_folder_is_refused(resnet, target, tmp_path):
    path = write_tfjs(tmp_path, resnet, drop=8)
    with pytest.raises(WeightsError, match=r"promises \d+ bytes of weights, its shards hold \d+"):
        fill_tfjs_resnet50(target, path)
    path = write_tfjs(tmp_path, resnet)
    path.write_text(path.read_text().replace("res2a_branch2a", "dense_7"))
    with pytest.raises(WeightsError, match="no ResNet-50: it has a layer 'dense_7'"):
        fill_tfjs_resnet50(target, path)
    (tmp_path / "group1-shard2of2.bin").unlink()
    with pytest.raises(WeightsError, match="cannot be read as a TensorFlow"):
        fill_tfjs_resnet50(target, path)


def test_a_start_that_cannot_be_had_is_refused_before_anything_is_built(tmp_path):
    recipe = get("covid-cxnet-v1")
    with pytest.raises(WeightsError, match=r"starts from CheXNet.*initial_weights=FILE.*initial_weights=random"):
        check_start(recipe)
    with pytest.raises(WeightsError, match="is no file; give a weights file, imagenet"):
        check_start(recipe.override({"initial_weights": str(tmp_path / "none.h5")}))
    check_start(recipe.override({"initial_weights": "random"}))


@pytest.mark.parametrize(("backbone", "scaled"), [("mobilenet", (2.0, -1.0)), ("efficientnet_b0", (255.0, 0.0))])
def test_a_baseline_sees_through_keras_weights_what_keras_network_sees(backbone, scaled, images, tmp_path):
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, NETWORKS[backbone])(include_top=False, weights=None, input_shape=SHAPE)
    if backbone == "efficientnet_b0":
        normalisation = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
        normalisation.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
        normalisation.finalize_state()
    network.save_weights(tmp_path / "notop.weights.h5")
    model = cnn_baseline(SHAPE, backbone=backbone)
    assert network_of(model) == backbone
    filled = start_from(model, str(tmp_path / "notop.weights.h5"))
    assert len(filled) == sum(bool(layer.weights) for layer in model.layers) - 1 - (backbone == "efficientnet_b0")
    if backbone == "efficientnet_b0":
        # Keras adds this layer where it loads its own weights, and not where it is given a file.
        stem = network.get_layer("stem_conv")
        stem.kernel.assign(stem.kernel / np.sqrt([0.229, 0.224, 0.225]).reshape(1, 1, 3, 1))
    stem = {"mobilenet": "conv1_bn", "efficientnet_b0": "stem_bn"}[backbone]
    own = keras.Model(network.input, network.get_layer(stem).output)(images * scaled[0] + scaled[1], training=False)
    found = keras.Model(model.input, model.get_layer(stem).output)(images, training=False)
    # Zero padding is another grey level in each scale: compare where it does not reach.
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], own[:, 1:-1, 1:-1], rtol=1e-3, atol=1e-3)
    assert np.asarray(own).std() > 0.1
    deep = {"mobilenet": "conv_pw_13", "efficientnet_b0": "top_conv"}[backbone]
    np.testing.assert_array_equal(model.get_layer(deep).kernel.numpy(), network.get_layer(deep).kernel.numpy())


def test_a_second_efficientnet_of_a_process_names_its_weights_as_the_first_does():
    first, second = (by_path(cnn_baseline(SHAPE, backbone="efficientnet_b0")) for _ in range(2))
    assert list(first) == list(second)
    assert "normalization/mean" in first
