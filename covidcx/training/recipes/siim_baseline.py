"""The baseline of SIIM multi-class (section 4, Table 3): one CNN, four RSNA appearances of COVID-19 pneumonia.

Command: `covidcx train siim-baseline --data MANIFEST --out runs/siim-baseline`
`--set model.kwargs.backbone=mobilenet` (or efficientnet_b0, resnet50) gives the other rows of Table 3, and
`--set labels=typical,indeterminate` a pair of Table 4. `--set initial_weights=FILE` starts from ImageNet, from a stage
of the multi-task recipes, or from self-supervision; the paper does not say what its baseline started from.

The paper names no number of epochs for this stage; its pre-training stages take 30, as here.

Cost: 1.4 s a step of 16 on two cores, 277 steps an epoch on 70% of SIIM: a GPU's work. Result: `docs/results/siim/`.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe

APPEARANCES = ("negative", "typical", "indeterminate", "atypical")

RECIPE = Recipe(
    name="siim-baseline",
    model=ModelSettings("cnn-baseline", {"backbone": "densenet121"}),
    preprocessing=Preprocessing(size=(224, 224), channels=("original", "original", "original"), winsorise=92.5),
    task="classify",
    labels=APPEARANCES,
    augmentation=Augmentation(flip=0.5, rotate=10, scale=0.2),
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-3),
    epochs=30,
    batch=16,
    class_weights=False,
)
