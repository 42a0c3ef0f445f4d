"""Pictures decoded inside a graph against the reader of `covidcx.imaging`."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the graph needs the train extra")

from covidcx.deploy.graph_decode import decode_graph  # noqa: E402
from covidcx.imaging.read import read  # noqa: E402

log = logging.getLogger(__name__)
RNG = np.random.default_rng(0)
GREY16 = (RNG.random((64, 80)) * 65535).astype(np.uint16)
GREY8 = (GREY16 >> 8).astype(np.uint8)
TINTED = np.dstack([GREY8, np.clip(GREY8.astype(int) + 10, 0, 255), GREY8]).astype(np.uint8)
PICTURES = {
    "grey 8 bit.png": GREY8,
    "grey 16 bit.png": GREY16,
    "15 bit, scaled.png": GREY16 >> 1,
    "14 bit, unscaled.png": GREY16 >> 2,
    "12 bit, unscaled.png": GREY16 >> 4,
    "9 bit, unscaled.png": GREY16 >> 7,
    "6 bit, unscaled.png": GREY16 >> 10,
    "black 16 bit.png": GREY16 * 0,
    "tinted.png": TINTED,
    "transparent.png": np.dstack([TINTED, GREY8[::-1]]),
    "grey.jpg": cv2.GaussianBlur(GREY8, (0, 0), 2),
    "tinted.jpg": cv2.GaussianBlur(TINTED, (0, 0), 2),
}


@pytest.fixture(scope="module")
def decode():
    return tf.function(decode_graph, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("name", PICTURES)
def test_graph_decodes_as_the_reader_does(decode, tmp_path, name):
    path = tmp_path / name
    assert cv2.imwrite(str(path), PICTURES[name])
    expected = read(path).pixels
    found = decode(path.read_bytes()).numpy()
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_real_jpeg_files_decode_alike(decode, shared_data):
    files = sorted((shared_data / "images").glob("*.jpg"))[::70]
    worst = max(float(np.abs(decode(Path(f).read_bytes()).numpy() - read(f).pixels).max()) for f in files)
    log.info("%d files, largest difference %.2g", len(files), worst)
    assert len(files) == 40 and worst < 1e-6


def test_what_is_no_picture_is_an_error_of_the_request(decode):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(b"not a picture")
