"""COMiT-Net's first task: the lungs, from lung masks or boxes drawn solid (sections 2.1 and 3.2)."""

from covidcx.data.regions import LUNGS
from covidcx.training.heads.head import MaskHead

HEAD = MaskHead("lung", LUNGS)
