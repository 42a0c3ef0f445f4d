"""COVID-CXNet (Haghanifar et al. 2020), `papers/covid-cxnet.txt`."""

from covidcx.papers.covid_cxnet import (
    chexnet,
    confusion,
    curves,
    enhancement,
    heatmaps,
    literature,
    table_6,
    text_removal,
)
from covidcx.papers.item import Paper, in_order

__all__ = ["PAPER"]

PAPER = Paper(
    name="covid-cxnet",
    citation="A. Haghanifar et al. COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep Learning. "
    "arXiv:2006.13807, 2020.",
    items=in_order(
        confusion.ITEMS,
        table_6.ITEMS,
        literature.ITEMS,
        enhancement.ITEMS,
        curves.ITEMS,
        heatmaps.ITEMS,
        chexnet.ITEMS,
        text_removal.ITEMS,
    ),
    labels="covid-cxnet",
    phantom_overrides={"preprocessing.size": "128,128", "epochs": "3", "segmenter": "manifest"},
    seeds=10,
    patients=90,
    splits={"train": 0.42, "val": 0.12, "test": 0.2, "control": 0.06, "pediatric": 0.2},
    weights=("chexnet", "imagenet"),
)
