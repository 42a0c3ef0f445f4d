"""Lung segmenter: U-Net of 16 to 256 filters at 256 pixels, CLAHE input.

Command: `covidcx train lung-unet --data MANIFEST --out runs/lung-unet`
Cost and result: see `saved_models/lung-unet/MODEL_CARD.md`.

COVID-CXNet section 3.2 enhances by AHE before the U-Net. CLAHE is used here: AHE with a disk of radius 40 takes longer
than the network itself, which a portable unit would notice.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="lung-unet",
    model=ModelSettings("lung-unet", {"filters": 16, "depth": 5}),
    preprocessing=Preprocessing(size=(256, 256), channels=("clahe",)),
    task="segment",
    labels=("lung",),
    augmentation=Augmentation(
        flip=0.5, rotate=12, shift=0.08, scale=0.2, brightness=0.25, blur=0.2, downscale=0.2, noise=0.2, jpeg=0.2,
        cutout=0.15, tone=0.5,
    ),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=1.5e-3, weight_decay=1e-4, schedule="cosine", warmup_epochs=0.5
    ),
    epochs=12,
    batch=8,
    class_weights=False,
    train_splits=("train", "pediatric"),
    val_splits=("val",),
)  # fmt: skip
