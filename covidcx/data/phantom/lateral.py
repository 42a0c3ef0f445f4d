"""A synthetic lateral chest radiograph, drawn coarsely: what the gate learns to refuse as "a lateral projection".

It is a simplification for one purpose. Soft tissue, air and bone are thicknesses along a beam that crosses the chest
from side to side, so both lungs, both diaphragms and both sets of ribs lie upon each other.
"""

import itertools

import cv2
import numpy as np

from covidcx.data.phantom.frame import band, smooth

_SUPERSAMPLE = 2
_ATTENUATION = 0.19  # per cm of water


def lateral(seed: int, size: int = 256) -> np.ndarray:
    """Draw one lateral chest radiograph.

    Args:
        seed: names the picture.
        size: height and width in pixels.

    Returns:
        float32, H x W, 0 (air) to 1 (bone). The patient looks to the left or, in half of the pictures, to the right.
    """
    rng = np.random.default_rng([77, seed])
    canvas = _Canvas(size * _SUPERSAMPLE, rng)
    depth = rng.uniform(0.88, 1.15)  # front to back, relative to an average adult
    spine = _spine_curve(rng, depth)
    chest = _chest_wall(rng, depth, spine)
    water = _body(canvas, rng, chest, spine)
    lungs = _lungs(canvas, rng, chest, spine)
    air = lungs * rng.uniform(15, 21)
    air -= air * _heart(canvas, rng, depth) * rng.uniform(0.35, 0.8)
    air -= _hila(canvas, rng, depth) * lungs
    water = water - air
    water += _vertebrae(canvas, rng, spine) + _ribs(canvas, rng, chest, spine) + _sternum(canvas, rng, chest)
    water += _arms(canvas, rng) - _airway(canvas, rng, spine)
    water = np.maximum(water, 0)
    if rng.random() < 0.5:
        water = np.ascontiguousarray(water[:, ::-1])
    return _expose(water, rng, size)


class _Canvas:
    """Draws curves of a frame from -1 to 1 (x: front to back, y: head to foot)."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        turn = np.deg2rad(rng.normal(0, 4))
        scale = size / 2 * rng.uniform(0.9, 1.4)
        cos, sin = np.cos(turn), np.sin(turn)
        self._matrix = np.array([[cos, sin], [-sin, cos]]) * scale
        self._offset = rng.normal(0, 0.05, 2) * scale + size / 2
        self.unit = scale

    def fill(self, points: np.ndarray, soft: float = 0.0) -> np.ndarray:
        layer = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(layer, [self._fixed(points)], 255, cv2.LINE_AA, 4)
        return self._soften(layer, soft)

    def stroke(self, curves: list[np.ndarray], width: float, soft: float = 0.0) -> np.ndarray:
        layer = np.zeros((self.size, self.size), np.uint8)
        pixels = max(1, round(width * self.unit))
        cv2.polylines(layer, [self._fixed(curve) for curve in curves], False, 255, pixels, cv2.LINE_AA, 4)
        return self._soften(layer, soft)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round((np.asarray(points) @ self._matrix + self._offset) * 16).astype(np.int32)

    def _soften(self, layer: np.ndarray, soft: float) -> np.ndarray:
        values = layer.astype(np.float32) / 255
        return cv2.GaussianBlur(values, (0, 0), soft * self.unit) if soft > 0 else values


def _spine_curve(rng: np.random.Generator, depth: float) -> np.ndarray:
    """Middle line of the vertebral bodies, neck to loin: kyphosis bulges backwards."""
    hump, neck = rng.uniform(0.08, 0.24), rng.uniform(-0.02, 0.22)
    points = [(neck, -1.5), (neck + 0.05, -1.1), (0.36 * depth, -0.7), (0.38 * depth + hump, -0.1),
              (0.36 * depth + hump, 0.3), (0.34 * depth + hump / 2, 0.75), (0.26 * depth, 1.5)]  # fmt: skip
    return smooth(points, 4)


def _at(curve: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    return np.interp(y, curve[:, 1], curve[:, 0])


def _chest_wall(rng: np.random.Generator, depth: float, spine: np.ndarray) -> np.ndarray:
    """Inner front wall of the chest (behind the sternum), head to foot."""
    barrel = rng.uniform(-0.08, 0.08)
    points = [(-0.12, -1.5), (-0.16, -0.85), (-0.34 * depth, -0.62), (-0.55 * depth - barrel, -0.1),
              (-0.62 * depth - barrel, 0.35), (-0.60 * depth, 0.75), (-0.62 * depth, 1.5)]  # fmt: skip
    return smooth(points, 4)


def _body(canvas: _Canvas, rng: np.random.Generator, chest: np.ndarray, spine: np.ndarray) -> np.ndarray:
    rows = np.linspace(-1.5, 1.5, 60)
    fat = rng.uniform(0.06, 0.2)
    breast = rng.uniform(0, 0.28) * np.exp(-((rows - 0.25) ** 2) / 0.06) if rng.random() < 0.5 else 0
    front = np.stack([_at(chest, rows) - fat - breast, rows], axis=1)
    back = np.stack([_at(spine, rows) + 0.2 + fat, rows], axis=1)
    outline = np.concatenate([front, back[::-1]])
    # From side to side the trunk is 28 to 36 cm thick in its middle and thins out towards its front and back.
    body = canvas.fill(outline, 0.015) * 0.35 + canvas.fill(outline, 0.12) * 0.65
    thickness = rng.uniform(24, 31)
    grid = (np.arange(canvas.size) / canvas.size)[:, None]
    return body * (thickness * (0.92 + 0.16 * grid)).astype(np.float32)


def _domes(rng: np.random.Generator, chest: np.ndarray, spine: np.ndarray) -> list[np.ndarray]:
    """Two diaphragms, front to back: high in front, deep behind."""
    level, found = rng.uniform(0.3, 0.55), []
    for lift in (0.0, rng.uniform(0.03, 0.16)):
        base = level - lift
        front, back = float(_at(chest, base)) + 0.02, float(_at(spine, base + 0.35)) + 0.12
        width = back - front
        points = [(front, base + 0.06), (front + 0.25 * width, base - 0.04), (front + 0.5 * width, base - 0.02),
                  (front + 0.75 * width, base + 0.12), (back, base + rng.uniform(0.3, 0.45))]  # fmt: skip
        found.append(smooth(points, 3))
    return found


def _lungs(canvas: _Canvas, rng: np.random.Generator, chest: np.ndarray, spine: np.ndarray) -> np.ndarray:
    """Share of the beam's air: each lung gives half."""
    total = np.zeros((canvas.size, canvas.size), np.float32)
    apex = rng.uniform(-0.85, -0.68)
    for dome in _domes(rng, chest, spine):
        rows = np.linspace(apex, dome[0, 1], 30)
        # The apex is rounded: front and back wall come together there.
        open_ = np.sqrt(np.clip((rows - apex) / 0.35, 0, 1))
        middle = _at(chest, apex) * 0.4 + _at(spine, apex) * 0.6
        front = np.stack([middle + (_at(chest, rows) + 0.03 - middle) * open_, rows], axis=1)
        rows = np.linspace(dome[-1, 1], apex, 30)
        open_ = np.sqrt(np.clip((rows - apex) / 0.35, 0, 1))
        back = np.stack([middle + (_at(spine, rows) + 0.12 - middle) * open_, rows], axis=1)
        outline = np.concatenate([front, dome, back])
        total += 0.5 * (0.6 * canvas.fill(outline, 0.006) + 0.4 * canvas.fill(outline, 0.08))
    return total


def _heart(canvas: _Canvas, rng: np.random.Generator, depth: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60)
    size = rng.uniform(0.26, 0.40)
    x, y = size * 1.15 * np.cos(angle), size * np.sin(angle) * 0.95
    tilt = rng.uniform(0.3, 0.8)
    points = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], axis=1)
    points += [-0.26 * depth, rng.uniform(0.14, 0.3)]
    # Its middle is thicker than its rim, and great vessels blur its upper border.
    return 0.5 * canvas.fill(points, 0.025) + 0.5 * canvas.fill(points, rng.uniform(0.06, 0.14))


def _hila(canvas: _Canvas, rng: np.random.Generator, depth: float) -> np.ndarray:
    """Hilar vessels, the aortic arch and the branches that leave them, in cm of water within the lungs."""
    root = np.array([0.04 * depth, rng.uniform(-0.2, -0.05)])
    vessels = []
    for _ in range(rng.integers(12, 24)):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5)
        step = np.array([np.cos(angle), np.sin(angle)]) * length
        vessels.append(smooth([root, root + step / 2 + rng.normal(0, 0.08, 2), root + step], 3))
    arch = smooth([(-0.15, -0.1), (-0.08, -0.38), (0.12, -0.42), (0.28, -0.2), (0.36, 0.3)], 4)
    angle = np.linspace(0, 2 * np.pi, 30)
    knot = root + 0.1 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (
        canvas.stroke(vessels, 0.018, 0.012) * rng.uniform(0.5, 1.8)
        + canvas.stroke([arch], 0.15, 0.03) * rng.uniform(0.5, 2.5)
        + canvas.fill(knot, 0.04) * rng.uniform(2, 5)
    )


def _vertebrae(canvas: _Canvas, rng: np.random.Generator, spine: np.ndarray) -> np.ndarray:
    """Stacked bodies with bright end plates, and the arches behind them."""
    total = np.zeros((canvas.size, canvas.size), np.float32)
    rows = np.arange(-1.4, 1.5, rng.uniform(0.125, 0.16))
    half = rng.uniform(0.065, 0.085)
    bodies, plates = [], []
    for y, next_ in itertools.pairwise(rows):
        top, bottom = y + 0.012, next_ - 0.012
        corners = np.array([
            (_at(spine, top) - half, top), (_at(spine, top) + half, top),
            (_at(spine, bottom) + half, bottom), (_at(spine, bottom) - half, bottom),
        ])  # fmt: skip
        bodies.append(corners)
        plates += [corners[:2], corners[2:]]
    for body in bodies:
        total = np.maximum(total, canvas.fill(body, 0.004))
    bone = rng.uniform(1.5, 3.5)
    arches = np.add(spine, [half + 0.07, 0.0])
    return total * bone + canvas.stroke(plates, 0.012, 0.003) * bone * 0.6 + canvas.stroke([arches], 0.09, 0.02) * 1.5


def _ribs(canvas: _Canvas, rng: np.random.Generator, chest: np.ndarray, spine: np.ndarray) -> np.ndarray:
    total = np.zeros((canvas.size, canvas.size), np.float32)
    gap, drop, width = rng.uniform(0.13, 0.17), rng.uniform(0.3, 0.6), rng.uniform(0.035, 0.06)
    for shift in (0.0, rng.uniform(0.02, 0.08)):
        edges = []
        for y in np.arange(-0.85, 0.95, gap):
            start = np.array([_at(spine, y) + 0.14, y + shift])
            end = np.array([_at(chest, y + drop) + 0.02, y + drop + shift])
            curve = smooth([start, np.add(start, [0.05, 0.08]), np.add((start + end) / 2, [0, 0.1]), end], 3)
            edges += list(band(curve, width))
        total += canvas.stroke(edges, 0.008, 0.003)
    return total * rng.uniform(0.3, 0.9)


def _sternum(canvas: _Canvas, rng: np.random.Generator, chest: np.ndarray) -> np.ndarray:
    rows = np.linspace(-0.62, rng.uniform(0.15, 0.35), 20)
    curve = np.stack([_at(chest, rows) - 0.03, rows], axis=1)
    return canvas.stroke([curve], rng.uniform(0.035, 0.06), 0.006) * rng.uniform(0.8, 2.2)


def _arms(canvas: _Canvas, rng: np.random.Generator) -> np.ndarray:
    """Raised arms and shoulders over the upper corners; often the arms are held to the front."""
    total = np.zeros((canvas.size, canvas.size), np.float32)
    shoulder = np.array([0.1, -0.8])
    for _ in range(2):
        angle = np.deg2rad(rng.uniform(-170, -70))
        hand = shoulder + 1.2 * np.array([np.cos(angle), np.sin(angle)])
        arm = [np.array([shoulder + rng.normal(0, 0.05, 2), hand])]
        total += canvas.stroke(arm, 0.34, 0.05) * rng.uniform(5, 9) + canvas.stroke(arm, 0.1, 0.01) * rng.uniform(1, 3)
    blade = smooth([(0.2, -0.75), (0.5, -0.5), (0.62, 0.0)], 3) + rng.normal(0, 0.04, 2)
    return total * (rng.random() < 0.85) + canvas.stroke([blade], 0.02, 0.005) * rng.uniform(0, 1.5)


def _airway(canvas: _Canvas, rng: np.random.Generator, spine: np.ndarray) -> np.ndarray:
    rows = np.linspace(-1.3, rng.uniform(-0.2, -0.05), 20)
    curve = np.stack([_at(spine, rows) * 0.5 - 0.08, rows], axis=1)
    return canvas.stroke([curve], 0.06, 0.012) * rng.uniform(1, 3)


def _expose(water: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    beam = np.exp(-_ATTENUATION * water)
    haze = cv2.GaussianBlur(np.minimum(beam, 0.1), (0, 0), water.shape[0] * 0.07) * rng.uniform(0.1, 0.4)
    film = -np.log(beam + haze)
    film -= cv2.GaussianBlur(film, (0, 0), water.shape[0] * 0.1) * rng.uniform(0, 0.45)
    film = cv2.resize(film, (size, size), interpolation=cv2.INTER_AREA)
    noise = rng.standard_normal(film.shape).astype(np.float32)
    film += cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 1.0)) * rng.uniform(0.01, 0.06)
    low, high = np.percentile(film, (rng.uniform(0.5, 12), rng.uniform(93, 99.7)))
    grey = np.clip((film - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(0.7, 1.5)
    grey = np.clip(grey * rng.uniform(0.75, 1.0) + rng.uniform(0, 0.08), 0, 1)
    if rng.random() < 0.4:  # collimated: black beyond the field
        top, left = rng.integers(0, size // 8, 2)
        bottom, right = size - rng.integers(0, size // 8), size - rng.integers(0, size // 8)
        field = np.zeros_like(grey)
        field[top:bottom, left:right] = grey[top:bottom, left:right]
        grey = field
    if rng.random() < 0.6:
        place = (int(rng.uniform(0.03, 0.85) * size), int(rng.uniform(0.06, 0.2) * size))
        text = str(rng.choice(["L", "R", "LAT", "LL", "ERECT"]))
        mark = np.zeros((size, size), np.uint8)
        cv2.putText(mark, text, place, cv2.FONT_HERSHEY_SIMPLEX, size / 500, 255, max(1, size // 200), cv2.LINE_AA)
        grey = np.maximum(grey, mark.astype(np.float32) / 255)
    return grey.astype(np.float32)
