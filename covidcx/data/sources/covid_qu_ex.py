"""COVID-QU-Ex: COVID-19, other infections and normal, with lung masks and, for a part, infection masks.

Citation: A. M. Tahir et al., "COVID-19 infection localization and severity grading from chest X-ray images", Computers
    in Biology and Medicine 139, 105002, 2021.
Licence: CC BY-SA 4.0 (page of the data set); images of their original authors.
Where: https://www.kaggle.com/datasets/anasmohammedtahir/covidqu
Tree:
    Lung Segmentation Data/Lung Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/images/*.png
        .../lung masks/*.png   of the same names
    Infection Segmentation Data/Infection Segmentation Data/{Train,Val,Test}/{COVID-19,Non-COVID,Normal}/images/*.png
        .../lung masks/*.png, .../infection masks/*.png
    (either part may be missing; the doubled folders may be single)

Non-COVID (viral or bacterial pneumonia) is `cap`. The split is the published one. An image that is in both parts under
the same class and name, with the same bytes, is one row with the split of the lung part and the mask of the infection
part. Infection masks are of COVID-19 only, so those of other classes, which are empty, are not read: an empty one does
not say that a pneumonia has no opacity. They do not tell ground glass from consolidation (255 is either). Patients are
not told; every image stands for its own.

Layout after loaders of this Kaggle set (version 7).
"""

import filecmp
from pathlib import Path

import numpy as np

from covidcx.data.sources.derived import LUNG_MASKS, fitted_mask
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, nothing_usable
from covidcx.errors import UnreadableImageError
from covidcx.progress import track

SOURCE = Source(
    name="covid_qu_ex",
    title="COVID-QU-Ex",
    citation="Tahir et al., Computers in Biology and Medicine 139, 105002, 2021",
    licence="CC BY-SA 4.0; images of their original authors",
    url="https://www.kaggle.com/datasets/anasmohammedtahir/covidqu",
    images=33920,
    labels=("covid", "cap", "normal"),
    views=(),
    masks=("lung", "disease"),
    tree=tree_of(__doc__),
    note="Gathered from other sets; the split is by image, not by patient.",
)

CLASSES = {"COVID-19": "covid", "Non-COVID": "cap", "Normal": "normal"}
SPLITS = {"Train": "train", "Val": "val", "Test": "test"}
LUNG_PART, INFECTION_PART = "Lung Segmentation Data", "Infection Segmentation Data"
NO_IMAGE = "mask without an image"
BAD_MASK = "with a lung mask that cannot be decoded (kept without it)"


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read both parts.

    Raises:
        ManifestError: no image of either part is there.
    """
    parts = {part: _part(folder, part) for part in (LUNG_PART, INFECTION_PART)}
    if not any(parts.values()):
        raise nothing_usable(folder, SOURCE, f"neither '{LUNG_PART}' nor '{INFECTION_PART}' is there")
    rows = Rows(SOURCE, folder, all_views)
    # (class, file name) -> folder of the class in the infection part
    infected: dict[tuple[str, str], Path] = {}
    if parts[INFECTION_PART]:
        for _, kind, place, image in _images(parts[INFECTION_PART]):
            infected[kind, image.name] = place
    for part, base in parts.items():
        for split, kind, place, image in track(_images(base) if base else [], "reading masks"):
            other = infected.get((kind, image.name))
            if part == LUNG_PART:
                both = other is not None and filecmp.cmp(image, other / "images" / image.name, shallow=False)
                if both:
                    del infected[kind, image.name]
            elif other is None:
                continue
            else:
                both = True
            name = f"{part}/{split}/{kind}/{image.stem}"
            lungs = _lungs(rows, image, place / "lung masks" / image.name, derived, name)
            disease = other / "infection masks" / image.name if both and kind == "COVID-19" else None
            rows.add(
                image, name, np.nan, CLASSES[kind], findings=[kind], split=SPLITS[split], frontal=True,
                lung_mask=lungs or np.nan, lung_mask_reader=SOURCE.name if lungs else np.nan,
                disease_mask=disease if disease and disease.is_file() else np.nan,
            )  # fmt: skip
        for mask in _orphans(base) if base else ():
            rows.skip(mask.relative_to(folder).as_posix(), NO_IMAGE)
    return rows.reading("no picture is in images/ of a class folder")


def _part(folder: Path, name: str) -> Path | None:
    for place in (folder / name / name, folder / name):
        if any((place / split).is_dir() for split in SPLITS):
            return place
    return None


def _images(base: Path) -> list[tuple[str, str, Path, Path]]:
    """Return split, class, folder of the class, and image of every image of a part."""
    return [
        (split, kind, base / split / kind, image)
        for split in SPLITS
        for kind in CLASSES
        for image in sorted((base / split / kind / "images").glob("*.png"))
    ]


def _orphans(base: Path) -> list[Path]:
    places = [base / split / kind for split in SPLITS for kind in CLASSES]
    masks = (mask for place in places for mask in sorted((place / "lung masks").glob("*.png")))
    return [mask for mask in masks if not (mask.parent.parent / "images" / mask.name).is_file()]


def _lungs(rows: Rows, image: Path, mask: Path, derived: Path | None, name: str) -> Path | None:
    if not mask.is_file():
        return None
    try:
        return fitted_mask(mask, image, derived, f"{LUNG_MASKS}/{name}.png")
    except UnreadableImageError:
        rows.skip(mask.as_posix(), BAD_MASK)
        return None
