"""Hierarchical COVID-CXNet (Haghanifar et al. 2020, section 5.3, Table 5): normal or pneumonia, then which pneumonia.

Command: `covidcx train covid-cxnet-hierarchical --data MANIFEST --out runs/hierarchical --set leaks=drop
--set initial_weights=CHEXNET`
Cost and result: not yet run with CheXNet; see `covid-cxnet-v1` for CHEXNET and for the ImageNet start, with which
4 and 4 epochs at 160 pixels (`--set stages.pneumonia=4 --set stages.covid=4`) take 474 s on one CPU core: test accuracy
0.762 (0.701 to 0.822), F1 of COVID-19 0.856 (0.796 to 0.905), of CAP 0.612 (0.485 to 0.718); `control`: 34 of 45 CAP
called COVID-19 (../shared/data).

Two networks are trained one after the other, for 10 and 20 epochs, in `stages/` of the run's folder; the run's own
weights are both joined into one model of three probabilities (`covidcx.models.hierarchical`).
"""

from dataclasses import replace

from covidcx.training.recipes.covid_cxnet_flat import RECIPE as FLAT

RECIPE = replace(
    FLAT,
    name="covid-cxnet-hierarchical",
    model=replace(FLAT.model, name="covid-cxnet-hierarchical"),
    stages={"pneumonia": 10, "covid": 20},
)
