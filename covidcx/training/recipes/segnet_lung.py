"""SegNet on lungs, a comparison of COMiT-Net's segmentation (section 4.1, Fig. 5).

Command: `covidcx train segnet-lung --data MANIFEST --out runs/segnet-lung`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net figure-5` measures both.
Settings as `unet-lung`.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.unet_lung import RECIPE as UNET

RECIPE = replace(
    UNET,
    name="segnet-lung",
    model=ModelSettings("segnet", {"output": "lung"}),
)
