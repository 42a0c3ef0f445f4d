"""Stage 2 of SIIM multi-class: encoder and decoder learn RSNA's opacities, Dice and cross-entropy alike (section 4).

Command: `covidcx train siim-opacity --data RSNA.csv --out runs/siim-opacity --set initial_weights=runs/siim-findings`,
with RSNA.csv from `covidcx data prepare rsna` and `covidcx data split`. The encoder starts from stage 1, by name.

Cost: about 1,400 steps an epoch on 85% of RSNA's 26,684 images, more than `siim-baseline`'s 1.4 s each on two cores.
Result: `docs/results/siim/` (on the phantom).
"""

from dataclasses import replace

from covidcx.training.heads.presence import CLASSES
from covidcx.training.recipe import LossSettings, ModelSettings
from covidcx.training.recipes.siim_baseline import RECIPE as BASELINE

RECIPE = replace(
    BASELINE,
    name="siim-opacity",
    model=ModelSettings("multitask-unet"),
    task="multi",
    heads=("presence", "opacity"),
    labels=CLASSES,
    loss=LossSettings(dice_weight=1.0, head_weights={"presence": 0.5, "opacity": 0.5}),
)
