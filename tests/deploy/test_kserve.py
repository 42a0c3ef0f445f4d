"""The REST requests for TF Serving, end to end against KServe 0.21 in its own environment, on loopback."""

import csv
import os
import socket
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from covidcx.data.phantom import phantom, write_phantom
from covidcx.deploy.client import Client
from covidcx.deploy.transports import Rest
from covidcx.edge.runtime import Predictor, load
from covidcx.errors import ServingError, UnsupportedImageError
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read

SERVER = Path(__file__).with_name("kserve_server.py")
SAME = 1e-3
REAL_IMAGES = 50
START_SECONDS = 240


@pytest.fixture(scope="module")
def kserve_url(exported, repo, tmp_path_factory):
    python = Path(os.environ.get("COVIDCX_KSERVE_PYTHON", repo / ".venv-kserve" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(f"KServe's environment is not at {python}; `make test` makes it, or set COVIDCX_KSERVE_PYTHON")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("kserve") / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [str(python), str(SERVER), str(exported.folder), exported.name, str(port), sysconfig.get_path("purelib")],
            stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": ""},
        )  # fmt: skip
    url, limit = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while not _answers(f"{url}/v1/models/{exported.name}"):
            assert server.poll() is None and time.monotonic() < limit, log.read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load("covid-cxnet")


def expectation(predictor: Predictor, image: Radiograph) -> list[float] | None:
    try:
        return list(predictor(image).probabilities.values())
    except UnsupportedImageError:
        return None


def test_findings_over_rest_are_those_of_the_edge(kserve_url, predictor):
    labels = ("normal", "cap", "covid")
    images = [
        Radiograph(np.round(phantom(label, seed=i, size=320).pixels * 255).astype(np.float32) / np.float32(255.0))
        for i, label in enumerate(labels)
    ]
    findings = Client(Rest(kserve_url, timeout=120)).predict(images)
    answered = 0
    for image, finding in zip(images, findings, strict=True):
        expected = expectation(predictor, image)
        assert (finding.status == "refused") == (expected is None)
        if expected is not None:
            answered += 1
            np.testing.assert_allclose(list(finding.probabilities.values()), expected, atol=SAME)
    assert answered


def test_a_dicom_file_over_rest(kserve_url, predictor, tmp_path):
    file = next(iter(sorted(write_phantom(tmp_path, patients=3, format="dicom", size=320).parent.rglob("*.dcm"))))
    finding, expected = Client(Rest(kserve_url, timeout=120)).predict_file(file), expectation(predictor, read(file))
    assert (finding.status == "refused") == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(list(finding.probabilities.values()), expected, atol=SAME)


def test_an_unknown_model_is_told(kserve_url):
    with pytest.raises(ServingError, match=r"HTTP 404.*is this model served"):
        Client(Rest(kserve_url, model="other")).predict([Radiograph(phantom("normal", seed=1, size=128).pixels)])


def test_one_answer_on_real_images(kserve_url, predictor, shared_data):
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val" and row["label"] != "other"]
    files = [shared_data / row["image"] for row in rows[:: len(rows) // REAL_IMAGES][:REAL_IMAGES]]
    findings = Client(Rest(kserve_url, timeout=300)).predict_files(files)
    worst, answered = 0.0, 0
    for file, finding in zip(files, findings, strict=True):
        expected = expectation(predictor, read(file))
        assert (finding.status == "refused") == (expected is None), finding
        if expected is not None:
            answered += 1
            worst = max(worst, float(np.abs(np.array(list(finding.probabilities.values())) - expected).max()))
    assert answered >= 0.9 * REAL_IMAGES and worst < SAME
