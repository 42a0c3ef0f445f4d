"""Inpainting-CXR (SIIM multi-class, sections 2.3 and 4): one hole of 17 to 32 pixels in each lung's region, Fig. 1.

Command: `covidcx pretrain inpainting --data MANIFEST --out runs/inpainting`
Pixels refer to 224 x 224; other sizes scale them.
"""

from covidcx.data.augment import Augmentation
from covidcx.data.holes import InpaintingMasks
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.pretraining import HoleSettings, Pretraining
from covidcx.training.recipe import OptimizerSettings

RECIPE = Pretraining(
    name="inpainting",
    preprocessing=Preprocessing(size=(224, 224), channels=("original", "original", "original"), winsorise=92.5),
    inpainting=HoleSettings(InpaintingMasks("lungs")),
    augmentation=Augmentation(flip=0.5, rotate=10),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", warmup_epochs=0.5
    ),
    epochs=30,
    batch=32,
)
