"""MoCo-v2 (Chen et al. 2020) on radiographs: crops, jitter, flips, grey, blur, and a projection of two layers.

Command: `covidcx pretrain moco-v2 --data MANIFEST --out runs/moco-v2`
SIIM multi-class takes MoCo-v2's default augmentations. Its hue change is left out, as radiographs have none;
greyscale conversion and saturation act where the channels are different enhancements of the radiograph, such as
`--set preprocessing.channels=original,clahe,beasf`.
"""

from dataclasses import replace

from covidcx.data.contrast_views import ContrastViews
from covidcx.training.recipes.moco_cxr import RECIPE as ORIGINAL

RECIPE = replace(
    ORIGINAL,
    name="moco-v2",
    contrast=replace(
        ORIGINAL.contrast,
        views=ContrastViews(flip=0.5, crop=(0.2, 1.0), jitter=0.4, jitter_share=0.8, grey=0.2, blur=0.5),
        mlp=True,
    ),
)
