"""What the beam passes through: lungs, soft tissue, bones and vessels as maps in cm of water."""

import cv2
import numpy as np

from covidcx.data.phantom import anatomy
from covidcx.data.phantom.anatomy import RIBS, SIDES, Patient
from covidcx.data.phantom.frame import Frame, Pose, band, smooth
from covidcx.data.phantom.lesions import clouds


def lungs(frame: Frame, patient: Patient, pose: Pose) -> dict[int, np.ndarray]:
    masks = {}
    for side in SIDES:
        layer = frame.blank()
        frame.fill(layer, anatomy.lung(patient, pose, side), 1, smooth=False)
        masks[side] = layer.astype(bool)
    return masks


def _dome(inside: np.ndarray, radius: float, soft: float = 0.0) -> np.ndarray:
    """Thickness of a rounded body seen from the front: 0 at its outline, 1 from `radius` pixels inwards."""
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    if soft:
        # The profile is steepest at the skin, where it would show every pixel step of the outline.
        depth = cv2.GaussianBlur(depth, (0, 0), soft)
    rest = 1 - np.minimum(depth / np.float32(radius), 1)
    return np.sqrt(1 - rest * rest)


def enlarge(field: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR)


def air(frame: Frame, patient: Patient, pose: Pose, lungs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tissue that the lungs' air stands in for, in cm of water, after heart and great vessels took their place."""
    _, y = frame.grid()
    height = np.clip((y - np.float32(patient.apex)) / np.float32(0.45), 0, 1)
    air = _dome(lungs.astype(np.uint8), 0.20 * frame.unit) * np.float32(0.47 * patient.depth)
    air *= np.float32(0.62) + np.float32(0.38) * height
    air *= 1 + np.float32(0.05) * clouds(rng, frame.size, 5, 2)
    half = frame.coarse(2)
    middle = half.blank()
    half.fill(middle, anatomy.heart(patient, pose, rng))
    solid = _dome((middle > 127).astype(np.uint8), 0.16 * half.unit)
    solid = np.where(middle > 127, np.float32(0.38) + np.float32(0.47) * solid, 0).astype(np.float32)
    air *= 1 - enlarge(cv2.GaussianBlur(solid, (0, 0), max(0.006 * half.unit, 0.5)), frame.size)
    return air


def flesh(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Soft tissue of trunk, neck, head, arms and breasts less trachea and bowel gas, in cm of water."""
    half = frame.coarse(2)
    x, y = half.grid()
    trunk = half.blank()
    half.fill(trunk, anatomy.torso(patient, pose), 1, smooth=False)
    belly = 1 + np.float32(0.06) * np.clip(y / np.float32(0.5), -1, 1.5)
    water = _dome(trunk, 0.30 * half.unit, 0.014 * half.unit) * np.float32(patient.depth) * belly
    arms = half.blank()
    for side in SIDES:
        half.stroke(arms, [anatomy.arm(patient, pose, side)], 1, 0.24 + 0.45 * patient.flesh)
    limbs = _dome((arms > 0).astype(np.uint8), 0.12 * half.unit, 0.012 * half.unit)
    limbs *= np.float32(9 + 12 * patient.flesh)
    water = np.maximum(water, limbs) + np.float32(0.25) * np.minimum(water, limbs)
    neck = np.float32(12) * np.sqrt(np.clip(1 - (x / np.float32(0.25 + 0.15 * patient.flesh)) ** 2, 0, 1))
    top = np.clip((np.float32(patient.apex - 0.02) - y) / np.float32(0.2), 0, 1)
    water = np.maximum(water, neck * top)
    crown = np.float32(patient.apex - 0.85 + pose.chin)
    skull = 1 - (x / np.float32(0.34)) ** 2 - ((y - crown) / np.float32(0.50)) ** 2
    water += np.float32(13) * np.sqrt(np.clip(skull, 0, 1))
    if patient.breast:
        for side in SIDES:
            centre = side * (0.44 + 0.02 * patient.breast) * patient.width
            across = (x - np.float32(centre)) / np.float32(0.33 + patient.flesh / 3)
            down = (y - np.float32(0.20 + 0.03 * patient.breast)) / np.float32(0.25 + 0.03 * patient.breast)
            full = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
            sag = np.clip(np.float32(0.8) + down * np.float32(0.3), 0, 1.1)
            water += np.float32(0.7 * patient.breast) * full * sag
    middle = (x - np.float32(patient.curve)) / np.float32(0.16)
    water += np.float32(0.06 * patient.depth) * np.exp(-middle * middle)
    water -= _gas(half, pose, rng)
    fat = clouds(rng, half.size, 6, 3) * np.float32(0.22)
    water += fat * (water > 2)
    return enlarge(cv2.GaussianBlur(water, (0, 0), max(0.010 * half.unit, 0.7)), frame.size)


def _gas(frame: Frame, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    tilt = rng.normal(0, 0.012)
    trunk = smooth([(0.0, -1.5), (-0.005, -0.7), (-0.015 + tilt, -0.33)])
    frame.stroke(layer, [trunk], 85, 0.064)
    for side, drop in ((-1, 0.13), (1, 0.09)):
        frame.stroke(layer, [smooth([(-0.015 + tilt, -0.34), (-0.015 + side * 0.14, -0.33 + drop)])], 75, 0.05)
    under = 0.53 - pose.base
    stomach, bowel, pelvis = (0.7, 0.40, under + 0.05, 0.085), (0.35, 0.60, under + 0.22, 0.07), (0.3, 0.2, 0.9, 0.08)
    for chance, x, y, radius in (stomach, bowel, pelvis):
        where, size, strength = rng.normal(0, 0.04, 2), rng.uniform(0.7, 1.5, 2) * radius, rng.uniform(60, 130)
        if rng.random() < chance:
            ring = np.linspace(0, 2 * np.pi, 24)
            wobble = 1 + 0.09 * np.sin(2 * ring + rng.uniform(0, 6))
            bubble = np.stack([size[0] * 1.3 * np.cos(ring), size[1] * np.sin(ring)], axis=1) * wobble[:, None]
            frame.fill(layer, bubble + where + np.array([x, y]), strength)
    return cv2.GaussianBlur(layer, (0, 0), max(0.012 * frame.unit, 0.5)).astype(np.float32) * np.float32(5 / 255)


def bones(frame: Frame, patient: Patient, pose: Pose, air: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What bone adds to soft tissue, in cm of water."""
    layers = frame.blank(), frame.blank()
    thin = 0.007
    for side in SIDES:
        for rib in anatomy.ribs(patient, pose, side, rng.normal(0, 0.006, RIBS)):
            for layer, curve, fill, edge, width in zip(layers, rib, (95, 40), (140, 62), (0.054, 0.060), strict=True):
                upper, lower = band(curve, width * (1 + 0.1 * np.sin(np.linspace(0, 3, len(curve)))))
                frame.fill(layer, np.concatenate([upper, lower[::-1]]), fill)
                frame.stroke(layer, [upper], (fill + edge) / 2, thin)
                frame.stroke(layer, [lower], edge, thin)
    total = layers[0].astype(np.float32) + layers[1]
    # Over heart and abdomen scatter swallows most of a rib.
    total *= np.float32(0.22) + np.minimum(air / np.float32(6), np.float32(0.78))
    collar = frame.blank()
    for side in SIDES:
        curve = anatomy.clavicle(patient, pose, side, rng.normal(0, 0.015))
        upper, lower = band(curve, 0.06 - 0.012 * np.sin(np.linspace(0, np.pi, len(curve))))
        frame.fill(collar, np.concatenate([upper, lower[::-1]]), 125)
        frame.stroke(collar, [upper, lower], 200, thin)
    total += collar
    total += _shoulders(frame, patient, pose)
    total += _spine(frame, patient, rng)
    total = cv2.GaussianBlur(total, (0, 0), max(0.004 * frame.unit, 0.5))
    return total * np.float32(2.6 / 255 * patient.bone)


def _shoulders(frame: Frame, patient: Patient, pose: Pose) -> np.ndarray:
    blade, limb = frame.blank(), frame.blank()
    out = 0.0 if pose.view == "PA" else -0.10
    w, top = patient.width, patient.apex
    for side in SIDES:
        border = smooth([(0.94 * w, top + 0.20), (0.78 * w + out, top + 0.14), (0.66 * w + out, top + 0.24),
                         (0.68 * w + out, top + 0.50), (0.76 * w + out, top + 0.80), (0.82 * w + out, top + 0.74),
                         (0.92 * w, top + 0.36)])  # fmt: skip
        frame.fill(blade, border * (side, 1), 35)
        frame.stroke(blade, [border * (side, 1)], 75, 0.010)
        course = anatomy.arm(patient, pose, side)
        frame.stroke(limb, [course], 110, 0.085)
        for edge in band(course, 0.085):
            frame.stroke(limb, [edge], 190, 0.018)
        ball = np.array([(-1, 0.2), (-0.7, -0.8), (0.3, -1), (1, -0.3), (0.8, 0.8), (-0.3, 1), (-1, 0.2)])
        head = smooth(course[0] + 0.085 * ball * (side, 1))
        frame.fill(limb, head, 130)
        frame.stroke(limb, [head], 175, 0.010)
    return blade.astype(np.float32) + limb


def _spine(frame: Frame, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    for y in np.arange(-1.5, 1.4, patient.pitch):
        half = 0.058 + 0.014 * np.clip(y, -1, 1)
        high = patient.pitch * 0.43
        right = np.array([(half, -high), (0.9 * half, 0), (half, high)])
        block = np.concatenate([right, right[::-1] * (-1, 1)]) + np.array([rng.normal(0, 0.002), y])
        block = anatomy.bend(block, patient)
        frame.fill(layer, block, 46)
        frame.stroke(layer, [np.concatenate([block, block[:1]])], 66, 0.008)
        ring = np.linspace(0, 2 * np.pi, 12)
        knob = np.stack([0.012 * np.cos(ring), 0.024 * np.sin(ring)], axis=1)
        for x in (-0.55 * half, 0.0, 0.55 * half):
            frame.fill(layer, anatomy.bend(knob + np.array([x, y]), patient), 84)
    return layer.astype(np.float32)


# Thickness and width of vessels, stem to twig.
_CALIBRE = ((150, 120, 92, 68, 48), (0.024, 0.017, 0.012, 0.008, 0.005))


def vessels(frame: Frame, lungs: np.ndarray, air: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    fan = {-1: (np.pi - 1.45, np.pi + 1.15), 1: (-1.15, 1.45)}
    rich = rng.uniform(0.8, 1.2)
    for side in SIDES:
        root = (side * 0.155, -0.06 if side < 0 else -0.10)
        tree = anatomy.branches(rng, root, fan[side], 13, 0.23, 5)
        for curves, value, width in reversed(list(zip(tree, _CALIBRE[0], _CALIBRE[1], strict=True))):
            frame.stroke(layer, curves, value, width)
        ring = np.linspace(0, 2 * np.pi, 16)
        hilum = np.stack([0.055 * np.cos(ring), 0.12 * np.sin(ring)], axis=1) + root + (side * 0.03, 0.03)
        frame.fill(layer, hilum, 165)
    layer = cv2.GaussianBlur(layer, (0, 0), max(0.007 * frame.unit, 0.6))
    water = layer.astype(np.float32) * np.float32(3.0 * rich / 255)
    water += clouds(rng, frame.size, 28, 2) * np.float32(0.10)
    # A vessel takes the air's place, so it shows no more than the air around it allows.
    return np.where(lungs, np.minimum(water, air * np.float32(0.32)), 0)
