"""What lies on or is printed over a radiograph and says nothing about disease: leads, tubes, letters, dates, edges."""

import cv2
import numpy as np

from covidcx.data.phantom.anatomy import Patient
from covidcx.data.phantom.frame import Frame, Pose, smooth

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


def wires(rng: np.random.Generator, frame: Frame, patient: Patient, pose: Pose) -> np.ndarray | None:
    """Draw electrocardiogram leads, a breathing tube or a line.

    Args:
        rng: source of randomness.
        frame: where to draw.
        patient: gives the chest's size.
        pose: bedside (AP) radiographs carry more of them.

    Returns:
        float32, H x W: cm of water that attenuate as much, or None where there is nothing.
    """
    bedside = pose.view == "AP"
    leads, tube, line = rng.random(3) < ((0.45, 0.18, 0.20) if bedside else (0.08, 0.0, 0.03))
    if not (leads or tube or line):
        return None
    layer = frame.blank()
    if leads:
        for _ in range(int(rng.integers(2, 5))):
            x, y = rng.uniform(-0.7, 0.7), rng.uniform(-0.5, 0.55)
            away = (rng.choice((-1.3, 1.3)), rng.uniform(-0.4, 1.2))
            middle = ((x + away[0]) / 2 + rng.normal(0, 0.15), (y + away[1]) / 2 + rng.normal(0, 0.2))
            frame.stroke(layer, [smooth([(x, y), middle, away])], 75, 0.007)
            ring = np.linspace(0, 2 * np.pi, 20)
            spot = np.stack([x + 0.025 * np.cos(ring), y + 0.025 * np.sin(ring)], axis=1)
            frame.fill(layer, spot, 90)
            frame.stroke(layer, [spot], 190, 0.009)
    if tube:
        end = rng.uniform(-0.5, -0.36)
        path = smooth([(rng.normal(0, 0.03), -1.4), (0.0, -0.9), (-0.005, end)])
        left, right = path - np.array([0.014, 0]), path + np.array([0.014, 0])
        frame.stroke(layer, [left, right], 50, 0.006)
        frame.stroke(layer, [right], 130, 0.004)
    if line:
        side = rng.choice((-1, 1))
        top = patient.apex
        path = [(side * 0.9, top + 0.25), (side * 0.45, top + 0.14), (side * 0.12, top + 0.26), (-0.09, -0.35),
                (-0.10, rng.uniform(-0.2, 0.1))]  # fmt: skip
        frame.stroke(layer, [smooth(path)], 85, 0.010)
    return cv2.GaussianBlur(layer, (0, 0), max(frame.size / 900, 0.4)).astype(np.float32) * np.float32(6.0 / 255)


def marks(rng: np.random.Generator, size: int, view: str) -> tuple[np.ndarray, float] | None:
    """Draw a side letter, a date or the word PORTABLE.

    Args:
        rng: source of randomness.
        size: side of the image in pixels.
        view: `PA` or `AP`; words name the true one.

    Returns:
        Opacity (uint8, H x W) and its grey level, or None where nothing is printed.
    """
    letter, date, words = rng.random(3) < (0.62, 0.14, 0.28 if view == "AP" else 0.05)
    if not (letter or date or words):
        return None
    layer = np.zeros((size, size), np.uint8)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    stroke = max(1, round(size / 320))
    if letter:
        left = rng.random() < 0.6
        x = rng.uniform(0.86, 0.94) if left else rng.uniform(0.03, 0.10)
        where = (round(x * size), round(rng.uniform(0.07, 0.24) * size))
        text, height = "L" if left else "R", size / rng.uniform(420, 700)
        cv2.putText(layer, text, where, font, height, 255, stroke + 1, cv2.LINE_AA)
    if date:
        text = f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.20{rng.integers(10, 22):02d}"
        where = (round(rng.choice((0.03, 0.70)) * size), round(rng.choice((0.04, 0.975)) * size))
        cv2.putText(layer, text, where, font, size / 1100, 255, stroke, cv2.LINE_AA)
    if words:
        where = (round(rng.uniform(0.04, 0.74) * size), round(rng.choice((0.08, 0.95)) * size))
        text = "AP PORTABLE" if view == "AP" else view
        cv2.putText(layer, text, where, font, size / 1250, 255, stroke, cv2.LINE_AA)
    return layer, float(rng.uniform(0.88, 1.0))


def shutter(rng: np.random.Generator, size: int) -> np.ndarray | None:
    """Draw the field that the collimator leaves open.

    Args:
        rng: source of randomness.
        size: side of the image in pixels.

    Returns:
        float32, H x W, 1 inside the field, or None where the whole detector was exposed.
    """
    if rng.random() > 0.2:
        return None
    near, far = rng.uniform(0.0, 0.05, 2), 1 - rng.uniform(0.0, 0.05, 2)
    corners = np.array([(near[0], near[1]), (far[0], near[1]), (far[0], far[1]), (near[0], far[1])])
    turn = np.deg2rad(rng.normal(0, 0.8))
    corners = (corners - 0.5) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 0.5
    layer = np.zeros((size, size), np.uint8)
    cv2.fillPoly(layer, [np.round(corners * size).astype(np.int32)], 255.0, cv2.LINE_AA)
    return layer.astype(np.float32) / 255
