"""SIIM-FISABIO-RSNA multi-class (Ridzuan et al. 2022), `papers/siim-multiclass.txt`."""

from covidcx.papers.item import Paper
from covidcx.papers.siim import boxes, inpainting, label_efficiency, looks, tables
from covidcx.papers.siim.label_efficiency import SEEDS

__all__ = ["PAPER"]

PAPER = Paper(
    name="siim",
    citation="M. Ridzuan et al. Self-supervision and Multi-task Learning: Challenges in Fine-Grained COVID-19 "
    "Multi-Class Classification from Chest X-rays. MIUA 2022.",
    items=(*tables.ITEMS, *inpainting.ITEMS, *looks.ITEMS[:3], *boxes.ITEMS, *looks.ITEMS[3:], *label_efficiency.ITEMS),
    labels="rsna",
    # Few layers: building the training graph of DenseNet-121 alone takes longer than the whole reduced training. One
    # learning rate for all, falling: the paper's 1e-4 for the multi-task rows moves nothing in so few steps.
    phantom_overrides={
        "preprocessing.size": "64,64", "epochs": "8", "model.kwargs.blocks": "1,2,2,1", "model.kwargs.growth": "16",
        "optimizer.learning_rate": "1e-3", "optimizer.schedule": "cosine",
    },
    # Of our own label-efficiency; the paper repeats nothing but its folds.
    seeds=SEEDS,
    patients=400,
)  # fmt: skip
