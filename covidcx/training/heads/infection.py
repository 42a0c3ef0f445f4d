"""COMiT-Net's fourth task: COVID-19, and diseases other than COVID-19 (section 2.2, equation 7)."""

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.training.heads.head import ClassHead
from covidcx.training.heads.healthy import contradicted

CLASSES = ("covid", "other")


def truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 2 of 0 and 1; NaN for a label that tells nothing about COVID-19, or a contradicted one."""
    label = manifest.frame["label"]
    table = np.full((len(label), 2), np.nan, np.float32)
    for name, values in {"normal": (0, 0), "cap": (0, 1), "other": (0, 1), "covid": (1, 0)}.items():
        table[(label == name).to_numpy()] = values
    table[contradicted(manifest), 1] = np.nan
    return table


HEAD = ClassHead("infection", CLASSES, truth, exclusive=False)
