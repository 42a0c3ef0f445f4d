"""Arrays of many equal items on disk, one row an item, built once and reused row by row.

An entry is a folder `<group>-<signature>/<rows>/` of `.npy` files with an `index.json`. It is written under another
name and renamed when complete: an entry that can be seen is whole. Delete the folder to free the space.
"""

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from covidcx import __version__
from covidcx.errors import CovidcxError, ManifestError
from covidcx.progress import track

logger = logging.getLogger(__name__)

Fields = Mapping[str, tuple[tuple[int, ...], type]]
Work = Callable[[int], Mapping[str, np.ndarray]]

_LAYOUT = 1
_ABANDONED_SECONDS = 24 * 3600.0
_SHOWN = 3


def build(
    folder: str | Path | None,
    group: str,
    keys: Sequence[str],
    names: Sequence[str],
    fields: Fields,
    work: Work,
    description: str,
    workers: int = 2,
) -> tuple[dict[str, np.ndarray], list[int], tuple[tuple[str, str], ...]]:
    """Open the entry of these items; make it first where it is missing, from other entries' rows where they have them.

    Args:
        folder: where entries are kept; None builds in memory.
        group: what all rows of an entry share (the preprocessing); letters, digits and dashes.
        keys: per item, what its row depends on; an unchanged key is not worked on again.
        names: per item, how failures call it.
        fields: shape and dtype of an item's arrays by name.
        work: makes the arrays of item i; a field it leaves out is zero. An item it raises `CovidcxError`, `OSError`
            or `cv2.error` for is recorded, warned about and left out; it is tried again the next time.
        description: shown with the progress bar.
        workers: threads.

    Returns:
        The arrays, each of one row per item that succeeded; the positions of those items; name and reason of the rest.

    Raises:
        ManifestError: not one item succeeded.
    """
    if folder is None:
        arrays, kept, failures = _fill(None, keys, fields, {}, work, description, workers)
        return arrays, kept, _report(failures, names)
    layout = {name: [shape, np.dtype(kind).str] for name, (shape, kind) in fields.items()}
    signature = _digest(_LAYOUT, __version__, layout)
    home = Path(folder) / f"{group}-{signature}"
    home.mkdir(parents=True, exist_ok=True)
    entry = home / _digest(list(keys))
    found = _open(entry, fields)
    if found is not None and not _mended(found[2], work):
        arrays, kept, failures = found
        return arrays, kept, _report(failures, names)
    _sweep(home)
    partial = home / f".partial-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        _, kept, failures = _fill(partial, keys, fields, _rows(home, fields), work, description, workers)
        index = {"keys": list(keys), "kept": kept, "failures": failures}
        (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")
        _publish(partial, entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    found = _open(entry, fields)
    if found is None:
        raise ManifestError(f"the cache entry {entry} was removed while it was written; run again")
    return found[0], found[1], _report(found[2], names)


def _fill(
    folder: Path | None,
    keys: Sequence[str],
    fields: Fields,
    ready: Mapping[str, tuple[dict[str, np.ndarray], int]],
    work: Work,
    description: str,
    workers: int,
) -> tuple[dict[str, np.ndarray], list[int], list[tuple[int, str]]]:
    arrays = {name: _allocate(folder, name, (len(keys), *shape), kind) for name, (shape, kind) in fields.items()}
    kept: list[int] = []
    failures: list[tuple[int, str]] = []

    def one(i: int) -> Mapping[str, np.ndarray] | str:
        if keys[i] in ready:
            source, row = ready[keys[i]]
            return {name: source[name][row] for name in fields}
        return _attempt(work, i)

    for i, item in enumerate(track(_in_order(one, len(keys), workers), description, total=len(keys))):
        if isinstance(item, str):
            failures.append((i, item))
            continue
        for name, value in item.items():
            # What is not written stays zero and takes no room on the disk.
            if np.any(value):
                arrays[name][len(kept)] = value
        kept.append(i)
    if not kept:
        raise ManifestError(f"{description}: not one of {len(keys)} files could be used; the first: {failures[0][1]}")
    for name, array in arrays.items():
        if failures:
            # A .npy file's length stands in its header, so leaving rows out means writing it once more.
            shorter = _allocate(folder, f"{name}.short", (len(kept), *array.shape[1:]), array.dtype)
            for row in range(len(kept)):
                shorter[row] = array[row]
            arrays[name] = shorter
            if folder is not None:
                (folder / f"{name}.short.npy").replace(folder / f"{name}.npy")
        if folder is not None:
            arrays[name].flush()
    return arrays, kept, failures


def _attempt(work: Work, i: int) -> Mapping[str, np.ndarray] | str:
    """Return the item, or why it cannot be made."""
    try:
        return work(i)
    except (CovidcxError, OSError, cv2.error) as error:
        return f"{error}" or type(error).__name__


def _in_order(one: Callable[[int], object], count: int, workers: int) -> Iterator:
    """Yield `one(0) .. one(count - 1)` in order, made by threads that run a few items ahead."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead = 4 * max(1, workers)
        waiting = {i: pool.submit(one, i) for i in range(min(ahead, count))}
        try:
            for i in range(count):
                result = waiting.pop(i).result()
                if i + ahead < count:
                    waiting[i + ahead] = pool.submit(one, i + ahead)
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _allocate(folder: Path | None, name: str, shape: tuple[int, ...], kind: type | np.dtype) -> np.ndarray:
    if folder is None:
        return np.zeros(shape, kind)
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)


def _open(entry: Path, fields: Fields) -> tuple[dict[str, np.ndarray], list[int], list[tuple[int, str]]] | None:
    """Open an entry; None where there is none or where somebody damaged it."""
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in fields}
        kept, failures = index["kept"], [(int(i), str(reason)) for i, reason in index["failures"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("cache entry %s is damaged (%s); it is made anew", entry, error)
        return None
    for name, (shape, kind) in fields.items():
        if arrays[name].shape != (len(kept), *shape) or arrays[name].dtype != np.dtype(kind):
            logger.warning("cache entry %s holds a wrong %s; it is made anew", entry, name)
            return None
    return arrays, kept, failures


def _mended(failures: Sequence[tuple[int, str]], work: Work) -> bool:
    """Tell whether a recorded failure is over: a codec was installed, a folder mounted."""
    return any(not isinstance(_attempt(work, i), str) for i, _ in failures)


def _rows(home: Path, fields: Fields) -> dict[str, tuple[dict[str, np.ndarray], int]]:
    """Find the finished rows of all entries by key."""
    ready = {}
    for index in sorted(home.glob("[!.]*/index.json")):
        found = _open(index.parent, fields)
        if found is not None:
            keys = json.loads(index.read_text(encoding="utf-8"))["keys"]
            ready.update((keys[i], (found[0], row)) for row, i in enumerate(found[1]))
    return ready


def _publish(partial: Path, entry: Path) -> None:
    # Open maps of a replaced entry stay valid: the files live until the last of them is closed.
    shutil.rmtree(entry, ignore_errors=True)
    try:
        partial.rename(entry)
    except OSError:
        # Another process published the same rows in between; its entry is as good.
        if not (entry / "index.json").is_file():
            raise


def _sweep(home: Path) -> None:
    """Remove what killed processes left behind."""
    for partial in home.glob(".partial-*"):
        try:
            if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError:
            continue


def _report(failures: Sequence[tuple[int, str]], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    for i, reason in failures[:_SHOWN]:
        logger.warning("left out %s: %s", names[i], reason)
    if len(failures) > _SHOWN:
        logger.warning("left out %d more files", len(failures) - _SHOWN)
    return tuple((names[i], reason) for i, reason in failures)


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
