"""`covidcx edge watch IN OUT`: answer every file that a portable unit writes into a folder, once, whatever happens.

The order of steps makes a kill at any moment harmless. (1) A file is taken when it has not changed for a while.
(2) Its answer is written, JSON last; the JSON's name holds the file's SHA-256, so its existence is the record that this
content was answered. (3) Only then the file moves out of IN. Killed before (2) it is answered again from the start,
killed before (3) it is only moved.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.edge.runtime import Predictor
from covidcx.edge.work import (
    FINDINGS_FOLDER,
    Input,
    answer,
    content_hash,
    load_predictor,
    only_writer,
    printable,
    safe_name,
)
from covidcx.errors import CovidcxError

log = logging.getLogger(__name__)

TAKEN_FOLDER, QUARANTINE_FOLDER, ATTEMPTS_FOLDER = "taken", "quarantine", ".attempts"
HEARTBEAT_FILE = "heartbeat.json"
MOST_ATTEMPTS = 5
"""A file during whose analysis the process died this often is not tried again: a codec crashes on it."""
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload")
_LONGEST_STEM = 120


@dataclass
class Counts:
    """What this process has done.

    Attributes:
        ok: files with a finding.
        refused: sound files that show no upright frontal chest.
        quarantined: files that could not be read.
        repeated: files whose content had been answered before.
    """

    ok: int = 0
    refused: int = 0
    quarantined: int = 0
    repeated: int = 0


@dataclass
class Watcher:
    """A folder being watched.

    Attributes:
        source: folder that files are written into.
        out: where answers go.
        predictor: the loaded networks.
        settle: seconds a file's size and time must stay the same before it is taken.
        dicom: also write DICOM objects.
        clock: seconds, monotonic.
    """

    source: Path
    out: Path
    predictor: Predictor
    settle: float = 2.0
    dicom: bool = False
    clock: Callable[[], float] = time.monotonic
    counts: Counts = field(default_factory=Counts)
    _seen: dict[Path, tuple[int, int, float]] = field(default_factory=dict)

    def ready(self) -> list[Path]:
        """Return the files that are complete, oldest first; what is still growing or new waits for its time."""
        now, present = self.clock(), {}
        for path, (size, changed) in self._files():
            before = self._seen.get(path)
            since = before[2] if before is not None and before[:2] == (size, changed) else now
            present[path] = (size, changed, since)
        # Only files that are there now are remembered: memory does not grow with what has been answered.
        self._seen = present
        done = [path for path, (size, _, since) in present.items() if size and now - since >= self.settle]
        return sorted(done, key=lambda path: (present[path][1], str(path)))

    @property
    def waiting(self) -> int:
        """Files in the folder that were not complete when last looked at."""
        return len(self._seen)

    def take(self, path: Path) -> None:
        """Answer one file and move it out of the folder.

        Raises:
            OSError: the answer cannot be written; the file stays where it is.
        """
        digest = content_hash(path)
        if digest is None:
            return  # gone, or not ours to read yet; the next look will tell
        relative = path.relative_to(self.source)
        stem = f"{safe_name(relative.as_posix())[:_LONGEST_STEM]}-{digest[:12]}"
        target = self.out / FINDINGS_FOLDER / f"{stem}.json"
        if target.is_file():
            self.counts.repeated += 1
            self._move(path, stem, json.loads(target.read_text(encoding="utf-8"))["status"])
            return
        attempts = self.out / ATTEMPTS_FOLDER / stem
        count = self._begin(attempts)
        if count >= MOST_ATTEMPTS:
            reason = f"the process died {count} times while this file was analysed; look at it by hand"
            content = {"source": printable(relative.as_posix()), "status": "error", "reason": reason}
            write_atomic(target, (json.dumps(content, indent=2) + "\n").encode())
            status = "error"
        else:
            entry = Input(path, printable(relative.as_posix()), stem)
            status = answer(entry, self.out, digest, self.predictor, self.dicom).finding.status
        attempts.unlink(missing_ok=True)
        name = {"ok": "ok", "refused": "refused"}.get(status, "quarantined")
        setattr(self.counts, name, getattr(self.counts, name) + 1)
        self._move(path, stem, status)

    def beat(self, state: str) -> None:
        """Write the heartbeat: proof of life for a supervisor, without any name of a file."""
        content = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": state,
            "pid": os.getpid(),
            "waiting": self.waiting,
            **asdict(self.counts),
            "bundle": self.predictor.bundle.name,
            "checksum": self.predictor.checksum,
            "covidcx": __version__,
            "disclaimer": self.predictor.bundle.disclaimer,
        }
        write_atomic(self.out / HEARTBEAT_FILE, (json.dumps(content, indent=2) + "\n").encode())

    def _files(self):
        for current, folders, names in os.walk(self.source):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                    continue
                path = Path(current) / name
                try:
                    status = path.stat()
                except OSError:
                    continue  # moved away between listing and looking
                yield path, (status.st_size, status.st_mtime_ns)

    def _begin(self, attempts: Path) -> int:
        """Count this attempt on disk and return how many there were before."""
        try:
            count = int(attempts.read_text(encoding="ascii"))
        except (OSError, ValueError):
            count = 0
        write_atomic(attempts, str(count + 1).encode())
        return count

    def _move(self, path: Path, stem: str, status: str) -> None:
        folder = self.out / (TAKEN_FOLDER if status in ("ok", "refused") else QUARANTINE_FOLDER)
        target = folder / f"{stem}{path.suffix.lower()[:12]}"
        try:
            path.replace(target)
        except OSError:
            # Another file system: the copy is complete under its name before the original goes.
            aside = target.with_name(f".{target.name}.part")
            shutil.copyfile(path, aside)
            aside.replace(target)
            path.unlink()


def watch(
    source: str | Path,
    out: str | Path,
    bundle: str | Path = "covid-cxnet",
    *,
    interval: float = 1.0,
    settle: float = 2.0,
    threads: int | None = None,
    once: bool = False,
    dicom: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Counts:
    """Answer the files of a folder as they come, until told to stop.

    Args:
        source: folder that the unit writes into; subfolders count, hidden files and `*.part`, `*.tmp` do not.
        out: folder of the answers; must lie outside `source`.
        bundle: name or folder of a classifier bundle.
        interval: seconds between two looks.
        settle: seconds a file must have stayed the same before it is taken as complete.
        threads: threads per inference.
        dicom: also write DICOM objects (Secondary Capture, Segmentation, Structured Report) for DICOM files.
        once: end when the folder is empty instead of waiting for more.
        stop: asked between files; true ends the watch.

    Returns:
        What was done.

    Raises:
        CovidcxError: the folders do not suit, or another process watches into `out`.
        BundleError: the bundle cannot be used.
        OSError: an answer cannot be written; the file it belongs to stays in `source`.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise CovidcxError(f"{str(source)!r} is no folder; name the folder that the X-ray unit writes into")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise CovidcxError(
            f"the output {str(out)!r} lies inside the watched folder {str(source)!r}; name one outside it"
        )
    watcher = Watcher(source, out, load_predictor(bundle, threads, dicom), settle, dicom)
    with only_writer(out, (TAKEN_FOLDER, QUARANTINE_FOLDER, ATTEMPTS_FOLDER)):
        while not stop():
            ready = watcher.ready()
            watcher.beat("working" if ready else "idle")
            for path in ready:
                watcher.take(path)
                watcher.beat("working")
                if stop():
                    break
            if once and not ready and not watcher.waiting:
                break
            if not ready:
                time.sleep(interval)
        watcher.beat("stopped")
    return watcher.counts
