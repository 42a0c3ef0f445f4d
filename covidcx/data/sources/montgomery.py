"""Montgomery County chest X-ray set: tuberculosis screening, with a mask of each lung.

Citation: S. Jaeger et al., "Two public chest X-ray datasets for computer-aided screening of pulmonary diseases",
    Quantitative Imaging in Medicine and Surgery 4(6), 475-477, 2014; S. Candemir et al., IEEE Transactions on Medical
    Imaging 33(2), 577-590, 2014 (masks).
Licence: free for research and education, with citation (US National Library of Medicine).
Where: https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Montgomery-County-CXR-Set/
Tree:
    MontgomerySet/   (or its contents)
      CXR_png/MCUCXR_0001_0.png ... _1.png   0: normal, 1: tuberculosis
      ClinicalReadings/MCUCXR_0001_0.txt     Patient's Sex: F / Patient's Age: 027Y / the reading
      ManualMask/leftMask/MCUCXR_0001_0.png  and rightMask/...

The two masks are joined into `derived`. They end at the heart: `lung_mask_reader` is `montgomery`, and such masks must
not be pooled with those of `v7`, which go on behind the heart. Readings that say "same pt as MCUCXR_0162_1" put their
images into one patient. Tuberculosis is `other`.

Layout after the data set's ReadMe and readers of it; the forms of the readings after a parser's tests on real ones.
"""

import re
from pathlib import Path

import numpy as np

from covidcx.data.sources.derived import LUNG_MASKS, join_masks, make, shape_of
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows
from covidcx.data.sources.tuberculosis import BAD_MASK, base_of, pictures
from covidcx.errors import UnreadableImageError

SOURCE = Source(
    name="montgomery",
    title="Montgomery County chest X-ray set",
    citation="Jaeger et al., Quant. Imaging Med. Surg. 4(6), 2014; Candemir et al., IEEE TMI 33(2), 2014",
    licence="free for research and education, with citation",
    url="https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Montgomery-County-CXR-Set/",
    images=138,
    labels=("normal", "other"),
    views=("PA",),
    masks=("lung",),
    tree=tree_of(__doc__),
    note="Lung masks leave out the lung behind the heart.",
)

BAD_NAME = "not named MCUCXR_<number>_<0 or 1>"
_NAME = re.compile(r"MCUCXR_\d+_([01])")
_SIDES = ("leftMask", "rightMask")


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read pictures, readings and masks.

    Raises:
        ManifestError: no picture is there.
    """
    base = base_of(folder, SOURCE, "MontgomerySet")
    rows = Rows(SOURCE, folder, all_views)
    readings = {path.stem: _reading(path) for path in sorted((base / "ClinicalReadings").glob("*.txt"))}
    for image, label, finding in pictures(rows, base, readings, _NAME, BAD_NAME, "joining masks"):
        sex, age, text = readings.get(image.stem, (np.nan, np.nan, ()))
        mask = _lungs(rows, image, base, derived)
        rows.add(
            image, image.stem, _patient(image.stem, readings), label, view="PA", age=age, sex=sex,
            findings=(finding, *text), lung_mask=mask or np.nan, lung_mask_reader=SOURCE.name if mask else np.nan,
        )  # fmt: skip
    return rows.reading("no picture MCUCXR_*.png is in CXR_png")


def _reading(path: Path) -> tuple[object, object, tuple[str, ...]]:
    """Return sex, age and the lines of the reading."""
    text = path.read_text("utf-8", errors="replace")
    sex = re.search(r"Patient's Sex:\s*(\w+)", text, re.IGNORECASE)
    age = re.search(r"Patient's Age:\s*(\w+)", text, re.IGNORECASE)
    lines = (line.strip().replace("|", "/") for line in text.splitlines() if "Patient's " not in line)
    return sex[1] if sex else np.nan, age[1] if age else np.nan, tuple(line for line in lines if line)


def _patient(stem: str, readings: dict[str, tuple[object, object, tuple[str, ...]]]) -> str:
    """Follow the references of readings to the first image of the same patient."""
    seen = [stem]
    while True:
        text = " ".join(readings.get(seen[-1], (None, None, ()))[2])
        same = re.search(r"same p(?:atien)?t as (MCUCXR_\d+_\d)", text, re.IGNORECASE)
        if not same or same[1] in seen:
            # Two readings that name each other: the first name stands for both.
            return min(seen) if same else seen[-1]
        seen.append(same[1])


def _lungs(rows: Rows, image: Path, base: Path, derived: Path | None) -> Path | None:
    """Join the masks of both lungs; None where one is missing or no file may be written."""
    sides = [base / "ManualMask" / side / image.name for side in _SIDES]
    if derived is None or not all(side.is_file() for side in sides):
        return None
    try:
        size = shape_of(image)
        return make(derived / LUNG_MASKS / image.name, (image, *sides), lambda: join_masks(sides, size))
    except UnreadableImageError:
        rows.skip(image.name, BAD_MASK)
        return None
