"""Opacities from boxes drawn solid (SIIM multi-class, section 2.2), for the SIIM and the RSNA challenge alike.

An image without a box has an empty mask where it was read as free of opacities. A study read as typical, indeterminate
or atypical whose image has no box (304 of SIIM's 4,598) was not drawn on: its mask is unknown and costs nothing, it is
not empty. So is that of another finding, unless a reader of the RSNA challenge said 'No Lung Opacity / Not Normal'.
"""

from typing import TYPE_CHECKING

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.data.regions import LUNG_BOXES, Region
from covidcx.training.heads.head import MaskHead

if TYPE_CHECKING:
    from covidcx.data.cache import PreparedSet

FREE = ("negative", "normal", "other")
NOT_NORMAL = "No Lung Opacity / Not Normal"
NOT_DENSE = (*LUNG_BOXES, "pneumothorax")
"""Findings whose boxes mark no opacity: the lungs, and air beside them."""

OPACITIES = Region(column=None, box=lambda finding: finding not in NOT_DENSE, absent=FREE)


class OpacityHead(MaskHead):
    """Opacities, unknown where nobody looked for them."""

    def known(self, manifest: Manifest) -> np.ndarray:
        """Return bool, N: rows with a box, or read as free of opacities."""
        return super().known(manifest) & ~unread(manifest)

    def targets(self, manifest: Manifest, prepared: "PreparedSet") -> np.ndarray:
        """Return int8, N x H x W x 1: 1 in a box, 0 outside, -1 where unknown."""
        values = super().targets(manifest, prepared)
        values[unread(manifest)] = -1
        return values


def unread(manifest: Manifest) -> np.ndarray:
    """Return bool, N: rows of another finding, without a box, that nobody read for opacities."""
    frame = manifest.frame
    other = (frame["label"] == "other") & (frame["rsna_class"] != NOT_NORMAL)
    return (other & ~frame["image"].isin(OPACITIES.boxes(manifest))).to_numpy(bool)


HEAD = OpacityHead("opacity", OPACITIES)
