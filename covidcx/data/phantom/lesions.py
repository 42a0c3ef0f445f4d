"""Pneumonia: the share of a lung's air that is replaced, pixel by pixel.

Appearances. COVID-CXNet, section on multiclass classification, and COMiT-Net, introduction: CAP is one-sided and
consolidates a lobe or segment, with air bronchograms; COVID-19 lies in both lungs, at the periphery and low, in rounded
patches of ground glass. SIIM-FISABIO-RSNA: "typical" is the latter, "indeterminate" is ground glass that lacks this
distribution (one-sided, central, upper, or diffuse).

What a random stream draws never depends on the extent, so that one patient's opacities grow and fade over days where
they are.
"""

import cv2
import numpy as np

from covidcx.data.phantom import anatomy, markings
from covidcx.data.phantom.anatomy import SIDES, Patient, wall
from covidcx.data.phantom.frame import Frame, Pose, clouds, within

GROUND_GLASS, CONSOLIDATION = 128, 255
VISIBLE = 0.10  # share of air replaced from which a reader would outline an opacity
DENSE = 0.50  # share from which vessels vanish: consolidation
COARSE = 128  # opacities are smooth: larger pictures enlarge them

# Lobes and segments in lung coordinates: (inner, outer, top, bottom) and the edge that a fissure makes sharp.
_LOBES = {
    -1: (
        ((-0.2, 1.2, -0.2, 0.47), "bottom"),  # upper lobe
        ((-0.2, 0.85, 0.50, 0.86), "top"),  # middle lobe
        ((-0.2, 1.2, 0.58, 1.3), ""),  # lower lobe
        ((0.45, 1.2, 0.62, 1.3), ""),  # its lateral segment
    ),
    1: (
        ((-0.2, 1.2, -0.2, 0.42), ""),  # upper lobe
        ((-0.2, 0.75, 0.48, 0.90), ""),  # lingula
        ((-0.2, 1.2, 0.58, 1.3), ""),  # lower lobe
        ((0.5, 1.2, 0.62, 1.3), ""),  # its lateral segment
    ),
}
_BLOBS = 8  # per lung


class Lungs:
    """The two lungs on a coarse picture, with coordinates within each.

    Attributes:
        frame: the coarse picture.
        patient: whose lungs.
        pose: of this radiograph.
        across: way from hilum to lateral wall for side -1 and +1, 0..1 within the lung: float32, H x W.
        down: way from apex to base, likewise.
    """

    def __init__(self, frame: Frame, patient: Patient, pose: Pose) -> None:
        self.frame, self.patient, self.pose = frame.coarse(COARSE), patient, pose
        x, y = self.frame.grid
        edge = wall(patient, pose)
        levels = np.linspace(-2, 2, 801)
        reach = np.interp(levels, edge[:, 1], edge[:, 0])
        table = (1 / np.maximum(reach - 0.11, 0.05)).astype(np.float32)[:, None]
        place = np.clip((y + np.float32(2)) * np.float32(200), 0, 800)
        scale = cv2.remap(table, np.zeros_like(place), place, cv2.INTER_NEAREST)
        # Undo the turn: the lungs' middle lies at the frame's plane.
        x = x * np.float32(1 / np.cos(pose.turn))
        self.across = {side: (x * np.float32(side) - np.float32(0.11)) * scale for side in SIDES}
        low = {side: anatomy.dome(patient, pose, side) + 0.10 for side in SIDES}
        self.down = {
            side: (y - np.float32(patient.apex)) * np.float32(1 / (low[side] - patient.apex)) for side in SIDES
        }


def lobar(rng: np.random.Generator, lungs: Lungs, extent: float, side: int | None = None) -> dict[int, np.ndarray]:
    """Consolidate a lobe or segment of one lung, with air bronchograms.

    Args:
        rng: source of randomness.
        lungs: where.
        extent: 0 (a small focus) to 1 (the whole lobe).
        side: which lung; drawn where None.

    Returns:
        Share of the air that is replaced, by side: float32, H x W of the coarse picture.
    """
    drawn = int(rng.choice(SIDES, p=(0.58, 0.42)))
    side = drawn if side is None else side
    size = lungs.frame.size
    across, down = lungs.across[side], lungs.down[side]
    (inner, outer, top, bottom), fissure = _LOBES[side][int(rng.integers(len(_LOBES[side])))]
    warp = clouds(rng, size, 5) * np.float32(0.045)
    line = down + np.float32(rng.normal(0.0, 0.10)) * (across - np.float32(0.5))
    field = _ramp(line + warp - np.float32(top), 0.02 if fissure == "top" else 0.10)
    sharp = fissure == "bottom"
    field *= _ramp(np.float32(bottom) - line - warp * np.float32(0.25 if sharp else 1), 0.02 if sharp else 0.10)
    field *= _ramp(across + warp - np.float32(inner), 0.12) * _ramp(np.float32(outer) - across - warp, 0.12)
    # The lobe fills from a focus: a small extent leaves a segment, a large one the whole lobe.
    focus_x, focus_y = rng.uniform(max(inner, 0.25), min(outer, 0.75)), rng.uniform(max(top, 0.15), min(bottom, 0.9))
    radius = cv2.magnitude((across - np.float32(focus_x)) * np.float32(0.8), down - np.float32(focus_y)) + warp * 2
    field *= _ramp(np.float32(0.26 + 0.50 * extent) - radius, 0.10)
    patch = 1 + np.float32(0.10) * clouds(rng, size, 12)
    field = cv2.GaussianBlur(field, (0, 0), size / 160) * np.float32(0.64 + 0.29 * extent) * patch
    tree = lungs.frame.blank()
    number, hilum = int(rng.integers(markings.TREES)), np.array((side * 0.15, -0.07)) + rng.normal(0, 0.02, 2)
    markings.lay(lungs.frame, tree, markings.bronchi(number), hilum, rng.uniform(0.9, 1.1), side)
    air = cv2.GaussianBlur(tree * np.float32(rng.uniform(0.20, 0.50) / 255), (0, 0), size / 200)
    return {side: field * (1 - air)}


def peripheral(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Lay rounded ground glass at the periphery of both lungs, low first; a large extent makes it confluent."""
    places = {side: (rng.beta(4.5, 1.8, _BLOBS), rng.beta(4.2, 2.0, _BLOBS)) for side in SIDES}
    # One side may be ahead of the other, but neither stays clear.
    lead = rng.normal(0, 0.12)
    return {side: _patches(rng, lungs, side, *places[side], extent + side * lead, 2) for side in SIDES}


def indeterminate(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Lay ground glass without COVID-19's distribution: one-sided, about the hila, in the upper zones, or diffuse."""
    kind = ("one-sided", "central", "upper", "diffuse")[int(rng.integers(4))]
    side = int(rng.choice(SIDES))
    sides = (side,) if kind == "one-sided" else SIDES
    if kind == "diffuse":
        return _diffuse(rng, lungs, extent)
    fields = {}
    for side in sides:
        across = rng.beta(1.6, 5.0, _BLOBS) if kind == "central" else rng.uniform(0.15, 0.9, _BLOBS)
        down = {"one-sided": rng.uniform(0.2, 0.9, _BLOBS), "central": rng.normal(0.52, 0.12, _BLOBS),
                "upper": rng.beta(2.0, 5.0, _BLOBS)}[kind]  # fmt: skip
        fields[side] = _patches(rng, lungs, side, across, down, extent, 2)
    return fields


def _diffuse(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    fields = {}
    for side in SIDES:
        haze = np.float32(0.16 + 0.30 * extent) * (1 + np.float32(0.22) * clouds(rng, lungs.frame.size, 6, 4))
        fields[side] = np.maximum(haze, 0)
    return fields


def edema(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Lay haze about the hila of both lungs, densest near them (a bat's wings), that spares the periphery."""
    fields = {}
    for side in SIDES:
        across, down = lungs.across[side], lungs.down[side]
        ragged = clouds(rng, lungs.frame.size, 7, 4)
        radius = cv2.magnitude(across * np.float32(1.15), (down - np.float32(0.56)) * np.float32(1.35))
        wing = np.clip(np.float32(0.62 + 0.35 * extent) - radius + np.float32(0.10) * ragged, 0, 0.5) * 2
        fields[side] = wing * np.float32(0.30 + 0.35 * extent)
    return fields


def _patches(
    rng: np.random.Generator, lungs: Lungs, side: int, u: np.ndarray, v: np.ndarray, extent: float, sure: int
) -> np.ndarray:
    """Join rounded patches centred at (u, v) in lung coordinates; the first `sure` are there at any extent."""
    across, down = lungs.across[side], lungs.down[side]
    size = lungs.frame.size
    reach = clouds(rng, size, 6, 4)
    reach *= np.float32(0.38)
    reach += np.float32(1.45)
    grain = np.float32(0.16) * clouds(rng, size, 22, 2)
    wide, high = rng.uniform(0.16, 0.30, _BLOBS), rng.uniform(0.10, 0.21, _BLOBS)
    strong = rng.uniform(0.15, 0.26, _BLOBS)
    onset = np.concatenate([np.full(sure, -0.5), np.linspace(0.05, 0.95, _BLOBS - sure)])
    clear = np.ones_like(across)
    grown = np.clip((extent - onset) * 2.5, 0, 1)
    much = within(extent, 0, 1)
    swell = (0.85 + 0.3 * much) * (0.6 + 0.4 * grown)
    wide, high = (1 / (each * swell) for each in (wide, high))
    share = ((strong + 0.11 * much) * grown).astype(np.float32)
    for i in np.flatnonzero(grown).tolist():
        blob = cv2.magnitude(_scaled(across, u[i], wide[i]), _scaled(down, v[i], high[i]))
        np.subtract(reach, blob, out=blob)
        np.minimum(np.maximum(blob, 0, out=blob), 1, out=blob)
        blob *= -share[i]
        blob += 1
        clear *= blob
    np.subtract(1, clear, out=clear)
    grain += 1
    grain *= clear
    return cv2.GaussianBlur(grain, (0, 0), size / 180)


def _scaled(field: np.ndarray, middle: float, scale: float) -> np.ndarray:
    out = field * np.float32(scale)
    out -= np.float32(middle * scale)
    return out


def _ramp(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 outside, 1 inside, with a border of +- `softness`."""
    ramp = distance * np.float32(0.5 / softness)
    ramp += np.float32(0.5)
    return np.minimum(np.maximum(ramp, 0, out=ramp), 1, out=ramp)


def course(label: str, rng: np.random.Generator, day: float) -> float:
    """Return the extent of a patient's disease on a day since the first symptom, 0..1.

    COVID-19 worsens up to about the tenth day, CAP peaks early and clears under treatment.
    """
    if label in ("covid", "typical", "indeterminate"):
        peak, rise, fall = rng.normal(10, 1.5), rng.uniform(4, 6), rng.uniform(8, 14)
    else:
        peak, rise, fall = rng.normal(3, 0.8), rng.uniform(1.5, 3), rng.uniform(5, 9)
    worst = rng.uniform(0.45, 1.0)
    away = (day - peak) / (rise if day < peak else fall)
    return float(np.clip(worst * np.exp(-away * away / 2), 0.02, 1.0))


def mask(share: np.ndarray) -> np.ndarray:
    """Turn replaced air into a reader's mask: uint8, 0, `GROUND_GLASS` or `CONSOLIDATION`."""
    soft = cv2.GaussianBlur(share, (0, 0), max(share.shape[0] / 200, 0.8))
    seen = (soft >= VISIBLE).view(np.uint8) * np.uint8(GROUND_GLASS)
    seen += (soft >= DENSE).view(np.uint8) * np.uint8(CONSOLIDATION - GROUND_GLASS)
    seen *= (share > 0).view(np.uint8)
    return seen


def boxes(disease: np.ndarray) -> tuple[tuple[int, int, int, int], ...]:
    """Return x, y, width, height of every opacity that is larger than 0.15 % of the image."""
    outlines, _ = cv2.findContours((disease > 0).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # A contour runs through the middle of its border's pixels, half of whose area it leaves out.
    large = (line for line in outlines if cv2.contourArea(line) + len(line) / 2 + 1 > disease.size * 0.0015)
    return tuple(sorted(tuple(int(v) for v in cv2.boundingRect(line)) for line in large))
