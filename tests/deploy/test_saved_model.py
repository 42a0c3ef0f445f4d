"""A SavedModel that answers as the notebook, the edge runtime and the TFLite file do, without covidcx."""

import csv
import json

import cv2
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="exporting needs the train extra")

from serving_calls import ask, probabilities_alone, radiograph  # noqa: E402

from covidcx.bundle import Bundle, calibrate  # noqa: E402
from covidcx.data.phantom import phantom, write_phantom  # noqa: E402
from covidcx.deploy.saved_model import SIGNATURES, example_images, export_saved_model, png_bytes  # noqa: E402
from covidcx.deploy.serving_config import model_names  # noqa: E402
from covidcx.edge.runtime import Predictor  # noqa: E402
from covidcx.errors import BundleError, UnsupportedImageError  # noqa: E402
from covidcx.imaging.preprocessing import prepare  # noqa: E402
from covidcx.imaging.radiograph import Radiograph  # noqa: E402
from covidcx.imaging.read import read  # noqa: E402
from covidcx.imaging.resize import resize_area, to_uint8  # noqa: E402

SAME = 1e-3
REAL_IMAGES = 50


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("covid-cxnet")


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(bundle)


def test_layout_is_the_one_tf_serving_watches(exported):
    assert exported.folder.name == "1" and exported.folder.parent.name == "covid-cxnet"
    assert (exported.folder / "saved_model.pb").is_file()
    models = exported.folder.parents[1]
    assert model_names(models) == ["covid-cxnet"]
    for name in ("models.config", "batching.config", "docker-compose.yml", "kubernetes.yaml"):
        assert (models / name).is_file()
    about = json.loads((exported.folder / "assets.extra" / "covidcx.json").read_text())
    assert about["labels"] == ["normal", "cap", "covid"] and "not for diagnostic use" in about["disclaimer"]
    assert not list(models.rglob("*.part"))


def test_signatures_name_their_classes_and_outputs(served):
    assert sorted(served.signatures) == sorted(SIGNATURES)
    answer = ask(served, [png_bytes(image) for image in example_images(2)])
    assert answer["classes"].tolist() == [[b"normal", b"cap", b"covid"]] * 2
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1.0, atol=1e-5)
    assert set(answer) == {
        "classes", "probabilities", "label", "refused", "refusal_score", "lung_area", "lung_certainty",
        "lungs_png_bytes",
    }  # fmt: skip


def test_pictures_of_different_sizes_share_a_batch(served, predictor):
    images = [to_uint8(phantom("covid", seed=i, size=size).pixels) for i, size in enumerate((256, 320, 512))]
    answer = ask(served, [png_bytes(image) for image in images])
    for row, image in enumerate(images):
        expected = list(predictor(radiograph(image)).probabilities.values())
        np.testing.assert_allclose(answer["probabilities"][row], expected, atol=SAME)
        mask = cv2.imdecode(np.frombuffer(answer["lungs_png_bytes"][row], np.uint8), cv2.IMREAD_UNCHANGED)
        assert mask.shape == image.shape and set(np.unique(mask)) <= {0, 255}


def test_pixels_and_bytes_give_one_answer(served):
    images = example_images(2)
    expected = ask(served, [png_bytes(image) for image in images])
    pixels = np.stack([image.astype(np.float32) / np.float32(255.0) for image in images])
    found = served.signatures["predict_tensor"](tf.constant(pixels))
    np.testing.assert_allclose(found["probabilities"].numpy(), expected["probabilities"], atol=1e-5)
    for row in range(2):
        mask = cv2.imdecode(np.frombuffer(expected["lungs_png_bytes"][row], np.uint8), cv2.IMREAD_UNCHANGED) > 0
        assert (found["lungs"].numpy()[row] == mask).mean() > 0.9999


def test_explain_gives_the_heat_map_of_the_edge_runtime(served, predictor):
    image = example_images(3)[2]
    answer = ask(served, [png_bytes(image)], "explain")
    expected = resize_area(predictor.analyse(radiograph(image)).heat, 256, 256)
    assert answer["heatmap"].shape == (1, 256, 256) and answer["lungs"].shape == (1, 256, 256)
    assert expected.max() > 0
    assert np.abs(answer["heatmap"][0] - expected).max() < 0.02 * expected.max()


def test_what_is_no_chest_is_refused(served):
    blank, side = np.full((256, 256), 128, np.uint8), np.ascontiguousarray(np.rot90(example_images(1)[0]))
    answer = ask(served, [png_bytes(blank), png_bytes(side), png_bytes(example_images(1)[0])])
    assert answer["refused"].tolist() == [True, True, False]
    assert answer["refusal_score"][0] > answer["refusal_score"][2]


def test_answers_in_a_process_without_covidcx(exported, served, tmp_path):
    picture = tmp_path / "chest.png"
    picture.write_bytes(png_bytes(example_images(1)[0]))
    found = probabilities_alone(exported.folder, picture)
    expected = ask(served, [picture.read_bytes()])["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_warm_up_requests_are_records_that_tf_serving_reads(exported):
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api")
    path = exported.folder / "assets.extra" / "tf_serving_warmup_requests"
    requests = [
        logs.PredictionLog.FromString(r.numpy()).predict_log.request for r in tf.data.TFRecordDataset(str(path))
    ]
    assert [request.model_spec.signature_name for request in requests] == ["serving_default", "explain"]
    for request in requests:
        assert request.model_spec.name == "covid-cxnet"
        assert tf.make_ndarray(request.inputs["image_bytes"])[0].startswith(b"\x89PNG")


def test_versions_count_up_and_are_never_replaced(exported, tmp_path, monkeypatch):
    from covidcx.deploy import saved_model

    def write(_, folder):
        (folder / "saved_model.pb").touch()

    monkeypatch.setattr(saved_model, "_write", write)
    monkeypatch.setattr(saved_model, "_check", lambda *_: 0.0)
    assert export_saved_model("covid-cxnet", tmp_path).version == 1
    assert export_saved_model("covid-cxnet", tmp_path).version == 2
    with pytest.raises(BundleError, match="version 2 cannot be written"):
        export_saved_model("covid-cxnet", tmp_path, version=2)
    monkeypatch.setattr(saved_model, "_check", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_saved_model("covid-cxnet", tmp_path)
    assert sorted(path.name for path in (tmp_path / "covid-cxnet").iterdir()) == ["1", "2"]


def test_a_segmenter_alone_is_no_model_to_serve(tmp_path):
    with pytest.raises(BundleError, match="task 'segment'"):
        export_saved_model("lung-unet", tmp_path)


def keras_probabilities(bundle: Bundle, images: list[Radiograph], lungs: list[np.ndarray]) -> np.ndarray:
    """The notebook's way: the restored Keras model on prepared images."""
    from covidcx.models import restore

    model = restore(bundle.model, bundle.path("weights.h5"))
    inputs = [
        prepare(i.pixels, bundle.preprocessing, mask).network_input for i, mask in zip(images, lungs, strict=True)
    ]
    return calibrate(model.predict_on_batch(np.concatenate(inputs))["probabilities"], bundle.temperature)


def test_one_answer_on_real_images(shared_data, bundle, predictor, served):
    """Keras, SavedModel and the edge runtime's TFLite within 1e-3; KServe's REST is in test_kserve.py."""
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val" and row["label"] in bundle.labels]
    files = [shared_data / row["image"] for row in rows[:: len(rows) // REAL_IMAGES][:REAL_IMAGES]]
    images, expected, lungs = [], [], []
    for file in files:
        image = read(file)
        try:
            analysis = predictor.analyse(image)
        except UnsupportedImageError:
            continue
        images.append(image)
        expected.append(list(analysis.finding.probabilities.values()))
        lungs.append(analysis.lungs)
    assert len(images) >= 0.9 * REAL_IMAGES
    answer = ask(served, [png_bytes(to_uint8(image.pixels)) for image in images])
    assert not answer["refused"].any()
    assert np.abs(answer["probabilities"] - expected).max() < SAME
    assert np.abs(keras_probabilities(bundle, images, lungs) - expected).max() < SAME


def test_a_dicom_file_and_its_png_give_one_answer(tmp_path, predictor, served):
    from covidcx.deploy.client import encode

    manifest = write_phantom(tmp_path, patients=4, format="dicom", size=320, seed=5)
    files = sorted(manifest.parent.rglob("*.dcm"))
    assert files
    for file in files:
        image = read(file)
        answer = ask(served, [encode(image)])
        png = tmp_path / f"{file.stem}.png"
        png.write_bytes(encode(image))
        try:
            expected = list(predictor(file).probabilities.values())
        except UnsupportedImageError:
            assert answer["refused"][0]
            continue
        np.testing.assert_allclose(list(predictor(png).probabilities.values()), expected, atol=SAME)
        np.testing.assert_allclose(answer["probabilities"][0], expected, atol=SAME)
