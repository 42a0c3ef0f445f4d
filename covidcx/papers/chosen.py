"""Which rows a figure shows."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def chosen(frame: "pd.DataFrame", count: int, seed: int = 0) -> "pd.DataFrame":
    """Draw rows by a hash of their image's name and the seed, one a patient as long as there are enough.

    Nobody picks the pictures of a figure by what they show.

    Args:
        frame: rows of a manifest.
        count: how many at most.
        seed: another seed, other rows.

    Returns:
        The rows drawn.
    """
    order = [hashlib.sha256(f"{seed}|{image}".encode()).hexdigest() for image in frame["image"]]
    ranked = frame.iloc[np.argsort(order)]
    again = ranked["patient_id"].duplicated() & ranked["patient_id"].notna()
    return ranked.iloc[np.argsort(again.to_numpy(), kind="stable")].head(count)
