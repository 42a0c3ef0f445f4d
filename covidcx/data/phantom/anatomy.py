"""A synthetic patient and the curves of the chest, in a frame where -1..1 spans an unscaled image.

x runs to the image's right (the patient's left), y runs down, the spine lies near x = 0. Curves are N x 2 arrays.
"""

from dataclasses import dataclass

import numpy as np

from covidcx.data.phantom.frame import Pose, smooth

SIDES = (-1, 1)  # the patient's right lung (image left), then the left one
RIBS = 10


@dataclass(frozen=True)
class Patient:
    """What stays the same in every radiograph of one patient.

    Attributes:
        sex: `M` or `F`.
        age: years.
        depth: front to back thickness of the chest, cm of water.
        flesh: soft tissue beside the rib cage, in frame units.
        width: width of the rib cage against the mean.
        apex: y of the lung apices.
        heart: heart size against the mean.
        breast: thickness of the breast shadow in cm, 0 for none.
        bone: bone density against the mean.
        tilt: how steeply the ribs fall, against the mean.
        pitch: distance of one rib from the next.
        curve: sideways bow of the spine, in frame units.
    """

    sex: str
    age: int
    depth: float
    flesh: float
    width: float
    apex: float
    heart: float
    breast: float
    bone: float
    tilt: float
    pitch: float
    curve: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Patient":
        """Draw a patient."""
        sex = "F" if rng.random() < 0.5 else "M"
        age = int(rng.integers(18, 90))
        girth = rng.beta(2.0, 3.0)
        breast = rng.uniform(1.0, 4.5) * (0.6 + 0.8 * girth) if sex == "F" and rng.random() < 0.75 else 0.0
        return cls(
            sex=sex,
            age=age,
            depth=18.0 + 8.0 * girth + rng.normal(0, 0.8),
            flesh=0.07 + 0.20 * girth,
            width=float(np.clip(rng.normal(0.99 if sex == "M" else 0.95, 0.045), 0.86, 1.08)),
            apex=rng.uniform(-0.83, -0.72),
            heart=float(np.clip(rng.normal(1.0 + 0.0015 * (age - 50), 0.08), 0.82, 1.25)),
            breast=breast,
            bone=rng.uniform(0.75, 1.25) * (1.0 - 0.003 * max(age - 50, 0)),
            tilt=rng.uniform(0.85, 1.2),
            pitch=rng.uniform(0.112, 0.128),
            curve=rng.normal(0, 0.012),
        )


def wall(patient: Patient, pose: Pose) -> np.ndarray:
    """Return the lateral lung border from apex to costophrenic angle, for a side of +1."""
    top, deep = patient.apex, 0.68 - 0.8 * pose.base
    span = deep - top
    shape = [(0.27, 0), (0.40, 0.015), (0.52, 0.10), (0.62, 0.24), (0.70, 0.42), (0.75, 0.62), (0.78, 0.80), (0.79, 1)]
    return smooth([(x * patient.width, top + v * span) for x, v in shape])


def lung(patient: Patient, pose: Pose, side: int) -> np.ndarray:
    """Return a lung's outline, the part behind the heart included (as the V7 Labs masks draw it)."""
    edge = wall(patient, pose)
    low = edge[-1, 1]
    dome = (0.40 if side < 0 else 0.445) - pose.base
    x = patient.width
    inner = 0.105 if side < 0 else 0.125
    floor = smooth(
        [(0.785 * x, low), (0.74 * x, low - 0.10), (0.60 * x, dome + 0.035), (0.44 * x, dome - 0.015),
         (0.28 * x, dome + 0.005), (0.16, dome + 0.055), (inner, dome + 0.10)]
    )  # fmt: skip
    notch = 0.035 if side > 0 else 0.0
    rise = smooth(
        [(inner, dome + 0.10), (inner + 0.4 * notch, 0.25), (inner + notch, 0.0), (inner - 0.005, -0.25),
         (inner + 0.01, -0.50), (0.15, patient.apex + 0.10), (0.20, patient.apex + 0.02), (0.27 * x, patient.apex)]
    )  # fmt: skip
    outline = np.concatenate([edge, floor[1:], rise[1:-1]])
    return bend(outline * (side, 1), patient)


def bend(points: np.ndarray, patient: Patient) -> np.ndarray:
    """Bow the chest sideways with the patient's spine."""
    moved = np.array(points, dtype=np.float64)
    moved[:, 0] += patient.curve * np.cos(2.2 * moved[:, 1])
    return moved


def heart(patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Return the outline of heart and upper mediastinum, aortic knob included."""
    grow = patient.heart * (1.14 if pose.view == "AP" else 1.0) * (1 + 0.6 * max(pose.base, 0))
    knob = rng.uniform(0.13, 0.18) * (0.85 + 0.003 * patient.age)
    waist = rng.uniform(0.12, 0.17)
    point = rng.uniform(0.94, 1.06)
    left = [(0.07, -1.0), (0.085, -0.62), (0.10, -0.50), (knob, -0.43), (knob + 0.01, -0.34), (waist, -0.26),
            (waist + 0.01, -0.18), (0.20 * grow, -0.08), (0.29 * grow, 0.04), (0.37 * grow, 0.17),
            (0.445 * grow, 0.32), (0.465 * grow, 0.40 * point), (0.43 * grow, 0.48), (0.28 * grow, 0.56),
            (0.1, 0.60)]  # fmt: skip
    right = [(-0.1, 0.60), (-0.15 * grow, 0.50), (-0.19 * grow, 0.40), (-0.205 * grow, 0.28), (-0.19 * grow, 0.13),
             (-0.15 * grow, 0.0), (-0.125, -0.14), (-0.115, -0.34), (-0.11, -0.52), (-0.09, -0.72),
             (-0.07, -1.0)]  # fmt: skip
    outline = np.concatenate([smooth(left), smooth(right)])
    # A raised diaphragm pushes the heart up and flattens it; the vessels above stay.
    below = outline[:, 1] > -0.1
    outline[below, 1] = -0.1 + (outline[below, 1] + 0.1) * (0.7 - pose.base) / 0.7
    outline[:, 0] += pose.turn
    return bend(outline, patient)


def ribs(patient: Patient, pose: Pose, side: int, wobble: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the centre lines of the posterior and the anterior part of every rib of a side.

    A rib is an ellipse about the chest that falls towards the front; its two halves overlap in projection.

    Args:
        patient: whose ribs.
        pose: of this radiograph.
        side: -1 right, +1 left.
        wobble: how far each of the `RIBS` ribs lies off its regular place.
    """
    edge = wall(patient, pose)
    pairs = []
    for number in range(1, RIBS + 1):
        start = patient.apex + 0.03 + patient.pitch * (number - 1) * (1 - 0.12 * pose.base) + wobble[number - 1]
        fall = (0.25 + 0.050 * number) * patient.tilt
        reach = np.interp(start + fall / 2, edge[:, 1], edge[:, 0]) - 0.004
        if number == 1:
            reach = 0.40 * patient.width
        last = np.deg2rad(148 - 2 * number if number < 7 else 142 - 5 * (number - 6))
        halves = []
        for first, final in ((0.06, np.pi / 2 + 0.12), (np.pi / 2 - 0.05, last)):
            angle = np.linspace(first, final, 22)
            x = 0.075 + (reach - 0.075) * np.sin(angle)
            y = start + fall * (1 - np.cos(angle)) / 2 - 0.030 * np.sin(2 * np.minimum(angle, np.pi / 2))
            halves.append(bend(np.stack([x * side, y], axis=1), patient))
        pairs.append((halves[0], halves[1] + (pose.turn, 0)))
    return pairs


def clavicle(patient: Patient, pose: Pose, side: int, lift: float) -> np.ndarray:
    """Return the centre line of a clavicle."""
    y = patient.apex + 0.17 - (0.04 if pose.view == "AP" else 0.0)
    x = patient.width
    points = [(0.065, y + 0.05), (0.16 * x, y + 0.045), (0.34 * x, y - 0.02 - lift), (0.52 * x, y - 0.10 - lift),
              (0.70 * x, y - 0.125 - lift), (0.84 * x, y - 0.10 - lift)]  # fmt: skip
    return smooth(points) * (side, 1) + (pose.turn, 0)


def torso(patient: Patient, pose: Pose) -> np.ndarray:
    """Return the silhouette of trunk, shoulders and neck base, closed."""
    edge = 0.79 * patient.width + patient.flesh
    top = patient.apex
    half = [(0.20, top - 0.42), (0.24, top - 0.24), (0.42, top - 0.12), (0.74, top - 0.03), (0.97, top + 0.06),
            (1.12 + patient.flesh / 2, top + 0.30), (1.04, top + 0.60), (edge + 0.03, top + 0.85), (edge, 0.35),
            (edge + 0.02, 0.8), (edge + 0.06, 1.8)]  # fmt: skip
    right = smooth(half)
    return np.concatenate([right, (right * (-1, 1))[::-1]])


def arm(patient: Patient, pose: Pose, side: int) -> np.ndarray:
    """Return the centre line of an upper arm from the humeral head down."""
    x = 0.98 * patient.width + 0.3 * patient.flesh
    y = patient.apex + 0.22
    low = 0.79 * patient.width + patient.flesh + 0.13 + pose.arm
    course = [(x, y), (x + 0.05, y + 0.25), (max(low, x + 0.04), y + 0.8), (low + 0.06 + pose.arm, y + 1.9)]
    return smooth(course) * (side, 1)


def branches(
    rng: np.random.Generator, root: tuple[float, float], aim: tuple[float, float], count: int, length: float, depth: int
) -> list[np.ndarray]:
    """Grow a tree of vessels or bronchi.

    Args:
        rng: source of randomness.
        root: where it starts.
        aim: lowest and highest heading in radians (0 is image right, pi / 2 down).
        count: number of stems.
        length: length of a stem.
        depth: generations.

    Returns:
        One array per generation, stems first: curves x 5 x 2.
    """
    start = np.tile(np.asarray(root, dtype=np.float64), (count, 1)) + rng.normal(0, 0.02, (count, 2))
    heading = np.linspace(*aim, count) + rng.normal(0, 0.12, count)
    grown: list[np.ndarray] = []
    for generation in range(depth):
        reach = length * 0.72**generation * rng.uniform(0.7, 1.25, len(start))
        sway = rng.normal(0, 0.42, len(start))
        along = np.linspace(0, 1, 5)[None, :]
        course = heading[:, None] + sway[:, None] * along
        step = (reach / 4)[:, None, None] * np.stack([np.cos(course), np.sin(course)], axis=2)
        curves = start[:, None, :] + np.cumsum(step, axis=1) - step[:, :1]
        grown.append(curves)
        start = np.repeat(curves[:, -1], 2, axis=0)
        fork = rng.uniform(0.22, 0.55, len(heading))
        heading = (np.repeat(heading + sway, 2).reshape(-1, 2) + np.stack([fork, -fork], axis=1)).ravel()
    return grown
