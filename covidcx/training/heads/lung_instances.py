"""Each lung as an instance, for Mask R-CNN as a comparison of COMiT-Net (section 4.1)."""

from covidcx.data.regions import LUNGS
from covidcx.training.heads.instances import InstanceHead

HEAD = InstanceHead("lung", LUNGS, most=2)
