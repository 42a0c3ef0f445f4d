"""COVID-CXNet v2 (Haghanifar et al. 2020, section 5.3): v1 on segmented lungs, more augmentation, label smoothing.

Command: `covidcx train covid-cxnet-v2 --data MANIFEST --out runs/v2 --set leaks=drop --set initial_weights=CHEXNET`
Cost and result: not yet run with CheXNet; see `covid-cxnet-v1` for CHEXNET and for the ImageNet start, with which
6 epochs at 160 pixels take 243 s on one CPU core: test accuracy 0.940 (0.900 to 0.973), F1 of COVID-19 0.951 (0.916 to
0.978), AUC 0.985; `control`: 39 of 45 CAP called COVID-19 (../shared/data).

The paper adds zoom-in, zoom-out and brightness to the augmentation and gives no numbers, nor for label smoothing.
The lungs are found after CLAHE, as the segmenter `lung-unet` was trained; what lies outside is blanked (Fig. 18).
"""

from dataclasses import replace

from covidcx.imaging.roi import LungROI
from covidcx.training.recipe import LossSettings
from covidcx.training.recipes.covid_cxnet_v1 import RECIPE as V1

RECIPE = replace(
    V1,
    name="covid-cxnet-v2",
    preprocessing=replace(V1.preprocessing, roi=LungROI(enhance="clahe", blank=True)),
    augmentation=replace(V1.augmentation, scale=0.15, brightness=0.2),
    loss=LossSettings(smoothing=0.1),
)
