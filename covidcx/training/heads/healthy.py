"""COMiT-Net's third task: healthy or unhealthy (section 2.2, equation 5)."""

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.training.heads.head import ClassHead

CLASSES = ("unhealthy", "normal")


def truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 2, one-hot; NaN where it is not known whether the image looks healthy.

    A patient with COVID-19 whose image shows no abnormality, and an image that one reader calls diseased and another
    normal, are not known.
    """
    frame = manifest.frame
    label, findings = frame["label"], frame["findings"].fillna("").astype(str).str.lower()
    healthy = (label == "normal").to_numpy()
    unseen = findings.str.contains("no visible abnormality").to_numpy(bool)
    unhealthy = label.isin(["cap", "covid", "other"]).to_numpy() & ~unseen & ~contradicted(manifest)
    known = healthy | unhealthy
    return np.where(known[:, None], np.stack([unhealthy, healthy], axis=1), np.nan).astype(np.float32)


def contradicted(manifest: Manifest) -> np.ndarray:
    """Return bool, N: rows of another finding that the second, radiologist reading calls normal."""
    frame = manifest.frame
    return ((frame["label"] == "other") & (frame["rsna_class"] == "Normal")).to_numpy()


HEAD = ClassHead("healthy", CLASSES, truth)
