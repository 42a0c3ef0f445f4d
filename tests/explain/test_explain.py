"""`explain_files` on small bundles: pictures, numbers, bad files and wrong settings."""

import csv
import json

import cv2
import keras
import numpy as np
import pytest

from covidcx.bundle import Bundle, write_bundle_json
from covidcx.errors import BundleError, ExplainError, ManifestError
from covidcx.explain import explain_files, grad_cam
from covidcx.explain.explain import _stems, open_explainer
from covidcx.explain.truth import read_truth
from covidcx.finding import DISCLAIMER
from covidcx.imaging import LungROI, Preprocessing, prepare, read
from covidcx.models import build, restore, save_weights
from covidcx.models.registry import MODELS

LABELS = ("normal", "cap", "covid")


def tiny(input_shape):
    """Build a classifier with COVID-CXNet's head on a single convolution: DenseNet takes seconds to build."""
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu", name="relu")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(10, activation="relu", name="fc")(x)
    answer = keras.layers.Dense(3, activation="softmax", name="probabilities")(x)
    return keras.Model(image, {"probabilities": answer}, name="tiny")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Classifiers of random weights, one of them COVID-CXNet, and a segmenter that calls everything lung."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "tiny", (__name__, "tiny", {}))
        yield _write_bundles(tmp_path_factory.mktemp("saved_models"))


def _write_bundles(root):
    keras.utils.set_random_seed(11)
    kwargs = {"filters": 2, "depth": 2, "size": 256}
    segmenter = build("lung-unet", **kwargs)
    for weight in segmenter.get_layer("lung").weights:
        weight.assign(np.zeros(weight.shape))
    segmenter.get_layer("lung").bias.assign([5.0])
    save_weights(segmenter, root / "lung-unet" / "weights.h5")
    common = {"licence": "MIT"}
    spec = Preprocessing(size=(256, 256), channels=("ahe",))
    model = {"name": "lung-unet", "kwargs": kwargs}
    write_bundle_json(
        root / "lung-unet", name="lung-unet", task="segment", labels=["lung"], preprocessing=spec, model=model, **common
    )
    kwargs = {"input_shape": [64, 64, 3]}
    for name in ("tiny", "covid-cxnet"):
        classifier = build(name, **kwargs)
        for layer in ("fc", "probabilities"):
            # All evidence counts for every class, so that no map is empty.
            kernel = classifier.get_layer(layer).kernel
            kernel.assign(np.abs(keras.ops.convert_to_numpy(kernel.value)))
        save_weights(classifier, root / name / "weights.h5")
        write_bundle_json(
            root / name, name=name, task="classify", labels=list(LABELS), segmenter="lung-unet", temperature=1.5,
            preprocessing=Preprocessing(size=(64, 64), roi=LungROI()), model={"name": name, "kwargs": kwargs},
            operating_points={"covid": {"threshold": 0.0, "rule": "always"}}, **common,
        )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two images, a manifest with masks for the first and boxes for the second, and two bad files."""
    root = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:240, 0:200]
    for name in ("a", "b"):
        chest = 150 - 110 * np.exp(-(((rows - 120) / 80) ** 2) - ((np.abs(columns - 100) - 45) / 28) ** 2)
        cv2.imwrite(str(root / f"{name}.png"), np.clip(chest + rng.normal(0, 6, chest.shape), 0, 255).astype(np.uint8))
    lungs = np.zeros((240, 200), np.uint8)
    lungs[:120], lungs[120:130] = 255, 127
    cv2.imwrite(str(root / "a_lungs.png"), lungs)
    cv2.imwrite(str(root / "a_disease.png"), np.full((240, 200), 128, np.uint8))
    with (root / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "patient_id", "label", "split", "lung_mask", "disease_mask"])
        writer.writerow(["a.png", "p1", "covid", "test", "a_lungs.png", "a_disease.png"])
        writer.writerow(["b.png", "p2", "cap", "test", "", ""])
    (root / "boxes.csv").write_text("image,x,y,width,height,finding,reader\nb.png,0,0,200,240,Opacity,nih\n")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:200])
    return root


@pytest.fixture(scope="module")
def explained(bundles, studies, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new"
    files = [studies / name for name in ("a.png", "broken.png", "b.png", "absent.png")]
    return explain_files(bundles / "tiny", files, out, manifest=studies), out


def test_every_file_has_a_row_and_bad_files_say_why(explained):
    rows, _ = explained
    assert [row["source"] for row in rows] == ["a.png", "broken.png", "b.png", "absent.png"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "error"]
    assert all(row["reason"] and "\n" not in row["reason"] and row["picture"] is None for row in rows[1::2])
    assert all(row["label"] == row["explained"] == "covid" for row in rows[::2])


def test_numbers_are_those_of_the_map_in_the_original_pixels(explained, bundles, studies):
    row = explained[0][0]
    bundle = Bundle.open(bundles / "tiny")
    model = restore(bundle.model, bundle.path("weights.h5"))
    pixels = read(studies / "a.png").pixels
    prepared = prepare(pixels, bundle.preprocessing, np.ones(pixels.shape, bool))
    heat = prepared.geometry.restore(grad_cam(model, prepared.network_input, 2)[0])
    heat[120:130] = 0  # the mask's ignored strip
    assert heat.any()
    assert row["heat_inside"] == pytest.approx(float(heat[:120].sum() / heat.sum()), abs=1e-3)
    assert row["lungs_from"] == "manifest" and row["lungs_share"] == pytest.approx(0.5)
    probability = np.asarray(model(prepared.network_input)["probabilities"])[0] ** (1 / 1.5)
    assert row["probability"] == pytest.approx(probability[2] / probability.sum(), abs=1e-3)


def test_files_without_a_mask_are_measured_against_the_segmenter_and_their_boxes(explained):
    row = explained[0][2]
    assert row["lungs_from"] == "segmenter" and row["lungs_share"] == 1.0
    assert row["heat_inside"] == 1.0 and row["pointing_hit"] is True


def test_pictures_and_tables_are_written_whole_with_the_disclaimer(explained):
    rows, out = explained
    assert sorted(path.name for path in out.iterdir()) == [
        "a_gradcam.png", "b_gradcam.png", "explain.csv", "explain.json",
    ]  # fmt: skip
    picture = cv2.imread(str(out / rows[0]["picture"]))
    assert picture.shape[1] > 2 * 200 - 1 and picture.shape[0] > 240
    record = json.loads((out / "explain.json").read_text())
    assert record["disclaimer"] == DISCLAIMER and record["layer"] == "relu" and record["files"] == rows
    with (out / "explain.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["status"] for line in table] == ["ok", "error", "ok", "error"]
    assert table[0]["heat_inside"] == str(rows[0]["heat_inside"])


def test_lime_explains_a_chosen_label_and_the_seed_repeats_it(bundles, studies, tmp_path):
    pytest.importorskip("lime")
    explainer = open_explainer(bundles / "tiny", "lime", label="cap", seed=5, superpixels=12, samples=20)
    prepared = prepare(read(studies / "a.png").pixels, explainer.bundle.preprocessing, np.ones((240, 200), bool))
    once, again = (explainer.heat(prepared, "cap") for _ in range(2))
    assert once.any() and np.array_equal(once, again)
    settings = {"method": "lime", "label": "cap", "seed": 5, "superpixels": 12, "samples": 20}
    row = explain_files(bundles / "tiny", [studies / "b.png"], tmp_path, **settings)[0]
    assert row["explained"] == "cap" and row["picture"] == "b_lime.png"
    assert json.loads((tmp_path / "explain.json").read_text())["layer"] is None


def test_files_of_the_same_name_get_pictures_of_their_own(studies):
    assert _stems([studies / "a.png", studies / "A.dcm", studies / "x" / "a.png"]) == ["a", "A-2", "a-3"]


def test_wrong_settings_are_refused_before_anything_is_written(bundles, studies, tmp_path):
    file, out = [studies / "a.png"], tmp_path / "out"
    with pytest.raises(ExplainError, match="Did you mean 'gradcam'"):
        explain_files(bundles / "tiny", file, out, method="grad-cam")
    with pytest.raises(ExplainError, match="Did you mean 'covid'"):
        explain_files(bundles / "tiny", file, out, label="covd")
    with pytest.raises(ExplainError, match="LIME looks at no layer"):
        explain_files(bundles / "tiny", file, out, method="lime", layer="relu")
    with pytest.raises(ExplainError, match="classifier"):
        explain_files(bundles / "lung-unet", file, out)
    with pytest.raises(BundleError):
        explain_files(bundles / "none", file, out)
    assert not out.exists()


def test_wrong_layer_and_manifest_are_refused_too(bundles, studies, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ExplainError, match="Did you mean 'relu'"):
        explain_files(bundles / "tiny", [studies / "a.png"], out, layer="rleu")
    assert not out.exists()
    (tmp_path / "other.csv").write_text("file,label\na.png,covid\n")
    with pytest.raises(ManifestError, match="lacks the columns image"):
        read_truth(tmp_path / "other.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_truth(tmp_path / "none.csv")


def test_a_mask_of_another_size_is_an_error_of_its_file(studies):
    truth = read_truth(studies)
    with pytest.raises(ExplainError, match=r"\(240, 200\) and its image \(100, 100\)"):
        truth.of(studies / "a.png", (100, 100))
    regions = truth.of(studies / "b.png", (240, 200))
    assert regions.lungs is None and regions.target == [(0.0, 0.0, 200.0, 240.0)]
    assert truth.of(studies / "unknown.png", (1, 1)).target is None


def test_numbers_on_real_radiographs_with_two_kinds_of_truth(bundles, shared_data, tmp_path):
    truth = read_truth(shared_data)
    both = sorted(set(truth.lungs) & set(truth.disease))
    assert len(truth.boxes) == 126 and len(both) > 20
    row = explain_files(bundles / "covid-cxnet", [both[0]], tmp_path, label="covid", manifest=shared_data)[0]
    assert row["status"] == "ok" and row["lungs_from"] == "manifest"
    assert 0.05 < row["lungs_share"] < 0.7
    assert 0 < row["heat_inside"] < 1
    assert row["pointing_hit"] in (True, False)
