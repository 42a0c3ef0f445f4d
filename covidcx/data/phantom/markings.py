"""Lung markings: hila and branching vessels, grown once per process and laid into each patient's lungs.

A few dozen trees serve all patients: which tree each lung has, its size, proportions and place are the patient's own.
Growing a thousand branches for each would take longer than all the rest of a phantom.
"""

from functools import lru_cache

import cv2
import numpy as np

from covidcx.data.phantom.anatomy import SIDES, Patient, branches
from covidcx.data.phantom.frame import SHIFT, Frame, Pose, clouds, ring

TREES = 24
_UNIT = 384  # pixels per frame unit of the finest drawing
_LEVELS = 4  # each half as fine as the one before
_ORIGIN = (0.12, 0.80)  # of the hilum in a drawing, in frame units
_SPAN = (0.92, 1.68)
_HILA = np.array([(-0.165, -0.03), (0.160, -0.085)])
_CM = np.float32(2.6 / 255)  # cm of water that a drawing's grey level stands for
# Thickness and width of vessels, stem to twig.
_CALIBRE = ((66, 0.021), (60, 0.0155), (54, 0.0115), (47, 0.0085), (40, 0.0063), (34, 0.0048), (28, 0.0037))


@lru_cache(maxsize=TREES)
def tree(number: int) -> tuple[np.ndarray, ...]:
    """Draw the hilum and vessels of a left lung, at several scales.

    Args:
        number: names the tree.

    Returns:
        uint8 drawings, the finest first; x runs from the hilum to the lung's border, y down.
    """
    rng = np.random.default_rng([77, number])
    layer = np.zeros((round(_SPAN[1] * _UNIT), round(_SPAN[0] * _UNIT)), np.uint8)
    # Arteries and veins: two trees that cross each other.
    for stems in (8, 7):
        one = np.zeros_like(layer)
        heading = np.linspace(-1.5, 1.65, stems) + rng.normal(0, 0.20, stems)
        root = rng.normal((0.015, 0.02), (0.022, 0.055), (stems, 2))
        # Upright, the lower vessels are the larger and the longer ones.
        length = np.where(np.sin(heading) > 0, 0.150, 0.125) * rng.uniform(0.8, 1.2, stems)
        grown = branches(rng, root, heading, length, len(_CALIBRE), shorter=0.82)
        for curves, (value, width) in reversed(list(zip(grown, _CALIBRE, strict=True))):
            _draw(one, curves, value, width)
        layer = cv2.add(layer, one)
    # The hilum: the artery to the lower lobe beside the heart, the root's soft shadow, vessels seen end on.
    hilum = np.zeros_like(layer)
    down = np.array([(-0.01, -0.06), (0.030, 0.03), (0.045, 0.13), (0.050, 0.21)]) + rng.normal(0, 0.012, (4, 2))
    _draw(hilum, down[None], 140, rng.uniform(0.035, 0.055))
    across = np.array([(-0.05, -0.04), (0.02, -0.03), (0.06, -0.09)]) + rng.normal(0, 0.012, (3, 2))
    _draw(hilum, across[None], 130, 0.04)
    cv2.fillPoly(hilum, [_pixels(ring(16) * (0.070, 0.13) + (0.005, 0.03))], 115.0, cv2.LINE_AA, SHIFT)
    hilum = cv2.GaussianBlur(hilum, (0, 0), 0.016 * _UNIT)
    spots = ring(12) * rng.uniform(0.005, 0.012, (9, 1, 1)) + rng.normal((0.05, 0.03), (0.05, 0.09), (9, 1, 2))
    cv2.fillPoly(hilum, list(_pixels(spots)), 160.0, cv2.LINE_AA, SHIFT)
    layer = cv2.GaussianBlur(cv2.add(layer, hilum), (0, 0), 1.5)
    # What is too fine to be told apart.
    mottle = np.maximum(clouds(rng, max(layer.shape), 120, 2)[:, : layer.shape[1]], 0) * np.float32(16)
    layer = cv2.add(layer, np.round(mottle).astype(np.uint8))
    scales = [layer]
    for _ in range(_LEVELS - 1):
        scales.append(cv2.resize(scales[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    for each in scales:
        each.setflags(write=False)
    return tuple(scales)


def _pixels(points: np.ndarray) -> np.ndarray:
    return np.rint((points + _ORIGIN) * (_UNIT << SHIFT)).astype(np.int32)


def _draw(layer: np.ndarray, curves: np.ndarray, value: float, width: float) -> None:
    cv2.polylines(layer, list(_pixels(curves)), False, float(value), max(1, round(width * _UNIT)), cv2.LINE_AA, SHIFT)


@lru_cache(maxsize=TREES)
def bronchi(number: int) -> np.ndarray:
    """Draw the bronchi of a left lung: uint8, as the coarsest drawing but one of `tree` lies."""
    rng = np.random.default_rng([78, number])
    layer = np.zeros((round(_SPAN[1] * _UNIT), round(_SPAN[0] * _UNIT)), np.uint8)
    root, heading = rng.normal((0.0, 0.03), 0.02, (10, 2)), np.linspace(-1.1, 1.6, 10)
    for generation, curves in enumerate(branches(rng, root, heading, np.full(10, 0.22), 4)):
        _draw(layer, curves, 255, 0.013 * 0.75**generation)
    layer = cv2.resize(layer, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    layer.setflags(write=False)
    return layer


def vessels(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Hila and lung vessels in cm of water, float32, H x W, whatever air is there."""
    layer = frame.blank()
    level = min(int(np.log2(max(_UNIT / frame.unit, 1))), _LEVELS - 1)
    which, grow = rng.integers(TREES, size=2), rng.uniform(0.88, 1.13, (2, 2))
    grow *= patient.width, 1 - 0.35 * max(pose.base, 0)
    hilum = _HILA + rng.normal(0, 0.016, (2, 2))
    rich = min(0.75 + 0.4 * patient.hilum, 1.3) * rng.uniform(0.75, 1.2)
    for side, number, place, size in zip(SIDES, which.tolist(), hilum, grow, strict=True):
        lay(frame, layer, tree(number)[level], place, size, side)
    return layer * np.float32(_CM * rich)


def lay(
    frame: Frame, layer: np.ndarray, drawn: np.ndarray, hilum: np.ndarray, grow: np.ndarray | float, side: int
) -> None:
    """Lay a drawing of one lung onto a layer, in place.

    The few degrees by which a picture is turned are left out, as no two trees point the same way.

    Args:
        frame: of the layer.
        layer: uint8, H x W.
        drawn: from `tree` or `bronchi`.
        hilum: x, y of the hilum in the chest's frame.
        grow: size against the drawing's, or x and y apart.
        side: -1 (mirrored) or +1.
    """
    wide = np.sqrt(frame.pose.stretch)
    unit = np.array((wide, 1 / wide)) * frame.unit * grow
    size = np.maximum(np.rint(unit * _SPAN), 1).astype(int)
    before = np.array((_ORIGIN[0] if side > 0 else _SPAN[0] - _ORIGIN[0], _ORIGIN[1]))
    start = np.rint(frame.at(hilum, 0.0) - before * unit).astype(int)
    low, high = np.clip(start, 0, frame.size), np.clip(start + size, 0, frame.size)
    if (high <= low).any():
        return
    fitted = cv2.resize(drawn, tuple(size.tolist()), interpolation=cv2.INTER_LINEAR)[:, ::side]
    part = fitted[low[1] - start[1] : high[1] - start[1], low[0] - start[0] : high[0] - start[0]]
    layer[low[1] : high[1], low[0] : high[0]] = part
