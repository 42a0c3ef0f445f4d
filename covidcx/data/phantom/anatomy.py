"""A synthetic patient and the curves of the chest, in the frame that `frame.Frame` projects.

x runs to the image's right (the patient's left), y runs down, z to the front; the spine lies near x = 0. Curves are
N x 2 arrays (x, y) with their depth z beside them. `side` is -1 for the patient's right, +1 for the left.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from covidcx.data.phantom.frame import Pose, ring, smooth, within

SIDES = (-1, 1)  # the patient's right lung (image left), then the left one
RIBS = 11
_MIRROR = np.array([(side, 1.0) for side in SIDES])[:, None, :]
_POSTERIOR = np.linspace(0.06, np.pi / 2 + 0.10, 14)[None, :].repeat(RIBS, axis=0)
_WAY = np.linspace(0, 1, 12)[None, :]
SPINE, FRONT = -0.30, 0.34  # depth of the vertebral bodies and of the breastbone


@dataclass(frozen=True)
class Patient:
    """What stays the same in every radiograph of one patient.

    Attributes:
        sex: `M` or `F`.
        age: years.
        depth: front to back thickness of the chest, cm of water.
        flesh: soft tissue beside the rib cage, in frame units.
        width: width of the rib cage against the mean.
        bulge: how far the chest wall bows out at mid height (barrel, positive) or runs straight (bell, negative).
        crown: how broad the lung apices are, against the mean.
        apex: y of the lung apices.
        low: y of the costophrenic angles at full inspiration.
        dome: height of the diaphragm's dome over the costophrenic angle.
        lift: how far the right dome and the left one lie off the regular place.
        heart: heart size against the mean.
        solid: share of the air that the heart takes the place of at its border and in its middle.
        axis: how the heart lies: broad on the diaphragm (positive) or upright.
        knob: reach of the aortic knob to the left.
        breast: thickness of the breast shadow in cm, 0 for none.
        bone: bone density against the mean.
        tilt: how steeply the ribs fall, against the mean.
        pitch: distance of one rib from the next.
        curve: sideways bow of the spine, in frame units.
        hilum: prominence of the hilar vessels against the mean.
        middle: half the distance of the two lungs' inner borders.
    """

    sex: str
    age: int
    depth: float
    flesh: float
    width: float
    bulge: float
    crown: float
    apex: float
    low: float
    dome: float
    lift: tuple[float, float]
    heart: float
    solid: tuple[float, float]
    axis: float
    knob: float
    breast: float
    bone: float
    tilt: float
    pitch: float
    curve: float
    hilum: float
    middle: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patient":
        """Draw a patient."""
        sex = "F" if rng.random() < 0.5 else "M"
        age = int(rng.integers(18, 90))
        girth = rng.beta(2.0, 2.6)
        breast = rng.uniform(1.0, 5.0) * (0.6 + 0.8 * girth) if sex == "F" and rng.random() < 0.8 else 0.0
        lift = rng.normal((0.046, -0.022), 0.024)
        # One in fourteen has one dome raised.
        lift[int(rng.random() < 0.5)] += 0.12 * (rng.random() < 0.07)
        return cls(
            sex=sex,
            age=age,
            depth=18.0 + 9.0 * girth + rng.normal(0, 1.0),
            flesh=0.08 + 0.30 * girth,
            width=within(rng.normal(1.0 if sex == "M" else 0.965, 0.05), 0.86, 1.12),
            bulge=rng.normal(0, 0.030),
            crown=rng.normal(1.0, 0.10),
            apex=rng.uniform(-0.84, -0.72),
            low=rng.normal(0.69, 0.05),
            dome=rng.uniform(0.10, 0.24),
            lift=(float(lift[0]), float(lift[1])),
            heart=within(rng.normal(0.97 + 0.002 * (age - 50), 0.10), 0.76, 1.35),
            solid=(rng.uniform(0.26, 0.44), rng.uniform(0.50, 0.72)),
            axis=rng.normal(0, 0.10),
            knob=rng.uniform(0.13, 0.20) * (0.85 + 0.003 * age),
            breast=breast,
            bone=rng.uniform(0.75, 1.45) * (1.0 - 0.003 * max(age - 50, 0)),
            tilt=rng.uniform(0.9, 1.45),
            pitch=rng.uniform(0.120, 0.142),
            curve=rng.normal(0, 0.014),
            hilum=rng.uniform(0.7, 1.35),
            middle=within(rng.normal(0.122, 0.017), 0.085, 0.165),
        )


_WALL = np.array(
    [(0.27, 0), (0.40, 0.015), (0.52, 0.10), (0.62, 0.24), (0.70, 0.42), (0.75, 0.62), (0.78, 0.80), (0.79, 1)]
)


@lru_cache(maxsize=4)
def wall(patient: Patient, pose: Pose) -> np.ndarray:
    """Return the lateral lung border from apex to costophrenic angle, for a side of +1; it lies at z = 0."""
    points = _WALL.copy()
    along = points[:, 1]
    points[:, 0] *= 1 + (patient.crown - 1) * (1 - along) ** 2
    points[:, 0] = points[:, 0] * patient.width + patient.bulge * np.sin(np.pi * along**0.8)
    points[:, 1] = patient.apex + along * (patient.low - 0.75 * pose.base - patient.apex)
    line = smooth(points)
    line.setflags(write=False)
    return line


def lung(patient: Patient, pose: Pose, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a lung's outline and its depth, the part behind the heart included (as the V7 Labs masks draw it)."""
    edge = wall(patient, pose)
    low = edge[-1, 1]
    base = dome(patient, pose, side)
    high, x, inner = low - base, patient.width, patient.middle
    sink = 0.09 if side < 0 else 0.15
    floor = smooth(
        [(0.785 * x, low), (0.75 * x, low - 0.28 * high), (0.67 * x, low - 0.62 * high), (0.55 * x, low - 0.89 * high),
         (0.42 * x, base - 0.015), (0.28 * x, base + 0.01), (0.17, base + 0.55 * sink), (inner, base + sink)]
    )  # fmt: skip
    bay = 0.02 if side > 0 else 0.006
    rise = smooth(
        [(inner, base + sink), (inner + 0.4 * bay, 0.25), (inner + bay, 0.0), (inner, -0.25),
         (inner + 0.01, -0.50), (inner + 0.035, patient.apex + 0.13), (0.19 * patient.crown, patient.apex + 0.025),
         (0.27 * x * patient.crown, patient.apex)]
    )  # fmt: skip
    outline = np.concatenate([edge, floor[1:], rise[1:-1]])
    # The outer border is the chest wall's silhouette, the inner one lies along the spine.
    deep = 0.6 * SPINE * np.clip(1 - np.abs(outline[:, 0]) / 0.45, 0, 1)
    return bend(outline * (side, 1), patient), deep


def dome(patient: Patient, pose: Pose, side: int) -> float:
    """Return the y of a dome of the diaphragm."""
    raised = patient.lift[0 if side < 0 else 1]
    return patient.low - patient.dome - 0.95 * pose.base - raised


def bend(points: np.ndarray, patient: Patient) -> np.ndarray:
    """Bow the chest sideways with the patient's spine."""
    moved = np.array(points)
    moved[..., 0] += patient.curve * np.cos(2.2 * moved[..., 1])
    return moved


def heart(patient: Patient, pose: Pose, size: float = 1.0) -> np.ndarray:
    """Return the outline of heart and upper mediastinum, aortic knob included; `size` enlarges the heart alone."""
    # At the bedside the heart lies further from the detector and nearer to the tube.
    grow = patient.heart * size * (1.10 if pose.view == "AP" else 1.0) * (1 + 0.5 * max(pose.base, 0))
    wide = grow * (1 + patient.axis)
    knob, waist = patient.knob, 0.11 + 0.25 * (patient.knob - 0.11) + 0.03 * grow
    neck, edge = 0.075 + 0.02 * patient.flesh / 0.2, patient.middle
    left = [(neck, -1.0), (neck + 0.012, -0.66), (neck + 0.02, -0.53), (knob, -0.45), (knob + 0.008, -0.37),
            (waist, -0.28), (waist + 0.012, -0.19), (0.20 * wide, -0.08), (0.29 * wide, 0.04), (0.37 * wide, 0.17),
            (0.43 * wide, 0.31), (0.455 * wide, 0.40), (0.43 * wide, 0.49), (0.28 * wide, 0.60),
            (0.16, 0.80)]  # fmt: skip
    right = [(-0.16, 0.80), (-0.155 * wide, 0.56), (-0.19 * wide, 0.41), (-0.205 * grow, 0.28), (-0.19 * grow, 0.13),
             (-0.15 * grow, 0.0), (-edge - 0.02, -0.14), (-edge - 0.012, -0.34), (-neck - 0.03, -0.54), (-neck, -0.72),
             (-neck + 0.01, -1.0)]  # fmt: skip
    outline = np.concatenate([smooth(left), smooth(right)])
    # A raised diaphragm pushes the heart up and flattens it, a low one lets it hang; the vessels above stay.
    floor = dome(patient, pose, 1) + 0.10
    below = outline[:, 1] > -0.1
    outline[below, 1] = -0.1 + (outline[below, 1] + 0.1) * max((floor + 0.1) / 0.62, 0.74)
    return bend(outline, patient)


def ribs(patient: Patient, pose: Pose, wobble: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the centre lines of the posterior and of the anterior part of every rib.

    A rib is an ellipse about the chest that falls towards the front; its two halves overlap in projection.

    Args:
        patient: whose ribs.
        pose: of this radiograph.
        wobble: 2 x `RIBS`, how far each rib of the right and the left side lies off its regular place.

    Returns:
        Posterior curves (2 * `RIBS` x N x 2) and their depth (2 * `RIBS` x N), the same for the anterior ones.
    """
    edge = wall(patient, pose)
    number = np.arange(1, RIBS + 1)
    start = patient.apex - 0.05 + patient.pitch * (number - 1) * (1 - 0.15 * pose.base) + wobble
    fall = (0.40 + 0.062 * number) * patient.tilt
    reach = np.interp(start + 0.45 * fall, edge[:, 1], edge[:, 0]) + 0.022
    reach[:, 0] = 0.40 * patient.width
    last = np.deg2rad(np.where(number < 7, 150 - 2 * number, 140 - 7 * (number - 6)))
    second = np.pi / 2 - 0.05 + _WAY * (last[:, None] - np.pi / 2 + 0.05)
    halves = []
    for angle in (_POSTERIOR, second):
        out = np.sin(angle) ** 0.9
        x = 0.04 + (reach[..., None] - 0.04) * out
        drop = (angle / np.pi) ** 1.2
        # The neck of a rib climbs a little before the rib falls.
        y = start[..., None] + fall[:, None] * drop - 0.026 * np.sin(2 * np.minimum(angle, np.pi / 2))
        curves = np.stack([x * np.array(SIDES)[:, None, None], y], axis=-1)
        deep = np.broadcast_to(-0.38 * np.cos(angle), x.shape)
        halves += [bend(curves, patient).reshape(2 * RIBS, -1, 2), deep.reshape(2 * RIBS, -1)]
    return tuple(halves)


def clavicles(patient: Patient, pose: Pose, lift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre lines (2 x N x 2) of both clavicles and their depth (N)."""
    y = patient.apex + 0.19 - 0.3 * pose.shrug
    x = patient.width
    up = np.zeros((2, 6))
    up[:, 2:] = lift[:, None] + 0.8 * pose.shrug
    line = np.array([(0.060, 0.03), (0.16 * x, 0.015), (0.34 * x, -0.055), (0.50 * x, -0.145), (0.66 * x, -0.215),
                     (0.85 * x, -0.245)])  # fmt: skip
    curves = np.broadcast_to(line, (2, 6, 2)).copy()
    curves[..., 1] += y - up
    curves = smooth(curves * np.array([(-1, 1), (1, 1)])[:, None, :])
    return curves, np.linspace(FRONT, 0.05, curves.shape[1])


def torso(patient: Patient, pose: Pose) -> np.ndarray:
    """Return the right-hand silhouette of neck, shoulder and trunk from top to bottom, y always growing."""
    edge = 0.79 * patient.width + patient.flesh
    top, up = patient.apex, pose.shrug
    half = [(0.23, top - 0.60), (0.26 + 0.1 * patient.flesh, top - 0.32 - up), (0.48, top - 0.21 - up),
            (0.78, top - 0.10 - up), (1.02, top - 0.02 - up), (1.18 + 0.6 * patient.flesh, top + 0.16),
            (1.20 + 0.5 * patient.flesh, top + 0.42), (edge + 0.07, top + 0.72), (edge, 0.25), (edge + 0.01, 0.8),
            (edge + 0.05, 2.2)]  # fmt: skip
    return smooth(half)


def arms(patient: Patient, pose: Pose) -> np.ndarray:
    """Return the centre lines (2 x N x 2) of both upper arms from the humeral heads down."""
    x = 0.99 * patient.width + 0.3 * patient.flesh
    y = patient.apex + 0.21 - pose.shrug
    low = 0.79 * patient.width + patient.flesh + 0.14 + pose.arm
    course = [(x, y), (x + 0.05, y + 0.25), (max(low, x + 0.04), y + 0.8), (low + 0.06 + pose.arm, y + 1.9)]
    return smooth(course) * _MIRROR


def blade(patient: Patient, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines (2 x N x 2) of both shoulder blades and the centre lines (2 x M x 2) of their spines."""
    w, top = patient.width, patient.apex - pose.shrug
    out = 0.16 * pose.roll - 0.10
    border = np.array([(0.95 * w, top + 0.20), (0.76 * w + out, top + 0.12), (0.62 * w + out, top + 0.20),
                       (0.64 * w + out, top + 0.50), (0.74 * w + out, top + 0.84), (0.82 * w + out, top + 0.78),
                       (0.92 * w, top + 0.38)])  # fmt: skip
    spine = np.array([(0.66 * w + out, top + 0.24), (0.80 * w + out / 2, top + 0.13), (1.0 * w, top + 0.04),
                      (1.05 * w + 0.3 * patient.flesh, top + 0.10)])  # fmt: skip
    return smooth(border * _MIRROR), smooth(spine * _MIRROR)


def vertebrae(patient: Patient, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return outlines of the vertebral bodies (K x N x 2) and of pedicles and spinous processes (3 K x M x 2)."""
    middle = np.arange(-1.4, 1.2, patient.pitch)
    half = 0.062 + 0.016 * np.clip(middle, -1, 1)
    high = patient.pitch * 0.43
    shape = np.array([(1, -1), (0.88, 0), (1, 1), (-1, 1), (-0.88, 0), (-1, -1), (1, -1)])
    blocks = shape[None] * np.stack([half, np.full_like(half, high)], axis=1)[:, None, :]
    blocks[..., 1] += middle[:, None]
    blocks[..., 0] += rng.normal(0, 0.002, len(middle))[:, None]
    knobs = (ring(8) * (0.011, 0.022))[None, None] + np.zeros((len(middle), 3, 1, 1))
    knobs[..., 1] += middle[:, None, None]
    knobs[..., 0] += (np.array([-0.58, 0.0, 0.58])[None] * half[:, None])[..., None]
    return bend(blocks, patient), bend(knobs.reshape(-1, 8, 2), patient)


def branches(
    rng: np.random.Generator, root: np.ndarray, heading: np.ndarray, length: np.ndarray, depth: int,
    shorter: float = 0.74,
) -> list[np.ndarray]:
    """Grow trees of vessels or bronchi.

    Args:
        rng: source of randomness.
        root: K x 2, where the stems start.
        heading: K, their heading in radians (0 is image right, pi / 2 down).
        length: K, their length.
        depth: generations.
        shorter: length of a branch against the one it springs from.

    Returns:
        One array per generation, stems first: curves x 4 x 2.
    """
    start = np.asarray(root, dtype=np.float64)
    along = np.linspace(0, 1, 4)[None, :]
    grown: list[np.ndarray] = []
    for _ in range(depth):
        reach = length * rng.uniform(0.7, 1.25, len(start))
        sway = rng.normal(0, 0.40, len(start))
        course = heading[:, None] + sway[:, None] * along
        step = (reach / 3)[:, None, None] * np.stack([np.cos(course), np.sin(course)], axis=2)
        curves = start[:, None, :] + np.cumsum(step, axis=1) - step[:, :1]
        grown.append(curves)
        start = np.repeat(curves[:, -1], 2, axis=0)
        length = np.repeat(length * shorter, 2)
        fork = rng.uniform(0.18, 0.52, len(heading))
        heading = (np.repeat(heading + sway, 2).reshape(-1, 2) + np.stack([fork, -fork], axis=1)).ravel()
    return grown
