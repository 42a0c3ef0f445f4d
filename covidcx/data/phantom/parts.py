"""What the beam passes through in the soft parts: lungs, heart and trunk as maps in cm of water."""

import cv2
import numpy as np

from covidcx.data.phantom import anatomy
from covidcx.data.phantom.anatomy import FRONT, SIDES, SPINE, Patient
from covidcx.data.phantom.frame import Frame, Pose, clouds, enlarge, ring, smooth

HEART_Z = 0.14
_TWICE = 2 * np.linspace(0, 2 * np.pi, 20)
AIRY = 0.47  # share of the chest's depth that a lung's air stands for where the lung is thickest


def outlines(frame: Frame, patient: Patient, pose: Pose) -> dict[int, np.ndarray]:
    """Return the outline of either lung as points on the frame's plane (N x 2), by side."""
    return {side: frame.project(*anatomy.lung(patient, pose, side)) for side in SIDES}


def lungs(frame: Frame, shapes: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Return the mask of either lung: bool, H x W, for side -1 (right) and +1 (left)."""
    masks = {}
    for side, shape in zip(shapes, frame.fixed_all([(shape, None) for shape in shapes.values()]), strict=True):
        layer = frame.blank()
        frame.fill(layer, shape, 1, smooth=False)
        masks[side] = layer.view(bool)
    return masks


def dome(inside: np.ndarray, radius: float) -> np.ndarray:
    """Thickness of a rounded body seen from the front: 0 at its outline, 1 from `radius` pixels inwards.

    Args:
        inside: uint8, H x W, 255 inside, anti-aliased.
        radius: in pixels.
    """
    rest = cv2.distanceTransform((inside > 127).view(np.uint8), cv2.DIST_L2, 5)
    rest *= np.float32(-1 / radius)
    rest += 1
    np.maximum(rest, 0, out=rest)
    np.multiply(rest, rest, out=rest)
    np.sqrt(np.subtract(1, rest, out=rest), out=rest)
    rest *= inside * np.float32(1 / 255)
    # The outline's pixel steps would show where the thickness rises steeply.
    return cv2.GaussianBlur(rest, (5, 5), 0.9)


def air(
    frame: Frame, shapes: dict[int, np.ndarray], patient: Patient, pose: Pose, rng: np.random.Generator
) -> np.ndarray:
    """Tissue that the lungs' air stands in for, in cm of water, before heart and great vessels take their place."""
    layer = frame.blank()
    top, low, x = patient.apex + 0.16, patient.low, patient.middle + 0.02
    midline = anatomy.bend(np.array([(-x, top), (x, top), (x, low), (-x, low)]), patient)
    *outlines, between = frame.fixed_all([*((shape, None) for shape in shapes.values()), (midline, 0.6 * SPINE)])
    for outline in outlines:
        frame.fill(layer, outline)
    # Neither the midline, where the lungs nearly touch before the spine, nor the diaphragm thins a lung out as the
    # chest wall does: the beam that grazes a dome has lung before and behind it. So the rounded body goes on there,
    # and is cut at the outlines; towards the midline, under the mediastinum, the cut is soft.
    body = np.zeros_like(layer)
    step = round(0.32 * frame.unit)
    body[step:] = layer[:-step]
    body = cv2.max(layer, body)
    frame.fill(body, between)
    cut = cv2.GaussianBlur(layer * np.float32(1 / 255), (0, 0), 0.024 * frame.unit, sigmaY=max(0.012 * frame.unit, 0.8))
    thick = dome(body, rng.uniform(0.16, 0.26) * frame.unit)
    thick *= cut
    # Behind the domes the lung reaches lower; it shows through the liver, faintly.
    drop = max(round(rng.uniform(0.05, 0.13) * frame.unit), 1)
    body[:drop], body[drop:] = 0, layer[:-drop]
    recess = cv2.subtract(cv2.blur(body, (drop | 1, drop | 1)), layer)
    thick += recess * np.float32(rng.uniform(0.0, 0.20) / 255)
    _, y = frame.grid
    high = np.float32(rng.uniform(0.50, 0.75))
    height = np.clip((y - np.float32(patient.apex)) * np.float32(1 / 0.45), 0, 1)
    low = 1 - np.float32(rng.uniform(0.0, 0.22)) * np.clip((y - np.float32(0.05)) * np.float32(1 / 0.5), 0, 1)
    thick *= (high + (1 - high) * height) * low * np.float32(AIRY * patient.depth)
    thick *= 1 + np.float32(0.05) * clouds(rng, frame.size, 5, 2)
    return thick


def middle(frame: Frame, patient: Patient, pose: Pose, size: float = 1.0) -> np.ndarray:
    """Share of the air that heart and mediastinum take the place of, 0..1; `size` enlarges the heart."""
    layer = frame.blank()
    frame.fill(layer, anatomy.heart(patient, pose, size), z=HEART_Z)
    edge, core = patient.solid
    # The rounding is smooth; half the pixels will do for it.
    small = cv2.resize(layer, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    rounded = enlarge(dome(small, 0.08 * frame.unit), frame.size)
    solid = rounded * np.float32(core - edge) + layer * np.float32(edge / 255)
    return cv2.GaussianBlur(solid, (0, 0), max(0.012 * frame.unit, 0.5))


def flesh(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Soft tissue of trunk, neck, head, arms and breasts less trachea and bowel gas, in cm of water."""
    x, y = frame.grid
    water = _trunk(frame, patient, pose, rng.uniform((0.76, 0.62), (1.04, 1.16)))
    half = frame.coarse(frame.size // 2)
    limbs = half.blank()
    half.stroke(limbs, anatomy.arms(patient, pose), 255, 0.24 + 0.5 * patient.flesh, smooth=False)
    limb = enlarge(dome(limbs, 0.12 * half.unit), frame.size) * np.float32(6.5 + 7 * patient.flesh)
    water = np.maximum(water, limb) + np.float32(0.10) * np.minimum(water, limb)
    crown = np.float32(patient.apex - 0.85 + pose.chin)
    skull = 1 - (x * np.float32(1 / 0.34)) ** 2 - ((y - crown) * np.float32(1 / 0.50)) ** 2
    water += np.float32(13) * np.sqrt(np.maximum(skull, 0))
    if patient.breast:
        water += _breasts(x, y, patient, pose)
    across = (x - np.float32(patient.curve + np.sin(pose.turn) * SPINE)) * np.float32(1 / 0.13)
    water += np.float32(rng.uniform(0.0, 0.09) * patient.depth) * cv2.exp(-across * across)
    water -= _gas(frame, patient, pose, rng)
    # Fat between muscles: broad and fine unevenness, none of it beside the body.
    fat = clouds(rng, frame.size, 8, 3)
    fat *= np.float32(0.15)
    fat *= np.minimum(water * np.float32(0.1), 1)
    water += fat
    return cv2.GaussianBlur(water, (0, 0), max(0.008 * frame.unit, 0.6))


def _trunk(frame: Frame, patient: Patient, pose: Pose, against: np.ndarray) -> np.ndarray:
    x, y = frame.grid
    shape = anatomy.torso(patient, pose)
    levels = np.linspace(-2.5, 2.5, 1001)
    reach = np.interp(levels, shape[:, 1], shape[:, 0])
    top = patient.apex
    depth = np.array((0.50, 0.66 * against[0], 0.92 * against[0], 1.0, 1.06 * against[1])) * patient.depth
    thick = np.interp(levels, (top - 0.35, top - 0.02, top + 0.35, 0.3, 1.0), depth)
    place = (y + np.float32(2.5)) * np.float32(200)
    table = np.stack([1 / reach, thick], axis=-1).astype(np.float32)[:, None, :]
    both = cv2.remap(table, np.zeros_like(place), np.clip(place, 0, 1000), cv2.INTER_NEAREST)
    # Flatter than an ellipse: beside the ribs the beam runs along the chest wall, through muscle and fat.
    square = x * both[..., 0]
    square *= square
    inner = 1 - square * square
    return np.sqrt(np.maximum(inner, 0)) * both[..., 1]


def _breasts(x: np.ndarray, y: np.ndarray, patient: Patient, pose: Pose) -> np.ndarray:
    total = np.zeros_like(x)
    for side in SIDES:
        centre = side * (0.43 + 0.02 * patient.breast) * patient.width + np.sin(pose.turn) * (FRONT + 0.1)
        across = (x - np.float32(centre)) * np.float32(1 / (0.31 + patient.flesh / 3))
        down = (y - np.float32(0.14 + 0.03 * patient.breast)) * np.float32(1 / (0.26 + 0.03 * patient.breast))
        full = np.sqrt(np.maximum(1 - across**2 - down**2, 0))
        # It hangs: full below, where its lower border shows, and fading upwards.
        total += full * np.clip(np.float32(0.75) + down * np.float32(0.4), 0, 1.15)
    return total * np.float32(0.32 * patient.breast)


def _gas(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    tilt = rng.normal(0, 0.012)
    trunk = smooth([(0.0, -1.5), (-0.005, -0.7), (-0.015 + tilt, -0.33)])
    tubes = smooth(np.array([[(-0.015 + tilt, -0.34), (-0.015 + side * 0.14, -0.33 + drop)] for side, drop in
                             ((-1, 0.13), (1, 0.09))]))  # fmt: skip
    shapes, levels = [(trunk, -0.05), (tubes, -0.05)], []
    # The stomach's bubble under the left dome, then loops of the colon below either dome; they may lie close to it.
    floors = [anatomy.dome(patient, pose, side) for side in SIDES]
    stomach, colon = rng.random(2) < (0.55, 0.35)
    groups = [(np.array([(0.40, floors[1] + 0.08)]), (0.08, 0.11), 140)] if stomach else []
    if colon:
        middle, spread = (rng.uniform(-0.5, 0.65), floors[1] + rng.uniform(0.10, 0.40)), rng.uniform(0.08, 0.22)
        groups.append((rng.normal(middle, (spread, 0.6 * spread), (int(rng.integers(2, 10)), 2)), (0.03, 0.08), 115))
    for places, radius, most in groups:
        count = len(places)
        size = rng.uniform(*radius, (count, 1)) * rng.uniform((0.9, 0.7), (1.95, 1.5), (count, 2))
        wobble = 1 + 0.09 * np.sin(_TWICE + rng.uniform(0, 6, (count, 1)))
        highest = np.where(places[:, 0] > 0, floors[1], floors[0]) + 0.015 + size[:, 1]
        places[:, 1] = np.maximum(places[:, 1], highest)
        # Where loops of one bowel cross, a fold is left between them.
        loops = ring(20) * size[:, None, :] * wobble[..., None] + places[:, None, :]
        shapes.append((loops, None))
        levels.append(rng.uniform(0.3, 1.0) * most)
    trunk, tubes, *bowels = frame.fixed_all(shapes)
    frame.stroke(layer, trunk, 95, 0.068)
    frame.stroke(layer, tubes, 95, 0.054)
    for loops, level in zip(bowels, levels, strict=True):
        frame.fill(layer, loops, level)
    return cv2.GaussianBlur(layer * np.float32(5 / 255), (0, 0), max(0.012 * frame.unit, 0.5))
