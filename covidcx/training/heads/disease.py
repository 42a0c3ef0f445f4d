"""COMiT-Net's second task: the diseased region, from disease masks or boxes of findings (sections 2.1 and 3.2)."""

from covidcx.data.regions import FINDINGS
from covidcx.training.heads.head import MaskHead

HEAD = MaskHead("disease", FINDINGS)
