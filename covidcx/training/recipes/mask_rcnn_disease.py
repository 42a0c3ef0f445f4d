"""Mask R-CNN on diseased regions, a comparison of COMiT-Net's segmentation (section 4.1, Figs. 6 and 7).

Command: `covidcx train mask-rcnn-disease --data MANIFEST --out runs/mask-rcnn-disease`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net figure-6` measures both.

Settings as `mask-rcnn-lung`. Each connected piece of a disease mask is an instance, each box where there are only
boxes.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.mask_rcnn_lung import RECIPE as LUNG

RECIPE = replace(
    LUNG,
    name="mask-rcnn-disease",
    model=ModelSettings("mask-rcnn", {"labels": ["disease"]}),
    labels=("disease",),
    heads=("disease-instances",),
    train_splits=("train",),
)
