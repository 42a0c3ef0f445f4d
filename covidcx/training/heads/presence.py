"""Whether an image shows an opacity (RSNA challenge), for stage 2 of SIIM multi-class."""

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.training.heads.head import ClassHead
from covidcx.training.heads.opacity import FREE, OPACITIES, unread

CLASSES = ("absent", "present")


def truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 2, one-hot: present where a box is drawn or the label is `cap`; NaN where nothing tells."""
    frame = manifest.frame
    present = (frame["label"] == "cap") | frame["image"].isin(OPACITIES.boxes(manifest))
    absent = frame["label"].isin(FREE) & ~present & ~unread(manifest)
    known = (present | absent).to_numpy()
    return np.where(known[:, None], np.stack([absent, present], axis=1), np.nan).astype(np.float32)


HEAD = ClassHead("probabilities", CLASSES, truth)
