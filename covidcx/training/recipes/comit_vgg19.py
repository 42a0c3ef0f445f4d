"""VGG-19 with fully connected layers, a comparison of COMiT-Net's fourth task (Table 4).

Command: `covidcx train comit-vgg19 --data MANIFEST --out runs/comit-vgg19`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net table-4` measures both.
Settings as `comit-resnet18`.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.comit_resnet18 import HEAD
from covidcx.training.recipes.comit_resnet18 import RECIPE as RESNET18

RECIPE = replace(
    RESNET18,
    name="comit-vgg19",
    model=ModelSettings("cnn-baseline", {"backbone": "vgg19", **HEAD}),
)
