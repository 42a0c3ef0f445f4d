"""COVID-CXNet (Haghanifar et al. 2020): DenseNet-121 on the lungs, three classes, against source shortcuts.

Command: `covidcx train covid-cxnet --data MANIFEST --out runs/covid-cxnet`
Cost and result: see `saved_models/covid-cxnet/MODEL_CARD.md`.

Beyond the paper: everything outside the lungs is blanked and left out of the pooling, grey levels are standardised
inside the lungs, and the augmentation exchanges fine texture between images and re-windows them, because in public
data the source of an image names its label.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="covid-cxnet",
    model=ModelSettings("covid-cxnet", {"lung_pooling": True, "activation": "elu"}),
    preprocessing=Preprocessing(
        size=(128, 128),
        channels=("original", "clahe", "beasf"),
        roi=LungROI(enhance="clahe", blank=True),
        winsorise=99.0,
        winsorise_low=1.0,
        lung_statistics=True,
    ),
    task="classify",
    labels=("normal", "cap", "covid"),
    augmentation=Augmentation(
        flip=0.5, rotate=12, shift=0.06, scale=0.15, brightness=0.2, blur=0.25, downscale=0.3, noise=0.3, jpeg=0.3,
        cutout=0.2, tone=0.7, texture_swap=0.6,
    ),
    loss=LossSettings(smoothing=0.05),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=1e-3, weight_decay=5e-4, schedule="cosine", warmup_epochs=1
    ),
    epochs=20,
    batch=16,
    class_weights=True,
)  # fmt: skip
