"""One progress bar for everything that takes over two seconds."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")

_QUIET_SECONDS = 2.0
_REDRAW_SECONDS = 0.2


def track(
    items: Iterable[T], description: str, total: int | None = None, stream: TextIO | None = None
) -> Iterator[T]:
    """Yield `items` and draw a progress bar on a terminal once two seconds have passed.

    Nothing is drawn when the stream is no terminal, so logs and pipes stay clean.

    Args:
        items: what to walk over.
        description: a few words shown before the bar.
        total: number of items where `len(items)` is not known.
        stream: where to draw; standard error by default.

    Returns:
        An iterator over `items`.
    """
    stream = stream or sys.stderr
    total = total if total is not None else (len(items) if hasattr(items, "__len__") else None)
    start = drawn = time.monotonic()
    shown = False
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        last = done == total
        if stream.isatty() and now - start > _QUIET_SECONDS and (last or now - drawn > _REDRAW_SECONDS):
            stream.write("\r" + _line(description, done, total, now - start))
            stream.flush()
            drawn, shown = now, True
    if shown:
        stream.write("\n")


def _line(description: str, done: int, total: int | None, elapsed: float) -> str:
    rate = done / elapsed
    if not total:
        return f"{description}: {done} ({rate:.1f}/s)"
    filled = int(30 * done / total)
    left = (total - done) / rate
    bar = "#" * filled + "-" * (30 - filled)
    return f"{description}: [{bar}] {done}/{total} {rate:.1f}/s, {left:.0f} s left "
