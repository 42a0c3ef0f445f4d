"""COMiT-Net (Malhotra et al. 2021), `papers/comit-net.txt`."""

from covidcx.papers.comit_net import (
    ablation,
    classification,
    data_tables,
    external,
    insight,
    segmentation,
    single_tasks,
)
from covidcx.papers.item import Paper

__all__ = ["PAPER"]

PAPER = Paper(
    name="comit-net",
    citation="A. Malhotra et al. Multi-Task Driven Explainable Diagnosis of COVID-19 using Chest X-ray Images. "
    "arXiv:2008.03205, 2021.",
    items=(
        *data_tables.ITEMS, *classification.ITEMS, *ablation.ITEMS, *segmentation.ITEMS, *insight.ITEMS,
        *external.ITEMS, *single_tasks.ITEMS,
    ),
    labels="comit-net",
    # From a random start a few epochs need a higher rate than the paper's, and one optimiser for all.
    phantom_overrides={
        "preprocessing.size": "64,64", "epochs": "3", "model.kwargs.width": "0.25", "initial_weights": "random",
        "optimizer.name": "adam", "optimizer.learning_rate": "0.001", "optimizer.weight_decay": "0",
    },
    seeds=3,
)  # fmt: skip
