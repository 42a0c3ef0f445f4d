"""DenseNet-121 in plain PyTorch with torchvision's parameter names, to write checkpoints that tests import."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class DenseLayer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 128, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        new = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(new)))], 1)


class Transition(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(x))), 2)


class DenseNet121(nn.Module):
    """Random weights, random batch statistics; returns sigmoid probabilities."""

    def __init__(self, outputs=14, channels=3, seed=0):
        super().__init__()
        features = nn.Module()
        features.conv0 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        features.norm0 = nn.BatchNorm2d(64)
        self.order, width = [], 64
        for block, count in enumerate((6, 12, 24, 16), 1):
            layers = nn.Module()
            for layer in range(1, count + 1):
                setattr(layers, f"denselayer{layer}", DenseLayer(width))
                width += 32
            setattr(features, f"denseblock{block}", layers)
            self.order.append((f"denseblock{block}", count))
            if block < 4:
                setattr(features, f"transition{block}", Transition(width))
                width //= 2
        features.norm5 = nn.BatchNorm2d(width)
        self.features = features
        self.classifier = nn.Linear(width, outputs)
        self._randomise(seed)
        self.eval()

    def forward(self, x):
        f = self.features
        x = functional.max_pool2d(functional.relu(f.norm0(f.conv0(x))), 3, stride=2, padding=1)
        for block, (name, count) in enumerate(self.order, 1):
            for layer in range(1, count + 1):
                x = getattr(getattr(f, name), f"denselayer{layer}")(x)
            if block < 4:
                x = getattr(f, f"transition{block}")(x)
        x = functional.relu(f.norm5(x)).mean((2, 3))
        return torch.sigmoid(self.classifier(x))

    def _randomise(self, seed):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.uniform_(0.7, 1.3, generator=generator)
                    module.bias.normal_(0, 0.1, generator=generator)
                    module.running_mean.normal_(0, 0.1, generator=generator)
                    # Some trained channels have tiny variances: there an epsilon of 1.001e-5 is not 1e-5.
                    module.running_var.uniform_(-4, 0, generator=generator).copy_(10**module.running_var)
                    module.running_var.clamp_(min=0.02)
                    module.running_var[0] = 1e-6
                elif isinstance(module, nn.Conv2d):
                    fan = module.weight[0].numel()
                    module.weight.normal_(0, (0.3 / fan) ** 0.5, generator=generator)
                elif isinstance(module, nn.Linear):
                    module.weight.normal_(0, 0.05, generator=generator)


def old_names(state):
    """Spell the keys as PyTorch 0.3 did for CheXNet: `module.densenet121.`, `norm.1`, `classifier.0`."""
    renamed = {}
    for key, value in state.items():
        for kind in ("norm", "conv"):
            for number in "12":
                if "denselayer" in key:
                    key = key.replace(f".{kind}{number}.", f".{kind}.{number}.")
        renamed["module.densenet121." + key.replace("classifier.", "classifier.0.")] = value
    return {key: value for key, value in renamed.items() if "num_batches_tracked" not in key}


def probabilities(model, images):
    """Run the model on float N x H x W x C."""
    with torch.no_grad():
        return model(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))).numpy()
