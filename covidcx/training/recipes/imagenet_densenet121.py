"""DenseNet-121 from ImageNet (Haghanifar et al. 2020, sections 4.2 and 5.2): frozen features, then fine-tuned.

Command: `covidcx train imagenet-densenet121 --data MANIFEST --out runs/densenet --set leaks=drop`
Cost and result: not yet run: the weights are downloaded from keras.applications, `--set initial_weights=FILE` gives
them offline.

The images are those of base model v1, as in the paper: pediatric normals. For ten epochs only the two dense layers
learn (Fig. 13), for ten more everything.
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.base_model_v1 import RECIPE as V1

RECIPE = replace(
    V1,
    name="imagenet-densenet121",
    model=ModelSettings("covid-cxnet", {"backbone": "densenet121", "normalization": "imagenet"}),
    preprocessing=replace(V1.preprocessing, size=(224, 224)),
    epochs=20,
    freeze_epochs=10,
    initial_weights="imagenet",
)
