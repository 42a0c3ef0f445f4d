"""MIDRC-RICORD-1c: chest radiographs of patients with COVID-19 confirmed by RT-PCR, read by radiologists.

Citation: E. Tsai et al., "The RSNA International COVID-19 Open Annotated Radiology Database (RICORD)", Radiology
    299(1), E204-E213, 2021; data doi:10.7937/91ah-v663 (The Cancer Imaging Archive).
Licence: CC BY-NC 4.0.
Where: https://www.cancerimagingarchive.net/collection/midrc-ricord-1c/
Tree:
    MIDRC-RICORD-1C/MIDRC-RICORD-1C-*/*/*/*.dcm   as the NBIA Data Retriever unpacks it, at any depth
    1c_mdai_rsna_project_*_annotations_labelgroup_all_*.json   MD.ai export with labelGroups and datasets,
        or *annotations*.csv made from it by mdai.common_utils.json_to_dataframe: StudyInstanceUID, labelName

Every patient had a positive RT-PCR, so every label is `covid`. What the readers saw (typical, indeterminate or
atypical appearance, negative for pneumonia, and the grade) is in `findings`, the label of most readers first.

Layout after readers of the export that match its annotations to DICOM by StudyInstanceUID, and COVID-Net's
create_ricord_dataset ("RICORD data is all COVID-19 positive images").
"""

import json
import logging
import struct
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import (
    NO_FILE,
    NO_XRAY,
    UNREADABLE,
    Rows,
    nothing_usable,
    optional_file,
    read_table,
    read_text,
)
from covidcx.errors import ManifestError
from covidcx.progress import track

SOURCE = Source(
    name="ricord",
    title="MIDRC-RICORD-1c",
    citation="Tsai et al., RICORD, Radiology 299(1), 2021; doi:10.7937/91ah-v663",
    licence="CC BY-NC 4.0",
    url="https://www.cancerimagingarchive.net/collection/midrc-ricord-1c/",
    images=1257,
    labels=("covid",),
    views=("PA", "AP", "LL"),
    masks=(),
    tree=tree_of(__doc__),
    note="SIIM-FISABIO-RSNA holds images of this set.",
)

_PREFIX = "MIDRC-RICORD-1C-"
_XRAY = ("CR", "DX")
_TAGS = (
    "PatientID", "PatientAge", "PatientSex", "Modality", "ViewPosition", "StudyInstanceUID", "SOPInstanceUID",
    "StudyDescription", "SeriesDescription",
)  # fmt: skip

_log = logging.getLogger(__name__)


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the headers of all DICOM files and the annotations of their studies.

    Raises:
        ManifestError: annotations or DICOM files are missing, or the annotations are not those of this data set.
    """
    # Lazy: pydicom is slow to import and the other adapters do without it.
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    said = _annotations(folder)
    rows = Rows(SOURCE, folder, all_views)
    seen: set[str] = set()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".dcm", ".dicom"))
    for path in track(paths, "reading headers"):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except (InvalidDicomError, OSError, EOFError, AttributeError, TypeError, ValueError, struct.error) as error:
            _log.debug("%s: %s", path, error)
            rows.skip(path.relative_to(folder).as_posix(), UNREADABLE)
            continue
        value = {tag: str(header.get(tag, "") or "").strip() for tag in _TAGS}
        study = value["StudyInstanceUID"]
        seen.add(study)
        name = value["SOPInstanceUID"] or path.relative_to(folder).as_posix()
        if value["Modality"] not in _XRAY:
            rows.skip(name, NO_XRAY)
            continue
        patient = value["PatientID"].removeprefix(_PREFIX) or np.nan
        rows.add(
            path, name, patient, "covid", view=_view(value), age=value["PatientAge"] or np.nan,
            sex=value["PatientSex"] or np.nan, findings=_ranked(said.get(study, Counter())), study=study or np.nan,
        )  # fmt: skip
    for study in sorted(set(said) - seen):
        rows.skip(study, NO_FILE)
    return rows.reading("no radiograph in DICOM format is there")


def _annotations(folder: Path) -> dict[str, Counter[str]]:
    """Return how many readers gave each label to each study."""
    path = optional_file(folder, "*1c_mdai*annotations*.json", "*/*1c_mdai*annotations*.json")
    said: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if path is not None:
        for study, label in _of_export(path):
            said[study][label] += 1
        return said
    path = optional_file(folder, "*annotations*.csv", "*/*annotations*.csv")
    if path is None:
        raise nothing_usable(folder, SOURCE, "the annotations (1c_mdai_*_annotations_*.json) are not there")
    table = read_table(path, ("StudyInstanceUID", "labelName"))
    for study, label in table[["StudyInstanceUID", "labelName"]].dropna().itertuples(index=False):
        said[study][label] += 1
    return said


def _of_export(path: Path) -> list[tuple[str, str]]:
    """Return study and label name of every annotation of an MD.ai export."""
    try:
        export = json.loads(read_text(path))
        names = {label["id"]: str(label["name"]) for group in export["labelGroups"] for label in group["labels"]}
        found = [
            (str(note["StudyInstanceUID"]), names[note["labelId"]])
            for dataset in export["datasets"]
            for note in dataset["annotations"]
            if note.get("StudyInstanceUID") and note.get("labelId") in names
        ]
    except ValueError as error:
        raise ManifestError(f"cannot read the annotations {path}: {error}; download them again") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"{path} is no MD.ai export: it lacks {error}; expected labelGroups[].labels[] with id and name, and "
            "datasets[].annotations[] with StudyInstanceUID and labelId"
        ) from error
    return found


def _ranked(labels: Counter[str]) -> list[str]:
    return sorted(labels, key=lambda label: (-labels[label], label))


def _view(value: dict[str, str]) -> str | float:
    """Return the projection: View Position (0018,5101), else a word of the series or study description."""
    if value["ViewPosition"]:
        return value["ViewPosition"]
    words = f"{value['SeriesDescription']} {value['StudyDescription']}".upper().replace("/", " ").split()
    found = {word for word in words if word in ("PA", "AP", "LAT", "LATERAL", "LL")}
    # 'PA AND LATERAL' describes a study of two images and tells nothing of this one.
    return found.pop() if len(found) == 1 else np.nan
