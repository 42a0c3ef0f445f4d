"""COVID-CXNet (Haghanifar et al. 2020): DenseNet-121 on the lungs, three classes.

Command: `covidcx train covid-cxnet --manifest MANIFEST --out runs/covid-cxnet`
Cost: see `saved_models/covid-cxnet/MODEL_CARD.md` (about two minutes an epoch of 1,400 images on 2 CPU cores).
Result: see `saved_models/covid-cxnet/MODEL_CARD.md`.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="covid-cxnet",
    model=ModelSettings("covid-cxnet"),
    preprocessing=Preprocessing(
        size=(320, 320), channels=("original", "clahe", "beasf"), roi=LungROI(enhance="clahe")
    ),
    task="classify",
    labels=("normal", "cap", "covid"),
    augmentation=Augmentation(flip=0.5, rotate=10, shift=0.05, scale=0.1, brightness=0.2),
    loss=LossSettings(smoothing=0.1),
    optimizer=OptimizerSettings(learning_rate=1e-4),
    epochs=20,
    batch=16,
    early_stop=8,
    class_weights=True,
    label_sets={"other": ("normal", "cap")},
)
