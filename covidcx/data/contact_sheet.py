"""Pages of thumbnails, a row a cluster, to judge with one's own eyes what a program calls duplicates."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from covidcx import imaging
from covidcx.errors import CovidcxError
from covidcx.imaging.overlay import write_png

logger = logging.getLogger(__name__)

COLUMNS = 6
# A page is at least this high in pixels before the next begins.
_PAGE_HEIGHT = 1400
_TILE, _GAP, _LINE, _TITLE = 190, 10, 15, 26
_FONT, _SMALL, _LARGE = cv2.FONT_HERSHEY_SIMPLEX, 0.36, 0.48
_PAPER, _INK, _FAINT, _WARNING, _KEPT = (250, 250, 250), (20, 20, 20), (110, 110, 110), (190, 30, 30), (30, 130, 60)


@dataclass(frozen=True)
class Tile:
    """One image of a row.

    Attributes:
        file: the radiograph.
        lines: what is written under it.
        kept: it gets the frame of the one that is kept.
    """

    file: Path
    lines: tuple[str, ...] = ()
    kept: bool = False


@dataclass(frozen=True)
class Row:
    """Images that belong together.

    Attributes:
        title: written above them.
        tiles: the images; more than fit beside each other are broken into several lines.
        flagged: the title is written in red.
    """

    title: str
    tiles: tuple[Tile, ...]
    flagged: bool = False


def write_sheets(rows: Sequence[Row], folder: Path, columns: int = COLUMNS) -> list[Path]:
    """Write all rows on as many pages as they need.

    Args:
        rows: in their order.
        folder: made where it is missing; `page01.png` ... of an earlier run are replaced or removed.
        columns: images beside each other.

    Returns:
        The pages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("page*.png"):
        old.unlink()
    pages: list[list[Row]] = []
    height = _PAGE_HEIGHT
    for row in rows:
        if height >= _PAGE_HEIGHT:
            pages.append([])
            height = 0
        pages[-1].append(row)
        height += _height(row, columns)
    return [
        write_png(folder / f"page{number:02d}.png", draw_page(page, columns)) for number, page in enumerate(pages, 1)
    ]


def draw_page(rows: Sequence[Row], columns: int = COLUMNS) -> np.ndarray:
    """Draw rows under each other.

    Args:
        rows: at least one.
        columns: images beside each other.

    Returns:
        uint8, H x W x 3, RGB.
    """
    height = sum(_height(row, columns) for row in rows) + _GAP
    page = np.full((max(height, 2 * _GAP), columns * (_TILE + _GAP) + _GAP, 3), _PAPER, np.uint8)
    y = _GAP
    for row in rows:
        _write(page, row.title, _GAP, y + 16, _LARGE, _WARNING if row.flagged else _INK)
        below = y + _TITLE
        for i, tile in enumerate(row.tiles):
            line, column = divmod(i, columns)
            _place(page, tile, below + line * _tile_height(row), _GAP + column * (_TILE + _GAP))
        y += _height(row, columns)
    return page


def _place(page: np.ndarray, tile: Tile, y: int, x: int) -> None:
    picture = _thumbnail(tile.file)
    if picture is None:
        _write(page, "cannot be read", x + 8, y + _TILE // 2, _SMALL, _WARNING)
    else:
        height, width = picture.shape
        top, left = y + (_TILE - height) // 2, x + (_TILE - width) // 2
        page[top : top + height, left : left + width] = picture[..., None]
    cv2.rectangle(page, (x - 2, y - 2), (x + _TILE + 1, y + _TILE + 1), _KEPT if tile.kept else _FAINT, 1 + tile.kept)
    for i, text in enumerate(tile.lines):
        colour = (_KEPT if tile.kept else _INK) if i == 0 else _FAINT
        _write(page, text, x, y + _TILE + (i + 1) * _LINE, _SMALL, colour, _TILE)


def _thumbnail(file: Path) -> np.ndarray | None:
    try:
        pixels = imaging.to_uint8(imaging.read(file).pixels)
    except (CovidcxError, OSError) as error:
        logger.warning("the contact sheet lacks %s: %s", file.name, error)
        return None
    scale = _TILE / max(pixels.shape)
    width, height = (max(1, round(side * scale)) for side in pixels.shape[::-1])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _write(page: np.ndarray, text: str, x: int, y: int, size: float, colour: tuple, room: int | None = None) -> None:
    # OpenCV's font knows ASCII only.
    text = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    while room and len(text) > 8 and cv2.getTextSize(text, _FONT, size, 1)[0][0] > room:
        middle = len(text) // 2
        text = f"{text[: middle - 2].rstrip('.')}..{text[middle + 2 :].lstrip('.')}"
    cv2.putText(page, text, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)


def _tile_height(row: Row) -> int:
    return _TILE + _LINE * max((len(tile.lines) for tile in row.tiles), default=0) + 2 * _GAP


def _height(row: Row, columns: int) -> int:
    return _TITLE + -(-len(row.tiles) // columns) * _tile_height(row) + _GAP
