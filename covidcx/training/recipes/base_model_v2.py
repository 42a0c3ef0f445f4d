"""Base model v2 of COVID-CXNet (Haghanifar et al. 2020, section 5.1): adult normals, more images, weighted classes.

Command: `covidcx train base-model-v2 --data MANIFEST --out runs/base-v2 --set leaks=drop`
Cost and result: not yet run.
"""

from dataclasses import replace

from covidcx.training.recipes.base_model_v1 import RECIPE as V1
from covidcx.training.selection import Selection

RECIPE = replace(
    V1,
    name="base-model-v2",
    epochs=120,
    class_weights=True,
    train_splits=("train",),
    val_splits=("val",),
    selection=Selection(),
)
