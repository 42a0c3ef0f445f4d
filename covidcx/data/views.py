"""`write_views`: from frontal chest radiographs a table of everything that the gate has to tell from them.

Turned and inverted images are made from the frontal ones and stay in their patient's split. Laterals are drawn
(`covidcx.data.phantom.lateral`): no real ones were at hand. What is no chest is drawn as well
(`covidcx.data.phantom.others`) or comes from installed packages and a user's folder (`covidcx.data.non_chests`).
"""

import csv
import hashlib
import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from covidcx.atomic import write_atomic
from covidcx.data.manifest import VIEW_LABELS, Manifest
from covidcx.data.non_chests import OtherPicture, folder_pictures, packaged_pictures
from covidcx.data.phantom import LABELS as PHANTOM_LABELS
from covidcx.data.phantom import phantom
from covidcx.data.phantom.lateral import lateral
from covidcx.data.phantom.others import HELD_OUT, draw_other, families
from covidcx.errors import ImageError, ManifestError
from covidcx.imaging.picture import MIN_SIDE
from covidcx.imaging.read import read
from covidcx.imaging.resize import resize_area, to_uint8
from covidcx.progress import track

log = logging.getLogger(__name__)

FRONTAL, SIDEWAYS, UPSIDE_DOWN, INVERTED, LATERAL, NO_CHEST = VIEW_LABELS
SIDE = 192
"""Longest side of the written images, three times what the gate looks at."""
SHARE = 0.6
"""Share of the frontal images from which each kind of view is made."""
PARTS = 0.12
"""Share of the frontal images of which a half or a corner is made: it is no chest radiograph any more."""
VARIED = 0.6
"""Share of the frontal images to learn from that are also written with frames, white-outs, tilts, cuts and marks: they
are still frontal."""
LEARNED = ("train", "pediatric")
"""Splits to learn from; in the others the frontal images are left as they are."""
DRAWN = {"train": 60, "val": 8, "test": 15}
"""Pictures of each drawn family; a family of `HELD_OUT` is drawn for test only."""
LATERALS = {"train": 600, "val": 60, "test": 80}
PHANTOMS = {"train": 180, "val": 20, "test": 40}
CROPS = {"train": 14, "val": 6, "test": 6}
"""Pictures made from each real picture that is no chest: the whole of it, and random crops."""
_OWN = "views-"  # how the patients of drawn images are named
_COLUMNS = ("image", "patient_id", "label", "split", "source", "source_id", "licence", "width", "height")


@dataclass(frozen=True, eq=False)
class View:
    """One image of the table.

    Attributes:
        pixels: float32, H x W, 0..1.
        label: one of `VIEW_LABELS`.
        split: that of the patient or picture it is made from.
        patient: the patient or picture it is made from.
        source: data set, or kind and name of the picture.
        licence: of the image it is made from.
    """

    pixels: np.ndarray
    label: str
    split: str
    patient: str
    source: str
    licence: str = ""


def write_views(
    manifest: str | Path, out: str | Path, seed: int = 0, others: str | Path | None = None, drawn: float = 1.0
) -> Path:
    """Write the images and the manifest on which the gate is trained and tested.

    Args:
        manifest: table of upright frontal chest radiographs; its splits are kept.
        out: folder for `images/` and `manifest.csv`.
        seed: of every random choice.
        others: folder of further pictures that are no chest radiographs, or None.
        drawn: factor on the number of drawn pictures; below 1 for quick trials.

    Returns:
        Path of the manifest; label is one of `covidcx.data.manifest.VIEW_LABELS`.

    Raises:
        ManifestError: the table is unusable, or none of its images can be read.
    """
    out, table = Path(out), Manifest.read(manifest)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows, numbers = [], Counter()
    for view in chain(_derived(table, seed), other_views(seed, others, drawn)):
        if not rows and view.patient.startswith(_OWN):
            raise ManifestError(f"none of the {len(table)} images of {table.path} can be used; check paths and splits")
        rows.append(_save(out, view, numbers[view.patient]))
        numbers[view.patient] += 1
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(out / "manifest.csv", text.getvalue().encode())
    return out / "manifest.csv"


def other_views(seed: int = 0, others: str | Path | None = None, drawn: float = 1.0) -> Iterator[View]:
    """Make everything that needs no radiographs: phantoms and their views, laterals, and what is no chest.

    Args:
        seed: of every random choice.
        others: folder of further pictures that are no chest radiographs, or None.
        drawn: factor on the number of drawn pictures.

    Returns:
        The views, of the splits `train`, `val` and `test`.
    """
    own = folder_pictures(Path(others)) if others is not None else ()
    return chain(
        _phantoms(seed, drawn), _laterals(seed, drawn), _drawn(seed, drawn),
        _real_others(chain(packaged_pictures(), own), seed),
    )  # fmt: skip


def turned(pixels: np.ndarray, quarters: int) -> np.ndarray:
    """Turn an image by a number of quarters, anticlockwise."""
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _views_of(pixels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Make the views of one frontal image; the image itself comes first."""
    yield FRONTAL, pixels
    if rng.random() < SHARE:
        yield SIDEWAYS, turned(pixels, int(rng.choice([1, 3])))
    if rng.random() < SHARE:
        yield UPSIDE_DOWN, turned(pixels, 2)
    if rng.random() < SHARE:
        # Half of the inverted ones are turned as well: the inversion is the fault that is named.
        yield INVERTED, turned(1 - pixels, int(rng.choice([0, 0, 0, 1, 2, 3])))
    if rng.random() < PARTS:
        yield NO_CHEST, _shrunk(_part(pixels, rng))


def _part(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut out one half of the chest, or a corner of it."""
    height, width = pixels.shape
    if rng.random() < 0.5:
        kept = round(width * rng.uniform(0.36, 0.48))
        left = 0 if rng.random() < 0.5 else width - kept
        return np.ascontiguousarray(pixels[:, left : left + kept])
    tall, wide = (round(side * rng.uniform(0.25, 0.42)) for side in (height, width))
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    return np.ascontiguousarray(pixels[top : top + tall, left : left + wide])


def _varied(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change what a frontal image may show without becoming another view: one or two of the changes below."""
    changes = (_framed, _whitened, _tilted, _cut, _marked)
    for number in rng.choice(len(changes), rng.integers(1, 3), replace=False, p=(0.3, 0.3, 0.15, 0.15, 0.1)):
        pixels = changes[number](pixels, rng)
    return np.clip(pixels, 0, 1).astype(np.float32)


def _framed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape
    top, bottom = (rng.uniform(0, 0.2, 2) * height * (rng.random() < 0.7)).astype(int)
    left, right = (rng.uniform(0, 0.3, 2) * width * (rng.random() < 0.8)).astype(int)
    level = float(rng.choice([0.0, 1.0, rng.uniform(0, 1)]))
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=level)


def _whitened(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A white-out: one lung, the bases or both lungs filled to the level of soft tissue."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    y, x = y / pixels.shape[0], x / pixels.shape[1]
    side = x if rng.random() < 0.5 else 1 - x
    kind = rng.random()
    if kind < 0.5:
        inside = (side < rng.uniform(0.35, 0.5)) & (y < rng.uniform(0.6, 1.3))
    elif kind < 0.8:
        inside = y > rng.uniform(0.35, 0.6)
    else:
        inside = np.hypot((side - 0.3) / 0.25, (y - 0.5) / 0.45) < 1
    soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), rng.uniform(0.01, 0.08) * max(pixels.shape))
    level = np.percentile(pixels, rng.uniform(65, 97)) * rng.uniform(0.9, 1.1)
    filled = np.maximum(pixels, level + 0.15 * (pixels - pixels.mean()))
    return pixels + soft * rng.uniform(0.5, 1.0) * (filled - pixels)


def _tilted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), rng.uniform(0.8, 1.1))
    return cv2.warpAffine(pixels, matrix, (width, height), borderValue=float(rng.choice([0.0, 1.0, 0.5])))


def _cut(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kept = (np.array(pixels.shape) * rng.uniform(0.72, 0.95, 2)).astype(int)
    top, left = (int(rng.integers(0, room + 1)) for room in np.array(pixels.shape) - kept)
    return np.ascontiguousarray(pixels[top : top + kept[0], left : left + kept[1]])


def _marked(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    marks = np.zeros(pixels.shape, np.uint8)
    height, width = pixels.shape
    for _ in range(rng.integers(2, 9)):
        one, other = ((int(rng.integers(width)), int(rng.integers(height))) for _ in range(2))
        kind = rng.integers(3)
        if kind == 0:
            text = str(rng.choice(["R", "L", "AP", "PORTABLE", "12.03.2020", "SUPINE"]))
            cv2.putText(marks, text, one, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 1.0), 255, 1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(marks, one, other, 255, 1)
        else:
            cv2.arrowedLine(marks, one, other, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    return np.where(marks > 0, np.float32(rng.choice([0.0, 1.0, 1.0])), pixels)


def _derived(table: Manifest, seed: int) -> Iterator[View]:
    frame = table.frame
    for number in track(range(len(frame)), "views"):
        row = frame.iloc[number]
        patient, split = row["patient_id"], row["split"]
        if not isinstance(patient, str) or not isinstance(split, str):
            continue  # without a patient and a split nobody can tell where a view may go
        try:
            pixels = _shrunk(read(table.file(row["image"])).pixels)
        except ImageError as error:
            log.warning("left out: %s", error)
            continue
        licence = row["licence"] if isinstance(row["licence"], str) else ""
        source = row["source"] if isinstance(row["source"], str) else "unnamed"
        # Seeded by the image's name: another order or selection of rows gives the same views.
        rng = np.random.default_rng([seed, 1, *hashlib.sha256(row["image"].encode()).digest()[:8]])
        for label, made in _views_of(pixels, rng):
            yield View(made, label, split, patient, source, licence)
        if split in LEARNED and rng.random() < VARIED:
            yield View(_varied(pixels, rng), FRONTAL, split, patient, source, licence)


def _phantoms(seed: int, drawn: float) -> Iterator[View]:
    for split, number in _numbered(PHANTOMS, drawn):
        rng = np.random.default_rng([seed, 2, number])
        made = phantom(PHANTOM_LABELS[number % len(PHANTOM_LABELS)], int(rng.integers(2**31)), SIDE)
        for label, pixels in _views_of(made.pixels, rng):
            yield View(pixels, label, split, f"{_OWN}phantom-{number}", "phantom")


def _laterals(seed: int, drawn: float) -> Iterator[View]:
    for split, number in _numbered(LATERALS, drawn):
        rng = np.random.default_rng([seed, 3, number])
        pixels = lateral(int(rng.integers(2**31)), SIDE)
        # Lateral images are often taller than wide; the network sees every image as a square.
        kept = round(SIDE * rng.uniform(0.65, 1.0))
        left = int(rng.integers(0, SIDE - kept + 1))
        yield View(pixels[:, left : left + kept], LATERAL, split, f"{_OWN}lateral-{number}", "phantom-lateral")


def _drawn(seed: int, drawn: float) -> Iterator[View]:
    for family in families():
        counts = {split: count for split, count in DRAWN.items() if split == "test" or family not in HELD_OUT}
        for split, number in _numbered(counts, drawn):
            rng = np.random.default_rng([seed, 4, number])
            pixels = draw_other(family, int(rng.integers(2**31)), SIDE)
            yield View(pixels, NO_CHEST, split, f"{_OWN}{family}-{number}", f"drawn-{family}")


def _real_others(pictures: Iterable[OtherPicture], seed: int) -> Iterator[View]:
    for position, picture in enumerate(pictures):
        rng = np.random.default_rng([seed, 5, position])
        yield View(_shrunk(picture.pixels), NO_CHEST, picture.split, picture.source, picture.source)
        for _ in range(CROPS[picture.split] - 1):
            pixels = turned(_crop(picture.pixels, rng), int(rng.integers(4)))
            pixels = 1 - pixels if rng.random() < 0.25 else pixels
            yield View(_shrunk(pixels), NO_CHEST, picture.split, picture.source, picture.source)


def _crop(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tall, wide = (max(MIN_SIDE, round(side * rng.uniform(0.45, 1.0))) for side in pixels.shape)
    top, left = (int(rng.integers(0, max(1, side - kept + 1))) for side, kept in zip(pixels.shape, (tall, wide),
                                                                                     strict=True))  # fmt: skip
    return np.ascontiguousarray(pixels[top : top + tall, left : left + wide])


def _numbered(counts: dict[str, int], factor: float) -> Iterator[tuple[str, int]]:
    """Number pictures through all splits; at least one in each."""
    number = 0
    for split, count in counts.items():
        for _ in range(max(1, round(count * factor))):
            yield split, number
            number += 1


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    scale = min(1.0, SIDE / max(pixels.shape))
    size = tuple(max(MIN_SIDE, round(side * scale)) for side in pixels.shape)
    return pixels if size == pixels.shape else resize_area(pixels, *size).astype(np.float32)


def _save(out: Path, view: View, number: int) -> dict[str, str | int]:
    name = f"{hashlib.sha256(f'{view.patient}/{number}'.encode()).hexdigest()[:16]}.jpg"
    done, encoded = cv2.imencode(".jpg", to_uint8(view.pixels), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise ImageError(f"an image of {view.patient}, {view.pixels.shape}, could not be encoded; please report it")
    (out / "images" / name).write_bytes(encoded.tobytes())  # the manifest comes last and says that all are there
    height, width = view.pixels.shape
    return {
        "image": f"images/{name}", "patient_id": view.patient, "label": view.label, "split": view.split,
        "source": view.source, "source_id": str(number), "licence": view.licence, "width": width, "height": height,
    }  # fmt: skip
