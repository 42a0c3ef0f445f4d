"""COVID-CXNet (Haghanifar et al. 2020), `papers/covid-cxnet.txt`."""

from covidcx.papers.covid_cxnet import enhancement, literature
from covidcx.papers.item import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    name="covid-cxnet",
    citation="A. Haghanifar et al. COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep Learning. "
    "arXiv:2006.13807, 2020.",
    items=(*enhancement.ITEMS, *literature.ITEMS),
    labels="covid-cxnet",
    phantom_overrides={"preprocessing.size": "64,64", "epochs": "2", "segmenter": "manifest"},
    seeds=10,
    splits={"train": 0.5, "val": 0.13, "test": 0.22, "control": 0.05, "pediatric": 0.1},
    weights=("chexnet", "imagenet"),
)
