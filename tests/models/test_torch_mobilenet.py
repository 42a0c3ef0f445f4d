"""MobileNetV2 weights from a torchvision checkpoint compute the same in Keras."""

import keras
import numpy as np
import pytest

from covidcx.errors import MissingDependencyError, WeightsError
from covidcx.models.covid_cxnet import covid_cxnet
from covidcx.models.torch_mobilenet import load_torch_mobilenet

# Expansion, channels, repeats and first stride of each stage: Sandler et al. 2018, table 2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def torch_mobilenet(torch):
    """MobileNetV2's features with torchvision's names, padding strided layers on the side that Keras pads."""
    nn = torch.nn

    class Padded(nn.Conv2d):
        def forward(self, x):
            if self.stride == (2, 2):
                return self._conv_forward(nn.functional.pad(x, (0, 1, 0, 1)), self.weight, None)
            return super().forward(x)

    def unit(i, o, kernel, stride=1, groups=1):
        pad = 0 if stride == 2 else kernel // 2
        conv = Padded(i, o, kernel, stride, pad, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, i, o, stride, expansion):
            super().__init__()
            self.residual = stride == 1 and i == o
            inner = i * expansion
            parts = [unit(i, inner, 1)] if expansion > 1 else []
            parts += [unit(inner, inner, 3, stride, inner), nn.Conv2d(inner, o, 1, bias=False), nn.BatchNorm2d(o)]
            self.conv = nn.Sequential(*parts)

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    parts, channels = [unit(3, 32, 3, 2)], 32
    for expansion, out, repeats, stride in STAGES:
        for index in range(repeats):
            parts.append(Block(channels, out, stride if index == 0 else 1, expansion))
            channels = out
    model = nn.Module()
    model.features = nn.Sequential(*parts, unit(channels, 1280, 1))
    return model.eval()


@pytest.fixture(scope="module")
def keras_model():
    return covid_cxnet((64, 64, 3), backbone="mobilenet_v2", normalization="imagenet")


def test_features_equal_those_of_pytorch(tmp_path, keras_model):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    torch.manual_seed(0)
    source = torch_mobilenet(torch)
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.001, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    path = tmp_path / "mobilenet_v2.pth"
    torch.save({**source.state_dict(), "classifier.1.weight": torch.zeros(1000, 1280)}, path)
    assert len(load_torch_mobilenet(keras_model, path)) == 104
    images = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32)
    scaled = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        expected = source.features(torch.tensor(scaled.transpose(0, 3, 1, 2), dtype=torch.float32))
    features = keras.Model(keras_model.input, keras_model.get_layer("out_relu").output)
    found = np.asarray(features(images, training=False))
    np.testing.assert_allclose(found, expected.numpy().transpose(0, 2, 3, 1), atol=1e-4)
    assert expected.std() > 1e-3


def test_other_files_are_refused(tmp_path, keras_model):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    text = tmp_path / "text.pth"
    text.write_text("no checkpoint")
    with pytest.raises(WeightsError, match="no PyTorch checkpoint"):
        load_torch_mobilenet(keras_model, text)
    short = tmp_path / "short.pth"
    torch.save({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, short)
    with pytest.raises(WeightsError, match="1 convolutions"):
        load_torch_mobilenet(keras_model, short)


def test_without_pytorch_the_message_says_how_to_install_it(monkeypatch, tmp_path, keras_model):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        load_torch_mobilenet(keras_model, tmp_path / "x.pth")
