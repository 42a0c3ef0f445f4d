"""CheXNet as it is, from a file in the published Keras form: findings by name, the score, and files that do not fit."""

import gzip
import io

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

from covidcx.errors import WeightsError
from covidcx.explain.gradcam import grad_cam
from covidcx.models.chexnet_score import (
    COOCCURRENCE,
    cooccurrence,
    named_findings,
    pneumonia_classifier,
    pneumonia_weights,
)
from covidcx.models.restore import by_path
from covidcx.models.weights import CHEXNET_LABELS, XRV_LABELS, chexnet

pytest.importorskip("tensorflow")

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def arrays():
    """A CheXNet's weights by Keras path; each finding's bias is its own, so that an exchange shows."""
    keras.utils.set_random_seed(0)
    network = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=SHAPE)
    values = {key: np.asarray(v.value) for key, v in by_path(network).items()}
    rng = np.random.default_rng(0)
    head = {"predictions/kernel": rng.normal(0, 0.02, (1024, 14)), "predictions/bias": np.linspace(-2, 2, 14)}
    return values | {key: value.astype(np.float32) for key, value in head.items()}


def write(path, arrays):
    """Write the layout of `save_weights` of Keras 2: `layer/layer/kind:0`, layer names as an attribute."""
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            layer, kind = key.split("/")
            file[f"{layer}/{layer}/{kind}:0"] = values
        file.attrs["layer_names"] = [name.encode() for name in [*{key.split("/")[0] for key in arrays}, "relu"]]
    return path


@pytest.fixture(scope="module")
def imported(arrays, tmp_path_factory):
    return chexnet(write(tmp_path_factory.mktemp("chexnet") / "CheXNet_v0.3.0.h5", arrays), input_shape=SHAPE)


@pytest.fixture(scope="module")
def images():
    return np.repeat(np.random.default_rng(1).random((3, 32, 32, 1), dtype=np.float32), 3, axis=-1)


def test_findings_carry_the_names_of_chestxray14_in_the_networks_order(imported, images, arrays):
    answers = named_findings(imported, images)
    assert [list(answer) for answer in answers] == [list(CHEXNET_LABELS)] * 3
    pooled = keras.Model(imported.model.input, imported.model.get_layer("pool").output)(images, training=False)
    logits = np.asarray(pooled) @ arrays["predictions/kernel"] + arrays["predictions/bias"]
    for name in ("Atelectasis", "Pneumonia", "Hernia"):
        k = CHEXNET_LABELS.index(name)
        np.testing.assert_allclose([a[name] for a in answers], 1 / (1 + np.exp(-logits[:, k])), atol=1e-5)


def test_score_is_the_mean_of_the_findings_weighted_by_their_share_of_pneumonia_images(imported, images):
    model = pneumonia_classifier(imported)
    outputs = {key: np.asarray(values) for key, values in model(images, training=False).items()}
    shares = np.array([COOCCURRENCE[name] / 1431 for name in CHEXNET_LABELS])
    assert shares[CHEXNET_LABELS.index("Pneumonia")] == 1
    assert sorted(CHEXNET_LABELS, key=COOCCURRENCE.get)[-3:] == ["Edema", "Infiltration", "Pneumonia"]
    expected = outputs["findings"] @ shares / shares.sum()
    np.testing.assert_allclose(outputs["probabilities"][:, 0], expected, atol=1e-6)
    assert "pneumonia_score/kernel" in {w.path for w in model.non_trainable_weights}
    assert grad_cam(model, images[:1], 1, None, "probabilities").shape == (1, 1, 1)


def test_weights_follow_the_names_not_the_places():
    mixed = pneumonia_weights(XRV_LABELS)
    assert mixed.sum() == pytest.approx(1) and mixed[XRV_LABELS.index("Fracture")] == 0
    ratio = mixed[XRV_LABELS.index("Infiltration")] / mixed[XRV_LABELS.index("Pneumonia")]
    assert ratio == pytest.approx(605 / 1431)
    assert np.array_equal(pneumonia_weights([name.replace("_", " ").lower() for name in XRV_LABELS]), mixed)
    with pytest.raises(WeightsError, match=r"no output tells Pneumonia; the outputs are Edema, Mass"):
        pneumonia_weights(["Edema", "Mass"])


def test_cooccurrence_counts_images_that_carry_both():
    texts = ["Pneumonia|Edema", "Edema", "Pneumonia", "No Finding", "Mass|Pneumonia|Edema"]
    counts = cooccurrence(texts)
    assert {name: n for name, n in counts.items() if n} == {"Pneumonia": 3, "Edema": 2, "Mass": 1}


def test_the_published_counts_are_those_of_chestxray14s_own_table(shared_data):
    path = shared_data / "layouts" / "nih_cxr14" / "Data_Entry_2017_v2020.csv.gz"
    table = pd.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())), usecols=["Finding Labels"])
    if len(table) < 112_120:
        pytest.skip(f"{path} holds {len(table)} of 112,120 rows")
    assert cooccurrence(table["Finding Labels"]) == COOCCURRENCE


def test_files_of_the_wrong_shape_or_order_are_refused_with_both(arrays, tmp_path):
    order = [*CHEXNET_LABELS[1:], CHEXNET_LABELS[0]]
    good = write(tmp_path / "good.h5", arrays)
    with pytest.raises(WeightsError, match=r"Cardiomegaly, Effusion.*do not match.*Atelectasis, Cardiomegaly"):
        chexnet(good, order, SHAPE)
    few = {**arrays, "predictions/kernel": np.zeros((1024, 8)), "predictions/bias": np.zeros(8)}
    with pytest.raises(WeightsError, match=r"shape \(1024, 8\) and bias \(8,\), expected \(1024, 14\) and \(14,\)"):
        chexnet(write(tmp_path / "few.h5", few), input_shape=SHAPE)
    odd = {**arrays, "conv1_conv/kernel": np.zeros((7, 7, 1, 64), np.float32)}
    with pytest.raises(WeightsError, match=r"conv1_conv/kernel is \(7, 7, 1, 64\) in the source and \(7, 7, 3, 64\)"):
        chexnet(write(tmp_path / "odd.h5", odd), input_shape=SHAPE)
