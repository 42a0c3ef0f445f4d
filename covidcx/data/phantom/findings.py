"""What a label shows: which findings it draws, and the findings that are no pneumonia.

Label sets: COVID-CXNet (normal, cap, covid), the SIIM-FISABIO-RSNA challenge (negative, typical, indeterminate,
atypical: "pneumothorax, pleural effusion, pulmonary edema, lobar consolidation, solitary lung nodule or mass, diffuse
tiny nodules, cavity") and COMiT-Net (normal, covid, other: what its radiologists looked for, section 3.2:
atelectasis, consolidation, interstitial shadows, pneumothorax, effusion, pleural thickening, cardiomegaly, lesion).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.data.phantom import anatomy, lesions, parts
from covidcx.data.phantom.anatomy import SIDES
from covidcx.data.phantom.frame import clouds, ring
from covidcx.data.phantom.lesions import Lungs

LABEL_SETS = {
    "covid-cxnet": ("normal", "cap", "covid"),
    "rsna": ("negative", "typical", "indeterminate", "atypical"),
    "comit-net": ("normal", "covid", "other"),
}
LABELS = LABEL_SETS["covid-cxnet"]
ALL_LABELS = tuple(dict.fromkeys(label for labels in LABEL_SETS.values() for label in labels))
HEALTHY = ("normal", "negative")
_SQUARE = np.ones((3, 3), np.uint8)
_ROUND = np.float32(14)
_FAR = np.float32(80)
OTHER = 192  # in a disease mask: a finding that is no opacity of the lung

# Names as NIH ChestX-ray14 writes them where it has them.
_ATYPICAL = ("Pneumothorax", "Effusion", "Edema", "Consolidation", "Nodule", "Mass", "Miliary", "Cavity")
_OTHER = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Fibrosis", "Infiltration", "Mass", "Nodule",
    "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_NAMES = {
    "normal": ("No Finding",), "negative": ("No Finding",), "cap": ("Consolidation", "Pneumonia"),
    "covid": ("COVID-19",), "typical": ("COVID-19",), "indeterminate": ("Infiltration",),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Change:
    """What disease changes in a radiograph.

    Attributes:
        names: of the findings, NIH ChestX-ray14's where it has one.
        share: share of the lungs' air that is replaced, -0.3..0.95: float32, H x W; 0 from a few
            pixels outside the lungs on.
        lines: water that is added as fine lines, cm: float32, H x W, or None.
        bare: bool, H x W, where no lung (and no vessel) is left, or None.
        outline: bool, H x W, the finding's extent where `share` does not tell it, or None.
    """

    names: tuple[str, ...]
    share: np.ndarray
    lines: np.ndarray | None = None
    bare: np.ndarray | None = None
    outline: np.ndarray | None = None


def disease(
    label: str, rng: np.random.Generator, lungs: Lungs, masks: dict[int, np.ndarray], extent: float,
    finding: str | None = None,
) -> Change:  # fmt: skip
    """Draw what a label stands for.

    Args:
        label: one of `ALL_LABELS`, no healthy one.
        rng: source of randomness, used for nothing else.
        lungs: where.
        masks: bool, H x W, for side -1 (right) and +1 (left), in the picture's own pixels.
        extent: 0..1.
        finding: which one of `findings(label)`; drawn where None.

    Returns:
        The change, in the picture's own pixels.
    """
    kinds = findings(label)
    drawn = kinds[int(rng.integers(len(kinds)))]
    kind = drawn if finding is None else finding
    names = _NAMES.get(label, (kind,))
    extra: dict[str, np.ndarray] = {}
    if kind == "Pneumothorax":
        fields, extra = _pneumothorax(rng, lungs, masks, extent)
    elif kind == "Cardiomegaly":
        fields, extra = _cardiomegaly(lungs, masks, extent)
    else:
        fields = _DRAW[kind](rng, lungs, extent)
    whole = np.zeros(masks[1].shape, np.float32)
    for side, field in fields.items():
        # A pixel or two beyond the outline there still is air, since its map is a coarser one.
        grown = cv2.dilate(masks[side].view(np.uint8), _SQUARE, iterations=max(round(len(whole) / 300), 1))
        large = cv2.resize(field, whole.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.add(whole, large, whole, grown)
    return Change(names, np.clip(whole, -0.3, 0.95, out=whole), **extra)


def findings(label: str) -> tuple[str, ...]:
    """Return what a label may show; one of them is drawn."""
    fixed = {"cap": "Pneumonia", "covid": "COVID-19", "typical": "COVID-19", "indeterminate": "Infiltration"}
    return (fixed[label],) if label in fixed else {"atypical": _ATYPICAL, "other": _OTHER}.get(label, ())


def names(label: str) -> tuple[str, ...]:
    """Return the findings of a healthy label."""
    return _NAMES[label]


def _side(rng: np.random.Generator) -> int:
    return int(rng.choice(SIDES))


def _effusion(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Fluid on the diaphragm of one or both sides: dense, with a meniscus that climbs the lateral wall."""
    first, both = _side(rng), rng.random() < 0.3
    fields = {}
    for side in SIDES:
        level = 0.92 - 0.50 * extent * rng.uniform(0.8, 1.1)
        climb, wave = rng.uniform(0.12, 0.28), clouds(rng, lungs.frame.size, 3, 1) * np.float32(0.012)
        if side != first and not both:
            continue
        across = np.clip(lungs.across[side], 0, 1)
        top = np.float32(level) - np.float32(climb) * across**3
        field = np.clip((lungs.down[side] - top + wave) * np.float32(1 / 0.10), 0, 1)
        fields[side] = field * np.float32(0.88)
    return fields


def _nodules(count: tuple[int, int], radius: tuple[float, float], dense: float, hollow: bool = False):
    def draw(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
        fields = {side: np.zeros_like(lungs.across[side]) for side in SIDES}
        x, y = lungs.frame.grid
        for _ in range(int(rng.integers(*count))):
            side, u, v = _side(rng), rng.uniform(0.2, 0.85), rng.uniform(0.18, 0.82)
            size = rng.uniform(*radius) * (0.75 + 0.5 * extent)
            centre_x = side * (0.11 + u * 0.55 * lungs.patient.width)
            low = anatomy.dome(lungs.patient, lungs.pose, side) + 0.10
            centre_y = lungs.patient.apex + v * (low - lungs.patient.apex)
            rough = 1 + np.float32(0.10) * clouds(rng, lungs.frame.size, 14, 2)
            far = cv2.magnitude(x - np.float32(centre_x), y - np.float32(centre_y)) * np.float32(1 / size) * rough
            ball = np.sqrt(np.maximum(1 - far * far, 0))
            if hollow:
                ball -= np.float32(0.95) * np.sqrt(np.maximum(1 - (far * np.float32(1 / 0.68)) ** 2, 0))
            soft = cv2.GaussianBlur(ball, (0, 0), lungs.frame.size / 220)
            fields[side] = np.maximum(fields[side], soft * np.float32(dense * (0.8 + 0.4 * extent)))
        return fields

    return draw


def _miliary(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Dust both lungs with tiny nodules."""
    layer = lungs.frame.blank()
    spots = rng.uniform((-0.85, -0.85), (0.85, 0.65), (700, 2))[: int(350 + 350 * extent)]
    dots = spots[:, None, :] + ring(7) * rng.uniform(0.006, 0.013, (700, 1, 1))[: len(spots)]
    lungs.frame.fill(layer, dots, 255)
    field = cv2.GaussianBlur(layer, (0, 0), lungs.frame.size / 280) * np.float32((0.25 + 0.2 * extent) / 255)
    field += np.float32(0.105)
    return dict.fromkeys(SIDES, field)


def _atelectasis(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """Plates of collapsed lung: straight, near level bands at the bases."""
    fields = {}
    first, both = _side(rng), rng.random() < 0.4
    for side in SIDES:
        across, down = lungs.across[side], lungs.down[side]
        field = np.zeros_like(across)
        for _ in range(3):
            height, slope = rng.uniform(0.62, 0.95), rng.normal(0, 0.22)
            inner, outer, thick = rng.uniform(0.0, 0.35), rng.uniform(0.6, 0.98), rng.uniform(0.012, 0.03)
            off = np.abs(down - np.float32(height) - np.float32(slope) * (across - np.float32(0.5)))
            plate = np.clip(np.float32(1.5) - off * np.float32(1 / (thick * (0.8 + 0.6 * extent))), 0, 1)
            plate *= ((across > inner) & (across < outer)) * np.float32(0.42 + 0.2 * extent)
            field = np.maximum(field, plate)
        if side == first or both:
            fields[side] = cv2.GaussianBlur(field, (0, 0), lungs.frame.size / 200)
    return fields


def _fibrosis(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """A net of fine lines (reticular shadows), densest at the bases and the periphery of both lungs."""
    fields = {}
    for side in SIDES:
        net = np.zeros_like(lungs.across[side])
        for _ in range(2):
            wave = clouds(rng, lungs.frame.size, 26, 1)
            net = np.maximum(net, cv2.exp(-((wave * np.float32(3.2)) ** 2)))
        where = np.clip(lungs.down[side] * np.float32(1.1) - np.float32(0.45), 0, 0.6) + np.clip(
            lungs.across[side] - np.float32(0.55), 0, 0.4
        )
        fields[side] = (np.float32(0.25) + net) * where * np.float32(0.42 + 0.5 * extent)
    return fields


def _thickening(rng: np.random.Generator, lungs: Lungs, extent: float) -> dict[int, np.ndarray]:
    """A rind along the lateral wall of one lung, or a cap on its apex."""
    side, apical = _side(rng), rng.random() < 0.3
    rough = clouds(rng, lungs.frame.size, 9, 2)
    if apical:
        inside = np.float32(0.10 + 0.08 * extent) - lungs.down[side] + np.float32(0.012) * rough
        return {side: np.clip(inside * np.float32(12), 0, 1) * np.float32(0.6)}
    top, bottom = rng.uniform(0.1, 0.4), rng.uniform(0.7, 1.2)
    inside = lungs.across[side] - np.float32(0.955 - 0.06 * extent) + np.float32(0.012) * rough
    field = np.clip(inside * np.float32(25), 0, 1) * ((lungs.down[side] > top) & (lungs.down[side] < bottom))
    return {side: cv2.GaussianBlur(field * np.float32(0.65), (0, 0), lungs.frame.size / 160)}


def _pneumothorax(
    rng: np.random.Generator, lungs: Lungs, masks: dict[int, np.ndarray], extent: float
) -> tuple[dict[int, np.ndarray], dict[str, np.ndarray]]:
    """Air beside one lung: no vessels there, darker, and the pleura as a fine line."""
    side = _side(rng)
    across, down = lungs.across[side], lungs.down[side]
    gap = 0.07 + 0.30 * extent
    apical, wavy = rng.uniform(0.8, 1.6), clouds(rng, lungs.frame.size, 3, 2) * np.float32(0.012)
    # Upright, the air gathers at the apex and thins out downwards.
    thick = np.float32(gap) * np.clip(np.float32(1.15) - down * np.float32(0.9), 0, 1.2)
    lateral, upper = 1 - thick - across, (down - np.float32(apical * gap * 0.55)) * np.float32(1.2)
    # The smaller of both, rounded where they meet.
    # Far outside the lung both exponentials would vanish, and the logarithm of nothing is no number.
    soft = (cv2.exp(np.clip(far * -_ROUND, -_FAR, _FAR)) for far in (lateral, upper))
    inner = wavy - cv2.log(sum(soft)) / _ROUND
    size = masks[side].shape[::-1]
    edge = cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR)
    bare = (edge < 0) & masks[side]
    width = np.float32(1 / max(0.008, 1.2 / size[0]))
    line = cv2.exp(-((edge * width) ** 2)) * masks[side]
    # The collapsed lung is somewhat denser than the other one.
    field = np.where(inner < 0, np.float32(-0.10), np.float32(0.04 + 0.08 * extent))
    return {side: field}, {"lines": line * np.float32(0.55), "bare": bare, "outline": bare}


def _cardiomegaly(
    lungs: Lungs, masks: dict[int, np.ndarray], extent: float
) -> tuple[dict[int, np.ndarray], dict[str, np.ndarray]]:
    """A heart that takes the place of more lung than the patient's own."""
    grow = 1.22 + 0.28 * extent
    usual, large = (parts.middle(lungs.frame, lungs.patient, lungs.pose, size) for size in (1.0, grow))
    field = np.maximum(large - usual, 0) / np.maximum(1 - usual, np.float32(0.05))
    _, y = lungs.frame.grid
    shape = cv2.resize((large * (y > -0.12)).astype(np.float32), masks[1].shape[::-1], interpolation=cv2.INTER_LINEAR)
    return dict.fromkeys(SIDES, field), {"outline": (shape > 0.2) & (masks[-1] | masks[1])}


_DRAW = {
    "COVID-19": lesions.peripheral,
    "Pneumonia": lesions.lobar,
    "Consolidation": lesions.lobar,
    "Infiltration": lesions.indeterminate,
    "Edema": lesions.edema,
    "Effusion": _effusion,
    "Nodule": _nodules((1, 2), (0.030, 0.055), 0.34),
    "Mass": _nodules((1, 2), (0.085, 0.16), 0.55),
    "Cavity": _nodules((1, 2), (0.08, 0.14), 0.60, hollow=True),
    "Miliary": _miliary,
    "Atelectasis": _atelectasis,
    "Fibrosis": _fibrosis,
    "Pleural_Thickening": _thickening,
}
