"""COVIDx: the lists of COVID-Net, which name images of other data sets with their label and split.

Citation: Wang L, Lin ZQ, Wong A. COVID-Net: a tailored deep convolutional neural network design for detection of
    COVID-19 cases from chest X-ray images. Scientific Reports 10, 19549 (2020).
Licence: that of the data set each image is from (the last word of its line).
Where: https://github.com/lindawangg/COVID-Net (labels), https://www.kaggle.com/datasets/andyczhao/covidx-cxr2 (images)
Tree:
    train_COVIDx9A.txt, test_COVIDx9A.txt     PATIENT FILE LABEL SOURCE a line; or train.txt, val.txt, test.txt
    train/, test/                             the images; any folder below will do

'COVID-19' and 'positive' are `covid`, 'pneumonia' is `cap`, 'normal' is `normal`; 'negative' (not COVID-19, normal or
not) has no label. Most images are in other data sets of this list, so a patient has the name that the adapter of that
data set gives (`cohen_3`, `actualmed_ANON196`, `figure1_COVID-00001`, `rsna_...`): tables merged with those keep a
patient together. The images themselves are duplicates: run `covidcx data audit`. Where several versions of the lists
lie in the folder, option `version` picks one (`9A`).
"""

import re
from pathlib import Path

import numpy as np

from covidcx.data.sources.figure1 import patient_of
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, index_images, nothing_usable, read_text
from covidcx.errors import ManifestError, did_you_mean

SOURCE = Source(
    name="covidx",
    title="COVIDx lists (COVID-Net)",
    citation="Wang, Lin and Wong, COVID-Net, Scientific Reports 2020",
    licence="that of the data set each image is from",
    url="https://github.com/lindawangg/COVID-Net",
    images=None,
    labels=("covid", "cap", "normal"),
    views=("PA", "AP"),
    masks=(),
    tree=tree_of(__doc__),
    note="names images of cohen, figure1, actualmed, rsna, ricord and others",
)
_LABELS = {"COVID-19": "covid", "positive": "covid", "pneumonia": "cap", "normal": "normal", "negative": np.nan}
# The adapter of this package that reads the data set which COVIDx calls so.
_ORIGINS = {"cohen": "cohen", "actmed": "actualmed", "fig1": "figure1", "rsna": "rsna", "ricord": "ricord"}
_LIST = re.compile(r"(?P<split>train|val|test)(_COVIDx_?(CXR-)?(?P<version>\w+))?\.txt", re.IGNORECASE)
_LINE = re.compile(r"(?P<patient>\S+)\s+(?P<file>\S.*?\.\w+)\s+(?P<label>\S+)(\s+(?P<source>\S+))?")


def read(folder: Path, derived: Path | None = None, all_views: bool = False, version: str = "") -> Reading:
    """Read the images of the lists.

    Args:
        folder: see the tree above.
        derived: not used.
        all_views: not used; COVIDx tells no view.
        version: of the lists, such as "9A"; needed where several lie in the folder.
    """
    rows = Rows(SOURCE, folder, all_views)
    lists = _lists(folder, version)
    files = index_images(folder)
    for path, split in lists:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            found = _LINE.fullmatch(line.strip())
            if found is None:
                rows.skip(f"{path.name} line {number}", "is not PATIENT FILE LABEL SOURCE")
                continue
            name, origin = found["file"], found["source"] or ""
            patient = _patient(found["patient"], origin)
            known = _ORIGINS.get(origin)
            more = {"patient_id": f"{known}_{patient}"} if known else {}
            # The same file name may be in the folder of either split.
            own = folder / split / name
            rows.add(
                own if own.is_file() else files.get(name), name, f"{origin}-{patient}" if origin else patient,
                rows.label(found["label"], _LABELS), split=split, findings=(found["label"],), origin=origin, **more,
            )  # fmt: skip
    return rows.reading()


def _patient(name: str, origin: str) -> str:
    """Return the patient as the adapter of the original data set calls it."""
    if origin == "fig1":
        return patient_of(name)
    return f"MIDRC-RICORD-1C-{name}" if origin == "ricord" else name


def _lists(folder: Path, version: str) -> list[tuple[Path, str]]:
    found = {}
    for place in (folder, folder / "labels"):
        for path in sorted(place.glob("*.txt")) if place.is_dir() else ():
            name = _LIST.fullmatch(path.name)
            if name:
                found.setdefault((name["version"] or "").upper(), []).append((path, name["split"].lower()))
    if not found:
        raise nothing_usable(folder, SOURCE, "no list such as train_COVIDx9A.txt is there")
    if version:
        if version.upper() not in found:
            raise ManifestError(f"{folder} has no lists of version {version!r}.{did_you_mean(version, found)}")
        return found[version.upper()]
    if len(found) > 1:
        names = ", ".join(sorted(name or "(none)" for name in found))
        raise ManifestError(f"{folder} holds lists of several versions: {names}; choose one with the option version")
    return next(iter(found.values()))
