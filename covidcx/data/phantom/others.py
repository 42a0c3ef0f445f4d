"""Drawn pictures of anything but a chest: other bones, sections, ultrasound, tissue, pages, charts, patterns, noise.

They show the gate what is no chest radiograph (`covidcx.data.views`). Families named in `HELD_OUT` are for testing
only, so that a gate is measured on kinds of pictures it never saw.
"""

from collections.abc import Callable

import cv2
import numpy as np

from covidcx.data.phantom.frame import smooth
from covidcx.errors import CovidcxError, did_you_mean

HELD_OUT = ("chart", "skull", "pattern")
_X_RAYS = ("leg", "hand", "abdomen", "joint", "skull")


def draw_other(family: str, seed: int, size: int = 192) -> np.ndarray:
    """Draw one picture that is no chest radiograph.

    Args:
        family: one of `families()`.
        seed: names the picture.
        size: height and width in pixels.

    Returns:
        float32, H x W, 0..1.

    Raises:
        CovidcxError: the family is unknown.
    """
    if family not in _FAMILIES:
        raise CovidcxError(f"unknown family of pictures {family!r}.{did_you_mean(family, _FAMILIES)}")
    rng = np.random.default_rng([88, list(_FAMILIES).index(family), seed])
    picture = _FAMILIES[family](rng, size).astype(np.float32)
    if family in _X_RAYS:
        picture = _film(picture, rng)
    if rng.random() < 0.3:
        picture = _turned(picture, int(rng.integers(1, 4)))
    if rng.random() < (0.15 if family in _X_RAYS else 0.3):
        picture = 1 - picture
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.5) * size / 192)
    return np.ascontiguousarray(np.clip(picture, 0, 1), dtype=np.float32)


def families() -> tuple[str, ...]:
    """Return the names of all kinds of pictures."""
    return tuple(_FAMILIES)


def _turned(picture: np.ndarray, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(picture, quarters))


def _film(water: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grey levels of a drawn thickness: scatter, noise, window, sometimes a collimated field."""
    size = water.shape[0]
    film = -np.log(np.exp(-0.19 * water) + rng.uniform(0.002, 0.03))
    film += cv2.GaussianBlur(rng.standard_normal(water.shape), (0, 0), 0.6) * rng.uniform(0.01, 0.06)
    low, high = np.percentile(film, (1, rng.uniform(97, 99.9)))
    grey = np.clip((film - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.4:
        edges = rng.integers(0, size // 6, 4)
        field = np.full_like(grey, rng.choice([0.0, 0.0, 1.0]))
        inside = (slice(edges[0], size - edges[1]), slice(edges[2], size - edges[3]))
        field[inside] = grey[inside]
        grey = field
    return grey


def _layer(size: int) -> np.ndarray:
    return np.zeros((size, size), np.uint8)


def _soft(layer: np.ndarray, sigma: float) -> np.ndarray:
    values = layer.astype(np.float32) / 255
    return cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0 else values


def _blob(size: int, centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    layer = _layer(size)
    middle, half = (np.round(np.multiply(pair, size)).astype(int).tolist() for pair in (centre, axes))
    cv2.ellipse(layer, middle, half, angle, 0, 360, 255, -1, cv2.LINE_AA)
    return layer


def _path(size: int, points: np.ndarray, width: float) -> np.ndarray:
    layer = _layer(size)
    fixed = np.round(np.asarray(points) * size * 16).astype(np.int32)
    cv2.polylines(layer, [fixed], False, 255, max(1, round(width * size)), cv2.LINE_AA, 4)
    return layer


def _bone(size: int, points: np.ndarray, width: float) -> np.ndarray:
    """A tube: dense cortex, lighter marrow, thicker ends."""
    outer, inner = _soft(_path(size, points, width), 0.7), _soft(_path(size, points, width * 0.55), 1.2)
    ends = sum(_soft(_blob(size, tuple(end), (width * 0.62, width * 0.5)), 1.0) for end in (points[0], points[-1]))
    return np.clip(outer - 0.6 * inner + 0.6 * ends, 0, 1)


def _leg(rng: np.random.Generator, size: int) -> np.ndarray:
    middle, tilt = rng.uniform(0.35, 0.65), rng.normal(0, 0.06)
    line = np.array([(middle - tilt, -0.1), (middle + rng.normal(0, 0.01), 0.5), (middle + tilt, 1.1)])
    water = _soft(_path(size, smooth(line), rng.uniform(0.25, 0.6)), size * 0.025) * rng.uniform(6, 12)
    for side in rng.permutation([-1, 1])[: rng.integers(1, 3)]:
        shaft = smooth(np.add(line, [side * rng.uniform(0.03, 0.09), 0]))
        water += _bone(size, shaft, rng.uniform(0.04, 0.13)) * rng.uniform(2, 5)
    if rng.random() < 0.5:
        level = rng.uniform(0.1, 0.9)
        water += _soft(_blob(size, (middle, level), (0.13, 0.05)), 1.5) * rng.uniform(2, 4)
    return water


def _joint(rng: np.random.Generator, size: int) -> np.ndarray:
    """Knee, elbow or shoulder: two shafts that meet at an angle."""
    centre = rng.uniform(0.4, 0.6, 2)
    water = np.zeros((size, size), np.float32)
    start = rng.uniform(0, 2 * np.pi)
    for angle in (start, start + rng.uniform(1.6, 3.6)):
        end = centre + 0.8 * np.array([np.cos(angle), np.sin(angle)])
        line = np.array([centre + 0.06 * (end - centre), end])
        water += _soft(_path(size, line, rng.uniform(0.25, 0.45)), size * 0.03) * rng.uniform(4, 7)
        water += _bone(size, line, rng.uniform(0.08, 0.15)) * rng.uniform(2, 5)
    return water


def _hand(rng: np.random.Generator, size: int) -> np.ndarray:
    wrist = np.array([rng.uniform(0.4, 0.6), rng.uniform(0.85, 1.0)])
    spread, reach = rng.uniform(0.18, 0.3), rng.uniform(0.7, 0.9)
    water = _soft(_path(size, np.array([wrist, wrist - [0, 0.4]]), 0.34), size * 0.02) * 2.5
    for finger in range(5):
        angle = -np.pi / 2 + (finger - 2.1) * spread
        length = reach * (0.75 if finger in (0, 4) else 1.0)
        step = np.array([np.cos(angle), np.sin(angle)]) * length
        water += _soft(_path(size, np.array([wrist + 0.4 * step, wrist + step]), 0.085), size * 0.01) * 2
        for near, far in ((0.18, 0.5), (0.53, 0.72), (0.74, 0.86), (0.88, 0.97)):
            water += _bone(size, np.array([wrist + near * step, wrist + far * step]), 0.032) * 1.6
    for _ in range(8):
        place = wrist + rng.normal(0, 0.05, 2) - [0, 0.1]
        water += _soft(_blob(size, tuple(place), (0.03, 0.025)), 1.0) * 1.2
    return water


def _abdomen(rng: np.random.Generator, size: int) -> np.ndarray:
    """Loin and pelvis from the front: spine, iliac wings, gas."""
    water = _soft(_blob(size, (0.5, 0.5), (rng.uniform(0.42, 0.55), 0.75)), size * 0.05) * rng.uniform(16, 22)
    middle = 0.5 + rng.normal(0, 0.02)
    for y in np.arange(-0.05, 0.68, 0.1):
        water += _soft(_blob(size, (middle, y), (0.055, 0.036)), 1.0) * rng.uniform(1.5, 3)
        water += _soft(_path(size, np.array([(middle - 0.11, y), (middle + 0.11, y)]), 0.015), 1.0)
    low = rng.uniform(0.62, 0.8)
    for side in (-1, 1):
        wing = _soft(_blob(size, (middle + side * 0.2, low), (0.17, 0.13), side * -35), 2)
        hollow = _soft(_blob(size, (middle + side * 0.14, low + 0.06), (0.11, 0.1)), 3)
        water += np.clip(wing - 0.5 * hollow, 0, 1) * rng.uniform(1.5, 3)
        hip = (middle + side * 0.28, low + 0.22)
        water += _bone(size, np.array([hip, (hip[0] + side * 0.06, 1.15)]), 0.1) * 3
    for _ in range(rng.integers(4, 18)):
        place, axes = (rng.uniform(0.15, 0.85), rng.uniform(0.05, 0.95)), rng.uniform(0.02, 0.09, 2)
        water -= _soft(_blob(size, place, tuple(axes), rng.uniform(0, 180)), 2) * rng.uniform(2, 7)
    return np.maximum(water, 0)


def _skull(rng: np.random.Generator, size: int) -> np.ndarray:
    centre = (rng.uniform(0.45, 0.55), rng.uniform(0.4, 0.5))
    axes = np.array([rng.uniform(0.28, 0.4), rng.uniform(0.32, 0.42)])
    outer, inner = _blob(size, centre, tuple(axes)), _blob(size, centre, tuple(axes - 0.03))
    water = _soft(outer, 1) * 9 - _soft(inner, 1) * 4
    for side in (-1, 1):
        water -= _soft(_blob(size, (centre[0] + side * 0.12, centre[1] + 0.12), (0.08, 0.06)), 2) * 3
        water += _bone(size, np.array([(centre[0] + side * 0.2, centre[1] + 0.2), (centre[0], 0.95)]), 0.06) * 3
    for x in np.arange(-0.12, 0.13, 0.04):
        water += _soft(_blob(size, (centre[0] + x, 0.8), (0.015, 0.035)), 0.7) * 4
    water -= _soft(_blob(size, (centre[0], centre[1] + 0.22), (0.03, 0.07)), 2) * 3
    return np.maximum(water + _soft(_path(size, np.array([(centre[0], 0.6), (centre[0], 1.1)]), 0.14), 3) * 4, 0)


def _section(rng: np.random.Generator, size: int) -> np.ndarray:
    """An axial section as CT or MR shows it: with lungs, with organs, or a head."""
    kind = rng.choice(["chest", "belly", "head"])
    axes = (rng.uniform(0.33, 0.46), rng.uniform(0.24, 0.36)) if kind != "head" else (0.3, rng.uniform(0.33, 0.4))
    outline = _soft(_blob(size, (0.5, 0.5), axes), 0.8)
    picture = outline * rng.uniform(0.45, 0.7)
    if kind == "head":
        picture += outline * rng.uniform(0, 0.3) - _soft(_blob(size, (0.5, 0.5), (0.27, axes[1] - 0.03)), 1) * 0.25
    for side in (-1, 1) if kind == "chest" else ():
        lung = _blob(size, (0.5 + side * axes[0] * 0.5, 0.49), (axes[0] * 0.36, axes[1] * 0.68), side * 12)
        picture -= _soft(lung, 1) * rng.uniform(0.35, 0.55)
    for _ in range(rng.integers(3, 14)):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
        place = (0.5 + radius * axes[0] * np.cos(angle), 0.5 + radius * axes[1] * np.sin(angle))
        organ = _soft(_blob(size, place, tuple(rng.uniform(0.02, 0.1, 2)), rng.uniform(0, 180)), 1)
        picture += organ * rng.uniform(-0.2, 0.3)
    picture += _soft(_blob(size, (0.5, 0.5 + axes[1] * 0.65), (0.05, 0.045)), 1) * rng.uniform(0.2, 0.5)
    if rng.random() < 0.5:  # the table
        table = smooth(np.array([(0.1, 0.85), (0.5, 0.93), (0.9, 0.85)]))
        picture += _soft(_path(size, table, 0.012), 0.5) * 0.4
    if rng.random() < 0.3:  # round field of view
        picture += 0.3 * (1 - _soft(_blob(size, (0.5, 0.5), (0.5, 0.5)), 0))
    return picture + rng.standard_normal((size, size)) * rng.uniform(0.0, 0.05)


def _ultrasound(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    tip, half = np.array([rng.uniform(0.4, 0.6), rng.uniform(-0.3, 0.1)]), rng.uniform(0.35, 0.8)
    angle, radius = np.arctan2(x - tip[0], y - tip[1]), np.hypot(x - tip[0], y - tip[1])
    sector = (np.abs(angle) < half) & (radius < rng.uniform(0.85, 1.1)) & (radius > rng.uniform(0.05, 0.3))
    speckle = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), rng.uniform(0.8, 2)) ** 2
    tissue = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), size * rng.uniform(0.03, 0.1))
    tissue = np.clip(0.5 + tissue / (4 * tissue.std()), 0, 1)
    return sector * np.clip(speckle / speckle.std() * 0.4, 0, 1) * tissue


def _tissue(rng: np.random.Generator, size: int) -> np.ndarray:
    """Cells under a microscope."""
    picture = np.full((size, size), rng.uniform(0.6, 0.9), np.float32)
    waves = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), size * rng.uniform(0.02, 0.08))
    picture += waves / waves.std() * rng.uniform(0.03, 0.12)
    radius = rng.uniform(0.008, 0.05)
    for _ in range(int(rng.uniform(0.05, 0.4) / radius**2 / 3)):
        cell = _blob(size, tuple(rng.uniform(0, 1, 2)), tuple(radius * rng.uniform(0.6, 1.3, 2)), rng.uniform(0, 180))
        picture -= _soft(cell, 0.5) * rng.uniform(0.1, 0.4)
    return picture


def _page(rng: np.random.Generator, size: int) -> np.ndarray:
    ink, letters = _layer(size), list("abcdefghijklmnopqrstuvwxyzABCDEFGHKLMNRST0123456789   .,")
    height = rng.uniform(0.03, 0.14)
    for y in np.arange(height, 1, height * rng.uniform(1.2, 2)):
        line = "".join(rng.choice(letters, rng.integers(1, 60)))
        place = (round(rng.uniform(0.01, 0.2) * size), round(y * size))
        font = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_COMPLEX]))
        cv2.putText(ink, line, place, font, height * size / 35, 255, max(1, round(height * size / 20)), cv2.LINE_AA)
    return 1 - _soft(ink, 0) * rng.uniform(0.6, 1)


def _chart(rng: np.random.Generator, size: int) -> np.ndarray:
    ink = _layer(size)
    cv2.rectangle(ink, (size // 8, size // 10), (size - size // 12, size - size // 8), 255, 1)
    count = int(rng.integers(4, 16))
    xs = np.linspace(0.14, 0.9, count)
    if rng.random() < 0.5:
        for x, y in zip(xs, rng.uniform(0.15, 0.8, count), strict=True):
            corner = (round((x + 0.5 / count) * size), round(0.87 * size))
            cv2.rectangle(ink, (round(x * size), round(y * size)), corner, int(rng.integers(90, 255)), -1)
    else:
        for _ in range(rng.integers(1, 5)):
            steps = np.cumsum(rng.normal(0, 0.08, count)) + 0.5
            ink = np.maximum(ink, _path(size, np.stack([xs, np.clip(steps, 0.12, 0.86)], axis=1), 0.01))
    return 1 - _soft(ink, 0)


def _pattern(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2, 25)
    first = np.sin(2 * np.pi * pitch * (x * np.cos(angle) + y * np.sin(angle)))
    if rng.random() < 0.5:
        first = first * np.sin(2 * np.pi * pitch * (y * np.cos(angle) - x * np.sin(angle)))
    return 0.5 + 0.5 * (np.sign(first) if rng.random() < 0.5 else first)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    picture = np.zeros((size, size))
    for sigma in rng.choice([0.0, 1.0, 3.0, 8.0, 20.0, 40.0], rng.integers(1, 4), replace=False):
        part = rng.standard_normal((size, size))
        part = cv2.GaussianBlur(part, (0, 0), sigma) if sigma else part
        picture += part / part.std() * rng.uniform(0.3, 1)
    return 0.5 + picture / picture.std() * rng.uniform(0.1, 0.4)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    angle = rng.uniform(0, 2 * np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    if rng.random() < 0.4:
        ramp = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 1))
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    return rng.uniform(0, 0.4) + rng.uniform(0.2, 0.6) * ramp ** rng.uniform(0.5, 2)


def _blank(rng: np.random.Generator, size: int) -> np.ndarray:
    picture = np.full((size, size), rng.uniform(0, 1))
    if rng.random() < 0.5:
        picture += rng.standard_normal((size, size)) * rng.uniform(0, 0.05)
    if rng.random() < 0.4:  # an empty exposure within its collimated field
        top, left = rng.integers(0, size // 4, 2)
        picture[: top + 1] = picture[:, : left + 1] = rng.choice([0.0, 1.0])
    return picture


_FAMILIES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "leg": _leg, "joint": _joint, "hand": _hand, "abdomen": _abdomen, "skull": _skull, "section": _section,
    "ultrasound": _ultrasound, "tissue": _tissue, "page": _page, "chart": _chart, "pattern": _pattern,
    "noise": _noise, "gradient": _gradient, "blank": _blank,
}  # fmt: skip
