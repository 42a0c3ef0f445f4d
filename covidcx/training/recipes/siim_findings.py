"""Stage 1 of SIIM multi-class: DenseNet-121 learns the findings of ChestX-ray14 or CheXpert (section 4, 30 epochs).

Command: `covidcx train siim-findings --data NIH.csv --out runs/siim-findings`, with NIH.csv from
`covidcx data prepare nih`. For CheXpert add `--set heads=observations` and `--set labels=` with its twelve
observations. The paper takes CheXpert; ChestX-ray14 is the default because anyone can have it.

Cost: 1.4 s a step of 16 on two cores, about 5,000 steps an epoch on ChestX-ray14: a GPU's work.
Result: `docs/results/siim/` (on the phantom).
"""

from dataclasses import replace

from covidcx.data.sources.nih import FINDINGS
from covidcx.training.recipe import ModelSettings
from covidcx.training.recipes.siim_baseline import RECIPE as BASELINE

RECIPE = replace(
    BASELINE,
    name="siim-findings",
    model=ModelSettings("cnn-baseline", {"backbone": "densenet121", "activation": "sigmoid"}),
    task="multi",
    heads=("findings",),
    labels=FINDINGS,
)
