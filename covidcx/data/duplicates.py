"""Find copies of one radiograph among many, whatever was done to them on the way.

Three steps: fingerprints (local contrast and upright keypoints), candidates (images that share many keypoints), and
confirmation: one affine map must carry the keypoints of the first image onto those of the second to within a pixel,
and the fine structure under that map must agree all over the overlap. All chests look alike, and two radiographs of
one patient match rib by rib; but a second exposure differs in breathing and rotation, which no affine map undoes to
within a pixel.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from covidcx import imaging
from covidcx.data.candidates import candidates
from covidcx.data.fingerprint import ORIENTATIONS, PERMUTATIONS, Fingerprint, fingerprint, mirrored, mirrored_image
from covidcx.errors import CovidcxError
from covidcx.progress import track

logger = logging.getLogger(__name__)

SAME_FILE, SAME_BYTES, ALTERED = "same file", "same bytes", "altered copy"

# Keypoints within a pixel, their share of those within four, and the median correlation of fine structure. Set on
# altered copies and follow-up pairs of train and val; see benchmarks/duplicates.py.
MIN_KEYPOINTS = 24
MIN_SHARE = 0.50
MIN_CORRELATION = 0.65
# The same lettering on two images matches to within a pixel, but only where it is written (of 64 squares).
MIN_PLACES = 16
MIN_OVERLAP = 0.5

_ROUGH, _NEAR, _EXACT = 4.0, 2.5, 1.0
_SIMILAR = 0.75
_SCALE = 2.5
_STRETCH = 1.7
_SLANT = 0.2
_BAND = (1.0, 5.0)
_LIMIT = 1.5
_CELL = 24
_PLACE = 36
_MIN_CELLS = 12
# Lettering alone must not decide: this share of the overlap's cells has to show something in both images.
_MIN_COMPARED = 0.5


@dataclass(frozen=True)
class Pair:
    """Two files that show one radiograph.

    Attributes:
        first: position of the one file.
        second: position of the other, first < second.
        kind: `SAME_FILE`, `SAME_BYTES` or `ALTERED`.
        orientation: how the first was mirrored against the second, one of `ORIENTATIONS`.
        keypoints: how many agree within a pixel (of an image of 288 x 288); 0 where nothing had to be compared.
        share: of the keypoints that agree within four pixels, how many do within one.
        correlation: median over the overlap's cells of the correlation of fine structure, -1..1.
        overlap: share of the smaller image that the other covers, 0..1.
    """

    first: int
    second: int
    kind: str = ALTERED
    orientation: str = ORIENTATIONS[0]
    keypoints: int = 0
    share: float = 1.0
    correlation: float = 1.0
    overlap: float = 1.0


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        pairs: the confirmed pairs, ordered. Of files that are byte for byte the same, only the first is compared
            with others.
        failures: position and reason of every file that could not be read.
        candidates: how many pairs were looked at closely.
        thumbnails: uint8, `THUMBNAIL` x `THUMBNAIL`, per position of a file that was read.
        shapes: height and width, likewise.
    """

    pairs: tuple[Pair, ...]
    failures: tuple[tuple[int, str], ...]
    candidates: int
    thumbnails: Mapping[int, np.ndarray]
    shapes: Mapping[int, tuple[int, int]]


def find_duplicates(files: Sequence[str | Path], workers: int = 2, seed: int = 0) -> Found:
    """Find the files that show one and the same radiograph.

    Args:
        files: radiographs in any format `covidcx.imaging.read` takes.
        workers: threads.
        seed: of the candidate search; another seed may change which borderline pairs are looked at.

    Returns:
        The confirmed pairs. A copy is found after re-encoding, rescaling, other windows, equalisation, mirroring,
        cropping by up to about a fifth a side, margins, marks, and rotation by a few degrees; a negative is not.
    """
    paths = [Path(file) for file in files]
    identical, first = _identical(paths, workers)
    with one_thread_each():
        prints: dict[int, Fingerprint] = {}
        failures = []
        for i, result in zip(first, _map(lambda i: _describe(paths[i]), first, "reading images", workers), strict=True):
            if isinstance(result, str):
                failures.append((i, result))
            else:
                prints[i] = result
        order = list(prints)
        wanted = candidates(list(prints.values()), workers, seed)

        def look(candidate: tuple[int, int, int]) -> Pair | None:
            one, other, kind = candidate
            match = compare(prints[order[one]], prints[order[other]], kind)
            return _pair(order[one], order[other], match) if match and match.confirmed else None

        pairs = [pair for pair in _map(look, wanted, "confirming pairs", workers) if pair]
    unread, twins = dict(failures), {i: i for i in order}
    for pair in identical:
        if pair.first in unread:
            failures.append((pair.second, unread[pair.first]))
        else:
            twins[pair.second] = pair.first
    return Found(
        tuple(sorted([*identical, *pairs], key=lambda pair: (pair.first, pair.second))),
        tuple(sorted(failures)),
        len(wanted),
        {i: prints[twin].thumbnail for i, twin in sorted(twins.items())},
        {i: prints[twin].shape for i, twin in sorted(twins.items())},
    )


def clusters(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Join pairs that share a file.

    Args:
        pairs: from `find_duplicates`.

    Returns:
        Positions of the files of every cluster, ordered.
    """
    home: dict[int, int] = {}

    def root(i: int) -> int:
        while home.setdefault(i, i) != i:
            home[i] = home[home[i]]
            i = home[i]
        return i

    for pair in pairs:
        one, other = sorted((root(pair.first), root(pair.second)))
        home[other] = one
    members = defaultdict(list)
    for i in sorted(home):
        members[root(i)].append(i)
    return [tuple(group) for group in members.values()]


@dataclass(frozen=True, eq=False)
class Match:
    """How well two fingerprints fit.

    Attributes:
        orientation: position in `ORIENTATIONS`.
        matrix: float64, 2 x 3: from the first image, mirrored, to the second, in pixels of the fingerprints.
        keypoints: matched to within a pixel.
        share: of those within four pixels.
        correlation: median over cells of the correlation of fine structure.
        overlap: share of the smaller image.
        places: how many squares of the second image these keypoints lie in.
    """

    orientation: int
    matrix: np.ndarray
    keypoints: int
    share: float
    correlation: float
    overlap: float
    places: int

    @property
    def confirmed(self) -> bool:
        """Whether the two show one radiograph."""
        return (
            self.keypoints >= MIN_KEYPOINTS
            and self.share >= MIN_SHARE
            and self.correlation >= MIN_CORRELATION
            and self.overlap >= MIN_OVERLAP
            and self.places >= MIN_PLACES
        )


def compare(first: Fingerprint, second: Fingerprint, orientation: int) -> Match | None:
    """Fit the first image, mirrored, onto the second by one affine map and measure how well they agree.

    Args:
        first: the one.
        second: the other.
        orientation: position in `ORIENTATIONS`.

    Returns:
        The fit; None where no plausible map exists (strong rotation, shear or stretch, or too few keypoints).
    """
    source, target = _mutual(first, second, orientation)
    if len(source) < MIN_KEYPOINTS:
        return None
    # OpenCV draws its samples from a generator of its own with a fixed state: the same points give the same map.
    matrix, _ = cv2.estimateAffine2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_NEAR, maxIters=500, confidence=0.999
    )
    for limit in (_NEAR, 1.5, 1.5):
        if matrix is None or not _plausible(matrix):
            return None
        near = _errors(matrix, source, target) < limit
        if near.sum() < 6:
            return None
        ones = np.column_stack([source[near], np.ones(near.sum())])
        matrix = np.linalg.lstsq(ones, target[near].astype(np.float64), rcond=None)[0].T
    if not _plausible(matrix):
        return None
    errors = _errors(matrix, source, target)
    exact, rough = int((errors < _EXACT).sum()), int((errors < _ROUGH).sum())
    if exact < MIN_KEYPOINTS:
        return None
    correlation, overlap = _agreement(first, second, orientation, matrix)
    places = len(np.unique(target[errors < _EXACT] // _PLACE, axis=0))
    return Match(orientation, matrix, exact, exact / rough, correlation, overlap, places)


def _mutual(first: Fingerprint, second: Fingerprint, orientation: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of keypoints that are each other's most similar one."""
    if not len(first.points) or not len(second.points):
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    one = first.descriptors[:, PERMUTATIONS[orientation]].astype(np.float32)
    similarity = one @ second.descriptors.astype(np.float32).T / 255.0**2
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    kept = (similarity.argmax(axis=0)[best] == rows) & (similarity[rows, best] > _SIMILAR)
    return mirrored(first.points, orientation, first.contrast.shape)[kept], second.points[best[kept]]


def _errors(matrix: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.norm(source @ matrix[:, :2].T + matrix[:, 2] - target, axis=1)


def _plausible(matrix: np.ndarray) -> bool:
    """Tell whether cropping, rescaling and a slight rotation can have made this map."""
    (a, b), (c, d) = matrix[:, :2]
    if not (1 / _SCALE < a < _SCALE and 1 / _SCALE < d < _SCALE):
        return False
    return max(a / d, d / a) < _STRETCH and abs(b) < _SLANT * a and abs(c) < _SLANT * d


def _agreement(
    first: Fingerprint, second: Fingerprint, orientation: int, matrix: np.ndarray
) -> tuple[float, float]:
    """Return the median correlation of fine structure over cells of the overlap, and the overlap's share."""
    height, width = second.contrast.shape
    picture = mirrored_image(first.contrast, orientation)
    inside = np.stack([np.full(picture.shape, 255, np.uint8),
                       mirrored_image(first.texture, orientation).astype(np.uint8) * 255], axis=2)  # fmt: skip
    moved = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    covered, textured = (plane > 250 for plane in cv2.split(cv2.warpAffine(inside, matrix, (width, height))))
    scale = abs(np.linalg.det(matrix[:, :2]))
    overlap = covered.sum() / min(covered.size, scale * picture.size)
    weight = (covered & textured & second.texture).astype(np.float32)
    x, y = _fine(moved), _fine(second.contrast)
    w, wx, wy, wxx, wyy, wxy = (_cells(weight * part) for part in (1.0, x, y, x * x, y * y, x * y))
    full = w > 0.9
    if full.sum() < max(_MIN_CELLS, _MIN_COMPARED * (_cells(covered) > 0.9).sum()):
        return 0.0, float(overlap)
    w, wx, wy, wxx, wyy, wxy = (part[full] for part in (w, wx, wy, wxx, wyy, wxy))
    spread = np.sqrt(np.maximum((wxx - wx * wx / w) * (wyy - wy * wy / w), 1e-6))
    return float(np.median((wxy - wx * wy / w) / spread)), float(min(overlap, 1.0))


def _fine(image: np.ndarray) -> np.ndarray:
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), _BAND[0]) - cv2.GaussianBlur(image, (0, 0), _BAND[1])
    # Lines and letters are far brighter than anatomy: limited, they cannot outweigh the rest of their cell.
    most = _LIMIT * (float(np.median(np.abs(fine))) + 0.5)
    return np.clip(fine, -most, most)


def _cells(image: np.ndarray) -> np.ndarray:
    height, width = (side // _CELL for side in image.shape)
    return image[: height * _CELL, : width * _CELL].reshape(height, _CELL, width, _CELL).mean(axis=(1, 3))


def _pair(one: int, other: int, match: Match) -> Pair:
    return Pair(
        min(one, other), max(one, other), ALTERED, ORIENTATIONS[match.orientation], match.keypoints,
        round(match.share, 3), round(match.correlation, 3), round(match.overlap, 3),
    )  # fmt: skip


def _identical(paths: Sequence[Path], workers: int) -> tuple[list[Pair], list[int]]:
    """Pair files that are the same file or the same bytes; return the pairs and the first of every kind."""
    pairs, first, by_path, by_bytes = [], [], {}, {}
    for i, digest in enumerate(_map(_digest, paths, "reading files", workers)):
        place = paths[i].resolve()
        if place in by_path:
            pairs.append(Pair(by_path[place], i, SAME_FILE))
            continue
        by_path[place] = i
        if digest is not None and digest in by_bytes:
            pairs.append(Pair(by_bytes[digest], i, SAME_BYTES))
            continue
        by_bytes[digest] = i
        first.append(i)
    return pairs, first


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _describe(path: Path) -> Fingerprint | str:
    try:
        return fingerprint(imaging.read(path).pixels)
    except (CovidcxError, OSError, cv2.error) as error:
        return f"{error}" or type(error).__name__


def _map(function: Callable, items: Sequence, description: str, workers: int) -> Iterator:
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from track(pool.map(function, items), description, total=len(items))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep OpenCV and BLAS from starting threads of their own: on small arrays they mostly wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        threadpool_limits = None
    try:
        if threadpool_limits is None:
            yield
        else:
            with threadpool_limits(1, "blas"):
                yield
    finally:
        cv2.setNumThreads(before)
