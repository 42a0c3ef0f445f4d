"""What disease adds to a lung: the share of its air that is replaced, pixel by pixel.

CAP: one lung, a lobe or segment, dense, with air bronchograms. COVID: both lungs, peripheral and low, patchy haze.
"""

import cv2
import numpy as np

from covidcx.data.phantom.anatomy import SIDES, Patient, branches, wall
from covidcx.data.phantom.frame import Frame, Pose

GROUND_GLASS, CONSOLIDATION = 128, 255
VISIBLE = 0.10  # share of air replaced from which a reader would outline an opacity
DENSE = 0.50  # share from which vessels vanish: consolidation

# Lobes and segments in lung coordinates: (inner, outer, top, bottom) and the edges that a fissure makes sharp.
_LOBES = {
    -1: {
        "upper": ((-0.2, 1.2, -0.2, 0.47), "bottom"),
        "middle": ((-0.2, 0.85, 0.50, 0.86), "top"),
        "lower": ((-0.2, 1.2, 0.58, 1.3), ""),
        "lateral base": ((0.45, 1.2, 0.62, 1.3), ""),
    },
    1: {
        "upper": ((-0.2, 1.2, -0.2, 0.42), ""),
        "lingula": ((-0.2, 0.75, 0.48, 0.90), ""),
        "lower": ((-0.2, 1.2, 0.58, 1.3), ""),
        "lateral base": ((0.5, 1.2, 0.62, 1.3), ""),
    },
}


def density(
    label: str, rng: np.random.Generator, frame: Frame, patient: Patient, pose: Pose, lungs: dict[int, np.ndarray]
) -> np.ndarray:
    """Draw the opacities of a label.

    Args:
        label: `normal`, `cap` or `covid`.
        rng: source of randomness, used for nothing else.
        frame: where to draw.
        patient: whose lungs.
        pose: of this radiograph.
        lungs: bool, H x W, for side -1 (right) and +1 (left).

    Returns:
        float32, H x W, 0..0.95: share of the lung's air that is replaced; 0 outside the lungs.
    """
    whole = np.zeros((frame.size, frame.size), np.float32)
    if label == "normal":
        return whole
    small = frame.coarse(2)
    extent = rng.beta(1.6, 1.6)
    if label == "cap":
        side = int(rng.choice(SIDES, p=(0.58, 0.42)))
        fields = {side: _lobar(rng, small, patient, pose, side, extent)}
    else:
        fields = {side: _patchy(rng, small, patient, pose, side, extent) for side in SIDES}
    for side, field in fields.items():
        field = cv2.resize(field, (frame.size, frame.size), interpolation=cv2.INTER_LINEAR)
        whole[lungs[side]] = field[lungs[side]]
    return np.clip(whole, 0.0, 0.95)


def mask(share: np.ndarray) -> np.ndarray:
    """Turn replaced air into a reader's mask: uint8, 0, `GROUND_GLASS` or `CONSOLIDATION`."""
    soft = cv2.GaussianBlur(share, (0, 0), max(share.shape[0] / 200, 0.8))
    soft[share <= 0] = 0
    return np.where(soft >= DENSE, CONSOLIDATION, np.where(soft >= VISIBLE, GROUND_GLASS, 0)).astype(np.uint8)


def boxes(disease: np.ndarray) -> tuple[tuple[int, int, int, int], ...]:
    """Return x, y, width, height of every opacity that is larger than 0.15 % of the image."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((disease > 0).astype(np.uint8))
    return tuple(tuple(int(v) for v in stats[i, :4]) for i in range(1, count) if stats[i, 4] > disease.size * 0.0015)


def clouds(rng: np.random.Generator, size: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Return smooth noise, float32, size x size, mean about 0 and deviation about 1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        n = cells * 2**octave
        coarse = rng.standard_normal((n, n), dtype=np.float32)
        total += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.62**octave)
    return total / np.float32(1.05)


def lung_coordinates(frame: Frame, patient: Patient, pose: Pose, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, per pixel, the way from hilum to lateral wall and from apex to base; both 0..1 within the lung."""
    x, y = frame.grid()
    edge = wall(patient, pose)
    low = 0.50 - pose.base
    reach = np.interp(y.ravel(), edge[:, 1], edge[:, 0]).reshape(y.shape).astype(np.float32)
    across = (x * side - np.float32(0.11)) / np.maximum(reach - np.float32(0.11), np.float32(0.05))
    return across, (y - np.float32(patient.apex)) / np.float32(low - patient.apex)


def _lobar(
    rng: np.random.Generator, frame: Frame, patient: Patient, pose: Pose, side: int, extent: float
) -> np.ndarray:
    across, down = lung_coordinates(frame, patient, pose, side)
    names = list(_LOBES[side])
    (inner, outer, top, bottom), fissure = _LOBES[side][names[int(rng.integers(len(names)))]]
    warp = clouds(rng, frame.size, 5) * np.float32(0.045)
    slope = rng.normal(0.0, 0.10)

    def edge(distance: np.ndarray, softness: float) -> np.ndarray:
        return np.clip(0.5 + distance / np.float32(2 * softness), 0, 1)

    line = down + np.float32(slope) * (across - np.float32(0.5))
    field = edge(line + warp - np.float32(top), 0.02 if fissure == "top" else 0.10)
    field *= edge(np.float32(bottom) - line - warp * np.float32(0.25 if fissure == "bottom" else 1),
                  0.02 if fissure == "bottom" else 0.10)  # fmt: skip
    field *= edge(across + warp - np.float32(inner), 0.12) * edge(np.float32(outer) - across - warp, 0.12)
    # The lobe fills from a focus: a small extent leaves a segment, a large one the whole lobe.
    focus_x, focus_y = rng.uniform(max(inner, 0.25), min(outer, 0.75)), rng.uniform(max(top, 0.15), min(bottom, 0.9))
    spread = np.float32(0.26 + 0.50 * extent)
    radius = np.hypot((across - np.float32(focus_x)) * np.float32(0.8), down - np.float32(focus_y)) + warp * 2
    field *= edge(spread - radius, 0.10)
    patch = 1 + np.float32(0.10) * clouds(rng, frame.size, 12)
    field = cv2.GaussianBlur(field, (0, 0), frame.size / 160) * np.float32(0.62 + 0.30 * extent) * patch
    tree = frame.blank()
    aim = (-1.1, 1.6) if side > 0 else (np.pi - 1.6, np.pi + 1.1)
    for generation, curves in enumerate(branches(rng, (side * 0.15, -0.04), aim, 10, 0.22, 4)):
        frame.stroke(tree, curves, 255, 0.013 * 0.75**generation)
    air = cv2.GaussianBlur(tree, (0, 0), frame.size / 200).astype(np.float32) / 255
    return field * (1 - np.float32(rng.uniform(0.20, 0.50)) * air)


def _patchy(
    rng: np.random.Generator, frame: Frame, patient: Patient, pose: Pose, side: int, extent: float
) -> np.ndarray:
    across, down = lung_coordinates(frame, patient, pose, side)
    ragged = clouds(rng, frame.size, 6, 4)
    clear = np.ones_like(across)
    for _ in range(2 + rng.poisson(0.6 + 3.0 * extent)):
        u, v = rng.beta(4.5, 1.8), rng.beta(4.2, 2.0)
        wide, high = rng.uniform(0.16, 0.30), rng.uniform(0.10, 0.21)
        radius = np.hypot((across - np.float32(u)) / np.float32(wide), (down - np.float32(v)) / np.float32(high))
        blob = np.clip(np.float32(1.45) - radius + np.float32(0.38) * ragged, 0, 1)
        clear *= 1 - np.float32(rng.uniform(0.17, 0.28) + 0.12 * extent) * blob
    grain = clouds(rng, frame.size, 22, 2)
    return cv2.GaussianBlur((1 - clear) * (1 + np.float32(0.16) * grain), (0, 0), frame.size / 180)
