"""Flat three-class COVID-CXNet (Haghanifar et al. 2020, section 5.3, Table 4): normal, other pneumonia, COVID-19.

Command: `covidcx train covid-cxnet-flat --data MANIFEST --out runs/flat --set leaks=drop --set initial_weights=CHEXNET`
Cost and result: not yet run with CheXNet; see `covid-cxnet-v1` for CHEXNET and for the ImageNet start, with which
6 epochs at 160 pixels take 332 s on one CPU core: test accuracy 0.738 (0.670 to 0.794), F1 of COVID-19 0.878 (0.824 to
0.919), of CAP 0.466 (0.344 to 0.575); `control`: 28 of 45 CAP called COVID-19 (../shared/data).

As v2, with a softmax over three classes and every image's grey levels matched to those of a base image, inside the
lungs. The paper does not say which image; here it is a synthetic one (`base_image.py`): it needs nobody's radiograph.
"""

from dataclasses import replace

from covidcx.training.recipes.base_image import HISTOGRAM
from covidcx.training.recipes.covid_cxnet_v2 import RECIPE as V2

RECIPE = replace(
    V2,
    name="covid-cxnet-flat",
    preprocessing=replace(V2.preprocessing, histogram=HISTOGRAM, lung_statistics=True),
    labels=("normal", "cap", "covid"),
    epochs=30,
)
