"""What the DICOM objects of one finding share: UIDs and numbers, codes, who made them, and what they must say."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, generate_uid

from covidcx import __version__
from covidcx.bundle import Bundle
from covidcx.edge.runtime import Analysis
from covidcx.imaging.resize import to_uint8

NOT_DIAGNOSTIC = "NOT FOR DIAGNOSTIC USE"
MAKER = "covidcx"

SCHEME = "99COVIDCX"
"""Private coding scheme, for what no public terminology holds: a network's probabilities and its operating point."""
SCHEME_NAME = "covidcx private codes"

LABEL_CODES = {
    "normal": Code("17621005", "SCT", "Normal"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "cap": Code("385093006", "SCT", "Community acquired pneumonia"),
    "covid": Code("840539006", "SCT", "COVID-19"),
}
"""SNOMED CT codes of the classes whose names are fixed in covidcx; any other label gets a private code."""

KINDS = {"sc": (901, "overlay picture"), "seg": (902, "lung segmentation"), "sr": (903, "finding report")}
"""Per kind of object: what is added to 1000 times the source's series number, and what its series is called."""


@dataclass(frozen=True, eq=False)
class DicomJob:
    """One finding that is to become DICOM objects.

    Attributes:
        header: of the source, from `read_header`.
        analysis: what was found.
        bundle: the classifier.
        segmenter: the lung segmenter, or None.
        disease: bool, H x W, upright as the analysed radiograph: diseased regions, or None where the model marks none.
        created: when the objects were first made.
    """

    header: Dataset
    analysis: Analysis
    bundle: Bundle
    segmenter: Bundle | None
    disease: np.ndarray | None
    created: datetime

    @property
    def checksum(self) -> str:
        """Names everything an answer depends on, like `Predictor.checksum`."""
        return "+".join(b.checksum for b in (self.bundle, self.segmenter) if b is not None)

    def uid(self, kind: str) -> UID:
        """Return the same UID whenever the same image meets the same networks and covidcx version.

        A repeated run thus replaces an object in the archive instead of adding one. The pixels count beside the
        source's own UID, because a UID must never stand for two contents, whatever the source's writer did.
        """
        return self._derive("instance", kind, self.header.SOPInstanceUID, self._content)

    @cached_property
    def _content(self) -> str:
        # Eight bits, since the last digits of a float may differ between machines.
        digest = hashlib.sha256(to_uint8(self.analysis.radiograph.pixels))
        if self.disease is not None:
            digest.update(np.packbits(self.disease))
        return digest.hexdigest()

    def series_uid(self, kind: str) -> UID:
        """Return the UID of the series that holds this kind of object for every image of the source's series."""
        return self._derive("series", kind, self.header.StudyInstanceUID, self.header.SeriesInstanceUID)

    def tracking_uid(self, what: str) -> UID:
        """Return the UID by which segmentation and report name the same region or measurement."""
        return self._derive("tracking", what, self.header.SOPInstanceUID)

    def device_uid(self) -> UID:
        """Return the UID of the observer: this version of covidcx with these networks."""
        return self._derive("device")

    def _derive(self, *parts: str) -> UID:
        return generate_uid(entropy_srcs=["|".join(("covidcx dicom", *parts, self.checksum, __version__))])

    def numbers(self, kind: str) -> dict[str, Any]:
        """Return the UIDs and numbers of an object as highdicom's constructors name them."""
        series = int(self.header.get("SeriesNumber") or 0)
        return {
            "series_instance_uid": self.series_uid(kind),
            "series_number": 1000 * (series if series <= 2_000_000 else 0) + KINDS[kind][0],
            "sop_instance_uid": self.uid(kind),
            "instance_number": max(1, int(self.header.get("InstanceNumber") or 1)),
            "series_description": f"{NOT_DIAGNOSTIC}: {MAKER} {KINDS[kind][1]}",
        }

    def equipment(self) -> dict[str, str]:
        """Return who made an object, as highdicom's constructors name it; the checksum is its serial number."""
        return {
            "manufacturer": MAKER,
            "manufacturer_model_name": self.bundle.name[:64],
            "software_versions": __version__,
            "device_serial_number": self.bundle.checksum,
        }

    def finish(self, made: Dataset) -> Dataset:
        """Set the character set, and the times of highdicom's clock: a repeated run is to write the same bytes."""
        made.SpecificCharacterSet = self.header.SpecificCharacterSet
        date, time = self.created.strftime("%Y%m%d"), self.created.strftime("%H%M%S")
        for name in ("InstanceCreation{}", "Content{}", "{}OfSecondaryCapture"):
            for kind, value in (("Date", date), ("Time", time)):
                if name.format(kind) in made:
                    setattr(made, name.format(kind), value)
        for item in made.get("ContributingEquipmentSequence") or []:
            if "ContributionDateTime" in item:
                item.ContributionDateTime = date + time
        return made


def algorithm_parameters(bundle: Bundle) -> list[str]:
    """Return the lines that identify a bundle: its checksum, temperature and operating points."""
    lines = [f"bundle sha256 {bundle.checksum}"]
    if bundle.classifies:
        lines.append(f"temperature {bundle.temperature:.6g}")
    for label, point in bundle.operating_points.items():
        lines.append(
            f"operating point {label} >= {float(point['threshold']):.6g} ({point.get('rule', 'no rule given')})"
        )
    return lines


def label_code(label: str) -> Code:
    """Return the code of a class."""
    return LABEL_CODES.get(label.lower()) or private_code("CLASS", label, label)


def private_code(kind: str, name: str, meaning: str) -> Code:
    """Return a code of the private scheme; a name too long for a code value (16 characters) is shortened by hashing.

    Args:
        kind: what is coded; at most five letters.
        name: tells codes of a kind apart.
        meaning: for the reader.
    """
    value = f"{kind}-{name.upper()}"
    if len(value) > 16 or not value.isascii():
        value = f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[: 15 - len(kind)].upper()}"
    return Code(value, SCHEME, meaning[:64])


def statement(job: DicomJob) -> str:
    """Return the sentence that every object carries."""
    return f"{NOT_DIAGNOSTIC}. {job.analysis.finding.disclaimer}"
