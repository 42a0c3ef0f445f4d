"""Bones as what they add to soft tissue, in cm of water: ribs, clavicles, shoulders, spine and breastbone."""

import cv2
import numpy as np

from covidcx.data.phantom import anatomy
from covidcx.data.phantom.anatomy import RIBS, SIDES, SPINE, Patient
from covidcx.data.phantom.frame import Frame, Pose, band, enlarge, smooth

_CORTEX = 0.007  # thickness of a bone's rim in frame units
# Width of a rib from spine to breastbone: its posterior part, then its anterior one.
_SWELL = np.concatenate([0.058 * (1 + 0.12 * np.sin(np.linspace(0, 3, 14))), np.linspace(0.058, 0.076, 12)])
_BALL = np.array([(-1, 0.2), (-0.7, -0.8), (0.3, -1), (1, -0.3), (0.8, 0.8), (-0.3, 1), (-1, 0.2)]) * 0.088
_HEADS = _BALL * np.array([(side, 1.0) for side in SIDES])[:, None, :]
_HANDLE = np.array([(-0.062, 0.20), (0.062, 0.20), (0.045, 0.37), (-0.045, 0.37)])
_CM = np.float32(2.8 / 255)  # cm of water that a layer's grey level stands for


def cage(frame: Frame, patient: Patient, pose: Pose, thick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the ribs.

    Args:
        frame: where to draw.
        patient: whose bones.
        pose: of this radiograph.
        thick: float32, square, of any size: cm of water that the lungs' air stands in for.
        rng: source of randomness.

    Returns:
        float32, H x W, cm of water.
    """
    behind, behind_z, front, front_z = anatomy.ribs(patient, pose, rng.normal(0, 0.008, (2, RIBS)))
    ribs, deep = np.concatenate([behind, front], axis=1), np.concatenate([behind_z, front_z], axis=1)
    near, far = frame.fixed(np.stack(band(ribs, _SWELL)), deep)
    strong, split = rng.uniform(0.55, 1.05), behind.shape[1]
    back, fore = frame.blank(), frame.blank()
    frame.fill(back, _strip(near[:, :split], far[:, :split]), 100 * strong)
    frame.fill(fore, _strip(near[:, split:-2], far[:, split:-2]), 52 * strong)
    # A rib's lower rim is the sharp one: the far edge on the right side, the near one on the left.
    lower = np.concatenate([far[:RIBS], near[RIBS:]])
    frame.stroke(back, lower[:, :split], 138 * strong, _CORTEX)
    frame.stroke(fore, lower[:, split:-2], 76 * strong, _CORTEX)
    # At the side of the chest the beam runs along the rib: a scalloped bright rim.
    frame.stroke(back, near[:, split - 4 : split], 128 * strong, _CORTEX)
    frame.stroke(fore, far[:, split : split + 3], 110 * strong, _CORTEX)
    # Over heart and abdomen scatter swallows most of a rib.
    full = _CM * np.float32(patient.bone)
    seen = np.minimum(thick * (full / np.float32(8)), full * np.float32(0.70))
    seen = enlarge(seen + full * np.float32(0.30), frame.size)
    seen = cv2.multiply(cv2.add(back, fore), seen, seen, dtype=cv2.CV_32F)
    soft = 0.0032 * frame.unit
    # A blur smaller than what anti-aliased drawing has done already is not worth the time.
    return cv2.GaussianBlur(seen, (0, 0), soft) if soft > 0.6 else seen


def back(frame: Frame, patient: Patient, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """Draw the softer bones, clavicles, shoulders, spine and breastbone; arguments and value as of `cage`."""
    courses = anatomy.arms(patient, pose)
    bodies, bumps = anatomy.vertebrae(patient, rng)
    plates, ridges = anatomy.blade(patient, pose)
    bars, bars_z = anatomy.clavicles(patient, pose, rng.normal(0, 0.02, 2))
    width = np.interp(np.linspace(0, 1, bars.shape[1]), (0, 0.05, 0.5, 0.85, 1), (0.05, 0.070, 0.048, 0.062, 0.030))
    blades, spines, arms, rims, heads, blocks, knobs, handle, (above, below) = frame.fixed_all([
        (plates, SPINE - 0.06), (ridges, SPINE - 0.06), (courses, None), (np.concatenate(band(courses, 0.096)), None),
        (smooth(courses[:, :1] + _HEADS), None), (bodies, SPINE), (bumps, SPINE - 0.12),
        (np.add(_HANDLE, (0, patient.apex)), anatomy.FRONT), (np.stack(band(bars, width)), bars_z),
    ])  # fmt: skip
    plate, limb = frame.blank(), frame.blank()
    strong = rng.uniform(0.7, 1.2)
    frame.fill(plate, blades, 34 * strong, smooth=False)
    frame.stroke(plate, blades, 92 * strong, 0.012)
    frame.stroke(plate, spines, 72 * strong, 0.045)
    frame.stroke(limb, arms, 110 * strong, 0.096)
    frame.stroke(limb, rims, 150 * strong, 0.020)
    frame.fill(limb, heads, 125 * strong, smooth=False)
    frame.stroke(limb, heads, 150 * strong, 0.014)
    spine, strong = frame.blank(), rng.uniform(0.7, 1.5)
    frame.fill(spine, blocks, 42 * strong, smooth=False)
    frame.stroke(spine, blocks, 72 * strong, 0.009)
    frame.fill(spine, knobs, 88 * strong, smooth=False)
    # The breastbone's handle shows above the aorta where the patient is turned.
    front = frame.blank()
    frame.fill(front, handle, 34 * strong, smooth=False)
    strong = rng.uniform(0.75, 1.15)
    frame.fill(front, _strip(above, below), 135 * strong)
    frame.stroke(front, np.concatenate([above, below]), 190 * strong, _CORTEX)
    total = cv2.add(cv2.add(plate, limb), cv2.add(spine, front)) * (_CM * np.float32(patient.bone))
    return cv2.GaussianBlur(total, (0, 0), max(0.005 * frame.unit, 0.5))


def _strip(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([upper, lower[..., ::-1, :]], axis=-2)
