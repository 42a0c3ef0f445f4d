"""The SavedModel of a bundle with several heads, the shipped COMiT-Net: one answer with edge, Keras and explain."""

import csv

import cv2
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="exporting needs the train extra")

from serving_calls import ask, probabilities_alone, radiograph  # noqa: E402

from covidcx.bundle import Bundle, calibrate  # noqa: E402
from covidcx.deploy.client import Client  # noqa: E402
from covidcx.deploy.graph_gradcam import GradCam  # noqa: E402
from covidcx.deploy.local_server import local_server  # noqa: E402
from covidcx.deploy.saved_model import SIGNATURES, example_images, export_saved_model, png_bytes  # noqa: E402
from covidcx.deploy.transports import Rest  # noqa: E402
from covidcx.edge.runtime import load  # noqa: E402
from covidcx.errors import BundleError, UnsupportedImageError  # noqa: E402
from covidcx.explain.explain import open_explainer  # noqa: E402
from covidcx.imaging import prepare  # noqa: E402
from covidcx.imaging.radiograph import Radiograph  # noqa: E402
from covidcx.imaging.read import read  # noqa: E402
from covidcx.imaging.resize import mostly, resize_area, to_uint8  # noqa: E402

NAME = "comit-net"
SAME = 1e-3
REAL_IMAGES = 12
# Unpooling is a step function: rounding moves single pixels of a mask (see covidcx.deploy.write).
MOVED = 0.01


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_saved_model(NAME, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported.folder))


@pytest.fixture(scope="module")
def predictor():
    return load(NAME)


def mask(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) > 0


def test_bytes_give_the_edge_runtimes_probabilities_and_both_masks(served, predictor):
    assert sorted(served.signatures) == sorted(SIGNATURES)
    images = example_images(2, size=320) + example_images(3, size=200)[2:]
    answer = ask(served, [png_bytes(image) for image in images])
    assert not answer["refused"].any()
    for row, image in enumerate(images):
        analysis = predictor.analyse(radiograph(image))
        finding = analysis.finding
        assert answer["classes"][row].tolist() == [label.encode() for label in finding.probabilities]
        np.testing.assert_allclose(answer["probabilities"][row], list(finding.probabilities.values()), atol=SAME)
        assert answer["label"][row].decode() == finding.label
        assert answer["lung_area"][row] == pytest.approx(finding.lung_area, abs=MOVED)
        assert analysis.lungs.any()
        for name, expected in (("lungs", analysis.lungs), ("disease", analysis.disease)):
            found = mask(answer[f"{name}_png_bytes"][row])
            assert found.shape == expected.shape and (found != expected).mean() < MOVED


def test_pixels_and_bytes_give_one_answer(served):
    images = example_images(2)
    expected = ask(served, [png_bytes(image) for image in images])
    found = ask(served, np.stack([radiograph(image).pixels for image in images]), "predict_tensor")
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
    for name in ("lungs", "disease"):
        for row in range(2):
            assert (found[name][row] == mask(expected[f"{name}_png_bytes"][row])).mean() > 0.9999


def test_explain_gives_the_grad_cam_of_covidcx_explain(served, predictor):
    explainer, bundle = open_explainer(NAME), Bundle.open(NAME)
    images = example_images(3)
    answer = ask(served, [png_bytes(image) for image in images], "explain")
    assert answer["heatmap"].shape == (3, 256, 256)
    highest = []
    for row, image in enumerate(images):
        prepared = prepare(radiograph(image).pixels, bundle.preprocessing)
        heat = resize_area(explainer.heat(prepared, answer["label"][row].decode()), 256, 256)
        highest.append(heat.max())
        # A class against which everything speaks has no heat at all, in both.
        np.testing.assert_allclose(answer["heatmap"][row], heat, atol=0.02 * heat.max())
        lungs = mostly(predictor.analyse(radiograph(image)).lungs, 256, 256)
        assert (answer["lungs"][row] != lungs).mean() < MOVED
    assert max(highest) > 0


def test_what_is_no_chest_is_refused(served):
    blank = np.full((256, 256), 128, np.uint8)
    answer = ask(served, [png_bytes(blank), png_bytes(example_images(1)[0])])
    assert answer["refused"].tolist() == [True, False]


def test_client_gets_a_finding(exported):
    with local_server(exported.folder.parents[1]) as url:
        finding, refused = Client(Rest(url, model=NAME, timeout=120)).predict(
            [radiograph(example_images(1)[0]), Radiograph(np.full((200, 200), 0.5, np.float32))]
        )
    assert finding.status == "ok" and set(finding.probabilities) == {"normal", "other", "covid"}
    assert finding.label in finding.probabilities and 0.1 < finding.lung_area < 0.6
    assert refused.status == "refused"


def test_answers_in_a_process_without_covidcx(exported, served, tmp_path):
    picture = tmp_path / "chest.png"
    picture.write_bytes(png_bytes(example_images(1)[0]))
    heat = "assert float(tf.reduce_max(model.signatures['explain'](data)['heatmap'])) > 0"
    found = probabilities_alone(exported.folder, picture, heat)
    expected = ask(served, [picture.read_bytes()])["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_answer_on_real_images(shared_data, served, predictor):
    """Keras, SavedModel and the edge runtime's TFLite within 1e-3."""
    from covidcx.models import restore

    bundle = Bundle.open(NAME)
    model = restore(bundle.model, bundle.path("weights.h5"))
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val"]
    images, expected, keras = [], [], []
    for row in rows[:: len(rows) // REAL_IMAGES][:REAL_IMAGES]:
        image = Radiograph(to_uint8(read(shared_data / row["image"]).pixels).astype(np.float32) / np.float32(255.0))
        try:
            expected.append(list(predictor(image).probabilities.values()))
        except UnsupportedImageError:
            continue
        images.append(image)
        outputs = model.predict_on_batch(prepare(image.pixels, bundle.preprocessing).network_input)
        keras.append(calibrate(outputs["probabilities"], bundle.temperature)[0])
    assert len(images) >= 0.8 * REAL_IMAGES
    answer = ask(served, [png_bytes(to_uint8(image.pixels)) for image in images])
    assert not answer["refused"].any()
    assert np.abs(answer["probabilities"] - expected).max() < SAME
    assert np.abs(answer["probabilities"] - keras).max() < SAME


def test_grad_cam_says_which_networks_it_cannot_join():
    import keras
    from keras import layers

    bundle = Bundle.open(NAME)
    image = layers.Input((32, 32, 1), name="image")
    first = layers.Conv2D(4, 3, name="first")(image)
    second = layers.Conv2D(4, 3, name="second")(first)
    pool = layers.GlobalAveragePooling2D
    outputs = {
        "healthy": layers.Dense(2, activation="softmax", name="healthy")(pool()(first)),
        "infection": layers.Dense(2, activation="sigmoid", name="infection")(pool()(second)),
    }
    with pytest.raises(BundleError, match=r"several feature maps \(first, second\)"):
        GradCam(bundle, keras.Model(image, outputs))
    outputs["healthy"] = layers.Rescaling(2.0, name="healthy")(pool()(second))
    with pytest.raises(BundleError, match=r"'healthy'.*Rescaling layer"):
        GradCam(bundle, keras.Model(image, outputs))
