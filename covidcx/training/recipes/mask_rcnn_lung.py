"""Mask R-CNN on lungs, a comparison of COMiT-Net's segmentation (section 4.1, Fig. 5).

Command: `covidcx train mask-rcnn-lung --data MANIFEST --out runs/mask-rcnn-lung`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net figure-5` measures both.

As the paper says (section 3.3): 224 pixels, batch 16, 25 epochs, SGD of learning rate 0.001 and momentum 0.9. The
paper names no start; torchvision's weights, which its framework offers, are not to be had here. For a random start this
recipe takes ten times the rate, warms up and clips gradients, which was not tuned. Each connected piece of a lung mask
is an instance.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="mask-rcnn-lung",
    model=ModelSettings("mask-rcnn", {"labels": ["lung"]}),
    preprocessing=Preprocessing(size=(224, 224), channels=("original",)),
    task="multi",
    labels=("lung",),
    heads=("lung-instances",),
    augmentation=Augmentation(rotate=10, shift=0.05),
    optimizer=OptimizerSettings(name="sgd", learning_rate=1e-2, clip_norm=1.0, warmup_epochs=1),
    epochs=25,
    batch=16,
    class_weights=False,
    train_splits=("train", "pediatric"),
)
