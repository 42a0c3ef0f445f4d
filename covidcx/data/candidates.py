"""Which pairs of images share so many keypoints that they are worth a closer look.

Descriptors are sorted into the cells of a codebook, and only those of one cell are compared: a search among thousands
of images costs seconds. The codebook is closed under mirroring (with a word it holds the mirrored word), so that the
cell of a mirrored descriptor is known without looking for it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from covidcx.data.fingerprint import PERMUTATIONS, Fingerprint
from covidcx.progress import track

# A descriptor votes for an image that has one at least this similar (cosine of RootSIFT).
SIMILAR = 0.95
MIN_VOTES = 12
PARTNERS = 12

_KINDS = len(PERMUTATIONS)
_PER_CELL = 230
_SAMPLE = 40_000
_ROUNDS = 3
# Images whose votes are held at a time.
_BLOCK = 1000
_CHUNK = 4096

Candidate = tuple[int, int, int]


def candidates(prints: Sequence[Fingerprint], workers: int = 2, seed: int = 0) -> list[Candidate]:
    """Find the pairs that deserve a geometric check.

    Args:
        prints: fingerprints of N images.
        workers: threads.
        seed: of the codebook.

    Returns:
        First image, second image (first < second) and the most voted position in `ORIENTATIONS`, ordered; for every
        image up to `PARTNERS` others with at least `MIN_VOTES` votes.

    Source: inverted file with exact comparison in the cell, after Sivic and Zisserman 2003 and Jegou et al. 2008.
    """
    descriptors = np.concatenate([print_.descriptors for print_ in prints]) if prints else np.zeros((0, 128), np.uint8)
    image = np.repeat(np.arange(len(prints)), [len(print_.descriptors) for print_ in prints])
    if len(descriptors) < 2:
        return []
    base = max(1, round(len(descriptors) / _PER_CELL / _KINDS))
    codebook = _codebook(descriptors, base, np.random.default_rng(seed))
    nearest, second = _words(descriptors, codebook, workers)
    votes: dict[tuple[int, int], dict[int, int]] = {}
    blocks = range(0, len(prints), _BLOCK)
    for start in track(blocks, "comparing images"):
        own = np.flatnonzero((image >= start) & (image < start + _BLOCK))
        pairs, kinds, counts = _vote(descriptors, image, own, nearest, second, base, workers, len(prints))
        for (a, b), kind, count in zip(pairs, kinds, counts, strict=True):
            place = votes.setdefault((min(a, b), max(a, b)), {})
            place[kind] = max(place.get(kind, 0), count)
    return _most_voted(votes)


def _vote(
    descriptors: np.ndarray, image: np.ndarray, own: np.ndarray, nearest: np.ndarray, second: np.ndarray, base: int,
    workers: int, images: int,
) -> tuple[list[tuple[int, int]], list[int], list[int]]:  # fmt: skip
    """Count, for the images that `own` descriptors belong to, how many of them every other image answers."""
    words = _KINDS * base
    queries, query_at = _grouped(nearest[own], words)
    queries = own[queries]
    stored, stored_at = _grouped(np.concatenate([nearest, second]), words)
    stored %= len(descriptors)

    def compare(some: range) -> np.ndarray:
        keys = []
        for word in some:
            here = stored[stored_at[word] : stored_at[word + 1]]
            # Mirroring takes word (m, w) of the codebook to (m ^ kind, w).
            mirror, at = divmod(word, base)
            twins = [(mirror ^ kind) * base + at for kind in range(_KINDS)]
            asking = [queries[query_at[twin] : query_at[twin + 1]] for twin in twins]
            if not len(here) or not any(map(len, asking)):
                continue
            turned = [descriptors[who][:, PERMUTATIONS[kind]] for kind, who in enumerate(asking)]
            similarity = _unit(np.concatenate(turned)) @ _unit(descriptors[here]).T
            who, kind = np.concatenate(asking), np.repeat(np.arange(_KINDS), list(map(len, asking)))
            row, column = np.divmod(np.flatnonzero(similarity > SIMILAR), len(here))
            first, other = who[row], image[here[column]]
            # A descriptor votes once for an image and orientation, in however many cells they meet.
            different = image[first] != other
            key = (first.astype(np.int64) * images + other) * _KINDS + kind[row]
            keys.append(key[different])
        return np.concatenate(keys) if keys else np.zeros(0, np.int64)

    step = max(1, words // (8 * workers))
    with ThreadPoolExecutor(workers) as pool:
        keys = np.unique(np.concatenate(list(pool.map(compare, _ranges(words, step)))))
    rest, kind = np.divmod(keys, _KINDS)
    first, other = np.divmod(rest, images)
    found, counts = np.unique((image[first] * images + other) * _KINDS + kind, return_counts=True)
    found, counts = found[counts >= MIN_VOTES], counts[counts >= MIN_VOTES]
    rest, kind = np.divmod(found, _KINDS)
    pairs = [(int(a), int(b)) for a, b in zip(*np.divmod(rest, images), strict=True)]
    return pairs, kind.tolist(), counts.tolist()


def _most_voted(votes: dict[tuple[int, int], dict[int, int]]) -> list[Candidate]:
    """Keep every image's most voted partners, each pair in its most voted orientation."""
    partners: dict[int, list[tuple[int, int, int]]] = {}
    for (a, b), kinds in votes.items():
        kind = min(kinds, key=lambda kind: (-kinds[kind], kind))
        for one, other in ((a, b), (b, a)):
            partners.setdefault(one, []).append((-kinds[kind], other, kind))
    kept = set()
    for one, others in partners.items():
        kept |= {(min(one, other), max(one, other), kind) for _, other, kind in sorted(others)[:PARTNERS]}
    return sorted(kept)


def _codebook(descriptors: np.ndarray, base: int, rng: np.random.Generator) -> np.ndarray:
    """Cluster a sample by spherical k-means, all mirrored versions of a word being one; float32, 4 `base` x 128."""
    sample = _unit(descriptors[rng.permutation(len(descriptors))[: max(_SAMPLE, 4 * base)]])
    centres = sample[np.arange(base) % len(sample)].copy()
    for _ in range(_ROUNDS):
        word = np.concatenate([(part @ _closed(centres).T).argmax(axis=1) for part in _parts(sample)])
        mirror, at = np.divmod(word, base)
        total = np.zeros_like(centres)
        for kind, permutation in enumerate(PERMUTATIONS):
            members = mirror == kind
            np.add.at(total, at[members], sample[members][:, permutation])
        used = total.any(axis=1)
        centres[used] = _unit(total[used])
    return _closed(centres)


def _words(descriptors: np.ndarray, codebook: np.ndarray, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest and the second nearest word of every descriptor."""

    def two(part: np.ndarray) -> np.ndarray:
        similarity = _unit(part) @ codebook.T
        nearest = similarity.argmax(axis=1)
        similarity[np.arange(len(part)), nearest] = -2.0
        return np.stack([nearest, similarity.argmax(axis=1)])

    with ThreadPoolExecutor(workers) as pool:
        nearest, second = np.concatenate(list(pool.map(two, _parts(descriptors))), axis=1)
    return nearest, second


def _grouped(words: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions ordered by word, and where each word's begin."""
    order = np.argsort(words, kind="stable")
    return order, np.searchsorted(words[order], np.arange(count + 1))


def _closed(centres: np.ndarray) -> np.ndarray:
    return np.concatenate([centres[:, permutation] for permutation in PERMUTATIONS])


def _parts(array: np.ndarray) -> list[np.ndarray]:
    return [array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK)]


def _ranges(count: int, step: int) -> list[range]:
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def _unit(descriptors: np.ndarray) -> np.ndarray:
    descriptors = descriptors.astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", descriptors, descriptors))
    return descriptors / np.maximum(length, 1e-6)[:, None]
