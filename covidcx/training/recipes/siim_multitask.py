"""Stage 3 of SIIM multi-class: appearance and opacities together on the COVID-19 images (sections 2.2 and 4).

Command: `covidcx train siim-multitask --data SIIM.csv --out runs/siim-mt --set initial_weights=runs/siim-opacity`,
with SIIM.csv from `covidcx data prepare siim` and `covidcx data split`. The rows of Table 1 are options: without
`initial_weights` nothing is pre-trained, with stage 2's run encoder and decoder are, and with
`--set initial_layers=encoder` beside it the encoder alone.

The paper names no number of epochs for this stage; its pre-training stages take 30, as here.

Cost: 277 steps an epoch on 70% of SIIM, more than `siim-baseline`'s 1.4 s each on two cores.
Result: `docs/results/siim/` (on the phantom).
"""

from dataclasses import replace

from covidcx.training.heads.appearance import CLASSES
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings
from covidcx.training.recipes.siim_baseline import RECIPE as BASELINE

RECIPE = replace(
    BASELINE,
    name="siim-multitask",
    model=ModelSettings("multitask-unet"),
    task="multi",
    heads=("appearance", "opacity"),
    labels=CLASSES,
    loss=LossSettings(dice_weight=1.0, head_weights={"appearance": 0.4, "opacity": 0.6}),
    optimizer=OptimizerSettings(name="adam", learning_rate=1e-4, schedule="cosine"),
)
