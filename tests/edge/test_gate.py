"""The gate: what passes, what is refused and with which words, alone and in front of a prediction."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_bundles import draw_chest, save_bundle, save_classifier, save_lungs, write_image

from covidcx.bundle import Bundle, update_bundle
from covidcx.data.non_chests import LEG, packaged_pictures
from covidcx.data.phantom import LABELS, phantom
from covidcx.data.phantom.lateral import lateral
from covidcx.data.phantom.others import draw_other
from covidcx.edge.gate import REASONS, Gate
from covidcx.edge.predict import predict_files
from covidcx.edge.runtime import load
from covidcx.errors import BundleError, UnsupportedImageError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read

VIEWS = ["frontal", "sideways", "upside_down", "inverted", "lateral", "no_chest"]


@pytest.fixture(scope="module")
def gate(repo) -> Gate:
    return Gate(Bundle.open(repo / "saved_models" / "frontal-gate"))


@pytest.fixture(scope="session")
def bright_is_frontal() -> bytes:
    """A gate whose answer can be worked out by hand: frontal where the mean is above 0.5, else sideways."""
    import keras
    from keras import layers

    from covidcx.deploy.tflite import to_tflite

    image = layers.Input((16, 16, 1), name="image")
    head = layers.Dense(6, activation="softmax", name="probabilities")
    model = keras.Model(image, {"probabilities": head(layers.GlobalAveragePooling2D()(image))})
    weights, bias = np.zeros((1, 6)), np.full(6, -20.0)
    weights[0, 0], bias[0], bias[1] = 40.0, -20.0, 0.0
    head.set_weights([weights, bias])
    return to_tflite(model)


def _save_gate(folder: Path, content: bytes, **fields) -> Path:
    spec = Preprocessing(size=(16, 16), channels=("original",))
    points = {"frontal": {"threshold": 0.9, "rule": "by hand"}}
    defaults = {"task": "classify", "labels": VIEWS, "preprocessing": spec, "operating_points": points}
    return save_bundle(folder, content, **{**defaults, **fields})


@pytest.fixture
def gated(tmp_path, networks, bright_is_frontal) -> Path:
    """A classifier with segmenter and gate beside it."""
    save_lungs(tmp_path / "tiny-lungs", networks)
    _save_gate(tmp_path / "tiny-gate", bright_is_frontal)
    return save_classifier(tmp_path / "tiny", networks, gate="tiny-gate")


def test_image_that_passes_carries_the_gates_probability(gated):
    pixels, _ = draw_chest(0.9)
    finding = load(gated)(Radiograph(pixels))
    mean = pixels.mean()
    assert finding.status == "ok"
    assert finding.frontal == pytest.approx(1 / (1 + np.exp(-(40 * mean - 20))), abs=0.01)


def test_image_that_does_not_pass_is_refused_with_reason_and_figures(gated):
    pixels, _ = draw_chest(0.55)
    with pytest.raises(UnsupportedImageError, match=r"lies on its side.*turn it upright \(.*0\.\d{3}, at least 0\.900"):
        load(gated)(Radiograph(pixels))


def test_gate_is_asked_before_the_lungs(gated):
    # Without a lung the segmenter would refuse as well, with other words.
    with pytest.raises(UnsupportedImageError, match="lies on its side"):
        load(gated)(Radiograph(np.full((64, 64), 0.4, np.float32)))
    with pytest.raises(UnsupportedImageError, match="no lungs found"):
        load(gated)(Radiograph(np.full((64, 64), 1.0, np.float32)))


def test_probability_below_the_operating_point_is_refused_even_where_it_is_the_largest(gated):
    # A mean of 0.53 gives sigmoid(1.2) = 0.77.
    verdict = load(gated).gate(np.full((64, 64), 0.53, np.float32))
    assert 0.5 < verdict.frontal < 0.9
    assert (verdict.label, verdict.passed, verdict.reason) == ("sideways", False, REASONS["sideways"])


def test_refusal_is_a_finding_of_its_own_in_a_batch(gated, tmp_path):
    write_image(tmp_path / "in" / "good.png", draw_chest(0.9)[0])
    write_image(tmp_path / "in" / "side.png", draw_chest(0.5)[0])
    summary = predict_files([tmp_path / "in"], gated, tmp_path / "out")
    good, side = summary.findings
    assert (good.status, side.status, side.label) == ("ok", "refused", None)
    assert side.reason.startswith(REASONS["sideways"]) and side.disclaimer
    assert json.loads((tmp_path / "out" / "findings" / "good.png.json").read_text())["frontal"] == good.frontal > 0.9
    assert REASONS["sideways"].split(":")[0] in summary.page.read_text()


def test_bundle_without_a_gate_answers_as_before(tiny):
    predictor = load(tiny)
    assert predictor.gate is None
    assert predictor(Radiograph(draw_chest(0.5)[0])).frontal is None


def test_checksum_of_an_answer_follows_the_gate(gated):
    before = load(gated).checksum
    update_bundle(gated.parent / "tiny-gate", metrics={"x": 1})
    after = load(gated).checksum
    assert before != after and before.split("+")[:2] == after.split("+")[:2]


def test_bundle_that_is_no_gate_is_refused(tmp_path, networks):
    save_lungs(tmp_path / "tiny-lungs", networks)
    folder = save_classifier(tmp_path / "tiny", networks, gate="tiny-lungs")
    with pytest.raises(BundleError, match=r"'tiny-lungs' as its gate.*'frontal'"):
        load(folder)
    with pytest.raises(BundleError, match="a gate needs 'frontal'"):
        Gate(Bundle.open(folder))


def test_every_class_of_the_shipped_gate_has_its_words(gate):
    assert set(gate.bundle.labels) == {"frontal", *REASONS}
    assert sum(path.stat().st_size for path in gate.bundle.folder.iterdir()) < 1_000_000


def test_phantoms_pass_and_their_turned_and_inverted_copies_do_not(gate):
    passed, wrong = [], []
    for seed in range(30):
        pixels = phantom(LABELS[seed % 3], 1000 + seed, 256).pixels
        passed.append(gate(pixels).passed)
        copies = {
            "sideways": np.rot90(pixels, 1 + 2 * (seed % 2)), "upside_down": np.rot90(pixels, 2),
            "inverted": 1 - pixels,
        }  # fmt: skip
        wrong += [label for label, copy in copies.items() if gate(np.ascontiguousarray(copy)).label != label]
    assert sum(passed) >= 28
    assert len(wrong) <= 4


def test_what_is_no_frontal_chest_is_refused(gate):
    page = np.full((300, 220), 255, np.uint8)
    for row in range(20, 290, 22):
        cv2.putText(page, "Chest radiograph, two views", (6, row), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0, 1)
    rng = np.random.default_rng(0)
    images = {
        "black": np.zeros((256, 256)), "grey": np.full((256, 200), 0.5), "white": np.ones((300, 256)),
        "noise": rng.random((256, 256)), "page": page / 255, "ramp": np.tile(np.linspace(0, 1, 256), (200, 1)),
        "skull": draw_other("skull", 5, 256), "chart": draw_other("chart", 5, 256),
        **{f"lateral {seed}": lateral(5000 + seed, 256) for seed in range(5)},
    }  # fmt: skip
    passed = [name for name, image in images.items() if gate(np.asarray(image, np.float32)).passed]
    assert passed == []


def test_leg_and_other_files_of_pydicom_are_refused(gate):
    pytest.importorskip("data_store", reason="the package pydicom-data is not installed")
    files = {p.source: gate(p.pixels) for p in packaged_pictures() if p.split == "test" and "dicom" in p.source}
    assert not files[f"dicom-{LEG}"].passed
    assert [name for name, verdict in files.items() if verdict.passed] == []


def test_small_and_long_images_are_answered(gate):
    for shape in ((1, 1), (5, 900), (4000, 33)):
        assert not gate(np.random.default_rng(0).random(shape, dtype=np.float32)).passed


def test_a_large_image_is_judged_as_its_small_copy(gate):
    pixels = phantom("normal", 7, 1200).pixels
    small = cv2.resize(pixels, (300, 300), interpolation=cv2.INTER_AREA)
    assert gate(pixels).frontal == pytest.approx(gate(small).frontal, abs=0.02)


def test_real_chests_pass_and_their_turned_and_inverted_copies_do_not(gate, shared_data):
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val"][::5]
    refused, wrong = 0, 0
    for number, row in enumerate(rows):
        pixels = read(shared_data / row["image"]).pixels
        refused += not gate(pixels).passed
        copies = (np.rot90(pixels, 1 + 2 * (number % 2)), np.rot90(pixels, 2), 1 - pixels)
        wrong += sum(gate(np.ascontiguousarray(copy)).passed for copy in copies)
    assert len(rows) > 35
    assert refused <= 1 and wrong <= 2


def test_real_dicom_chests_of_other_places_pass(gate, shared_data):
    from covidcx.edge.demo import real_chest

    # The header of the "fake" one says MONOCHROME1 about an image that is not: it is seen by its pixels.
    files = [*(shared_data / "dicom").glob("*.dcm"), *([real_chest()] if real_chest() else [])]
    labels = {path.name: gate(read(path).pixels).label for path in files}
    assert labels.pop("Fake_MONOHR1.dcm") == "inverted"
    assert labels and set(labels.values()) == {"frontal"}
