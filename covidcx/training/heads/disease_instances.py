"""Each diseased region as an instance, for Mask R-CNN as a comparison of COMiT-Net (section 4.1)."""

from covidcx.data.regions import FINDINGS
from covidcx.training.heads.instances import InstanceHead

HEAD = InstanceHead("disease", FINDINGS, most=8)
