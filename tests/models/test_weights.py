"""CheXNet and ImageNet importers, on files written here in every published form."""

import builtins
import json

import h5py
import keras
import numpy as np
import pytest

from covidcx.errors import MissingDependencyError, WeightsError
from covidcx.models.covid_cxnet import covid_cxnet
from covidcx.models.densenet_names import backbone_layers, backbone_paths
from covidcx.models.keras_h5 import read_keras_h5
from covidcx.models.restore import by_path
from covidcx.models.torch_densenet import read_torch
from covidcx.models.weights import CHEXNET_LABELS, XRV_LABELS, chexnet, imagenet_backbone, transfer_backbone

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")

from torch_densenet121 import DenseNet121, old_names, probabilities  # noqa: E402

SHAPE = (64, 64, 3)
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def reference():
    return DenseNet121(14)


@pytest.fixture(scope="module")
def expected(reference, images):
    return probabilities(reference, (images - MEAN) / DEVIATION)


@pytest.fixture(scope="module")
def imported(reference, tmp_path_factory):
    """The published CheXNet form: state_dict inside a checkpoint, old names, DataParallel's prefix."""
    path = tmp_path_factory.mktemp("torch") / "model.pth.tar"
    torch.save({"epoch": 6, "state_dict": old_names(reference.state_dict()), "best_loss": 0.1}, path)
    return chexnet(path, input_shape=SHAPE)


@pytest.fixture(scope="module")
def backbone(imported):
    """Backbone and head as arrays by Keras path, to be written in Keras forms."""
    return {key: np.asarray(variable.value) for key, variable in by_path(imported.model).items()}


@pytest.fixture(scope="module")
def target():
    return covid_cxnet(SHAPE, normalization="imagenet")


def test_published_chexnet_checkpoint_computes_what_pytorch_computes(imported, images, expected):
    assert expected.std() > 0.01
    np.testing.assert_allclose(imported.model(images, training=False)["probabilities"], expected, atol=1e-4)
    assert imported.labels == CHEXNET_LABELS and len(set(CHEXNET_LABELS)) == 14
    assert (imported.source, imported.scaling) == ("torch", "imagenet")
    assert len(imported.sha256) == 64


@pytest.mark.parametrize("form", ["torchvision names", "module prefix", "old pickle format, labels recorded"])
def test_other_spellings_of_the_same_checkpoint_give_the_same_weights(form, reference, backbone, tmp_path):
    state, path = reference.state_dict(), tmp_path / "model.pth"
    if form == "torchvision names":
        torch.save(state, path)
    elif form == "module prefix":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    else:
        checkpoint = {"state_dict": old_names(state), "class_names": list(CHEXNET_LABELS)}
        torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    published = read_torch(path)
    assert set(published.arrays) == {*backbone_paths(), "head/kernel", "head/bias"}
    assert all(np.array_equal(published.arrays[key], backbone[key]) for key in backbone_paths())
    assert np.array_equal(published.arrays["head/kernel"], backbone["probabilities/kernel"])
    assert published.labels == (CHEXNET_LABELS if "labels" in form else None)


def test_torchxrayvision_state_computes_what_pytorch_computes_on_its_own_scale(images, tmp_path):
    reference = DenseNet121(18, channels=1, seed=1)
    with torch.no_grad():
        reference.features.conv0.weight /= 1024
    state = {**reference.state_dict(), "op_threshs": torch.zeros(18)}
    torch.save(state, tmp_path / "nih.pt")
    imported = chexnet(tmp_path / "nih.pt", input_shape=SHAPE)
    grey = np.repeat(images[..., :1], 3, axis=-1)
    got = imported.model(grey, training=False)["probabilities"]
    np.testing.assert_allclose(got, probabilities(reference, grey[..., :1] * 2048 - 1024), atol=1e-4)
    assert imported.labels == XRV_LABELS
    assert (imported.source, imported.scaling) == ("torchxrayvision", "torchxrayvision")
    assert any("third" in note for note in imported.notes)


def test_keras_2_file_gives_the_same_numbers_under_its_labels(backbone, images, expected, tmp_path):
    _write_keras_2(tmp_path / "chexnet.h5", backbone, "weights only")
    spelled = [label.replace("_", " ").lower() for label in CHEXNET_LABELS]
    imported = chexnet(tmp_path / "chexnet.h5", spelled, SHAPE)
    np.testing.assert_allclose(imported.model(images, training=False)["probabilities"], expected, atol=1e-4)
    assert (imported.labels, imported.source, imported.notes) == (tuple(spelled), "keras-h5", ())


@pytest.mark.parametrize("form", ["weights only", "whole model", "nested model"])
def test_every_keras_2_layout_gives_the_same_arrays(form, backbone, tmp_path):
    _write_keras_2(tmp_path / "chexnet.h5", backbone, form)
    published = read_keras_h5(tmp_path / "chexnet.h5")
    assert set(published.arrays) == {*backbone_paths(), "head/kernel", "head/bias"}
    assert all(np.array_equal(published.arrays[key], backbone[key]) for key in backbone_paths())
    assert np.array_equal(published.arrays["head/bias"], backbone["probabilities/bias"])
    assert bool(published.notes) == (form == "nested model")  # a nested file does not list DenseNet's layers
    assert published.final_relu


def test_weights_of_keras_before_2_2_3_are_rebuilt_without_the_final_relu(backbone, images, tmp_path):
    _write_keras_2(tmp_path / "old.h5", backbone, "weights only", relu=False)
    imported = chexnet(tmp_path / "old.h5", input_shape=SHAPE)
    head = keras.Model(imported.model.input, imported.model.get_layer("pool").output)
    assert np.asarray(head(images, training=False)).min() < 0
    assert any("without a ReLU" in note for note in imported.notes)


def test_labels_in_another_order_are_refused_with_both_orders(backbone, tmp_path):
    _write_keras_2(tmp_path / "chexnet.h5", backbone, "weights only")
    with pytest.raises(WeightsError, match=r"order Cardiomegaly, Atelectasis, .* whose order is Atelectasis, Card"):
        chexnet(tmp_path / "chexnet.h5", [CHEXNET_LABELS[1], CHEXNET_LABELS[0], *CHEXNET_LABELS[2:]], SHAPE)


def test_misfits_are_refused_with_both_shapes(reference, backbone, target, tmp_path):
    state = reference.state_dict()
    path = tmp_path / "x.pth"
    torch.save({**state, "classifier.weight": torch.zeros(5, 1024), "classifier.bias": torch.zeros(5)}, path)
    with pytest.raises(WeightsError, match=r"\(1024, 5\) .* expected \(1024, 14\)"):
        chexnet(path, input_shape=SHAPE)
    torch.save({**state, "features.norm0.weight": torch.zeros(32)}, path)
    with pytest.raises(WeightsError, match=r"conv1_bn/gamma is \(32,\) in the source and \(64,\) in the model"):
        imagenet_backbone(target, path)
    torch.save({**state, "features.denseblock1.denselayer7.conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"unknown keys \(features.denseblock1.denselayer7.conv1.weight\)"):
        imagenet_backbone(target, path)
    torch.save({key: value for key, value in state.items() if "transition2.conv" not in key}, path)
    with pytest.raises(WeightsError, match=r"1 of DenseNet-121's 604 variables are missing in the file \(pool3_conv"):
        imagenet_backbone(target, path)
    _write_keras_2(tmp_path / "x.h5", {**backbone, "fc1/kernel": np.zeros((2, 2))}, "weights only")
    with pytest.raises(WeightsError, match="2 other layers"):
        chexnet(tmp_path / "x.h5", input_shape=SHAPE)


def test_pickled_models_text_and_absent_files_are_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match=r"model\.state_dict\(\)"):
        chexnet(tmp_path / "whole.pt")
    (tmp_path / "text.h5").write_text("<html>quota exceeded</html>")
    with pytest.raises(WeightsError, match="neither HDF5 nor a PyTorch"):
        chexnet(tmp_path / "text.h5")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match="cannot be read as an HDF5 file"):
        chexnet(tmp_path / "cut.h5")
    with pytest.raises(WeightsError, match="does not exist"):
        chexnet(tmp_path / "none.h5")


def test_without_pytorch_the_message_carries_the_command(tmp_path, monkeypatch):
    torch.save({}, tmp_path / "x.pth")
    real = builtins.__import__

    def without_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        chexnet(tmp_path / "x.pth")


def test_transfer_to_covid_cxnet_copies_every_backbone_layer_and_only_those(imported, target, images):
    before = {key: np.asarray(v.value) for key, v in by_path(target).items() if key.startswith(("fc/", "prob"))}
    assert transfer_backbone(imported.model, target) == list(backbone_layers())
    np.testing.assert_allclose(_pooled(target, images), _pooled(imported.model, images), atol=1e-4)
    assert all(np.array_equal(values, np.asarray(by_path(target)[key].value)) for key, values in before.items())


def test_transfer_to_another_input_scaling_rewrites_the_stem(imported):
    target = covid_cxnet(SHAPE)
    transfer_backbone(imported.model, target)
    # On an image that is ImageNet's mean at the border, both paddings mean the same grey.
    smooth = np.random.default_rng(2).random((1, *SHAPE), dtype=np.float32)
    stems = [keras.Model(model.input, model.get_layer("conv1_bn").output) for model in (imported.model, target)]
    expected, got = (np.asarray(stem(smooth, training=False))[:, 2:-2, 2:-2] for stem in stems)
    assert expected.std() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_transfer_between_other_networks_is_refused(imported):
    from covidcx.models.unet import lung_unet

    with pytest.raises(WeightsError, match="no DenseNet-121 to copy from"):
        transfer_backbone(lung_unet(2, 2, 32), imported.model)
    with pytest.raises(WeightsError, match=r"missing in model 'lung_unet'"):
        transfer_backbone(imported.model, lung_unet(2, 2, 32))


def test_imagenet_weights_come_from_a_local_file(backbone, target, tmp_path):
    arrays = {key: values + 1 for key, values in backbone.items() if not key.startswith("probabilities")}
    _write_keras_2(tmp_path / "densenet121_notop.h5", arrays, "weights only")
    assert len(imagenet_backbone(target, tmp_path / "densenet121_notop.h5")) == 241
    filled = by_path(target)
    assert all(np.array_equal(filled[key].value, arrays[key]) for key in backbone_paths())


def test_training_starts_from_a_published_file_as_from_one_of_ours(backbone, target, tmp_path):
    from covidcx.training.start import transfer

    arrays = {key: values + 2 for key, values in backbone.items() if not key.startswith("probabilities")}
    _write_keras_2(tmp_path / "published.h5", arrays, "weights only")
    assert len(transfer(target, tmp_path / "published.h5")) == 241
    assert all(np.array_equal(by_path(target)[key].value, arrays[key]) for key in backbone_paths())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"other\.h5"):
        transfer(target, tmp_path / "other.h5")


def test_offline_imagenet_is_an_error_and_never_a_random_start(imported, monkeypatch):
    def offline(*args, **kwargs):
        raise Exception("URL fetch failure")  # what Keras raises

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(WeightsError, match="offline"):
        imagenet_backbone(imported.model)


def _pooled(model, images):
    return np.asarray(keras.Model(model.input, model.get_layer("pool").output)(images, training=False))


def _write_keras_2(path, arrays, form, relu=True):
    """Write arrays by Keras 3 path as Keras 2 did: groups by layer, `conv1/conv` names, `:0` behind variables."""
    layers = {}
    for key, values in arrays.items():
        layer, kind = key.split("/")
        layer = {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn", "probabilities": "predictions"}.get(layer, layer)
        layers.setdefault(layer, {})[f"{layer}/{kind}:0"] = values
    names = ["input_1", *layers, *(["relu"] if relu else []), "avg_pool"]
    with h5py.File(path, "w") as file:
        group = file
        if form == "whole model":
            group = file.create_group("model_weights")
            config = {"class_name": "Model", "config": {"layers": [{"name": name} for name in names]}}
            file.attrs["model_config"] = json.dumps(config).encode()
            file.create_group("optimizer_weights").create_dataset("Adam/conv1/conv/kernel/m:0", data=np.zeros(3))
        for chunk, part in enumerate(np.array_split(np.array([name.encode() for name in names]), 3)):
            if form != "nested model":
                group.attrs[f"layer_names{chunk}"] = part
        for layer, weights in layers.items():
            nested = form == "nested model" and layer != "predictions"
            folder = group.require_group("densenet121" if nested else layer)
            folder.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in weights.items():
                folder.create_dataset(name, data=values)
