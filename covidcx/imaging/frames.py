"""Label boxes, drawn rectangles and ellipses: areas and outlines of one grey level with straight or regular borders."""

import cv2
import numpy as np

# Levels within this of each other count as one; JPEG leaves about as much.
SAME = 5 / 255
_STEP = 0.06
_WHITE = 0.95
_BOX_SHARES = (0.0003, 0.05)
_FILLED = 0.45
# Of 72 directions, how many a drawn ellipse covers.
_ROUND = 58
# Its smaller axis as a share of the image's longer side: the chamber of an implanted port stays below 0.08.
_ELLIPSE = 0.11
_LONG, _SHORT = 0.07, 0.03


def find_boxes(grey: np.ndarray, marks: np.ndarray, unit: float) -> np.ndarray:
    """Find filled rectangles that carry a letter: of one level, with a step on every side that is not the frame.

    Args:
        grey: float32, H x W, 0..1.
        marks: bool, H x W: letters found so far; a box holds some of them, or is white or black and clear of the frame.
        unit: pixels of this image per pixel of a 512-pixel one.

    Returns:
        bool, H x W.
    """
    found = np.zeros(grey.shape, bool)
    kernel = np.ones((3, 3), np.uint8)
    flat = (cv2.dilate(grey, kernel) - cv2.erode(grey, kernel)) <= SAME
    for candidates in (flat, grey >= _WHITE, grey <= 1 - _WHITE):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8), connectivity=4)
        area = stats[:, 2].astype(np.int64) * stats[:, 3]
        fits = (area >= _BOX_SHARES[0] * grey.size) & (area <= _BOX_SHARES[1] * grey.size)
        # A drawn outline is mostly hole, and what shows through it is not ours to touch.
        fits &= (stats[:, 2:4].min(axis=1) >= 5 * unit) & (stats[:, 4] >= _FILLED * area)
        for index in np.flatnonzero(fits[1:]) + 1:
            box = tuple(int(side) for side in stats[index, :4])
            part = _with_border(grey.shape, box, 0)
            inside = labels[part] == index
            level = float(np.median(grey[part][inside]))
            if _fills(inside) and _stands_out(grey, box, level, unit):
                part = _with_border(grey.shape, box, round(3 * unit))
                framed = min(box[:2]) == 0 or box[0] + box[2] == grey.shape[1] or box[1] + box[3] == grey.shape[0]
                if marks[part].any() or not (framed or 1 - _WHITE < level < _WHITE):
                    found[part] = True
    return found


def _fills(inside: np.ndarray) -> bool:
    """Whether a component with its holes fills its bounding box."""
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    solid = cv2.drawContours(np.zeros(inside.shape, np.uint8), contours, -1, 1, cv2.FILLED)
    return bool(solid.mean() > 0.93)


def _stands_out(grey: np.ndarray, box: tuple[int, int, int, int], level: float, unit: float) -> bool:
    """Whether the level steps away along each side; up to two sides may be the picture's frame."""
    left, top, width, height = box
    bottom, right = grey.shape[0] - top - height, grey.shape[1] - left - width
    off, framed = round(3 * unit) + 1, 0
    for margin, side in ((top, 0), (bottom, 1), (left, 2), (right, 3)):
        if margin < off:
            framed += 1
            continue
        # Twice, so that what surrounds the box differs, and not only a line drawn around it.
        for distance in (off, min(2 * off + 2, margin)):
            line = (
                grey[top - distance, left : left + width] if side == 0
                else grey[top + height - 1 + distance, left : left + width] if side == 1
                else grey[top : top + height, left - distance] if side == 2
                else grey[top : top + height, left + width - 1 + distance]
            )  # fmt: skip
            if (np.abs(line - level) > _STEP).mean() < 0.85:
                return False
    return framed <= 2


def _with_border(shape: tuple[int, ...], box: tuple[int, int, int, int], border: int) -> tuple[slice, slice]:
    left, top, width, height = box
    return (
        slice(max(top - border, 0), min(top + height + border, shape[0])),
        slice(max(left - border, 0), min(left + width + border, shape[1])),
    )


def find_outlines(grey: np.ndarray, unit: float) -> np.ndarray:
    """Find drawn rectangles (straight lines that meet at a corner) and ellipses, brighter than their surroundings.

    Args:
        grey: float32, H x W, 0..1; pass `1 - grey` for dark ones.
        unit: pixels of this image per pixel of a 512-pixel one.

    Returns:
        bool, H x W.
    """
    kernel = 2 * round(3.5 * unit) + 1
    hat = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((kernel, kernel), np.uint8))
    return _corners(grey, hat, unit) | _ellipses(grey, hat, unit)


def _corners(grey: np.ndarray, hat: np.ndarray, unit: float) -> np.ndarray:
    """Straight runs of a high level, across and upright, where they meet, with their shorter pieces."""
    line = ((hat > 0.08) & (grey > 0.70)).astype(np.uint8)
    edge = round(4 * unit)
    long = [_runs(line, round(_LONG * max(grey.shape)), axis, edge) for axis in (0, 1)]
    if not (long[0].any() and long[1].any()):
        return np.zeros(grey.shape, bool)
    near = np.ones((edge, edge), np.uint8)
    count, labels = cv2.connectedComponents(cv2.dilate(long[0] | long[1], near), connectivity=8)
    meets = np.ones(count, bool)
    for part in long:
        meets &= np.bincount(labels.ravel(), weights=part.ravel(), minlength=count) > 0
    meets[0] = False
    if not meets.any():
        return np.zeros(grey.shape, bool)
    # Where the line crosses something as bright it is interrupted; its pieces lie on the same straight lines.
    weak = ((hat > 0.04) & (grey > 0.60)).astype(np.uint8)
    pieces = [_runs(weak, round(_SHORT * max(grey.shape)), axis, edge) > 0 for axis in (0, 1)]
    found = np.zeros(grey.shape, bool)
    for index in np.flatnonzero(meets):
        one = labels == index
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        for axis in (0, 1):
            strong = one & (long[axis] > 0)
            on_line = strong.any(axis=1 - axis, keepdims=True)
            found |= strong
            found[box] |= (pieces[axis] & on_line)[box]
    return found


def _runs(line: np.ndarray, run: int, axis: int, edge: int) -> np.ndarray:
    """Keep straight runs, across for axis 0 and upright for axis 1; along the picture's frame is its own border."""
    kernel = np.ones((1, run) if axis == 0 else (run, 1), np.uint8)
    runs = cv2.morphologyEx(line, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if axis == 0:
        runs[:edge] = runs[-edge:] = 0
    else:
        runs[:, :edge] = runs[:, -edge:] = 0
    return runs


def _ellipses(grey: np.ndarray, hat: np.ndarray, unit: float) -> np.ndarray:
    """Closed thin ellipses of nearly one level; whatever crosses them is left out of the fit."""
    found = np.zeros(grey.shape, bool)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((hat > 0.08).astype(np.uint8), connectivity=8)
    smallest = _ELLIPSE * max(grey.shape)
    for index in range(1, count):
        left, top, width, height, area = stats[index]
        if min(width, height) < smallest or area < 2 * (width + height) or area > 0.5 * width * height:
            continue
        rows, columns = np.nonzero(labels[top : top + height, left : left + width] == index)
        on = _fit_ellipse(np.stack([columns, rows], axis=1).astype(np.float32), smallest, unit)
        if on is None or (on.mean() < 0.8 and np.median(hat[rows[on] + top, columns[on] + left]) < 0.25):
            continue
        rows, columns = rows[on] + top, columns[on] + left
        # The lower half are the soft sides of the line.
        low, high = np.quantile(grey[rows, columns], (0.5, 0.9))
        if high - low <= 0.25 and np.median(hat[rows, columns]) >= 0.12:
            found[rows, columns] = True
    return found


def _fit_ellipse(points: np.ndarray, smallest: float, unit: float, tries: int = 60) -> np.ndarray | None:
    """Return which points lie on one ellipse that they cover nearly all round, or None.

    Whatever touches a drawn ellipse is in the same component, so small samples vote (RANSAC; the same every time).
    """
    rng = np.random.default_rng(0)
    best, covered = None, _ROUND - 1
    for _ in range(tries):
        on = np.zeros(len(points), bool)
        on[rng.choice(len(points), 7, replace=False)] = True
        for tolerance in (4, 2.5):
            on, seen = _on_ellipse(points, on, smallest, tolerance * unit)
            if on is None:
                break
        if on is not None and seen > covered and on.mean() >= 0.6:
            best, covered = on, seen
    return best


def _on_ellipse(
    points: np.ndarray, sample: np.ndarray, smallest: float, tolerance: float
) -> tuple[np.ndarray | None, int]:
    """Return which points lie near the ellipse through a sample, and how many of 72 directions they cover."""
    if sample.sum() < 6:
        return None, 0
    (x, y), (a, b), angle = cv2.fitEllipse(points[sample])
    reach = np.ptp(points, axis=0).max()
    if not (min(a, b) >= smallest and max(a, b) <= 2.5 * min(a, b) and max(a, b) <= 1.2 * reach):
        return None, 0
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    dx, dy = points[:, 0] - x, points[:, 1] - y
    u, v = (dx * cos + dy * sin) / (a / 2), (dy * cos - dx * sin) / (b / 2)
    on = np.abs(np.hypot(u, v) - 1) * min(a, b) / 2 < tolerance
    direction = ((np.arctan2(v, u)[on] + np.pi) / (2 * np.pi) * 72).astype(int) % 72
    return on, len(np.unique(direction))
