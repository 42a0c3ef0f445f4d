"""V7 Labs COVID-19 chest X-ray data set: lung polygons on the cohen and Kermany images.

Citation: V7 Labs, COVID-19 X-ray dataset, github.com/v7labs/covid-19-xray-dataset, 2020.
Licence: CC BY 4.0 (annotations); images of cohen (per image) and Kermany (CC BY 4.0).
Where: https://github.com/v7labs/covid-19-xray-dataset (darwin dataset pull v7-labs/covid-19-chest-x-ray-dataset)
Tree:
    images/*.png, *.jpg, ...                       as `darwin dataset pull` leaves them
    releases/*/annotations/*.json                  Darwin JSON 1.0 or 2.0 (or annotations/*.json)
    annotations/all-images-semantic-masks/*.png    optional: the masks of the GitHub repository

Polygons `Lung` are drawn as 255 and `Ignore` (devices, marks) over them as 127, into `derived`; without it the masks of
the repository are used where they are. The masks go on behind the heart: `lung_mask_reader` is `v7`, and such masks
must not be pooled with those of Montgomery, Shenzhen or SCR, which end there.

Tags give label, view (View/PA, View/AP, View/AP_Supine, View/Lateral, ...), age (Age/...) and sex (Sex/M). COVID-19 is
`covid`, any other pneumonia `cap`, "No Pneumonia (healthy)" and "No Finding" `normal`. CT slices (tag CT, View/Axial,
View/Coronal) are left out. Patients: Kermany's file names hold them; the cohen images stand for their own, merge this
source with `cohen` only after `covidcx data audit`.

Layout after the data set's README, darwin-py (JSON) and readers of this export (tags, names of the images).
"""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from covidcx.data.sources.cohen import label_of
from covidcx.data.sources.derived import LUNG_MASKS, make
from covidcx.data.sources.headers import header, png_shape
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_XRAY, Rows, index_images, nothing_usable
from covidcx.progress import track

SOURCE = Source(
    name="v7",
    title="V7 Labs COVID-19 chest X-ray data set",
    citation="V7 Labs, github.com/v7labs/covid-19-xray-dataset, 2020",
    licence="CC BY 4.0 (annotations); images of cohen and Kermany",
    url="https://github.com/v7labs/covid-19-xray-dataset",
    images=6500,
    labels=("covid", "cap", "normal", "other"),
    views=("PA", "AP", "LL"),
    masks=("lung",),
    tree=tree_of(__doc__),
    note="Lung masks include the lung behind the heart. Images are those of cohen and kermany.",
)

OTHER_SIZE = "of another size than its annotation says (kept without a mask)"
BAD_JSON = "no Darwin JSON file of an image"
_LUNG, _IGNORE = "Lung", "Ignore"
_CT = {"CT", "View/Axial", "View/Coronal"}
_HEALTHY = {"No Pneumonia (healthy)", "No Finding"}
# Tags of the image, not of a finding; those of the patient hold a slash: 'Age/54', 'Survival/Y', 'ICU_admission/N'.
_NO_FINDING = {"X-ray", "CT"}
_KERMANY = re.compile(r"(person\d+)_(?:virus|bacteria)_\d+|((?:NORMAL2-)?IM-\d+)-\d+")
_SUBPIXEL_BITS = 4

_log = logging.getLogger(__name__)


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read every annotation file and find its image.

    Raises:
        ManifestError: no annotation or no image is there.
    """
    files = sorted({*folder.glob("releases/*/annotations/*.json"), *folder.glob("annotations/*.json")})
    if not files:
        raise nothing_usable(folder, SOURCE, "no annotation releases/*/annotations/*.json is there")
    images = index_images(folder / "images")
    by_stem = {Path(name).stem: path for name, path in reversed(images.items())}
    published = index_images(folder / "annotations", (".png",))
    rows = Rows(SOURCE, folder, all_views)
    done: set[str] = set()
    for path in track(files, "drawing masks"):
        # Releases overlap: covid-only is a part of all-images.
        if path.name in done:
            continue
        done.add(path.name)
        item = _item(path)
        if item is None:
            rows.skip(path.name, BAD_JSON)
            continue
        names, size, notes = item
        tags = [str(note["name"]) for note in notes if "tag" in note]
        if _CT & set(tags):
            rows.skip(names[0], NO_XRAY)
            continue
        image = next((images[name] for name in names if name in images), by_stem.get(Path(names[0]).stem))
        mask = _lungs(path, size, notes, derived, published) if image is not None else None
        head = header(image) if image is not None else None
        if head is not None and (head.height, head.width) != size:
            rows.skip(names[0], OTHER_SIZE)
            size, mask = (head.height, head.width), None
        parts = dict(tag.split("/", 1) for tag in tags if "/" in tag)
        age = re.search(r"\d+", parts.get("Age", ""))
        findings = [tag for tag in tags if "/" not in tag and tag not in _NO_FINDING]
        rows.add(
            image, names[0], _patient(names[-1]), _label(rows, findings), view=parts.get("View", np.nan),
            age=age[0] if age else np.nan, sex=parts.get("Sex", np.nan), findings=findings,
            width=size[1], height=size[0], lung_mask=mask or np.nan, lung_mask_reader=SOURCE.name if mask else np.nan,
        )  # fmt: skip
    return rows.reading("no image of an annotation is in images/")


def draw_masks(notes: Sequence[dict[str, object]], size: tuple[int, int]) -> np.ndarray:
    """Draw the polygons of an image.

    Args:
        notes: annotations of Darwin JSON.
        size: height and width.

    Returns:
        uint8, H x W: 255 lung, 127 ignored, 0 elsewhere.
    """
    mask = np.zeros(size, np.uint8)
    for name, level in ((_LUNG, 255), (_IGNORE, 127)):
        for note in notes:
            if note.get("name") == name:
                # Paths of one annotation are holes in each other (even-odd), annotations are not.
                paths = [np.rint(np.asarray(path) * 2**_SUBPIXEL_BITS).astype(np.int32) for path in _paths(note)]
                inside = np.zeros(size, np.uint8)
                if paths:
                    cv2.fillPoly(inside, paths, 1, shift=_SUBPIXEL_BITS)
                mask[inside > 0] = level
    return mask


def _item(path: Path) -> tuple[tuple[str, ...], tuple[int, int], list[dict[str, object]]] | None:
    """Return possible names of the image, its height and width, and its annotations; None for another file."""
    try:
        content = json.loads(path.read_text("utf-8"))
        notes = [note for note in content["annotations"] if isinstance(note, dict) and note.get("name")]
        if "image" in content:
            image = content["image"]
            stored, original = str(image["filename"]), str(image.get("original_filename") or image["filename"])
        else:
            image = content["item"]["slots"][0]
            stored, original = str(content["item"]["name"]), str(image["source_files"][0]["file_name"])
        size = int(image["height"]), int(image["width"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        _log.debug("%s: %s", path, error)
        return None
    # darwin-py has stored images under each of these names.
    names = (stored, f"{Path(stored).stem}_{original}", original)
    return names, size, notes if min(size) > 0 else []


def _paths(note: dict[str, object]) -> list[list[tuple[float, float]]]:
    """Return the paths of a polygon: Darwin JSON 1.0 (polygon.path, complex_polygon.path) or 2.0 (polygon.paths)."""
    shape = note.get("polygon") or note.get("complex_polygon") or {}
    paths = shape.get("paths") or shape.get("path") or []
    if paths and isinstance(paths[0], dict):
        paths = [paths]
    more = shape.get("additional_paths") or []
    found = [[(float(point["x"]), float(point["y"])) for point in path] for path in (*paths, *more)]
    return [path for path in found if len(path) > 2]


def _label(rows: Rows, findings: Iterable[str]) -> str | float:
    """Return the label of an image; a tag that nobody foresaw gives none, unless another says COVID-19 or pneumonia."""
    known = {}
    for tag in findings:
        label = "normal" if tag in _HEALTHY else "cap" if tag.lower().endswith("pneumonia") else label_of(tag)
        if label is None:
            rows.strange(tag)
        known[tag] = label
    labels = set(known.values())
    if labels & {"covid", "cap"}:
        return "covid" if "covid" in labels else "cap"
    return labels.pop() if len(labels) == 1 and None not in labels else np.nan


def _patient(name: str) -> str | float:
    """Return the patient in a Kermany file name, as person1 of person1_virus_6.jpeg; NaN for other images."""
    found = _KERMANY.match(name)
    return (found[1] or found[2]) if found else np.nan


def _lungs(
    path: Path, size: tuple[int, int], notes: list[dict[str, object]], derived: Path | None,
    published: dict[str, Path],
) -> Path | None:  # fmt: skip
    name = f"{path.stem}.png"
    if derived is None:
        return published[name] if name in published and png_shape(published[name]) == size else None
    if not any(note["name"] == _LUNG and _paths(note) for note in notes):
        return None
    return make(derived / LUNG_MASKS / name, (path,), lambda: draw_masks(notes, size))
