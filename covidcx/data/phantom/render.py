"""From a synthetic patient to a radiograph: attenuation along the beam, scatter, quantum noise and tone."""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.data.phantom import devices, lesions, parts
from covidcx.data.phantom.anatomy import Patient
from covidcx.data.phantom.frame import Frame, Pose
from covidcx.data.phantom.parts import enlarge
from covidcx.errors import CovidcxError, did_you_mean

LABELS = ("normal", "cap", "covid")
MIN_SIZE = 64
ATTENUATION = np.float32(0.19)  # per cm of water at a chest's effective energy
FIELD_MM = 400.0  # what an unscaled image spans at the detector

# One random stream per concern: what a label draws never moves anything but the lungs' opacities.
_PATIENT, _POSE, _BODY, _DEVICES, _LESIONS, _EXPOSURE, _NOISE = range(7)


@dataclass(frozen=True, eq=False)
class PhantomImage:
    """A synthetic radiograph and everything that is known about it.

    Attributes:
        pixels: float32, H x W, 0 (air) to 1 (bone).
        lung_mask: bool, H x W; the lung behind the heart included.
        disease_mask: uint8, H x W: 128 ground glass, 255 consolidation, 0 none.
        label: `normal`, `cap` or `covid`.
        view: `PA` or `AP`.
        severity: share of the lungs' area-weighted air that opacities replace, 0 to 1; 0 when normal.
        boxes: x, y, width, height of every opacity, in pixels.
        age: years.
        sex: `M` or `F`.
        spacing: row and column spacing in mm.
    """

    pixels: np.ndarray
    lung_mask: np.ndarray
    disease_mask: np.ndarray
    label: str
    view: str
    severity: float
    boxes: tuple[tuple[int, int, int, int], ...]
    age: int
    sex: str
    spacing: tuple[float, float]


def phantom(label: str, seed: int, size: int = 512, patient_seed: int | None = None) -> PhantomImage:
    """Make one synthetic frontal chest radiograph.

    With one seed, the pictures of all three labels differ only within (and at the very border of) the lungs.

    Args:
        label: one of `LABELS`.
        seed: a seed names one radiograph.
        size: height and width in pixels.
        patient_seed: names the patient, to give one patient several radiographs; `seed` by default.

    Returns:
        The radiograph with its masks.

    Raises:
        CovidcxError: an unknown label or a size below `MIN_SIZE`.
    """
    if label not in LABELS:
        raise CovidcxError(f"unknown phantom label {label!r}.{did_you_mean(label, LABELS)}")
    if size < MIN_SIZE:
        raise CovidcxError(f"a phantom is at least {MIN_SIZE} pixels wide, received size {size}")
    who = seed if patient_seed is None else patient_seed
    patient = Patient.draw(np.random.default_rng([_PATIENT, who]))
    pose = Pose.draw(np.random.default_rng([_POSE, seed]))
    frame = Frame(size, pose)
    body = np.random.default_rng([_BODY, who])

    sides = parts.lungs(frame, patient, pose)
    either = sides[-1] | sides[1]
    air = parts.air(frame, patient, pose, either, body)
    water = parts.flesh(frame, patient, pose, body) - air
    water += parts.bones(frame, patient, pose, air, body)
    vessels = parts.vessels(frame, either, air, body)
    water += vessels
    wires = devices.wires(np.random.default_rng([_DEVICES, seed]), frame, patient, pose)
    if wires is not None:
        water += wires
    water = np.maximum(water, 0)

    share = lesions.density(label, np.random.default_rng([_LESIONS, seed]), frame, patient, pose, sides)
    # Only what is still air fills up, so vessels drown in a dense opacity.
    pixels = _expose(water, share * np.maximum(air - vessels, 0), either, pose, seed)
    disease = lesions.mask(share) if label != "normal" else np.zeros((size, size), np.uint8)
    step = FIELD_MM / (size * pose.scale)
    return PhantomImage(
        pixels=pixels,
        lung_mask=either,
        disease_mask=disease,
        label=label,
        view=pose.view,
        severity=float(share[either].mean()) if either.any() else 0.0,
        boxes=lesions.boxes(disease),
        age=patient.age,
        sex=patient.sex,
        spacing=(round(step, 4), round(step, 4)),
    )


def _expose(water: np.ndarray, opacity: np.ndarray, lungs: np.ndarray, pose: Pose, seed: int) -> np.ndarray:
    """Turn water into grey levels; scatter, window and equalisation are taken from the picture without opacities."""
    rng = np.random.default_rng([_EXPOSURE, seed])
    size = water.shape[0]
    bedside = pose.view == "AP"
    few, many = (2.5e4, 6e4) if bedside else (5e4, 1.2e5)
    fog = rng.uniform(0.25, 0.5) if bedside else rng.uniform(0.1, 0.3)
    beam = cv2.exp(-ATTENUATION * water)
    small = cv2.resize(np.minimum(beam, np.float32(0.14)), (size // 8, size // 8), interpolation=cv2.INTER_AREA)
    haze = enlarge(cv2.GaussianBlur(small, (0, 0), size / 8 * 0.07) * np.float32(fog), size)
    signal = beam * cv2.exp(-ATTENUATION * opacity) + haze
    healthy = -cv2.log(beam + haze)
    quanta = np.float32(rng.uniform(few, many) * (512 / size) ** 2)
    noise = np.random.default_rng([_NOISE, seed]).standard_normal(water.shape, dtype=np.float32)
    film = noise / np.sqrt(quanta * signal) - cv2.log(signal)

    # Digital systems equalise: part of the slow variation is taken out so that dense and thin parts both show.
    slow = cv2.resize(healthy, (size // 8, size // 8), interpolation=cv2.INTER_AREA)
    slow = enlarge(cv2.GaussianBlur(slow, (0, 0), size / 8 * 0.10), size) * np.float32(rng.uniform(0.0, 0.35))
    film -= slow
    healthy -= slow
    dark, bright = np.clip(rng.normal((0.42, 0.81), (0.07, 0.05)), (0.28, 0.70), (0.58, 0.91)).astype(np.float32)
    low = np.median(healthy[::4, ::4][lungs[::4, ::4]])
    high = np.percentile(healthy[::4, ::4], 88)
    grey = dark + (film - low) * ((bright - dark) / (high - low))
    sharp = np.float32(rng.uniform(0.2, 1.2))
    fine = cv2.GaussianBlur(grey, (0, 0), max(size / 1000, 0.45))
    grey = fine + sharp * (fine - cv2.GaussianBlur(fine, (0, 0), size / 120))
    # The shoulder of the display curve keeps bone and metal from clipping.
    over = np.maximum(grey - np.float32(0.82), 0)
    grey = np.clip(np.minimum(grey, np.float32(0.82)) + over / (1 + over / np.float32(0.18)), 0, 1)
    grey = cv2.pow(grey, rng.uniform(0.85, 1.2))
    field = devices.shutter(rng, size)
    if field is not None:
        grey *= field
    printed = devices.marks(np.random.default_rng([_DEVICES, seed, 1]), size, pose.view)
    if printed is not None:
        cover = printed[0].astype(np.float32) / 255
        grey = grey * (1 - cover) + cover * np.float32(printed[1])
    return np.ascontiguousarray(grey, dtype=np.float32)
