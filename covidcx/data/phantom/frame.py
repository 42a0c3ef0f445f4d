"""The projection of one radiograph: its pose, and how points of the chest become pixels."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
WAVES = 3
_KNOTS = 14  # points a side from which the inverse of the warp is enlarged


@dataclass(frozen=True)
class Pose:
    """How the patient stood in the beam for one radiograph.

    Attributes:
        view: `PA` or `AP`.
        scale: magnification of the frame.
        stretch: how much wider than high a pixel is drawn; scans and screenshots seldom keep the proportions.
        angle: rotation in the image plane, degrees.
        shift: x and y offset in frame units.
        base: how far the diaphragm is raised (poor inspiration) in frame units.
        turn: turn about the body axis, radians: what lies in front moves to the image's right.
        tip: leaning back (lordotic, positive) or forward, radians: what lies in front moves up.
        cone: how much larger than the chest's middle a thing one frame unit in front of it is drawn.
        arm: distance of the arms from the body.
        roll: how far the shoulder blades are turned out of the lungs, 0 (not at all) to 1.
        shrug: how far the shoulders are raised.
        chin: how far the head hangs into the field.
    """

    view: str
    scale: float
    stretch: float
    angle: float
    shift: tuple[float, float]
    base: float
    turn: float
    tip: float
    cone: float
    arm: float
    roll: float
    shrug: float
    chin: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Pose":
        """Draw a pose; bedside (AP) ones are less tidy."""
        bedside = rng.random() < 0.45
        messy = 1.7 if bedside else 1.0
        # The tube stands 180 cm from the detector, at the bedside some 100 to 120 cm; half a chest is about 17 cm.
        cone = rng.uniform(0.10, 0.16) if bedside else -rng.uniform(0.07, 0.09)
        return cls(
            view="AP" if bedside else "PA",
            scale=within(rng.normal(1.03, 0.12), 0.72, 1.27),
            stretch=within(np.exp(rng.normal(0.03, 0.075)), 0.82, 1.22),
            angle=rng.normal(0, 1.8 * messy),
            shift=(rng.normal(0, 0.035 * messy), rng.normal(0.02, 0.05 * messy)),
            base=within(rng.normal(0.13, 0.09) if bedside else rng.normal(0.03, 0.07), -0.14, 0.34),
            turn=rng.normal(0, 0.05 * messy),
            tip=rng.normal(0.10, 0.10) if bedside else rng.normal(0.0, 0.04),
            cone=cone,
            arm=rng.uniform(-0.02, 0.16),
            roll=rng.uniform(0.0, 0.5) if bedside else rng.uniform(0.4, 1.0),
            shrug=rng.normal(0.04, 0.06) if bedside else rng.normal(0, 0.04),
            chin=rng.uniform(0.0, 0.25) if bedside else rng.uniform(-0.1, 0.06),
        )


@dataclass(frozen=True)
class Warp:
    """A smooth, small distortion that makes one chest unlike the next: a sum of plane waves."""

    amplitude: np.ndarray = field(repr=False)  # WAVES x 2
    wave: np.ndarray = field(repr=False)  # 2 x WAVES
    phase: np.ndarray = field(repr=False)  # WAVES

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float = 0.016) -> "Warp":
        """Draw a distortion of about `strength` frame units."""
        length = np.exp(rng.uniform(np.log(0.7), np.log(2.4), WAVES))
        way = rng.uniform(0, np.pi, WAVES)
        wave = 2 * np.pi / length * np.stack([np.cos(way), np.sin(way)])
        # Longer waves may move more without folding the picture.
        amplitude = rng.normal(0, strength, (WAVES, 2)) * np.minimum(length, 1.5)[:, None] / 1.2
        return cls(amplitude, wave, rng.uniform(0, 2 * np.pi, WAVES))

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Return where points (..., 2) come to lie."""
        return points + np.sin((points @ self.wave + self.phase).astype(np.float32)) @ self.amplitude


@dataclass(frozen=True, eq=False)
class Frame:
    """Maps the chest's own coordinates to the pixels of a square image and draws there.

    In the chest's frame -1..1 spans an unscaled image: x runs to the image's right (the patient's left), y down and z
    from the back to the front, the middle of the chest being 0.
    """

    size: int
    pose: Pose
    warp: Warp
    _shared: dict = field(default_factory=dict, repr=False)  # smaller frames by size, and what all sizes share

    @property
    def unit(self) -> float:
        """Pixels per frame unit."""
        return self.size / 2 * self.pose.scale

    def project(self, points: np.ndarray, z: float | np.ndarray = 0.0) -> np.ndarray:
        """Project points (..., 2) at depth z onto the frame's plane: rotation, lean and the cone of the beam."""
        points = np.asarray(points, dtype=np.float64)
        x, y = points[..., 0], points[..., 1]
        cos, sin = self._turned
        deep = z * cos - x * sin
        grow = 1 + self.pose.cone * deep
        out = np.empty((*deep.shape, 2))
        out[..., 0] = (x * cos + z * sin) * grow
        out[..., 1] = (y - self.pose.tip * deep) * grow
        return out

    def at(self, points: np.ndarray, z: float | np.ndarray | None = None) -> np.ndarray:
        """Map points (..., 2), on the frame's plane or at depth z, to pixel x, y."""
        points = np.asarray(points, dtype=np.float64) if z is None else self.project(points, z)
        return self.warp.moved(points) @ self._matrix + self._offset

    def fixed_all(self, parts: list[tuple[np.ndarray, float | np.ndarray | None]]) -> list[np.ndarray]:
        """Map several sets of points (..., 2), each with its depth or None, as `fixed` does, but all at once."""
        flat, shapes = [], []
        for points, z in parts:
            shapes.append(points.shape)
            flat.append((points if z is None else self.project(points, z)).reshape(-1, 2))
        pixels = self.fixed(np.concatenate(flat))
        ends = np.cumsum([len(each) for each in flat])[:-1]
        return [each.reshape(shape) for each, shape in zip(np.split(pixels, ends), shapes, strict=True)]

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Frame x and y of every pixel, each float32, size x size."""
        # The inverse of the warp is smooth: a few points of it, enlarged, serve for all pixels and all sizes.
        step = np.linalg.inv(self._matrix)
        if "error" not in self._shared:
            places = (np.arange(_KNOTS) + 0.5) * (self.size / _KNOTS) - 0.5
            flat = np.empty((_KNOTS, _KNOTS, 2))
            flat[..., 0], flat[..., 1] = places - self._offset[0], places[:, None] - self._offset[1]
            flat = flat.reshape(-1, 2) @ step
            back = flat
            for _ in range(2):
                back = flat - (self.warp.moved(back) - back)
            error = (back - flat).astype(np.float32).T.reshape(2, _KNOTS, _KNOTS)
            self._shared["error"] = np.ascontiguousarray(error)
        span = np.arange(self.size)
        right = ((span - self._offset[0])[:, None] * step[0]).astype(np.float32)
        down = ((span - self._offset[1])[:, None] * step[1]).astype(np.float32)
        axes = []
        for i in range(2):
            axis = cv2.resize(self._shared["error"][i], (self.size, self.size), interpolation=cv2.INTER_LINEAR)
            axis += right[None, :, i]
            axis += down[:, None, i]
            axes.append(axis)
        return tuple(axes)

    @cached_property
    def _turned(self) -> tuple[float, float]:
        return float(np.cos(self.pose.turn)), float(np.sin(self.pose.turn))

    @cached_property
    def _matrix(self) -> np.ndarray:
        turn = np.deg2rad(self.pose.angle)
        wide = np.sqrt(self.pose.stretch)
        rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        return rotate @ np.diag([wide, 1 / wide]) * self.unit

    @cached_property
    def _offset(self) -> np.ndarray:
        return np.asarray(self.pose.shift) * self.unit + (self.size - 1) / 2

    def coarse(self, size: int) -> "Frame":
        """Return the same frame on a smaller image, for smooth fields; one per size is kept, with its grid."""
        if size >= self.size:
            return self
        if size not in self._shared:
            self._shared[size] = Frame(size, self.pose, self.warp, self._shared)
        return self._shared[size]

    def fixed(self, points: np.ndarray, z: float | np.ndarray | None = None) -> np.ndarray:
        """Return points as int32 pixels with `SHIFT` fractional bits; `fill` and `stroke` take them as they are."""
        return np.rint(self.at(points, z) * (1 << SHIFT)).astype(np.int32)

    def fill(self, layer: np.ndarray, shapes: np.ndarray | list[np.ndarray], value: float = 255, **how) -> None:
        """Fill a polygon (N x 2) or many of one kind (K x N x 2, or a list) on a uint8 layer.

        `z` (depth of the points) and `smooth` (anti-aliased, the default) may be given.
        """
        kind = cv2.LINE_AA if how.pop("smooth", True) else cv2.LINE_8
        cv2.fillPoly(layer, self._fixed(shapes, **how), float(value), kind, SHIFT)

    def stroke(
        self, layer: np.ndarray, curves: np.ndarray | list[np.ndarray], value: float, width: float, **how
    ) -> None:
        """Draw open curves (N x 2, K x N x 2 or a list) of a width in frame units on a uint8 layer; see `fill`."""
        pixels = max(1, round(width * self.unit))
        kind = cv2.LINE_AA if how.pop("smooth", True) else cv2.LINE_8
        value *= min(1.0, width * self.unit)  # thinner than a pixel: fainter instead
        cv2.polylines(layer, self._fixed(curves, **how), False, float(value), pixels, kind, SHIFT)

    def blank(self) -> np.ndarray:
        """Return an empty uint8 layer."""
        return np.zeros((self.size, self.size), np.uint8)

    def _fixed(self, shapes: np.ndarray | list[np.ndarray], z: float | np.ndarray | None = None) -> list[np.ndarray]:
        if isinstance(shapes, list):
            lengths = np.cumsum([len(shape) for shape in shapes])[:-1]
            return np.split(self.fixed(np.concatenate(shapes), z), lengths)
        fixed = shapes if shapes.dtype == np.int32 else self.fixed(shapes, z)
        return [fixed] if fixed.ndim == 2 else list(fixed)


@lru_cache(maxsize=64)
def _chaikin(count: int, times: int) -> np.ndarray:
    matrix = np.eye(count)
    for _ in range(times):
        near, far = 0.75 * matrix[:-1] + 0.25 * matrix[1:], 0.25 * matrix[:-1] + 0.75 * matrix[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, count)
        matrix = np.concatenate([matrix[:1], inner, matrix[-1:]])
    matrix.setflags(write=False)
    return matrix


def smooth(points: list[tuple[float, float]] | np.ndarray, times: int = 3) -> np.ndarray:
    """Round open polylines (... x N x 2) by Chaikin's corner cutting; their ends stay."""
    points = np.asarray(points, dtype=np.float64)
    return _chaikin(points.shape[-2], times) @ points


def within(value: float, low: float, high: float) -> float:
    """Return the value, or the limit that it passes."""
    return float(min(max(value, low), high))


def band(curves: np.ndarray, width: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two edges of curves (... x N x 2) at half a width (a number or N) on either side."""
    step = np.empty_like(curves)
    step[..., 1:-1, :] = curves[..., 2:, :] - curves[..., :-2, :]
    step[..., 0, :] = curves[..., 1, :] - curves[..., 0, :]
    step[..., -1, :] = curves[..., -1, :] - curves[..., -2, :]
    length = np.maximum(np.hypot(step[..., 0], step[..., 1]), 1e-9)
    half = (np.asarray(width) / 2 / length)[..., None]
    normal = np.stack([-step[..., 1], step[..., 0]], axis=-1) * half
    return curves + normal, curves - normal


@lru_cache(maxsize=8)
def ring(count: int = 20) -> np.ndarray:
    """Return a unit circle of `count` points."""
    angle = np.linspace(0, 2 * np.pi, count)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points.setflags(write=False)
    return points


def clouds(rng: np.random.Generator, size: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Return smooth noise, float32, size x size, mean about 0 and deviation about 1."""
    total = rng.standard_normal((cells, cells), dtype=np.float32)
    for octave in range(1, octaves):
        n = cells * 2**octave
        total = cv2.resize(total, (n, n), interpolation=cv2.INTER_CUBIC)
        total += rng.standard_normal((n, n), dtype=np.float32) * np.float32(0.62**octave)
    total *= np.float32(1 / 1.05)
    return cv2.resize(total, (size, size), interpolation=cv2.INTER_CUBIC)


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a square map to size x size."""
    return image if len(image) == size else cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian; a narrow one has no weight beyond its neighbours, and three taps are quickly done."""
    return cv2.GaussianBlur(image, (3, 3) if sigma < 0.65 else (0, 0), sigma)
