"""The client against servers that answer well, late, badly, and not at all."""

import json
import socket
import time
import urllib.request
from concurrent import futures

import numpy as np
import pytest
from served import rest_server

from covidcx.cli import main
from covidcx.data.phantom import phantom, write_phantom
from covidcx.deploy.client import Client, encode
from covidcx.deploy.local_server import local_server
from covidcx.deploy.transports import Grpc, Rest
from covidcx.edge.runtime import Predictor, load
from covidcx.errors import ServerUnreachableError, ServingError
from covidcx.imaging.picture import read_picture
from covidcx.imaging.radiograph import Radiograph

GOOD = {
    "classes": ["normal", "cap", "covid"], "probabilities": [0.2, 0.1, 0.7], "label": "covid", "refused": False,
    "refusal_score": 0.01, "lung_area": 0.3, "lung_certainty": 0.95,
}  # fmt: skip


@pytest.fixture
def chest() -> Radiograph:
    return Radiograph(phantom("covid", seed=1, size=128).pixels, view="AP")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load("covid-cxnet")


def good(_, body):
    return 200, {"predictions": [GOOD for _ in json.loads(body)["instances"]]}


def test_a_finding_comes_back(chest):
    asked = []

    def answer(path, body):
        asked.append((path, json.loads(body)))
        return good(path, body)

    with rest_server(answer) as url:
        finding = Client(Rest(url, version=3)).predict([chest], ["a.dcm"])[0]
    assert (finding.status, finding.label, finding.source, finding.view) == ("ok", "covid", "a.dcm", "AP")
    assert finding.probabilities == {"normal": 0.2, "cap": 0.1, "covid": 0.7}
    assert "not for diagnostic use" in finding.disclaimer
    path, body = asked[0]
    assert path == "/v1/models/covid-cxnet/versions/3:predict" and body["signature_name"] == "serving_default"


def test_a_refusal_is_a_finding_with_its_reason(chest):
    refused = {**GOOD, "refused": True, "refusal_score": 0.98}
    with rest_server(lambda *_: (200, {"predictions": [refused]})) as url:
        finding = Client(Rest(url)).predict([chest])[0]
    assert finding.status == "refused" and finding.label is None and "0.98" in finding.reason


def test_a_busy_server_is_asked_again_and_waits_double(chest):
    codes, waits = [503, 503, 200], []

    def answer(path, body):
        code = codes.pop(0)
        return (code, {"error": "queue is full"}) if code != 200 else good(path, body)

    with rest_server(answer) as url:
        finding = Client(Rest(url), pause=0.5, sleep=waits.append).predict([chest])[0]
    assert finding.status == "ok" and waits == [0.5, 1.0]


def test_no_server_is_said_after_all_repetitions(chest):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    waits = []
    with pytest.raises(ServerUnreachableError, match="covidcx serve"):
        Client(Rest(url), retries=2, sleep=waits.append).predict([chest])
    assert len(waits) == 2


def test_a_late_answer_is_a_timeout(chest):
    def answer(path, body):
        time.sleep(1.0)
        return good(path, body)

    with rest_server(answer) as url, pytest.raises(ServerUnreachableError, match=r"within 0\.2 s"):
        Client(Rest(url, timeout=0.2), retries=0).predict([chest])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {"error": "Servable not found for request: Latest(x)"}), "Servable not found.*is this model served"),
        ((400, {"error": "Invalid argument: bad picture"}), "bad picture"),
        ((200, b"<html>hello</html>"), "something else than predictions"),
        ((200, {"predictions": []}), "0 answers to 1 pictures"),
        ((200, {"predictions": [{"scores": [1.0]}]}), "answers without.*export it again"),
    ],
)
def test_other_answers_are_errors_at_once(chest, answer, said):
    with rest_server(lambda *_: answer) as url, pytest.raises(ServingError, match=said):
        Client(Rest(url), sleep=lambda _: pytest.fail("asked again")).predict([chest])


@pytest.mark.parametrize("brightest", [1.0, 0.2])
@pytest.mark.parametrize("levels", [255, 4095, 65535])
def test_the_picture_that_is_sent_reads_as_the_radiograph(tmp_path, levels, brightest):
    rng = np.random.default_rng(0)
    pixels = np.round(rng.random((40, 50)) * levels * brightest).astype(np.float32) / np.float32(levels)
    path = tmp_path / "sent.png"
    path.write_bytes(encode(Radiograph(pixels)))
    # Dark ones that fit no depth exactly go in 8 bits: half a level of 255.
    tolerance = 0.5 / 255 + 1e-6 if brightest < 0.25 and levels > 255 else 1e-5 if levels == 65535 else 0
    np.testing.assert_allclose(read_picture(path).pixels, pixels, atol=tolerance)


def test_nothing_of_the_header_is_sent(tmp_path):
    manifest = write_phantom(tmp_path, patients=3, format="dicom", size=128, seed=1)
    bodies = []

    def answer(path, body):
        bodies.append(body)
        return good(path, body)

    with rest_server(answer) as url:
        Client(Rest(url)).predict_file(next(iter(sorted(manifest.parent.rglob("*.dcm")))))
    assert set(json.loads(bodies[0])) == {"signature_name", "instances"}
    assert set(json.loads(bodies[0])["instances"][0]) == {"image_bytes"}


def test_bad_files_are_recorded_and_batches_keep_their_order(tmp_path, chest):
    for name in ("a.png", "c.png", "d.png"):
        (tmp_path / name).write_bytes(encode(chest))
    (tmp_path / "b.dcm").write_text("no image")
    with rest_server(good) as url:
        findings = Client(Rest(url)).predict_files([tmp_path / f"{n}" for n in ("a.png", "b.dcm", "c.png", "d.png")], 2)
    assert [f.source for f in findings] == ["a.png", "b.dcm", "c.png", "d.png"]
    assert [f.status for f in findings] == ["ok", "error", "ok", "ok"]


def test_ask_writes_a_table_and_fails_in_one_line(tmp_path, chest, capsys):
    (tmp_path / "a.png").write_bytes(encode(chest))
    with rest_server(good) as url:
        assert main(["ask", str(tmp_path / "a.png"), "--server", url, "--out", str(tmp_path / "t.csv")]) == 0
    assert "a.png,ok,covid,0.1000,0.7000,0.2000" in (tmp_path / "t.csv").read_text()
    capsys.readouterr()
    with rest_server(lambda *_: (404, {"error": "no"})) as url:
        assert main(["ask", str(tmp_path / "a.png"), "--server", url]) == 2
    error = capsys.readouterr().err
    assert error.startswith("covidcx: error:") and error.count("\n") == 1


def as_filed(label: str, seed: int) -> Radiograph:
    """A phantom as a file of 8 bits holds it: rounding on the way would be no fault of the server."""
    pixels = phantom(label, seed=seed, size=320).pixels
    return Radiograph(np.round(pixels * 255).astype(np.float32) / np.float32(255.0))


def test_rest_end_to_end_from_the_saved_model(exported, predictor):
    image = as_filed("covid", 2)
    with local_server(exported.folder.parents[1]) as url:
        finding = Client(Rest(url, timeout=120)).predict([image])[0]
        with pytest.raises(ServingError, match="HTTP 404"):
            Client(Rest(url, version=7)).predict([image])
        with pytest.raises(ServingError, match="HTTP 400"):
            Rest(url).predict([b"no picture"])
        with urllib.request.urlopen(f"{url}/v1/models/covid-cxnet") as answer:
            assert json.loads(answer.read())["model_version_status"][0]["state"] == "AVAILABLE"
    expected = predictor(image)
    assert finding.label == expected.label
    np.testing.assert_allclose(list(finding.probabilities.values()), list(expected.probabilities.values()), atol=1e-3)


def test_a_local_server_needs_a_model(tmp_path):
    with pytest.raises(ServingError, match="covidcx export"), local_server(tmp_path):
        pass


@pytest.fixture
def grpc_target(served):
    grpc = pytest.importorskip("grpc", reason="gRPC needs the extra serve")
    apis = pytest.importorskip("tensorflow_serving.apis", reason="gRPC needs the extra serve")
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    assert apis is not None

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802 - the name in the service definition
            if request.model_spec.name != "covid-cxnet":
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found: {request.model_spec.name}")
            pictures = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
            answer = predict_pb2.PredictResponse()
            for key, value in served.signatures[request.model_spec.signature_name](tf.constant(pictures)).items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return answer

    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def test_grpc_gives_the_same_finding(grpc_target, predictor):
    image = as_filed("cap", 3)
    finding = Client(Grpc(grpc_target)).predict([image])[0]
    expected = predictor(image)
    assert finding.label == expected.label
    np.testing.assert_allclose(list(finding.probabilities.values()), list(expected.probabilities.values()), atol=1e-3)


def test_grpc_errors_name_the_model(grpc_target, chest):
    with pytest.raises(ServingError, match=r"NOT_FOUND.*Servable not found: other"):
        Client(Grpc(grpc_target, model="other")).predict([chest])
    with pytest.raises(ServerUnreachableError, match=r"UNAVAILABLE|DEADLINE"):
        Client(Grpc("127.0.0.1:1", timeout=2), retries=0).predict([chest])
