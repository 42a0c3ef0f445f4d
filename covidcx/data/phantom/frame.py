"""The projection of one radiograph: its pose, and how curves in frame units become pixels."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Pose:
    """How the patient stood in the beam for one radiograph.

    Attributes:
        view: `PA` or `AP`.
        scale: magnification of the frame.
        angle: rotation in the image plane, degrees.
        shift: x and y offset in frame units.
        base: how far the diaphragm is raised (poor inspiration) in frame units.
        turn: turn about the body axis: front structures move sideways by this much.
        arm: distance of the arms from the body.
        chin: how far the head hangs into the field.
    """

    view: str
    scale: float
    angle: float
    shift: tuple[float, float]
    base: float
    turn: float
    arm: float
    chin: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Pose":
        """Draw a pose; bedside (AP) ones are less tidy."""
        view = "AP" if rng.random() < 0.45 else "PA"
        messy = 1.6 if view == "AP" else 1.0
        return cls(
            view=view,
            scale=float(np.clip(rng.normal(1.02, 0.10), 0.80, 1.24)),
            angle=rng.normal(0, 1.6 * messy),
            shift=(rng.normal(0, 0.03 * messy), rng.normal(0.0, 0.04 * messy)),
            base=rng.normal(0.07, 0.06) if view == "AP" else rng.normal(0.0, 0.05),
            turn=rng.normal(0, 0.015 * messy),
            arm=rng.uniform(0.0, 0.16),
            chin=rng.uniform(0.0, 0.25) if view == "AP" else rng.uniform(-0.1, 0.06),
        )


@dataclass(frozen=True)
class Frame:
    """Maps frame units to the pixels of a square image and draws there."""

    size: int
    pose: Pose

    @property
    def unit(self) -> float:
        """Pixels per frame unit."""
        return self.size / 2 * self.pose.scale

    def at(self, points: np.ndarray) -> np.ndarray:
        """Map frame points (..., 2) to pixel x, y."""
        return np.asarray(points) @ self._matrix + self._offset

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return frame x and y of every pixel, each float32, size x size."""
        turn = np.deg2rad(self.pose.angle)
        span = (np.arange(self.size, dtype=np.float32) - (self.size - 1) / 2) / self.unit
        x, y = (span - self.pose.shift[0])[None, :], (span - self.pose.shift[1])[:, None]
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return x * cos + y * sin, y * cos - x * sin

    @cached_property
    def _matrix(self) -> np.ndarray:
        turn = np.deg2rad(self.pose.angle)
        return np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * self.unit

    @cached_property
    def _offset(self) -> np.ndarray:
        return np.asarray(self.pose.shift) * self.unit + (self.size - 1) / 2

    def coarse(self, factor: int) -> "Frame":
        """Return the same frame on a smaller image, for smooth fields."""
        return Frame(max(self.size // factor, 8), self.pose)

    def fill(self, layer: np.ndarray, points: np.ndarray, value: float = 255, smooth: bool = True) -> None:
        """Fill a polygon on a uint8 layer."""
        kind = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.fillPoly(layer, [self._fixed(points)], float(value), kind, SHIFT)

    def stroke(self, layer: np.ndarray, curves: list[np.ndarray] | np.ndarray, value: float, width: float) -> None:
        """Draw open curves (a list, or an array curves x N x 2) of a width in frame units on a uint8 layer."""
        pixels = max(1, round(width * self.unit))
        value *= min(1.0, width * self.unit)  # thinner than a pixel: fainter instead
        fixed = list(self._fixed(curves)) if isinstance(curves, np.ndarray) else [self._fixed(c) for c in curves]
        cv2.polylines(layer, fixed, False, float(value), pixels, cv2.LINE_AA, SHIFT)

    def blank(self) -> np.ndarray:
        """Return an empty uint8 layer."""
        return np.zeros((self.size, self.size), np.uint8)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round(self.at(points) * (1 << SHIFT)).astype(np.int32)


def smooth(points: list[tuple[float, float]] | np.ndarray, times: int = 3) -> np.ndarray:
    """Round an open polyline by Chaikin's corner cutting; its ends stay."""
    curve = np.asarray(points, dtype=np.float64)
    for _ in range(times):
        near, far = 0.75 * curve[:-1] + 0.25 * curve[1:], 0.25 * curve[:-1] + 0.75 * curve[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, 2)
        curve = np.concatenate([curve[:1], inner, curve[-1:]])
    return curve


def band(curve: np.ndarray, width: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve's two edges at half a width on either side."""
    step = np.gradient(curve, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) / np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
    half = np.asarray(width)[..., None] / 2 if np.ndim(width) else width / 2
    return curve + normal * half, curve - normal * half
