"""What covidcx says about one radiograph."""

from dataclasses import asdict, dataclass, field
from typing import Any

DISCLAIMER = "Decision support for research. Not a medical device; not for diagnostic use."


@dataclass(frozen=True)
class Finding:
    """The answer for one file: probabilities, the class at the operating point, or the reason it was refused.

    Attributes:
        source: how the caller refers to the file (a name relative to the input folder, never patient data).
        status: `"ok"`, `"refused"` (a sound file that is no frontal chest radiograph) or `"error"` (a bad file).
        label: class at the operating point; None unless `status` is `"ok"`.
        probabilities: calibrated probability per label, summing to one.
        reason: one line that says why there is no label; empty when there is one.
        lung_area: share of the image that the lung segmenter marked, 0 to 1.
        view: projection named by the file (`PA`, `AP`) or None.
        bundle: name of the bundle that answered.
        seconds: wall time from opening the file to the answer.
        warnings: remarks that do not stop an answer, such as a very small lung area.
        disclaimer: always carried along.
        frontal: probability that the image is an upright frontal chest radiograph, from the gate; None without one.
    """

    source: str
    status: str
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    lung_area: float | None = None
    view: str | None = None
    bundle: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    disclaimer: str = DISCLAIMER
    frontal: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-ready dictionary."""
        return asdict(self)
