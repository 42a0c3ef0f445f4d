"""One self-contained HTML page to leaf through a batch of findings: pictures inside, nothing fetched from anywhere."""

import base64
import html
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.bundle import Bundle
from covidcx.edge.page import BODY, HEAD, TAIL
from covidcx.finding import Finding

Item = tuple[Finding, Path | None, Path | None]

# Longest side of an embedded picture by number of findings: the page stays small enough for a browser to open.
_SIDES = ((100, 768), (400, 512), (1500, 320))
_SMALLEST_SIDE = 192
_JPEG_QUALITY = 82


def write_page(path: Path, items: Sequence[Item], bundle: Bundle) -> Path:
    """Write the page, atomically.

    Args:
        path: the `.html` file.
        items: finding, drawn picture and plain picture per file; None where there is no picture.
        bundle: names the model and its operating points.

    Returns:
        The path.
    """
    write_atomic(path, _pieces(items, bundle))
    return path


def _pieces(items: Sequence[Item], bundle: Bundle) -> Iterator[bytes]:
    # In pieces, because the pictures of a large batch together need not fit into memory.
    side = next((side for count, side in _SIDES if len(items) <= count), _SMALLEST_SIDE)
    yield (HEAD + _header([finding for finding, _, _ in items], bundle) + BODY).encode()
    points = {label: point["threshold"] for label, point in bundle.operating_points.items()}
    yield f"{_script_json(points)};\n".encode()
    for finding, drawn, plain in items:
        value: dict[str, Any] = finding.to_dict()
        value["drawn"], value["plain"] = _embed(drawn, side), _embed(plain, side)
        if value["drawn"] is None or value["plain"] is None:
            value["drawn"] = value["plain"] = None
        yield f"FINDINGS.push({_script_json(value)});\n".encode()
    yield TAIL.encode()


def _header(findings: Sequence[Finding], bundle: Bundle) -> str:
    statuses = Counter(finding.status for finding in findings)
    counts = ", ".join(f"{statuses[status]} {status}" for status in ("ok", "refused", "error") if statuses[status])
    return (
        f"<header><h1>covidcx findings</h1><span>{len(findings)} files: {counts}</span>"
        f'<span class="muted">model {html.escape(bundle.name)} ({bundle.checksum[:12]}), covidcx {__version__}</span>'
        f'</header>\n<div id="disclaimer" role="note">{html.escape(bundle.disclaimer)}</div>'
    )


def _embed(path: Path | None, side: int) -> str | None:
    """Return a picture as a data URI, at most `side` pixels long; None where it cannot be read."""
    image = None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return None
    scale = side / max(image.shape[:2])
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}" if done else None


def _script_json(value: Any) -> str:
    # A file name may hold "</script>"; inside a script no "<" is left to end it.
    return json.dumps(value).replace("<", "\\u003c")
