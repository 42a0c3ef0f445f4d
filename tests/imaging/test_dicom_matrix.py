"""Every greyscale pipeline in every transfer syntax the installed codecs write, against PS3.3 C.11 worked out by hand.

The expected pixels come from plain Python over the stored values, one at a time, in the words of the standard; the
reader computes a table over all codes. Nothing is shared between the two.
"""

import itertools
import math
from collections.abc import Callable

import cv2
import numpy as np
import pydicom
import pytest
from dicom_files import COMPRESSED, UNCOMPRESSED, table, write_dicom
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, get_encoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from covidcx.imaging.read import read

SYNTAXES = UNCOMPRESSED + COMPRESSED
BITS = range(8, 17)
SIZE = (32, 40)


def stored_values(bits: int, signed: bool) -> np.ndarray:
    """32 x 40 values from the lowest to the highest that the bits hold, then shuffled."""
    low = -(2 ** (bits - 1)) if signed else 0
    values = low + np.linspace(0, 2**bits - 1, SIZE[0] * SIZE[1]).astype(int)
    return np.random.default_rng(bits).permutation(values).reshape(SIZE)


# --- the standard's own words ----------------------------------------------------------------------------------------


def linear(x: float, c: float, w: float) -> float:
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x: float, c: float, w: float) -> float:
    if x <= c - w / 2:
        return 0.0
    if x > c + w / 2:
        return 1.0
    return (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    return 1 / (1 + math.exp(-4 * (x - c) / w))


def look_up(entries: list[int], first: int, x: float) -> int:
    return entries[int(min(max(x - first, 0), len(entries) - 1))]


class Case:
    """One greyscale pipeline: the elements that ask for it, and what they make of one stored value.

    Every case works for any number of bits and either sign: `low` and `span` are the lowest value and the number of
    values.
    """

    def __init__(self, low: int, span: int, order: str) -> None:
        self.low, self.span, self.order = low, span, order
        self.window: int | None = 0
        self.elements: dict[str, object] = {}
        self.value: Callable[[int], float] = float
        self.grey: Callable[[float], float] | None = None
        self.padding: tuple[int, int] | None = None

    def windowed(self, function: str | None) -> "Case":
        c, w = self.low + self.span * 0.4, self.span * 0.5
        c, w = float(round(c)), float(round(w))
        self.elements |= {"WindowCenter": f"{c:g}", "WindowWidth": f"{w:g}", "VOILUTFunction": function}
        rule = {None: linear, "LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}[function]
        self.grey = lambda x: rule(x, c, w)
        return self

    def several_windows(self) -> "Case":
        centres = [self.low + self.span // 4, self.low + self.span // 2, self.low + self.span * 3 // 4]
        widths = [self.span // 8, self.span // 4, self.span // 2]
        self.elements |= {"WindowCenter": [str(c) for c in centres], "WindowWidth": [str(w) for w in widths]}
        self.window = 2
        self.grey = lambda x: linear(x, centres[2], widths[2])
        return self

    def rescaled(self, slope: float, intercept: float) -> "Case":
        self.elements |= {"RescaleSlope": f"{slope:g}", "RescaleIntercept": f"{intercept:g}"}
        self.value = lambda x: x * slope + intercept
        self.low, self.span = round(self.low * slope + intercept), round(self.span * slope)
        return self

    def modality_lut(self) -> "Case":
        # Fewer entries than values: what lies outside takes the first and the last of them.
        entries = [round(4095 * math.sqrt(i / 199)) for i in range(200)]
        first = self.low + self.span // 8
        self.elements["ModalityLUTSequence"] = table(entries, first, 12, "OW", order=self.order)
        self.value = lambda x: look_up(entries, first, x)
        self.low, self.span = 0, 4096
        return self

    def voi_lut(self) -> "Case":
        entries = [round(1023 * (i / 149) ** 2) for i in range(150)]
        first = self.low + self.span // 4
        self.elements["VOILUTSequence"] = table(entries, first, 10, "OW", order=self.order)
        self.grey = lambda x: look_up(entries, first, x) / 1023
        return self

    def padded(self, limit: bool) -> "Case":
        self.padding = (self.low, self.low + self.span // 16 if limit else self.low)
        self.elements["PixelPaddingValue"] = self.padding[0]
        if limit:
            self.elements["PixelPaddingRangeLimit"] = self.padding[1]
        return self

    def expected(self, stored: np.ndarray, photometric: str) -> np.ndarray:
        levels = [int(x) for x in np.unique(stored)]
        first, last = self.padding or (1, 0)
        values = {x: self.value(x) for x in levels if not first <= x <= last}
        low, high = min(values.values()), max(values.values())
        grey = self.grey or (lambda x: (x - low) / (high - low))
        shown = {x: grey(value) for x, value in values.items()}
        if photometric == "MONOCHROME1":
            shown = {x: 1 - level for x, level in shown.items()}
        return np.array([shown.get(int(x), 0.0) for x in stored.ravel()]).reshape(stored.shape)


CASES: dict[str, Callable[[Case], Case]] = {
    "no window": lambda case: case,
    "window": lambda case: case.windowed(None),
    "linear": lambda case: case.windowed("LINEAR"),
    "linear exact": lambda case: case.windowed("LINEAR_EXACT"),
    "sigmoid": lambda case: case.windowed("SIGMOID"),
    "third of three windows": Case.several_windows,
    "rescale": lambda case: case.rescaled(0.25, -100),
    "rescale, window": lambda case: case.rescaled(2.5, -1024).windowed("LINEAR_EXACT"),
    "modality LUT": Case.modality_lut,
    "modality LUT, window": lambda case: case.modality_lut().windowed("LINEAR"),
    "VOI LUT": Case.voi_lut,
    "rescale, VOI LUT": lambda case: case.rescaled(1, 50).voi_lut(),
    "padding value": lambda case: case.padded(False),
    "padding range, window": lambda case: case.padded(True).windowed("LINEAR"),
}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_every_pipeline(tmp_path, syntax, bits):
    """Both signs and both photometric interpretations, every pipeline; the depth decides which go together."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    combinations = list(itertools.product((False, True), ("MONOCHROME1", "MONOCHROME2"), CASES))
    # A third of the 56 for each depth and syntax, so that neighbours cover the rest.
    for signed, photometric, name in combinations[(bits + SYNTAXES.index(syntax)) % 3 :: 3]:
        stored = stored_values(bits, signed)
        case = CASES[name](Case(int(stored.min()), 2**bits, order))
        dtype = {(8, False): "u1", (8, True): "i1"}.get((bits, signed), "<i2" if signed else "<u2")
        path = write_dicom(
            tmp_path / "a.dcm", stored.astype(dtype), syntax, BitsStored=bits, PhotometricInterpretation=photometric,
            **case.elements,
        )  # fmt: skip
        radiograph = read(path, case.window)
        expected = case.expected(stored, photometric)
        assert expected.std() > 0.05
        np.testing.assert_allclose(
            radiograph.pixels, expected, atol=2e-6, err_msg=f"{name}, {photometric}, signed {signed}"
        )
        assert (radiograph.bits, radiograph.photometric) == (bits, photometric)


def test_the_matrix_meets_every_pair():
    met = {
        (syntax.name, name, signed, photometric)
        for bits in BITS
        for number, syntax in enumerate(SYNTAXES)
        for signed, photometric, name in list(itertools.product((False, True), ("MONOCHROME1", "MONOCHROME2"), CASES))[
            (bits + number) % 3 :: 3
        ]
    }
    assert len(met) == len(SYNTAXES) * len(CASES) * 4
    writable = set(UNCOMPRESSED)
    for uid in (RLELossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, JPEGBaseline8Bit):
        try:
            if get_encoder(uid).is_available:
                writable.add(uid)
        except NotImplementedError:
            continue
    assert set(SYNTAXES) == writable


@pytest.mark.parametrize(
    ("syntax", "bits"),
    # Not RLE of 8 bits: pydicom's encoder writes one byte a pixel for 8 bits in 16, which no decoder takes.
    [
        (syntax, bits)
        for syntax in [*UNCOMPRESSED, RLELossless]
        for bits in (8, 9, 12, 15)
        if (syntax, bits) != (RLELossless, 8)
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_bits_beside_the_stored_ones_are_no_pixels(tmp_path, syntax, bits, signed):
    """Stored bits at the bottom, in the middle and at the top of 16, overlays and rubbish in all the others."""
    stored = stored_values(bits, signed)
    case = CASES["window"](Case(int(stored.min()), 2**bits, "<"))
    rubbish = np.random.default_rng(1).integers(0, 65536, SIZE)
    for high in {bits - 1, (bits + 15) // 2, 15}:
        shift = high + 1 - bits
        mask = ((1 << bits) - 1) << shift
        words = ((stored << shift) & mask) | (rubbish & ~mask)
        path = write_dicom(
            tmp_path / "a.dcm", words.astype("<u2").view("<i2" if signed else "<u2"), syntax, BitsStored=bits,
            HighBit=high, **case.elements,
        )  # fmt: skip
        np.testing.assert_allclose(read(path).pixels, case.expected(stored, "MONOCHROME2"), atol=2e-6)


def test_8_bit_pixels_as_big_endian_words(tmp_path):
    """PS3.5 A.3: written as OW, every two 8-bit pixels of a big-endian file change places."""
    stored = stored_values(8, False).astype("u1")
    swapped = stored.view("<u2").byteswap().view("u1")
    path = write_dicom(tmp_path / "a.dcm", stored, ExplicitVRBigEndian, PixelData=swapped.tobytes())
    data = pydicom.dcmread(path)
    data["PixelData"].VR = "OW"
    data.save_as(path)
    np.testing.assert_allclose(read(path).pixels, stored / 255, atol=2e-6)


@pytest.mark.parametrize(
    ("syntax", "options", "levels"),
    [(JPEGLSNearLossless, {"jls_error": 3}, 3), (JPEG2000, {"j2k_cr": [4]}, 40)],
    ids=["JPEG-LS near lossless", "JPEG 2000"],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossy_syntaxes_stay_within_their_error(tmp_path, syntax, options, levels, bits):
    steps = np.add.outer(np.arange(32), np.arange(40))
    stored = (steps * (2**bits - 1) // steps.max()).astype("u1" if bits == 8 else "<u2")
    path = write_dicom(
        tmp_path / "a.dcm", stored, BitsStored=bits, WindowCenter=str(2 ** (bits - 1)), WindowWidth=str(2**bits)
    )
    data = pydicom.dcmread(path)
    data.compress(syntax, **options, generate_instance_uid=False)
    data.save_as(path)
    error = np.abs(read(path).pixels - stored / (2**bits - 1)) * (2**bits - 1)
    assert error.max() <= levels * (1 if syntax == JPEGLSNearLossless else 2 ** (bits - 8)) + 0.01


@pytest.mark.parametrize("quality", [50, 90, 100])
def test_jpeg_baseline_stays_within_its_error(tmp_path, quality):
    smooth = cv2.GaussianBlur(stored_values(8, False).astype("u1"), (0, 0), 3)
    encoded = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    path = write_dicom(
        tmp_path / "a.dcm", smooth, JPEGBaseline8Bit, PixelData=encapsulate([encoded]), WindowCenter="128",
        WindowWidth="256",
    )  # fmt: skip
    error = np.abs(read(path).pixels * 255 - smooth)
    assert error.max() < {50: 12, 90: 4, 100: 2.5}[quality]


def test_installed_decoders():
    """What pyproject.toml names must decode every greyscale syntax that radiographs come in."""
    for uid in ("50", "51", "57", "70", "80", "81", "90", "91", "201"):
        assert get_decoder(UID(f"1.2.840.10008.1.2.4.{uid}")).is_available


def test_window_in_a_functional_group_of_every_syntax(tmp_path):
    for syntax in SYNTAXES:
        stored = stored_values(12, False)
        voi, groups = pydicom.Dataset(), pydicom.Dataset()
        voi.WindowCenter, voi.WindowWidth = "1000", "800"
        groups.FrameVOILUTSequence = Sequence([voi])
        path = write_dicom(
            tmp_path / "a.dcm", stored.astype("<u2"), syntax, SharedFunctionalGroupsSequence=Sequence([groups])
        )
        expected = [linear(int(x), 1000, 800) for x in stored.ravel()]
        np.testing.assert_allclose(read(path).pixels.ravel(), expected, atol=2e-6)
