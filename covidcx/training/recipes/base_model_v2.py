"""Base model v2 of COVID-CXNet (Haghanifar et al. 2020, section 5.1): adult normals, more images, weighted classes.

Command: `covidcx train base-model-v2 --data MANIFEST --out runs/base-v2 --set leaks=drop`
Cost and result: 105 s for 60 epochs on one CPU core with `--set preprocessing.size=128,128 --set monitor=val_loss
--set epochs=60 --set early_stop=15` on ../shared/data: test accuracy 0.864 (0.804 to 0.915), F1 of COVID-19 0.890
(0.836 to 0.934), AUC 0.950; `control`: 37 of 45 CAP called COVID-19. Not yet run at 320 pixels and 120 epochs.
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
