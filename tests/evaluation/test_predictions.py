"""Choosing rows, reading tables, and the Keras model behind a bundle."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from covidcx.bundle import Bundle, write_bundle_json
from covidcx.errors import CovidcxError, UnreadableImageError
from covidcx.evaluation.predictions import PredictionTable, column, keras_engine, patients_of, select, short_reason
from covidcx.imaging import Preprocessing

FRAME = pd.DataFrame(
    {"image": ["a", "b", "c"], "patient_id": ["p", np.nan, "q"], "split": ["test", "val", np.nan]}, dtype=object
)


def test_splits_are_chosen_by_name_in_the_order_asked_for():
    frame, names = select(FRAME, "val, test,val")
    assert names == ("val", "test")
    assert list(frame["image"]) == ["a", "b"]
    assert select(FRAME, None)[1] == ("test", "val")
    with pytest.raises(CovidcxError, match="Known: test, val"):
        select(FRAME, "control")


def test_missing_cells_are_none_and_a_missing_patient_is_one_of_its_own():
    assert column(FRAME, "patient_id") == ("p", None, "q")
    assert column(FRAME, "sex") == (None, None, None)
    assert patients_of(FRAME) == ("p", "image b", "q")


def test_reasons_name_the_image_not_the_folder_of_this_machine(tmp_path):
    error = UnreadableImageError(f"{tmp_path / 'x' / 'a.png'} is damaged\nsecond line")
    assert short_reason(error, tmp_path / "x" / "a.png", "x/a.png") == "x/a.png is damaged"


def test_table_keeps_its_columns_together():
    table = PredictionTable(
        ("normal", "covid"), ("a", "b"), ("p", "q"), ("covid", None), ("test", "test"),
        np.array([[0.25, 0.75], [0.5, 0.5]]), ("covid", "normal"), {"view": ("PA", None)},
    )  # fmt: skip
    second = table.take(np.array([1]))
    assert (second.images, second.truth, second.attributes) == (("b",), (None,), {"view": (None,)})
    assert table.to_csv().splitlines() == [
        "image,patient_id,split,label,predicted,p_normal,p_covid",
        "a,p,test,covid,covid,0.250000,0.750000",
        "b,q,test,,normal,0.500000,0.500000",
    ]


def _bundle(folder, task, labels, model):
    spec = Preprocessing(size=(64, 64), channels=("ahe",))
    write_bundle_json(folder, name="b", task=task, labels=labels, preprocessing=spec, model=model, licence="MIT")
    return Bundle.open(folder)


def test_keras_engine_answers_as_the_segmenter_that_was_saved(tmp_path):
    pytest.importorskip("keras")
    from covidcx.models import build
    from covidcx.models.restore import save_weights

    kwargs = {"filters": 2, "size": 32, "depth": 2}
    model = build("lung-unet", **kwargs)
    save_weights(model, tmp_path / "weights.h5")
    images = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    answer = keras_engine(_bundle(tmp_path, "segment", ["lung"], {"name": "lung-unet", "kwargs": kwargs}))(images)
    assert answer.shape == (2, 32, 32, 1)
    assert answer == pytest.approx(np.asarray(model.predict_on_batch(images)["lung"]), abs=5e-3)


def test_classifier_engine_takes_the_probabilities_among_the_outputs(tmp_path, monkeypatch):
    class Model:
        def predict_on_batch(self, images):
            assert images.dtype == np.float32
            return {"heatmap": np.zeros((len(images), 2, 2, 3)), "probabilities": np.full((len(images), 3), 1 / 3)}

    (tmp_path / "weights.h5").write_bytes(b"x")
    # By module: `covidcx.models.restore` itself is the function of the same name.
    monkeypatch.setattr(import_module("covidcx.models.restore"), "restore", lambda model, weights: Model())
    bundle = _bundle(tmp_path, "classify", ["normal", "cap", "covid"], {"name": "covid-cxnet", "kwargs": {}})
    assert keras_engine(bundle)(np.zeros((4, 64, 64, 1))).shape == (4, 3)
