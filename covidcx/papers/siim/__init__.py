"""SIIM-FISABIO-RSNA multi-class (Ridzuan et al. 2022), `papers/siim-multiclass.txt`."""

from covidcx.papers.item import Paper
from covidcx.papers.siim import boxes, inpainting, label_efficiency, looks, tables

__all__ = ["PAPER"]

PAPER = Paper(
    name="siim",
    citation="M. Ridzuan et al. Self-supervision and Multi-task Learning: Challenges in Fine-Grained COVID-19 "
    "Multi-Class Classification from Chest X-rays. MIUA 2022.",
    items=(*tables.ITEMS, *inpainting.ITEMS, *looks.ITEMS[:3], *boxes.ITEMS, *looks.ITEMS[3:], *label_efficiency.ITEMS),
    labels="rsna",
    # Few layers: building the training graph of DenseNet-121 alone takes longer than the whole reduced training.
    phantom_overrides={
        "preprocessing.size": "64,64", "epochs": "6", "model.kwargs.blocks": "2,2,2,2", "model.kwargs.growth": "16",
    },
    patients=400,
)  # fmt: skip
