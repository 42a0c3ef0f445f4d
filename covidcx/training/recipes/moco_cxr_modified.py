"""Modified MoCo-CXR (SIIM multi-class, section 4): stronger geometry and a lower temperature.

Command: `covidcx pretrain moco-cxr-modified --data MANIFEST --out runs/moco-cxr-modified`
"""

from dataclasses import replace

from covidcx.data.contrast_views import ContrastViews
from covidcx.training.recipes.moco_cxr import RECIPE as ORIGINAL

RECIPE = replace(
    ORIGINAL,
    name="moco-cxr-modified",
    contrast=replace(
        ORIGINAL.contrast,
        views=ContrastViews(flip=0.5, rotate=20, shift=0.20, scale=(1.0, 1.2)),
        temperature=0.07,
    ),
)
