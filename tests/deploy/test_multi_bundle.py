"""A run with several heads becomes a bundle that is evaluated, explained and asked like any classifier's."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import tiny_runs

from covidcx.bundle import Bundle
from covidcx.deploy.from_run import add_card, bundle_from_run
from covidcx.deploy.write import write_bundle
from covidcx.edge.predict import predict_files
from covidcx.edge.runtime import load
from covidcx.errors import BundleError, ExplainError
from covidcx.evaluation import evaluate
from covidcx.explain import explain_files
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.models import restore, save_weights
from covidcx.training import train
from covidcx.training.recipes import get
from covidcx.training.run_folder import RunFolder

SIDE = 32


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return tiny_runs.write_mixed_manifest(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def folder(mixed, tmp_path_factory):
    """The bundle of a barely trained COMiT-Net that calls every pixel lung and the upper half diseased."""
    run = tmp_path_factory.mktemp("runs") / "comit"
    settings = {
        "model.kwargs.width": "0.0625", "preprocessing.size": f"{SIDE},{SIDE}", "epochs": "1", "head_splits": "{}",
        "train_splits": "train", "optimizer.warmup_epochs": "0",
    }  # fmt: skip
    result = train("comit-net-small", mixed, run, settings)
    model = restore(result.recipe.model_spec(), result.weights)
    for head, bias in (("lung", [-4.0, 4.0]), ("disease", [4.0])):
        layer = model.get_layer(head)
        layer.kernel.assign(np.zeros(layer.kernel.shape))
        layer.bias.assign(bias)
    save_weights(model, RunFolder(run).weights, dtype="float32")
    made = bundle_from_run(run, tmp_path_factory.mktemp("bundles") / "tiny-comit", rule="specificity>=0.5")
    return made.folder


def test_bundle_knows_its_heads_and_gives_a_findings_probabilities(folder):
    bundle = Bundle.open(folder)
    assert bundle.task == "multi" and bundle.classifies and bundle.labels == ("normal", "other", "covid")
    assert bundle.heads == {"lung": ["lung"], "disease": ["disease"], "healthy": ["unhealthy", "normal"],
                            "infection": ["covid", "other"]}  # fmt: skip
    assert "covid" in bundle.operating_points and bundle.segmenter is None


def test_finding_has_lungs_and_disease_of_the_networks_own_heads(folder, mixed, tmp_path):
    image = mixed.parent / "images" / "2.png"
    analysis = load(folder)(image), load(folder).analyse(image)
    finding, found = analysis
    assert finding.label in ("normal", "other", "covid") and sum(finding.probabilities.values()) == pytest.approx(1)
    assert found.lungs.shape == found.disease.shape == found.heat.shape == (48, 48)
    assert found.lungs.all() and found.disease.all() and finding.lung_area == 1
    assert found.heat == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    summary = predict_files([image], folder, tmp_path / "out")
    assert summary.findings[0].label == finding.label
    model = restore(Bundle.open(folder).model, folder / "weights.h5")
    import cv2

    from covidcx.imaging import prepare

    pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    outputs = model.predict(prepare(pixels, Bundle.open(folder).preprocessing).network_input, verbose=0)
    lite = load(folder)._classifier(prepare(pixels, Bundle.open(folder).preprocessing).network_input)
    assert set(lite) == set(outputs) == {"lung", "disease", "healthy", "infection", "probabilities"}
    for name, values in outputs.items():
        np.testing.assert_allclose(lite[name], values, atol=1e-4)
    assert outputs["probabilities"][0, 2] == pytest.approx(outputs["infection"][0, 0], abs=1e-6)


def test_evaluation_measures_classes_and_regions_and_the_card_tells_them(folder, mixed, tmp_path):
    result = evaluate(folder, mixed, tmp_path / "out", split="val", bootstrap=20, figures=False)
    section = result["splits"]["val"]
    # Labels go round normal, cap, covid, other: pneumonia counts as another disease, and is still told apart below.
    assert section["per_label"] == {"normal": 2, "other": 4, "covid": 2} and section["excluded"] == {}
    assert set(section["called_covid"]) == {"normal", "cap", "other"}
    assert section["metrics"]["cap_called_covid"]["value"] is not None
    assert {"sensitivity_at_90_specificity_covid_vs_rest", "eer_covid_vs_rest"} <= set(section["metrics"])
    # Val rows are 18 to 25: lung masks in 18, 21 and 24; disease in 21 (box) and 22 (mask).
    assert section["regions"]["lung"]["images"] == 3 and section["regions"]["disease"]["images"] == 2
    assert section["metrics"]["disease_true_positive_rate"]["value"] == 1
    import cv2

    mask = cv2.imread(str(mixed.parent / "masks" / "18.png"), cv2.IMREAD_GRAYSCALE)
    expected = (mask == 255).sum() / (mask != 127).sum()
    assert section["metrics"]["lung_iou_mean"]["value"] == pytest.approx(expected), "every pixel is called lung"
    assert "Lung IoU, mean over images" in (tmp_path / "out" / "REPORT.md").read_text()
    card = add_card(folder, tmp_path / "out" / "metrics.json").read_text()
    assert "`infection` (covid, other)" in card and "Disease precision of pixels at 0.5" in card
    assert "Sensitivity at 90% specificity, covid against rest" in card
    assert Bundle.open(folder).metrics["val"]["metrics"]["lung_iou_mean"]["value"] == pytest.approx(expected)


def test_any_head_is_explained(folder, mixed, tmp_path):
    image = mixed.parent / "images" / "2.png"
    (row,) = explain_files(folder, [image], tmp_path / "a", label="covid")
    assert row["status"] == "ok" and row["lungs_from"] == "head" and row["lungs_share"] == 1
    (row,) = explain_files(folder, [image], tmp_path / "b", head="healthy", label="unhealthy")
    assert row["status"] == "ok" and row["explained"] == "unhealthy" and row["probability"] is None
    (row,) = explain_files(folder, [image], tmp_path / "c", head="lung")
    assert row["status"] == "ok" and row["explained"] == "lung" and (tmp_path / "c" / "2_gradcam.png").is_file()
    with pytest.raises(ExplainError, match=r"'infections' for gradcam.*infection"):
        explain_files(folder, [image], tmp_path / "d", head="infections")
    with pytest.raises(ExplainError, match="classes covid, other; name one"):
        explain_files(folder, [image], tmp_path / "d", head="infection")


def test_heads_that_the_model_has_not_are_refused(folder, tmp_path):
    bundle = Bundle.open(folder)
    model = restore(bundle.model, folder / "weights.h5")
    for heads, message in (({"lungs": ["lung"]}, "no output 'lungs'"), ({"healthy": ["a"]}, "2 channels")):
        with pytest.raises(BundleError, match=message):
            write_bundle(
                tmp_path / "x", model, architecture=bundle.model, name="x", task="multi", labels=bundle.labels,
                preprocessing=bundle.preprocessing, licence="MIT", heads=heads,
            )  # fmt: skip


def test_bundles_written_before_heads_open_as_they_were(folder, tmp_path):
    import hashlib

    value = json.loads((folder / "bundle.json").read_text())
    del value["heads"], value["checksum"]
    value |= {"task": "classify", "files": {}}
    value["checksum"] = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    (tmp_path / "bundle.json").write_text(json.dumps(value))
    opened = Bundle.open(tmp_path)
    assert opened.heads == {} and opened.classifies and isinstance(opened.preprocessing, Preprocessing)
    assert get("comit-net-small").preprocessing.channels == opened.preprocessing.channels
