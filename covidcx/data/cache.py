"""Prepared images on disk: decode, crop and equalise once, then train from memory-mapped arrays."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from covidcx import imaging
from covidcx.data import store
from covidcx.data.manifest import Manifest, pd
from covidcx.errors import ImageError, ManifestError
from covidcx.imaging.enhance import equalize_adaptive, equalize_clahe
from covidcx.imaging.masks import read_levels
from covidcx.imaging.orientation import UPRIGHT, Turn, turn_of_exif
from covidcx.imaging.preprocessing import Geometry, Preprocessing
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.resize import mostly, resize_area, to_uint8
from covidcx.imaging.roi import SEGMENTER_SIZE, segmenter_input

LungMask = Callable[[pd.Series, Radiograph], np.ndarray]
IGNORE, BACKGROUND, LUNG = -1, 0, 1
_GREY = {0: BACKGROUND, 127: IGNORE, 255: LUNG}


@dataclass(frozen=True, eq=False)
class PreparedSet:
    """Prepared images of a manifest, less the files that could not be read.

    Attributes:
        images: uint8, N x H x W x C, memory-mapped and read-only when cached.
        lungs: bool, N x H x W on the network's grid, or None without a lung mask: the dilated lungs where the
            preprocessing has a ROI (all False where none were found), else the mask itself.
        disease: bool, N x H x W, True on ground-glass opacity or consolidation; None where no row has a mask. Only
            rows with a `disease_mask` are labelled, see `has_disease_mask`.
        rows: the manifest's rows in the order of the images, index 0 .. N-1.
        places: int32, N x 8: height and width of the original, top, bottom, left, right, lungs found, see `geometry`;
            the number of the turn that brought the original upright, see `turn`.
        failures: image and reason of every row that was left out.
    """

    images: np.ndarray
    lungs: np.ndarray | None
    disease: np.ndarray | None
    rows: pd.DataFrame
    places: np.ndarray
    failures: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_disease_mask(self) -> np.ndarray:
        """bool, N: which rows of `disease` are labelled."""
        return self.rows["disease_mask"].notna().to_numpy()

    def geometry(self, i: int) -> Geometry:
        """Return the way back from image i to the original's pixels."""
        height, width, top, bottom, left, right, found, _ = (int(value) for value in self.places[i])
        return Geometry((height, width), (top, bottom, left, right), bool(found))

    def turn(self, i: int) -> Turn:
        """Return what brought image i upright, and must bring its masks and boxes."""
        return turn_of_exif(int(self.places[i][7]))


@dataclass(frozen=True, eq=False)
class PreparedMasks:
    """Images and lung masks for the segmenter.

    Attributes:
        images: uint8, N x S x S x 1.
        targets: int8, N x S x S x 1: 1 lung, 0 background, -1 ignored.
        rows: the manifest's rows in the order of the images, index 0 .. N-1.
        failures: image and reason of every row that was left out.
    """

    images: np.ndarray
    targets: np.ndarray
    rows: pd.DataFrame
    failures: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.images)


class PreparedCache:
    """A folder of prepared images, keyed by preprocessing, lung segmenter and the state of every file.

    Args:
        folder: where entries are kept; None prepares in memory.
        preprocessing: how images are prepared.
        key_extra: what else decides the result: the segmenter's checksum when lungs come from a segmenter.
    """

    def __init__(self, folder: str | Path | None, preprocessing: Preprocessing, key_extra: str = "") -> None:
        self.folder = Path(folder) if folder is not None else None
        self.preprocessing = preprocessing
        self.key_extra = key_extra

    def prepare(
        self, manifest: Manifest, lung_mask: LungMask | None = None, workers: int = 2, parallel_lungs: bool = False
    ) -> PreparedSet:
        """Return a manifest's prepared images; only what is new or changed is prepared. See `prepare_manifest`."""
        spec = self.preprocessing
        if spec.needs_lungs and lung_mask is None:
            raise ImageError("this preprocessing has a lung ROI; pass lung_mask, or use a Preprocessing with roi=None")
        if lung_mask is not None and self.folder is not None and not self.key_extra:
            raise ImageError(
                "a cache cannot tell one lung segmenter from another; pass key_extra, such as its bundle's checksum"
            )
        # Disease is kept for every subset, so that a subset without any can take its rows from one with some.
        fields = {
            "images": ((*spec.size, len(spec.channels)), np.uint8),
            "places": ((8,), np.int32),
            "disease": (spec.size, np.bool_),
        }
        if lung_mask is not None:
            fields["lungs"] = (spec.size, np.bool_)
        # Neither Keras nor LiteRT promises that one model may run in two threads at once.
        turn = nullcontext() if parallel_lungs else Lock()

        def work(i: int) -> dict[str, np.ndarray]:
            row = manifest.frame.iloc[i]
            radiograph = _read(manifest, row)
            mask = _call(lung_mask, row, radiograph, turn)
            done = imaging.prepare(radiograph.pixels, spec, mask)
            place = done.geometry
            places = (*place.shape, *place.box, place.lungs_found, radiograph.turn.number)
            item = {"images": done.image, "places": places}
            if mask is not None:
                none = np.zeros(spec.size, bool) if spec.needs_lungs else place.project(mask, spec.size)
                item["lungs"] = none if done.lungs is None else done.lungs
            if isinstance(row["disease_mask"], str):
                levels = read_levels(manifest.file(row["disease_mask"]), place.shape, radiograph.turn)
                item["disease"] = place.project(levels > 0, spec.size)
            return item

        group = f"{spec.hash}-{hashlib.sha256(self.key_extra.encode()).hexdigest()[:8]}"
        columns = ("image", "disease_mask", *(("lung_mask", "lung_mask_2") if lung_mask is not None else ()))
        arrays, rows, failures = _build(
            self.folder, group, manifest, columns, fields, work, "preparing images", workers
        )
        disease = arrays["disease"] if rows["disease_mask"].notna().any() else None
        return PreparedSet(arrays["images"], arrays.get("lungs"), disease, rows, arrays["places"], failures)


def prepare_manifest(
    manifest: Manifest,
    preprocessing: Preprocessing,
    cache_dir: str | Path | None,
    lung_mask: LungMask | None = None,
    workers: int = 2,
    key_extra: str = "",
    parallel_lungs: bool = False,
) -> PreparedSet:
    """Prepare every image of a manifest, or take it from the cache.

    Args:
        manifest: the images, with disease masks where there are any.
        preprocessing: how images are prepared.
        cache_dir: folder of the cache; None prepares in memory.
        lung_mask: gives the lungs of a manifest row and its radiograph as bool, H x W of the original.
        workers: threads that decode and prepare.
        key_extra: names `lung_mask` in the cache's key, such as the segmenter's checksum; required with a cache.
        parallel_lungs: call `lung_mask` from several threads at once, which it must allow.

    Returns:
        The images with their rows; files that could not be read are left out, warned about and listed.

    Raises:
        ImageError: the preprocessing needs lungs and no `lung_mask` is given, or it has no `key_extra`.
        ManifestError: the manifest is empty or no image could be prepared.
    """
    return PreparedCache(cache_dir, preprocessing, key_extra).prepare(manifest, lung_mask, workers, parallel_lungs)


def prepare_masks(
    manifest: Manifest,
    size: int = SEGMENTER_SIZE,
    enhance: str = "ahe",
    cache_dir: str | Path | None = None,
    column: str = "lung_mask",
    workers: int = 2,
) -> PreparedMasks:
    """Prepare images and lung masks to train or test a segmenter; rows without a mask are left out.

    Args:
        manifest: the images.
        size: height and width of the network's input; at 256 the image is exactly what `segment_lungs` feeds.
        enhance: one of `covidcx.imaging.roi.ROI_ENHANCEMENTS`.
        cache_dir: folder of the cache; None prepares in memory.
        column: `lung_mask`, or `lung_mask_2` for the second reader.
        workers: threads that decode and prepare.

    Returns:
        Images and targets; a pixel is ignored where any part of it is ignored in the file, else lung where most is.

    Raises:
        ManifestError: no row has a mask, or none could be prepared.
    """
    masked = manifest.take(manifest.frame[column].notna().to_numpy())
    fields = {"images": ((size, size, 1), np.uint8), "targets": ((size, size, 1), np.int8)}

    def work(i: int) -> dict[str, np.ndarray]:
        row = masked.frame.iloc[i]
        radiograph = _read(masked, row)
        mask = read_mask(masked.file(row[column]), radiograph.shape, radiograph.turn)
        image = _enhanced(radiograph.pixels, size, enhance)
        return {"images": image[..., None], "targets": resize_mask(mask, size)[..., None]}

    group = f"masks-{size}-{enhance}"
    arrays, rows, failures = _build(
        cache_dir, group, masked, ("image", column), fields, work, "preparing masks", workers
    )
    return PreparedMasks(arrays["images"], arrays["targets"], rows, failures)


def masks_from(manifest: Manifest, column: str = "lung_mask") -> LungMask:
    """Return a `lung_mask` that reads the manifest's own masks, ignored pixels counting as background."""

    def lung_mask(row: pd.Series, radiograph: Radiograph) -> np.ndarray:
        if not isinstance(row[column], str):
            raise ImageError(f"{row['image']} has no {column}; use a segmenter for images without one")
        return read_mask(manifest.file(row[column]), radiograph.shape, radiograph.turn) == LUNG

    return lung_mask


def read_mask(path: Path, shape: tuple[int, int] | None = None, turn: Turn = UPRIGHT) -> np.ndarray:
    """Read a lung mask file (255 lung, 127 ignored, 0 background).

    Args:
        path: PNG file.
        shape: height and width of its upright image, which it must have.
        turn: what brought the image upright.

    Returns:
        int8, H x W: 1 lung, 0 background, -1 ignored.

    Raises:
        ImageError: the file is no image, has another shape or other grey levels.
    """
    grey = read_levels(path, shape, turn)
    levels = np.flatnonzero(np.bincount(grey.ravel(), minlength=256)).tolist()
    if not set(levels) <= set(_GREY):
        raise ImageError(f"lung mask {path} holds grey levels {levels[:8]}; use 255 lung, 127 ignored, 0 background")
    table = np.zeros(256, np.int8)
    for level, value in _GREY.items():
        table[level] = value
    return table[grey]


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resample a lung mask and keep every ignored spot, however thin.

    Args:
        mask: int8, H x W: 1, 0, -1.
        size: output height and width.

    Returns:
        int8, size x size.
    """
    small = mostly(mask == LUNG, size, size).astype(np.int8)
    small[resize_area(mask == IGNORE, size, size) > 1e-6] = IGNORE
    return small


def _build(
    folder: str | Path | None,
    group: str,
    manifest: Manifest,
    columns: Sequence[str],
    fields: store.Fields,
    work: store.Work,
    description: str,
    workers: int,
) -> tuple[dict[str, np.ndarray], pd.DataFrame, tuple[tuple[str, str], ...]]:
    """Build a store entry of a manifest's rows; the files named in `columns` decide whether a row is prepared anew."""
    if not len(manifest):
        raise ManifestError(f"{manifest.path} has no row to prepare; check the split, labels and masks asked for")
    keys = ["|".join(_state(manifest, cell) for cell in row) for row in manifest.frame[list(columns)].to_numpy()]
    names = [str(image) for image in manifest.frame["image"]]
    arrays, kept, failures = store.build(folder, group, keys, names, fields, work, description, workers)
    return arrays, manifest.frame.iloc[kept].reset_index(drop=True), failures


def _state(manifest: Manifest, cell: object) -> str:
    """Name a file and its state, so that a changed file has another key."""
    if not isinstance(cell, str):
        return ""
    path = manifest.file(cell).resolve()
    try:
        stat = path.stat()
    except OSError:
        return f"{path} missing"
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def _enhanced(pixels: np.ndarray, size: int, enhance: str) -> np.ndarray:
    if size == SEGMENTER_SIZE:
        return segmenter_input(pixels, enhance)
    image = to_uint8(resize_area(pixels, size, size))
    if enhance == "ahe":
        return equalize_adaptive(image)
    return equalize_clahe(image) if enhance == "clahe" else image


def _read(manifest: Manifest, row: pd.Series) -> Radiograph:
    if not isinstance(row["image"], str):
        raise ImageError("the manifest names no image in this row")
    return imaging.read(manifest.file(row["image"]))


def _call(
    lung_mask: LungMask | None, row: pd.Series, radiograph: Radiograph, turn: AbstractContextManager
) -> np.ndarray | None:
    if lung_mask is None:
        return None
    with turn:
        mask = lung_mask(row, radiograph)
    if mask.shape != radiograph.shape:
        raise ImageError(f"the lung mask of {row['image']} is {mask.shape}, the image {radiograph.shape}")
    return mask.astype(bool)
