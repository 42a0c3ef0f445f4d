"""Opacities from boxes drawn solid (SIIM multi-class, section 2.2), for the SIIM and the RSNA challenge alike.

An image without a box has an empty mask where its label says that there is no opacity. A study read as typical,
indeterminate or atypical whose image has no box (304 of SIIM's 4,598) was not drawn on: its mask is unknown and costs
nothing, it is not empty.
"""

from covidcx.data.regions import LUNG_BOXES, Region
from covidcx.training.heads.head import MaskHead

NO_OPACITY = ("negative", "normal", "other")
NOT_DENSE = (*LUNG_BOXES, "pneumothorax")
"""Findings whose boxes mark no opacity: the lungs, and air beside them."""

OPACITIES = Region(column=None, box=lambda finding: finding not in NOT_DENSE, absent=NO_OPACITY)

HEAD = MaskHead("opacity", OPACITIES)
