"""The gate: upright frontal chest radiographs against turned, inverted and lateral ones and what is no chest.

Command: `covidcx train frontal-gate --data VIEWS --out runs/frontal-gate`, where VIEWS is the table that
`covidcx.data.views.write_views` makes from frontal radiographs.
Cost and result: see `saved_models/frontal-gate/MODEL_CARD.md`.

The whole image is looked at, squeezed into a square. Texture is exchanged between the images of a batch, because
laterals are drawn ones: without it their smoothness would name them.
"""

from covidcx.data.augment import Augmentation
from covidcx.data.manifest import VIEW_LABELS
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="frontal-gate",
    model=ModelSettings("frontal-gate"),
    preprocessing=Preprocessing(size=(64, 64), channels=("original",), winsorise=99.0, winsorise_low=1.0),
    task="classify",
    labels=VIEW_LABELS,
    augmentation=Augmentation(
        flip=0.5, rotate=15, shift=0.08, scale=0.2, brightness=0.2, blur=0.2, downscale=0.2, noise=0.2, jpeg=0.1,
        cutout=0.2, tone=0.5, texture_swap=0.4,
    ),
    loss=LossSettings(smoothing=0.02),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=2e-3, weight_decay=1e-4, schedule="cosine", warmup_epochs=0.5
    ),
    epochs=12,
    batch=32,
    class_weights=True,
    train_splits=("train", "pediatric"),
    val_splits=("val",),
    leaks="drop",
)  # fmt: skip
