"""Bones as what they add to soft tissue, in cm of water: ribs, clavicles, shoulders, spine and breastbone."""

import cv2
import numpy as np

from covidcx.data.phantom import anatomy
from covidcx.data.phantom.anatomy import RIBS, SPINE, Patient
from covidcx.data.phantom.frame import Frame, Pose, band, enlarge, smooth

_CORTEX = 0.007  # thickness of a bone's rim in frame units
_CM = np.float32(2.8 / 255)  # cm of water that a layer's grey level stands for


def bones(frame: Frame, patient: Patient, pose: Pose, air: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw all bones.

    Args:
        frame: where to draw.
        patient: whose bones.
        pose: of this radiograph.
        air: float32, H x W, cm of water that the lungs' air stands in for.
        rng: source of randomness.

    Returns:
        float32, H x W, cm of water.
    """
    # Over heart and abdomen scatter swallows most of a rib.
    seen = np.minimum(air * np.float32(1 / 8), np.float32(0.70))
    seen += np.float32(0.30)
    total = cv2.multiply(_ribs(frame, patient, pose, rng), seen, dtype=cv2.CV_32F)
    half = frame.coarse(max(frame.size // 2, 128))
    back = cv2.add(_shoulders(half, patient, pose, rng), _spine(half, patient, rng))
    back = cv2.GaussianBlur(back, (0, 0), max(0.006 * half.unit, 0.5))
    rest = cv2.add(enlarge(back, frame.size), _clavicles(frame, patient, pose, rng))
    total = cv2.add(total, rest, total, dtype=cv2.CV_32F)
    total *= _CM * np.float32(patient.bone)
    return total


def _clavicles(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    curves, deep = anatomy.clavicles(patient, pose, rng.normal(0, 0.02, 2))
    along = np.linspace(0, 1, curves.shape[1])
    width = np.interp(along, (0, 0.05, 0.5, 0.93, 1), (0.04, 0.066, 0.046, 0.058, 0.022))
    sides = band(curves, width)
    edges = frame.fixed(np.stack(sides), deep)
    frame.fill(layer, _strip(*edges), 175)
    frame.stroke(layer, edges.reshape(-1, *edges.shape[2:]), 250, _CORTEX)
    return _soften(layer, 0.003 * frame.unit)


def _soften(layer: np.ndarray, pixels: float) -> np.ndarray:
    """Blur by so many pixels; less than what anti-aliased drawing has done already is not worth the time."""
    return cv2.GaussianBlur(layer, (0, 0), pixels) if pixels > 0.6 else layer


def _strip(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([upper, lower[..., ::-1, :]], axis=-2)


def _ribs(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    behind, behind_z, front, front_z = anatomy.ribs(patient, pose, rng.normal(0, 0.008, (2, RIBS)))
    layers = []
    strong = rng.uniform(0.45, 1.05)
    for curves, deep, fill, rim, width in ((behind, behind_z, 88, 140, 0.056), (front, front_z, 42, 68, 0.066)):
        layer = frame.blank()
        swell = width * (1 + 0.12 * np.sin(np.linspace(0, 3, curves.shape[1])))
        near, far = frame.fixed(np.stack(band(curves, swell)), deep)
        frame.fill(layer, _strip(near, far), fill * strong)
        # A rib's lower rim is the thin, sharp one: the far edge on the right side, the near one on the left.
        lower, upper = np.concatenate([far[:RIBS], near[RIBS:]]), np.concatenate([near[:RIBS], far[RIBS:]])
        frame.stroke(layer, upper, (fill + rim) / 2 * strong, _CORTEX)
        frame.stroke(layer, lower, rim * strong, _CORTEX)
        layers.append(layer)
    return _soften(cv2.add(*layers), 0.0025 * frame.unit)


def _shoulders(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    plate, limb = frame.blank(), frame.blank()
    outlines, spines = (frame.fixed(lines, SPINE - 0.06) for lines in anatomy.blade(patient, pose))
    strong = rng.uniform(0.7, 1.2)
    frame.fill(plate, outlines, 52 * strong, smooth=False)
    frame.stroke(plate, outlines, 125 * strong, 0.016)
    frame.stroke(plate, spines, 105 * strong, 0.045)
    frame.stroke(plate, spines, 150 * strong, 0.012)
    courses = anatomy.arms(patient, pose)
    frame.stroke(limb, courses, 165 * strong, 0.096)
    frame.stroke(limb, np.concatenate(band(courses, 0.096)), 210 * strong, 0.020)
    ball = np.array([(-1, 0.2), (-0.7, -0.8), (0.3, -1), (1, -0.3), (0.8, 0.8), (-0.3, 1), (-1, 0.2)])
    heads = frame.fixed(smooth(courses[:, :1] + 0.088 * ball * np.array([(-1, 1), (1, 1)])[:, None, :]))
    frame.fill(limb, heads, 190 * strong, smooth=False)
    frame.stroke(limb, heads, 212 * strong, 0.014)
    return cv2.add(plate, limb)


def _spine(frame: Frame, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    layer = frame.blank()
    blocks, knobs = anatomy.vertebrae(patient, rng)
    blocks = frame.fixed(blocks, SPINE)
    strong = rng.uniform(0.8, 1.7)
    frame.fill(layer, blocks, 42 * strong, smooth=False)
    frame.stroke(layer, blocks, 66 * strong, 0.009)
    frame.fill(layer, knobs, 82 * strong, z=SPINE - 0.12, smooth=False)
    # The breastbone's handle shows above the aorta where the patient is turned.
    handle = np.array([(-0.062, 0.20), (0.062, 0.20), (0.045, 0.37), (-0.045, 0.37)])
    handle[:, 1] += patient.apex
    plate = frame.blank()
    frame.fill(plate, handle, 34 * strong, z=anatomy.FRONT, smooth=False)
    return cv2.add(layer, plate)
