"""Findings mined from reports, several an image: ChestX-ray14's or CheXpert's (stage 1 of SIIM multi-class).

A source tells what it looked for: an image of a manifest is known where all that its column `findings` holds belongs
to the vocabulary, or is 'No Finding'. What CheXpert leaves uncertain ('Edema?') is missing.
"""

import numpy as np

from covidcx.data.manifest import Manifest
from covidcx.data.sources.chexpert import FINDINGS as CHEXPERT
from covidcx.data.sources.nih import FINDINGS as NIH
from covidcx.training.heads.head import ClassHead

NONE = "No Finding"


def truth_of(manifest: Manifest, vocabulary: tuple[str, ...]) -> np.ndarray:
    """Return which findings each image has.

    Args:
        manifest: with the column `findings`, joined by '|'; an uncertain one ends with '?'.
        vocabulary: K findings.

    Returns:
        float32, N x K: 1, 0, or NaN where uncertain, empty, or of another vocabulary.
    """
    table = np.full((len(manifest), len(vocabulary)), np.nan, np.float32)
    for i, text in enumerate(manifest.frame["findings"]):
        found = set(text.split("|")) if isinstance(text, str) else set()
        if not found or not {name.rstrip("?") for name in found} <= {*vocabulary, NONE}:
            continue
        table[i] = [np.nan if f"{name}?" in found else float(name in found) for name in vocabulary]
    return table


def nih_truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 14, in the order of ChestX-ray14."""
    return truth_of(manifest, NIH)


def chexpert_truth(manifest: Manifest) -> np.ndarray:
    """Return float32, N x 12: CheXpert's observations but No Finding and Support Devices."""
    return truth_of(manifest, CHEXPERT)


HEAD = ClassHead("probabilities", NIH, nih_truth, exclusive=False)
CHEXPERT_HEAD = ClassHead("probabilities", CHEXPERT, chexpert_truth, exclusive=False)
