"""Shenzhen Hospital chest X-ray set: tuberculosis screening, with lung masks of another group for most images.

Citation: S. Jaeger et al., "Two public chest X-ray datasets for computer-aided screening of pulmonary diseases",
    Quantitative Imaging in Medicine and Surgery 4(6), 475-477, 2014; S. Stirenko et al., "Chest X-ray analysis of
    tuberculosis by deep learning with segmentation and augmentation", ELNANO 2018 (masks).
Licence: free for research and education, with citation (US National Library of Medicine).
Where: https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Shenzhen-Hospital-CXR-Set/ ; masks:
    https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask
Tree:
    ChinaSet_AllFiles/   (or its contents)
      CXR_png/CHNCXR_0001_0.png ... _1.png   0: normal, 1: tuberculosis
      ClinicalReadings/CHNCXR_0001_0.txt     male 45yrs / the reading
      mask/mask/CHNCXR_0001_0_mask.png       or mask/ or masks/: of 566 images

The masks end at the heart: `lung_mask_reader` is `shenzhen`, and such masks must not be pooled with those of `v7`,
which go on behind the heart. Tuberculosis is `other`. The projection of an image is not told (most are PA).

Layout after the data set's ReadMe and readers of it; the forms of the readings ('femal 32yrs', 'female24yrs',
'male , 29yrs', 'male 16month', 'female 64days') after a parser's tests on real ones.
"""

import re
from pathlib import Path

import numpy as np

from covidcx.data.sources.derived import LUNG_MASKS, fitted_mask
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows
from covidcx.data.sources.tuberculosis import BAD_MASK, base_of, pictures
from covidcx.errors import UnreadableImageError

SOURCE = Source(
    name="shenzhen",
    title="Shenzhen Hospital chest X-ray set",
    citation="Jaeger et al., Quant. Imaging Med. Surg. 4(6), 2014; Stirenko et al., ELNANO 2018",
    licence="free for research and education, with citation",
    url="https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Shenzhen-Hospital-CXR-Set/",
    images=662,
    labels=("normal", "other"),
    views=(),
    masks=("lung",),
    tree=tree_of(__doc__),
    note="Lung masks leave out the lung behind the heart; 96 images have none.",
)

BAD_NAME = "not named CHNCXR_<number>_<0 or 1>"
_NAME = re.compile(r"CHNCXR_\d+_([01])")
_MASKS = ("mask/mask", "mask", "masks")
_PERSON = re.compile(r"^(female|femal|male)\s*,?\s*(?:(\d+)\s*([a-z]*))?", re.IGNORECASE)
_UNITS = {"y": "Y", "m": "M", "w": "W", "d": "D"}


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read pictures, readings and masks.

    Raises:
        ManifestError: no picture is there.
    """
    base = base_of(folder, SOURCE, "ChinaSet_AllFiles")
    rows = Rows(SOURCE, folder, all_views)
    texts = {path.stem: path for path in sorted((base / "ClinicalReadings").glob("*.txt"))}
    for image, label, finding in pictures(rows, base, texts, _NAME, BAD_NAME, "reading masks"):
        text = texts.get(image.stem)
        sex, age, said = _reading(text) if text else (np.nan, np.nan, ())
        mask = _lungs(rows, image, base, folder, derived)
        rows.add(
            image, image.stem, np.nan, label, age=age, sex=sex, findings=(finding, *said), frontal=True,
            lung_mask=mask or np.nan, lung_mask_reader=SOURCE.name if mask else np.nan,
        )  # fmt: skip
    return rows.reading("no picture CHNCXR_*.png is in CXR_png")


def _reading(path: Path) -> tuple[object, object, tuple[str, ...]]:
    """Return sex, age and the lines of the reading; an age without a unit is not known."""
    lines = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    person = _PERSON.match(lines[0]) if lines else None
    if not person:
        return np.nan, np.nan, tuple(line.replace("|", "/") for line in lines)
    number, unit = person[2], _UNITS.get((person[3] or " ")[0].lower())
    sex = "M" if person[1].lower() == "male" else "F"
    said = tuple(line.replace("|", "/") for line in lines[1:])
    return sex, f"{number}{unit}" if number and unit else np.nan, said


def _lungs(rows: Rows, image: Path, base: Path, folder: Path, derived: Path | None) -> Path | None:
    name = f"{image.stem}_mask.png"
    # The masks come in an archive of their own, which may lie beside the pictures' folder.
    places = [root / sub / name for root in dict.fromkeys((base, folder)) for sub in _MASKS]
    mask = next((place for place in places if place.is_file()), None)
    if mask is None:
        return None
    try:
        return fitted_mask(mask, image, derived, f"{LUNG_MASKS}/{image.stem}.png")
    except UnreadableImageError:
        rows.skip(name, BAD_MASK)
        return None
