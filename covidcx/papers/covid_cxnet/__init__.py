"""COVID-CXNet (Haghanifar et al. 2020), `papers/covid-cxnet.txt`."""

from covidcx.papers.covid_cxnet import literature
from covidcx.papers.item import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    name="covid-cxnet",
    citation="A. Haghanifar et al. COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep Learning. "
    "arXiv:2006.13807, 2020.",
    items=(*literature.ITEMS,),
    labels="covid-cxnet",
    phantom_overrides={"preprocessing.size": "64,64", "epochs": "2", "segmenter": "manifest"},
    seeds=10,
)
