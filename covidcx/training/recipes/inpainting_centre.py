"""Centre inpainting (SIIM multi-class, section 4): one hole of 100 x 100 of 224 pixels in the middle.

Command: `covidcx pretrain inpainting-centre --data MANIFEST --out runs/inpainting-centre`
"""

from dataclasses import replace

from covidcx.data.holes import InpaintingMasks
from covidcx.training.pretraining import HoleSettings
from covidcx.training.recipes.inpainting_cxr import RECIPE as LUNGS

RECIPE = replace(LUNGS, name="inpainting-centre", inpainting=HoleSettings(InpaintingMasks("centre")))
