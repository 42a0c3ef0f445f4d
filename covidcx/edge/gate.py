"""The gate in front of every prediction: is this an upright frontal chest radiograph, and if not, what else?"""

from dataclasses import dataclass

import numpy as np

from covidcx.bundle import GATE_LABEL, Bundle, calibrate, decide
from covidcx.edge.lite import load_network
from covidcx.errors import BundleError, UnsupportedImageError
from covidcx.imaging.preprocessing import prepare
from covidcx.imaging.resize import SummedImage

REASONS = {
    "sideways": "the image lies on its side (rotated by 90 degrees): turn it upright",
    "upside_down": "the image is upside down (rotated by 180 degrees): turn it upright",
    "inverted": "the grey levels are inverted (a negative, bone is dark): invert them",
    "lateral": "a lateral projection: give a frontal one (PA or AP)",
    "no_chest": "no chest radiograph: give an upright frontal chest radiograph, the whole of it",
}
"""What is said of each class that does not pass."""


@dataclass(frozen=True)
class Verdict:
    """What the gate makes of one image.

    Attributes:
        frontal: calibrated probability of an upright frontal chest radiograph.
        label: `frontal`, or the most probable of the other classes where `frontal` is below the operating point.
        reason: one line that says why the image is refused; empty where it passes.
    """

    frontal: float
    label: str
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the image may be analysed."""
        return not self.reason


class Gate:
    """A gate's bundle, ready to run.

    Example:
        >>> gate = Gate(Bundle.open("frontal-gate"))  # doctest: +SKIP
        >>> gate(np.zeros((512, 512), np.float32)).reason  # doctest: +SKIP
        'no chest radiograph: give an upright frontal chest radiograph, the whole of it'
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load the gate's network.

        Args:
            bundle: a classifier with the label `frontal` and its operating point, such as `frontal-gate`.
            threads: threads per inference; the network is too small for more than one to help.

        Raises:
            BundleError: it has no such label or no operating point for it.
        """
        if GATE_LABEL not in bundle.labels or GATE_LABEL not in bundle.operating_points:
            raise BundleError(
                f"bundle {bundle.name!r} has the labels {bundle.labels} and operating points for "
                f"{tuple(bundle.operating_points)}; a gate needs {GATE_LABEL!r} in both"
            )
        self.bundle = bundle
        self._network = load_network(bundle, "probabilities", threads)

    def __call__(self, pixels: np.ndarray | SummedImage) -> Verdict:
        """Look at one image.

        Args:
            pixels: float32, H x W, 0..1, or the same summed up.

        Returns:
            The verdict.
        """
        prepared = prepare(pixels, self.bundle.preprocessing)
        probabilities = calibrate(self._network(prepared.network_input)["probabilities"], self.bundle.temperature)
        label = decide(probabilities, self.bundle.labels, self.bundle.operating_points)[0]
        frontal = float(probabilities[0, self.bundle.labels.index(GATE_LABEL)])
        reason = "" if label == GATE_LABEL else REASONS.get(label, f"no upright frontal chest radiograph but {label}")
        return Verdict(frontal, label, reason)

    def check(self, pixels: np.ndarray | SummedImage) -> float:
        """Let an image pass or refuse it.

        Args:
            pixels: float32, H x W, 0..1, or the same summed up.

        Returns:
            Probability of an upright frontal chest radiograph.

        Raises:
            UnsupportedImageError: it is none; the message says what it seems to be.
        """
        verdict = self(pixels)
        if not verdict.passed:
            threshold = self.bundle.operating_points[GATE_LABEL]["threshold"]
            raise UnsupportedImageError(
                f"{verdict.reason} (upright frontal chest radiograph with a probability of {verdict.frontal:.3f}, at "
                f"least {threshold:.3f} is expected)"
            )
        return verdict.frontal
