"""From a synthetic patient to a radiograph: attenuation along the beam, scatter, quantum noise and tone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import cv2
import numpy as np

from covidcx.data.phantom import devices, lesions, markings, parts, skeleton
from covidcx.data.phantom.anatomy import Patient
from covidcx.data.phantom.findings import ALL_LABELS, HEALTHY, OTHER, Change, disease, findings, names
from covidcx.data.phantom.frame import Frame, Pose, Warp, blur, enlarge
from covidcx.errors import CovidcxError, did_you_mean

MIN_SIZE = 64
ATTENUATION = np.float32(0.19)  # per cm of water at a chest's effective energy
_SHOULDER = np.float32(0.82)
FIELD_MM = 400.0  # what an unscaled image spans at the detector

# One random stream per concern: what a label draws never moves anything but the lungs' opacities.
_PATIENT, _POSE, _BODY, _DEVICES, _LESIONS, _EXPOSURE, _NOISE, _COURSE = range(8)


@dataclass(frozen=True, eq=False)
class PhantomImage:
    """A synthetic radiograph and everything that is known about it.

    Attributes:
        pixels: float32, H x W, 0 (air) to 1 (bone).
        lung_mask: bool, H x W; the lung behind the heart included.
        disease_mask: uint8, H x W: 128 ground glass, 255 consolidation, 192 a finding that is neither (pneumothorax,
            cardiomegaly), 0 none.
        label: what was asked for.
        findings: names of what is shown, NIH ChestX-ray14's where it has one.
        view: `PA` or `AP`.
        extent: how far the disease has gone, 0 to 1; 0 when healthy.
        severity: share of the lungs' air that disease replaces, 0 to 1; 0 when healthy. Air beside a collapsed lung
            counts as lost.
        boxes: x, y, width, height of every opacity, in pixels.
        age: years.
        sex: `M` or `F`.
        spacing: row and column spacing in mm.
        offset: days since the first symptom, or None.
    """

    pixels: np.ndarray
    lung_mask: np.ndarray
    disease_mask: np.ndarray
    label: str
    findings: tuple[str, ...]
    view: str
    extent: float
    severity: float
    boxes: tuple[tuple[int, int, int, int], ...]
    age: int
    sex: str
    spacing: tuple[float, float]
    offset: int | None = None


def phantom(
    label: str,
    seed: int,
    size: int = 512,
    patient_seed: int | None = None,
    *,
    day: int | None = None,
    extent: float | None = None,
    finding: str | None = None,
) -> PhantomImage:
    """Make one synthetic frontal chest radiograph.

    With one seed, the pictures of all labels differ only within (and at the very border of) the lungs.

    Args:
        label: one of `ALL_LABELS`.
        seed: a seed names one radiograph.
        size: height and width in pixels.
        patient_seed: names the patient, to give one patient several radiographs; `seed` by default. One patient's
            opacities stay where they are.
        day: days since the first symptom; sets the extent by the disease's usual course.
        extent: how far the disease has gone, 0 to 1, instead; drawn where neither is given.
        finding: for the labels `atypical` and `other`, which one of `findings(label)`; drawn where None.

    Returns:
        The radiograph with its masks.

    Raises:
        CovidcxError: an unknown label or finding, a size below `MIN_SIZE`, an extent out of range.
    """
    _check(label, size, extent, finding)
    who = seed if patient_seed is None else patient_seed
    patient = Patient.draw(np.random.default_rng([_PATIENT, who]))
    pose = Pose.draw(np.random.default_rng([_POSE, seed]))
    body = np.random.default_rng([_BODY, who])
    frame = Frame(size, pose, Warp.draw(body))
    soft = frame.coarse(max(size // 2, 128))

    shapes = parts.outlines(frame, patient, pose)
    sides = parts.lungs(frame, shapes)
    either = sides[-1] | sides[1]
    solid = parts.middle(soft, patient, pose)
    thick = parts.air(soft, shapes, patient, pose, body) * (1 - solid)
    trunk = parts.flesh(soft, patient, pose, body)
    air = enlarge(thick, size)
    trunk -= thick
    trunk += skeleton.back(soft, patient, pose, body)
    water = enlarge(trunk, size)
    water += skeleton.cage(frame, patient, pose, thick, body)
    # A vessel takes the air's place, so it shows no more than the air around it allows, and little behind the heart.
    room = enlarge(thick * (np.float32(0.48) - np.float32(0.38) * solid), size)
    vessels = np.minimum(markings.vessels(frame, patient, pose, body), room, out=room)
    water += vessels
    wires = devices.wires(np.random.default_rng([_DEVICES, seed]), frame, patient, pose)
    if wires is not None:
        water += wires
    np.maximum(water, 0, out=water)

    change, gone = None, 0.0
    if label not in HEALTHY:
        if extent is None:
            rng = np.random.default_rng([_COURSE, who])
            extent = float(rng.beta(1.6, 1.6)) if day is None else lesions.course(label, rng, day)
        gone = float(extent)
        change = disease(label, np.random.default_rng([_LESIONS, who]), lesions.Lungs(frame, patient, pose), sides,
                         gone, finding)  # fmt: skip
    opacity = _opacity(change, air, vessels)
    pixels = _expose(water, opacity, either, pose, seed)
    mask = _mask(change, either)
    across, down = np.sqrt(pose.stretch), 1 / np.sqrt(pose.stretch)
    step = FIELD_MM / (size * pose.scale)
    return PhantomImage(
        pixels=pixels,
        lung_mask=either,
        disease_mask=mask,
        label=label,
        findings=names(label) if change is None else change.names,
        view=pose.view,
        extent=gone,
        severity=_severity(change, either),
        boxes=lesions.boxes(mask) if change is not None else (),
        age=patient.age,
        sex=patient.sex,
        spacing=(round(float(step / down), 4), round(float(step / across), 4)),
        offset=day,
    )


def series(
    label: str, patient_seed: int, days: Sequence[int], size: int = 512, finding: str | None = None
) -> list[PhantomImage]:
    """Make one patient's radiographs on several days: one anatomy, opacities that grow and fade in place.

    Args:
        label: one of `ALL_LABELS`.
        patient_seed: names the patient.
        days: days since the first symptom.
        size: height and width in pixels.
        finding: as in `phantom`.

    Returns:
        One radiograph a day, each exposed anew.
    """
    seeds = np.random.SeedSequence([40, patient_seed]).generate_state(len(days))
    return [
        phantom(label, int(seed), size, patient_seed, day=int(day), finding=finding)
        for seed, day in zip(seeds, days, strict=True)
    ]


def _check(label: str, size: int, extent: float | None, finding: str | None) -> None:
    if label not in ALL_LABELS:
        raise CovidcxError(f"unknown phantom label {label!r}.{did_you_mean(label, ALL_LABELS)}")
    if size < MIN_SIZE:
        raise CovidcxError(f"a phantom is at least {MIN_SIZE} pixels wide, received size {size}")
    if extent is not None and not 0 <= extent <= 1:
        raise CovidcxError(f"the extent of a disease lies between 0 and 1, received {extent}")
    if finding is not None and finding not in findings(label):
        raise CovidcxError(f"the label {label!r} does not show {finding!r}; one of {', '.join(findings(label))} does")


def _opacity(change: Change | None, air: np.ndarray, vessels: np.ndarray) -> np.ndarray | None:
    """Water that disease adds, in cm: only what is still air fills up, so vessels drown in a dense opacity."""
    if change is None:
        return None
    added = air - vessels
    np.maximum(added, 0, out=added)
    added *= change.share
    if change.bare is not None:
        added -= vessels * change.bare
    return added if change.lines is None else added + change.lines


def _mask(change: Change | None, lungs: np.ndarray) -> np.ndarray:
    if change is None:
        return np.zeros(lungs.shape, np.uint8)
    if change.outline is None:
        return lesions.mask(cv2.multiply(change.share, lungs.view(np.uint8), dtype=cv2.CV_32F))
    return change.outline.astype(np.uint8) * np.uint8(OTHER)


def _severity(change: Change | None, lungs: np.ndarray) -> float:
    if change is None:
        return 0.0
    lost = np.maximum(change.share, 0) if change.bare is None else np.maximum(change.share, change.bare)
    return float(cv2.mean(lost, lungs.view(np.uint8))[0])


def _expose(water: np.ndarray, opacity: np.ndarray | None, lungs: np.ndarray, pose: Pose, seed: int) -> np.ndarray:
    """Turn water into grey levels; water and opacity are overwritten.

    Scatter, window and equalisation are taken from the picture without opacities.
    """
    rng = np.random.default_rng([_EXPOSURE, seed])
    size = water.shape[0]
    tiny = (max(size // 8, 16),) * 2
    bedside = pose.view == "AP"
    few, many = (1.5e4, 5e4) if bedside else (4e4, 1.2e5)
    fog = rng.uniform(0.25, 0.8) if bedside else rng.uniform(0.1, 0.45)
    water *= -ATTENUATION
    beam = cv2.exp(water)
    small = np.minimum(cv2.resize(beam, tiny, interpolation=cv2.INTER_AREA), np.float32(0.14))
    haze = enlarge(cv2.GaussianBlur(small, (0, 0), tiny[0] * 0.07) * np.float32(fog), size)
    healthy = cv2.log(cv2.add(beam, haze, water))
    quanta = np.float32(rng.uniform(few, many) * (512 / size) ** 2)
    # Poisson noise of the quanta that arrive: relative to the signal it grows as the root of what is missing.
    grain = _noise(np.random.default_rng([_NOISE, seed]), size)
    grain /= np.sqrt(water, out=water)
    if opacity is None:
        film = healthy
    else:
        opacity *= -ATTENUATION
        beam *= cv2.exp(opacity)
        beam += haze
        film = cv2.log(beam)

    # Digital systems equalise: part of the slow variation is taken out so that dense and thin parts both show.
    slow = cv2.resize(healthy, tiny, interpolation=cv2.INTER_AREA)
    level = -slow
    slow = cv2.GaussianBlur(slow, (0, 0), tiny[0] * rng.uniform(0.06, 0.16)) * np.float32(rng.uniform(0.0, 0.65))
    # The heel of the anode, a grid off its axis or a patient off the detector's normal shade one side.
    tilt = rng.normal(0, 0.07, 2)
    ramp = np.linspace(-1, 1, tiny[0], dtype=np.float32)
    slow += np.float32(tilt[0]) * ramp[None, :] + np.float32(tilt[1]) * ramp[:, None]
    level += slow
    dark, bright = np.clip(rng.normal((0.43, 0.80), (0.09, 0.07)), (0.20, 0.66), (0.62, 0.97)).astype(np.float32)
    bright = max(bright, dark + np.float32(0.16))
    within = cv2.resize(lungs.view(np.uint8), tiny, interpolation=cv2.INTER_NEAREST) > 0
    inside, whole = np.sort(level[within]), np.sort(level, axis=None)
    low, high = inside[len(inside) // 2] if len(inside) else whole[len(whole) // 3], whole[int(0.88 * len(whole))]
    gain = np.float32((bright - dark) / (high - low))
    grain *= gain / np.sqrt(quanta)
    grain += enlarge(slow * gain + np.float32(dark - low * gain), size)
    grey = cv2.scaleAdd(film, -float(gain), grain)
    sharp = float(rng.uniform(0.2, 1.6))
    grey = blur(grey, rng.uniform(0.4, 1.0) * max(size / 900, 0.6))
    near = cv2.resize(grey, (size // 2, size // 2), interpolation=cv2.INTER_AREA)
    near = enlarge(cv2.GaussianBlur(near, (0, 0), size / 260), size)
    grey = cv2.addWeighted(grey, 1 + sharp, near, -sharp, 0)
    # The shoulder of the display curve keeps bone and metal from clipping: from 0.82 on it bends towards 1.
    bend = np.maximum(grey, _SHOULDER)
    bend -= np.float32(2 * _SHOULDER - 1)
    np.divide(np.float32(-((1 - _SHOULDER) ** 2)), bend, out=bend)
    bend += 1
    np.minimum(grey, bend, out=grey)
    np.maximum(grey, 0, out=grey)
    # Lighter or darker middle tones, as a gamma of 0.75 to 1.3 gives them.
    lift = float(rng.uniform(-0.28, 0.30))
    grey = cv2.addWeighted(grey, 1 + lift, np.multiply(grey, grey, out=bend), -lift, 0)
    stripes = devices.grid_lines(rng, size)
    if stripes is not None:
        grey *= stripes
    field = devices.shutter(rng, size)
    if field is not None:
        grey *= field
    printed = devices.marks(np.random.default_rng([_DEVICES, seed, 1]), size, pose.view)
    if printed is not None:
        x, y, width, height = cv2.boundingRect(printed[0])
        part = slice(y, y + height), slice(x, x + width)
        cover = printed[0][part] * np.float32(1 / 255)
        grey[part] += (np.float32(printed[1]) - grey[part]) * cover
    return grey if stripes is None else np.clip(grey, 0, 1, out=grey)


@lru_cache(maxsize=1)
def _quantiles() -> np.ndarray:
    normal = NormalDist()
    levels = np.array([normal.inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)
    return levels / levels.std()


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return white noise of deviation 1, float32, size x size, in 256 levels: a byte each is quickly drawn."""
    return cv2.LUT(np.frombuffer(rng.bytes(size * size), np.uint8).reshape(size, size), _quantiles())
