"""SegNet on diseased regions, a comparison of COMiT-Net's segmentation (section 4.1, Figs. 6 and 7).

Command: `covidcx train segnet-disease --data MANIFEST --out runs/segnet-disease`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net figure-6` measures both.
Settings as `unet-lung`.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.unet_lung import RECIPE as UNET

RECIPE = replace(
    UNET,
    name="segnet-disease",
    model=ModelSettings("segnet", {"output": "disease"}),
    labels=("disease",),
    heads=("disease",),
    train_splits=("train",),
)
