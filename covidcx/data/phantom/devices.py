"""What lies on or is printed over a radiograph and says nothing about disease: leads, tubes, letters, dates, edges."""

import cv2
import numpy as np

from covidcx.data.phantom.anatomy import FRONT, Patient
from covidcx.data.phantom.frame import Frame, Pose, blur, ring, smooth

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)
_METAL = np.float32(6.0 / 255)  # cm of water that a layer's grey level stands for


def wires(rng: np.random.Generator, frame: Frame, patient: Patient, pose: Pose) -> np.ndarray | None:
    """Draw electrocardiogram leads, a breathing tube, a feeding tube, a central line or a pacemaker.

    Args:
        rng: source of randomness.
        frame: where to draw.
        patient: gives the chest's size.
        pose: bedside (AP) radiographs carry more of them.

    Returns:
        float32, H x W: cm of water that attenuate as much, or None where there is nothing.
    """
    odds = (0.26, 0.20, 0.16, 0.20, 0.05) if pose.view == "AP" else (0.06, 0.0, 0.01, 0.03, 0.03)
    there = rng.random(len(odds)) < odds
    if not there.any():
        return None
    layer = frame.blank()
    for draw, wanted in zip((_leads, _tube, _feeding_tube, _central_line, _pacemaker), there, strict=True):
        if wanted:
            draw(rng, frame, layer, patient)
    return blur(layer, max(frame.size / 900, 0.4)) * _METAL


def _leads(rng: np.random.Generator, frame: Frame, layer: np.ndarray, patient: Patient) -> None:
    for _ in range(int(rng.integers(2, 6))):
        x, y = rng.uniform(-0.75, 0.75), rng.uniform(-0.6, 0.6)
        away = (rng.choice((-1.3, 1.3)), rng.uniform(-0.4, 1.2))
        middle = ((x + away[0]) / 2 + rng.normal(0, 0.25), (y + away[1]) / 2 + rng.normal(0, 0.3))
        frame.stroke(layer, smooth([(x, y), middle, away]), rng.uniform(40, 90), 0.008, z=FRONT)
        spot = ring() * 0.020 + (x, y)
        frame.fill(layer, spot, 70, z=FRONT)
        frame.stroke(layer, spot, 120, 0.008, z=FRONT)


def _tube(rng: np.random.Generator, frame: Frame, layer: np.ndarray, patient: Patient) -> None:
    path = smooth([(rng.normal(0, 0.03), -1.4), (0.0, -0.9), (-0.005, rng.uniform(-0.5, -0.36))])
    wall = np.array((0.014, 0.0))
    frame.stroke(layer, [path - wall, path + wall], 50, 0.006, z=0)
    frame.stroke(layer, path + wall, 130, 0.004, z=0)


def _feeding_tube(rng: np.random.Generator, frame: Frame, layer: np.ndarray, patient: Patient) -> None:
    path = [(rng.normal(0, 0.03), -1.4), (0.01, -0.8), (0.015, -0.2), (0.03, 0.3), (0.12, 0.55),
            (0.30, rng.uniform(0.6, 0.8))]  # fmt: skip
    frame.stroke(layer, smooth(path), 62, 0.012, z=-0.1)


def _central_line(rng: np.random.Generator, frame: Frame, layer: np.ndarray, patient: Patient) -> None:
    side, top = rng.choice((-1, 1)), patient.apex
    path = [(side * 0.9, top + 0.25), (side * 0.45, top + 0.14), (side * 0.12, top + 0.26), (-0.09, -0.35),
            (-0.10, rng.uniform(-0.2, 0.1))]  # fmt: skip
    frame.stroke(layer, smooth(path), 85, 0.010, z=0.15)


def _pacemaker(rng: np.random.Generator, frame: Frame, layer: np.ndarray, patient: Patient) -> None:
    x, y = rng.choice((-1, 1), p=(0.2, 0.8)) * rng.uniform(0.48, 0.66), patient.apex + rng.uniform(0.30, 0.42)
    can = np.sign(ring(24)) * np.abs(ring(24)) ** 0.6 * (0.105, 0.09)
    middle = np.array((x, y))
    frame.fill(layer, middle + can, 215, z=FRONT)
    frame.fill(layer, middle + can * 0.5 + np.array((0, 0.025)), 255, z=FRONT)
    start = [(x, y - 0.09), (x * 0.55, patient.apex + 0.16), (np.sign(x) * 0.12, patient.apex + 0.26), (-0.08, -0.30)]
    for end in ([(-0.13, 0.1), (-0.10, 0.22)], [(-0.10, 0.2), (0.05, 0.42), (0.22, 0.44)])[: int(rng.integers(1, 3))]:
        frame.stroke(layer, smooth([*start, *end]), 120, 0.010, z=0.15)


def marks(rng: np.random.Generator, size: int, view: str) -> tuple[np.ndarray, float] | None:
    """Draw a side letter, a date, words such as PORTABLE, an arrow or a caption's letter.

    Args:
        rng: source of randomness.
        size: side of the image in pixels.
        view: `PA` or `AP`; words name the true one.

    Returns:
        Opacity (uint8, H x W) and its grey level, or None where nothing is printed.
    """
    letter, date, words, caption, arrow = rng.random(5) < (0.62, 0.14, 0.28 if view == "AP" else 0.05, 0.06, 0.03)
    if not (letter or date or words or caption or arrow):
        return None
    layer = np.zeros((size, size), np.uint8)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    stroke = max(1, round(size / 320))
    if letter:
        left = rng.random() < 0.6
        x = rng.uniform(0.86, 0.94) if left else rng.uniform(0.03, 0.10)
        where = (round(x * size), round(rng.uniform(0.07, 0.24) * size))
        # Few heights: OpenCV keeps the letters that it has drawn before.
        text, height = "L" if left else "R", size / (420, 500, 590, 700)[int(rng.integers(4))]
        cv2.putText(layer, text, where, font, height, 255, stroke + 1, cv2.LINE_AA)
        if rng.random() < 0.25:
            middle = (where[0] + round(8 * height), where[1] - round(10 * height))
            cv2.circle(layer, middle, round(17 * height), 255, stroke, cv2.LINE_AA)
    if date:
        text = f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.20{rng.integers(10, 22):02d}"
        where = (round(rng.choice((0.03, 0.70)) * size), round(rng.choice((0.04, 0.975)) * size))
        cv2.putText(layer, text, where, font, size / 1100, 255, stroke, cv2.LINE_AA)
    if words:
        where = (round(rng.uniform(0.04, 0.74) * size), round(rng.choice((0.08, 0.95)) * size))
        text = str(rng.choice(("AP PORTABLE", "PORTABLE", "AP SUPINE", "AP ERECT"))) if view == "AP" else view
        cv2.putText(layer, text, where, font, size / 1250, 255, stroke, cv2.LINE_AA)
    if caption:
        corner = np.array((rng.choice((0.01, 0.90)), rng.choice((0.01, 0.90)))) * size
        if rng.random() < 0.5:
            far = corner + 0.09 * size
            cv2.rectangle(layer, tuple(int(v) for v in corner), tuple(int(v) for v in far), 255, -1)
            level = 0
        else:
            level = 255
        where = (int(corner[0] + 0.02 * size), int(corner[1] + 0.07 * size))
        cv2.putText(layer, "ABCDabcd"[int(rng.integers(8))], where, font, size / 420, level, stroke + 1, cv2.LINE_AA)
    if arrow:
        tip = rng.uniform(0.2, 0.8, 2) * size
        tail = tip + rng.normal(0, 0.06, 2) * size
        ends = [tuple(int(v) for v in end) for end in (tail, tip)]
        cv2.arrowedLine(layer, *ends, 255, stroke, cv2.LINE_AA, 0, 0.35)
    return layer, float(rng.uniform(0.88, 1.0))


def shutter(rng: np.random.Generator, size: int) -> np.ndarray | None:
    """Draw the field that the collimator leaves open.

    Args:
        rng: source of randomness.
        size: side of the image in pixels.

    Returns:
        float32, H x W, 1 inside the field, or None where the whole detector was exposed.
    """
    kind, bars = rng.random(), rng.uniform(0.0, 0.08, 4)
    if kind > 0.16:
        return None
    # A collimator cuts a little off all sides; letterbox bars (scans, screenshots) lie on two opposite ones.
    near, far = bars[:2] / 2, 1 - bars[2:] / 2
    if kind > 0.09:
        flat = rng.random() < 0.7
        near, far = (np.array((0.0, bars[0])), np.array((1.0, 1 - bars[1]))) if flat else (
            np.array((bars[0], 0.0)), np.array((1 - bars[1], 1.0)))  # fmt: skip
    corners = np.array([(near[0], near[1]), (far[0], near[1]), (far[0], far[1]), (near[0], far[1])])
    turn = np.deg2rad(rng.normal(0, 0.8 if kind <= 0.09 else 0.0))
    corners = (corners - 0.5) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 0.5
    layer = np.zeros((size, size), np.uint8)
    cv2.fillPoly(layer, [np.round(corners * size).astype(np.int32)], 255.0, cv2.LINE_AA)
    return layer * np.float32(1 / 255)


def grid_lines(rng: np.random.Generator, size: int) -> np.ndarray | None:
    """Draw the shadow of an anti-scatter grid that did not move, with the beat its sampling makes of it.

    Args:
        rng: source of randomness.
        size: side of the image in pixels.

    Returns:
        float32, 1 x W or H x 1, a factor about 1, or None where the grid moved.
    """
    there, across = rng.random(2) < (0.06, 0.5)
    period, phase, strength = rng.uniform(2.1, 5.5), rng.uniform(0, 2 * np.pi), rng.uniform(0.006, 0.025)
    if not there:
        return None
    stripes = 1 + strength * np.sin(2 * np.pi / period * np.arange(size) + phase)
    return stripes.astype(np.float32)[:, None] if across else stripes.astype(np.float32)[None, :]
