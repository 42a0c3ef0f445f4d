"""Find and remove what was burned into a radiograph: dates, letters, arrows, rectangles (COVID-CXNet, Fig. 17).

Classical OpenCV only, so that it runs on a portable unit. It asks what anatomy never is at once: thin or box-shaped,
of one grey level along its whole length, set off by a step on all sides. A mark that could be anything else is removed
only where no lung can be: the purpose is to take dates away from a network, never lungs.
"""

import cv2
import numpy as np

from covidcx.errors import ImageError
from covidcx.imaging.frames import find_boxes, find_outlines
from covidcx.imaging.strokes import GRID, KERNELS, UNIT, Shapes, find_shapes

# Where lungs may be when no mask says so: rows and columns as shares of the image.
MIDDLE = (0.12, 0.88, 0.08, 0.92)
# A mark may reach this far into the lungs, as a share of its own pixels, and still count as outside.
OVERLAP = 0.02

_WHITE_OR_BLACK = 0.92
_LETTER_SIZES = (4.5, 60.0)
_LARGEST = 0.30


def find_text(pixels: np.ndarray, lungs: np.ndarray | None = None) -> np.ndarray:
    """Find letters, dates, arrows and drawn rectangles.

    Args:
        pixels: float32, H x W, 0..1.
        lungs: bool, H x W: inside only what is certainly artificial is found. By default the middle of the image
            (`MIDDLE`) is treated as lungs.

    Returns:
        bool, H x W: the marks with their soft edge.

    Raises:
        ImageError: `pixels` is no float H x W image, or `lungs` has another shape.
    """
    pixels, lungs = _checked(pixels, lungs)
    scale = min(1.0, GRID / max(pixels.shape))
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    grey = pixels if scale == 1.0 else cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    guarded = cv2.resize(lungs.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    unit = max(1.0, max(grey.shape) / UNIT)
    found = np.zeros(grey.shape, bool)
    for image, bright in ((grey, True), (1.0 - grey, False)):
        scales = [find_shapes(image, 2 * round(kernel * unit / 2) + 1) for kernel in KERNELS]
        outside = [_outside(shapes, guarded) for shapes in scales]
        kept = [_accept(shapes, free, bright, unit) for shapes, free in zip(scales, outside, strict=True)]
        for shapes, keep in zip(scales, _joined(scales, kept, outside, unit), strict=True):
            found |= _soft(shapes, keep, unit)
        found |= _widened(find_outlines(image, unit), 2.0 * unit)
    found |= find_boxes(grey, found, unit)
    if scale < 1.0:
        found = cv2.resize(found.astype(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return found


def remove_text(pixels: np.ndarray, lungs: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Remove letters, dates, arrows and drawn rectangles; what lies under them is filled in smoothly from around.

    Args:
        pixels: float32, H x W, 0..1, such as `Radiograph.pixels`.
        lungs: bool, H x W, see `find_text`.

    Returns:
        float32 H x W, 0..1, equal to `pixels` outside the mask; and the mask, bool H x W.

    Raises:
        ImageError: see `find_text`.
    """
    mask = find_text(pixels, lungs)
    return fill(np.asarray(pixels, np.float32), mask), mask


def fill(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill masked pixels with the smooth surface through their surroundings (a harmonic membrane).

    Nothing is invented: no texture, and no level that is not between those of the border.

    Args:
        pixels: float32, H x W.
        mask: bool, H x W.

    Returns:
        float32, H x W; a copy.
    """
    filled = pixels.astype(np.float32, copy=True)
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
    count, _, boxes, _ = cv2.connectedComponentsWithStats(wide, connectivity=8)
    for left, top, width, height, _ in boxes[1:count]:
        part = np.s_[top : top + height, left : left + width]
        filled[part] = _membrane(filled[part], mask[part])
    return filled


def _membrane(values: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Coarse to fine: the half-size solution starts this one, a few relaxations finish it."""
    if not hole.any():
        return values
    known = (~hole).astype(np.float32)
    if not known.any():
        return values
    height, width = values.shape
    if min(height, width) > 4:
        half = ((width + 1) // 2, (height + 1) // 2)
        weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
        total = cv2.resize(np.where(hole, 0.0, values).astype(np.float32), half, interpolation=cv2.INTER_AREA)
        coarse = np.where(weight > 0, total / np.maximum(weight, 1e-6), 0.0).astype(np.float32)
        start = cv2.resize(_membrane(coarse, weight <= 0), (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        start = np.full_like(values, values[~hole].mean())
    result = np.where(hole, start, values)
    for _ in range(24):
        result = np.where(hole, cv2.blur(result, (3, 3), borderType=cv2.BORDER_REPLICATE), values)
    return result


def _checked(pixels: np.ndarray, lungs: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or not np.issubdtype(pixels.dtype, np.floating):
        raise ImageError(
            f"marks are looked for in a float H x W image of 0..1, received {pixels.dtype} of shape {pixels.shape}; "
            "pass Radiograph.pixels"
        )
    if lungs is None:
        lungs = np.zeros(pixels.shape, bool)
        top, bottom, left, right = MIDDLE
        height, width = pixels.shape
        lungs[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    elif lungs.shape != pixels.shape:
        raise ImageError(f"the lung mask has shape {lungs.shape}, the image {pixels.shape}; bring it to its grid")
    return np.ascontiguousarray(pixels, np.float32), np.asarray(lungs, bool)


def _soft(shapes: Shapes, keep: np.ndarray, unit: float) -> np.ndarray:
    """Return the kept shapes with their soft edge: bool, H x W; the blurrier the stroke, the wider the edge."""
    found = np.zeros(shapes.labels.shape, bool)
    radius = np.clip(np.round(0.8 + 1.2 / np.maximum(shapes.steepness, 0.1)), 2, 4)
    for wide in np.unique(radius[keep]):
        found |= _widened(shapes.mask(keep & (radius == wide)), wide * unit)
    return found


def _widened(mask: np.ndarray, radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(mask.astype(np.uint8), disk) > 0


def _outside(s: Shapes, guarded: np.ndarray) -> np.ndarray:
    """Which shapes lie outside the lungs: bool, N."""
    inside = s.labels[guarded]
    return np.bincount(inside[inside > 0], minlength=len(s) + 1)[1:] <= OVERLAP * s.area


def _accept(s: Shapes, outside: np.ndarray, bright: bool, unit: float) -> np.ndarray:
    """Which shapes are marks: bool, N."""
    if not len(s):
        return np.zeros(0, bool)
    certain, likely = _single_marks(s, bright, unit)
    lines, sure = _text_lines(s, unit)
    return certain | sure | (lines | likely) & outside


def _single_marks(s: Shapes, bright: bool, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Letters and arrows that stand alone: those certain wherever they lie, and those that need to be outside lungs."""
    height, width = s.labels.shape
    extreme = s.level >= _WHITE_OR_BLACK
    # Thin white lettering on an almost white abdomen stands out by little, but is saturated throughout.
    saturated = (s.level >= 0.97) & (s.flatness <= 0.02)
    # What the frame cuts may be the rest of anything, unless its contrast leaves no doubt.
    touching = (s.left == 0) | (s.top == 0) | (s.left + s.width >= width) | (s.top + s.height >= height)
    constant = s.flatness <= np.maximum(0.06, 0.25 * s.contrast)
    sharp = (s.surrounded >= 0.92) & (s.steepness >= 0.52) & (~touching | (s.contrast >= 0.4))
    sized = (s.size >= 7 * unit) & (s.size <= _LARGEST * max(height, width)) & (np.minimum(s.width, s.height) >= 3)
    plain, arrow = np.zeros(len(s), bool), np.zeros(len(s), bool)
    candidates = constant & sharp & sized & (s.level >= 0.6) & (s.contrast >= 0.12)
    for index in np.flatnonzero(candidates):
        shape = s.crop(index)
        arrow[index] = s.contrast[index] >= 0.25 and _is_arrow(shape, unit)
        plain[index] = _is_compact(shape, float(s.stroke[index]))
    # Air trapped between vessels is black in a hard window, bone is white: what is no arrow must stand out by more.
    letter = plain & (s.size <= _LETTER_SIZES[1] * unit)
    certain = letter & extreme & (s.contrast >= (0.30 if bright else 0.45)) & (s.flatness <= 0.06)
    certain &= s.steepness >= 0.60
    # Printed black or white throughout, with a step all round: hard windows make no such gaps (steepness below 0.6).
    certain |= letter & saturated & (s.contrast >= 0.20) & (s.surrounded >= 0.97) & (s.steepness >= 0.68)
    certain |= arrow & (s.level >= 0.75)
    letter &= (s.contrast >= 0.35) | (saturated & (s.contrast >= 0.15))
    # Gaps between bones are dark and sharp too: a dark letter has to be black, and so has what the frame cuts.
    return certain, letter & (extreme | bright & ~touching)


def _is_compact(shape: np.ndarray, stroke: float) -> bool:
    """Tell letters and arrows from wires (long, thin, without corners) and from blobs (electrodes, beads, gaps)."""
    contours, _ = cv2.findContours(shape.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outer = max(contours, key=cv2.contourArea)
    area, round_area = cv2.contourArea(outer), np.pi * cv2.minEnclosingCircle(outer)[1] ** 2
    if area > 0.80 * round_area:
        return False
    # In small print the holes of letters run full.
    if stroke >= 4 and shape.sum() > 0.92 * cv2.contourArea(cv2.convexHull(outer)):
        return False
    (_, sides, _) = cv2.minAreaRect(outer)
    return not (max(sides) + 1 > 6 * (min(sides) + 1) or shape.sum() / stroke > 6 * max(shape.shape))


def _is_arrow(shape: np.ndarray, unit: float) -> bool:
    """Whether a shape has a straight thin shaft and, at one end, a head that juts out on both sides."""
    rows, columns = np.nonzero(shape)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    points -= points.mean(axis=0)
    axis = np.linalg.svd(points, full_matrices=False)[2][0]
    along, across = points @ axis, points @ np.array([-axis[1], axis[0]])
    place = np.floor(along - along.min()).astype(int)
    length = place.max() + 1
    if length < 12 * unit:
        return False
    low, high = np.full(length, np.inf), np.full(length, -np.inf)
    np.minimum.at(low, place, across)
    np.maximum.at(high, place, across)
    if not np.isfinite(low).all():
        return False
    if np.argmax(high - low) > length / 2:
        low, high = low[::-1], high[::-1]
    wide = high - low + 1
    tail = wide[length // 2 : length - 1]
    head = int(np.argmax(wide))
    centre = np.median((high + low)[length // 2 :]) / 2
    juts = min(high[head] - centre, centre - low[head]) >= 0.9 * np.median(tail)
    bend = np.ptp(((high + low) / 2)[length // 2 : length - 1])
    return bool(juts and np.ptp(tail) <= 0.35 * wide[head] + 1 and bend <= 2.5 * unit and length >= 1.3 * wide[head]
                and head <= 0.45 * length)  # fmt: skip


def _joined(
    scales: list[Shapes], kept: list[np.ndarray], outside: list[np.ndarray], unit: float
) -> list[np.ndarray]:
    """Add the dots, colons and left-out letters beside marks of their level, whatever scale shows them best."""
    counts = np.cumsum([len(s) for s in scales])[:-1]
    names = ("left", "top", "width", "height", "size", "level", "contrast", "surrounded")
    left, top, width, height, size, level, contrast, surrounded = (
        np.concatenate([getattr(s, name) for s in scales]) for name in names
    )
    found, free = np.concatenate(kept), np.concatenate(outside)
    weak = (surrounded >= 0.75) & (contrast >= 0.08) & (size <= _LETTER_SIZES[1] * unit)
    white = (level >= _WHITE_OR_BLACK) | (level >= 0.80) & (contrast >= 0.25)
    weak &= white & (surrounded >= 0.8) | free & (contrast >= 0.3)
    for _ in range(3):
        marks, others = np.flatnonzero(found), np.flatnonzero(weak & ~found)
        gap_x, gap_y = (
            np.maximum(start[others][:, None] - (start + side)[marks], start[marks] - (start + side)[others][:, None])
            for start, side in ((left, width), (top, height))
        )
        reach = 0.9 * np.minimum(size[marks], _LETTER_SIZES[1] * unit)
        near = (np.maximum(gap_x, 0) + np.maximum(gap_y, 0) <= reach) & (np.minimum(gap_x, gap_y) < 0)
        near &= np.abs(level[others][:, None] - level[marks]) <= np.where(free[others], 0.30, 0.10)[:, None]
        near &= contrast[others][:, None] >= 0.6 * contrast[marks]
        near &= size[others][:, None] <= 1.3 * size[marks]
        joined = others[near.any(axis=1)]
        if not len(joined):
            break
        found[joined] = True
    return np.split(found, counts)


def _text_lines(s: Shapes, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Which shapes are characters of a line of three or more, across or upright, and which of these lines can be
    nothing else: bool, N each."""
    found, sure = np.zeros(len(s), bool), np.zeros(len(s), bool)
    step = (s.surrounded >= 0.80) & (s.steepness >= 0.45) & (s.contrast >= 0.10)
    centre_x, centre_y = s.left + s.width / 2, s.top + s.height / 2
    low, high = _LETTER_SIZES
    for across in (True, False):
        tall = s.height if across else s.width
        wide = s.width if across else s.height
        along, over = (centre_x, centre_y) if across else (centre_y, centre_x)
        fits = step & (tall >= low * unit) & (tall <= high * unit) & (wide <= 2.2 * tall) & (s.ink >= 0.12)
        index = np.flatnonzero(fits)
        if len(index) < 3:
            continue
        t, w, a, o = tall[index], wide[index], along[index], over[index]
        level = s.level[index]
        gap = np.abs(a[:, None] - a) - (w[:, None] + w) / 2
        tallest = np.maximum(t[:, None], t)
        near = (gap < 0.9 * tallest) & (gap > -0.3 * tallest) & (np.abs(o[:, None] - o) < 0.35 * tallest)
        alike = (tallest < 1.8 * np.minimum(t[:, None], t)) & (np.abs(level[:, None] - level) < 0.15)
        group = _groups(near & alike)
        for number in np.flatnonzero(np.bincount(group) >= 3):
            members = index[group == number]
            # Ribs and vertebrae also come in rows, but as a row of faint steps of unlike levels.
            white = np.median(level[group == number]) >= 0.93 and np.ptp(level[group == number]) <= 0.08
            contrast, flatness = np.median(s.contrast[members]), np.median(s.flatness[members])
            if contrast >= 0.25 or (white and flatness <= 0.03):
                found[members] = True
            high, clear = np.median(s.level[members]) >= 0.85, np.median(s.surrounded[members]) >= 0.92
            uneven = np.ptp(np.quantile(o[group == number], (0.1, 0.9))) / np.median(t[group == number])
            even = uneven <= 0.15
            # Vessels in a hard window make rows of three dark gaps, but faint ones, and no level ones.
            sure[members] |= across and high and clear and contrast >= 0.25 and flatness <= 0.10 and uneven <= 0.25
            # Six in a row on one baseline need be neither black nor white: thin print is blurred to grey.
            sure[members] |= len(members) >= 6 and even and clear and contrast >= 0.22
            crisp = np.median(s.steepness[members]) >= 0.70
            found[members] |= len(members) >= 4 and even and clear and crisp and contrast >= 0.14
    return found, sure


def _groups(linked: np.ndarray) -> np.ndarray:
    """Return the connected component of each node of a symmetric N x N link matrix."""
    group = np.arange(len(linked))
    reach = linked | np.eye(len(linked), dtype=bool)
    while True:
        lowest = np.where(reach, group[None, :], len(linked)).min(axis=1)
        if (lowest == group).all():
            return group
        group = lowest
