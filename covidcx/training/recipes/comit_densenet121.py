"""DenseNet-121 with fully connected layers, a comparison of COMiT-Net's fourth task (Table 4).

Command: `covidcx train comit-densenet121 --data MANIFEST --out runs/comit-densenet121`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net table-4` measures both.
Settings as `comit-resnet18`.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.comit_resnet18 import HEAD
from covidcx.training.recipes.comit_resnet18 import RECIPE as RESNET18

RECIPE = replace(
    RESNET18,
    name="comit-densenet121",
    model=ModelSettings("cnn-baseline", {"backbone": "densenet121", **HEAD}),
)
