"""The notebooks run from top to bottom, on the phantom and (the first one) on real data."""

import json
import os
from pathlib import Path

import pytest

DATA, TRAINING, DEPLOY = "01_data_and_phantom.ipynb", "02_covid_cxnet.ipynb", "06_deploy.ipynb"
EXPLAIN = "03_explainability.ipynb"
SELFSUP = "05_self_supervision.ipynb"
COMIT = "04_comit_net.ipynb"
# What has to be seen in the output of the cell with this tag; `skipped:` instead where it needs the shipped bundles.
RESULTS = {
    DATA: {
        "result-sources": "AUC of the source alone, COVID-19 against the rest: 0.500",
        "result-split": "patients in more than one split: 0 of 30",
        "result-preprocessing": "network input (1, 320, 320, 3)",
        "result-augmentation": "image/png",
    },
    TRAINING: {
        "result-training": "covid-cxnet",
        "result-prediction": "called",
        "result-explanation": "heat_inside",
        "result-evaluation": "auc_covid_vs_normal",
    },
    EXPLAIN: {
        "result-training": "lungs only",
        "result-gradcam": "image/png",
        "result-lime": "image/png",
        "result-text": "whole image: removing the marks of",
        "result-measures": "score that survives without the lungs",
        "result-sanity": "LIME: agreement with shuffled weights",
    },
    SELFSUP: {
        "result-views": "image/png",
        "result-contrast": "contrast_accuracy",
        "result-inpainting": "squared error in the holes, as a share of filling with the mean grey: ",
        "result-transfer": "from random: ['probabilities']",
        "result-finetuning": "moco-cxr-modified",
    },
    COMIT: {
        "result-known": "infection",
        "result-switch": "without one       lung decoder 0, COVID-19 branch",
        "result-training": "val_lung_dice",
        "result-masks": "image/png",
        "result-evaluation": "true_positive_rate",
        "result-heat": "image/png",
        "result-items": "covidcx reproduce comit-net table-5",
    },
    DEPLOY: {
        "result-finding": "image/png",
        "result-export": "models/comit-net/1",
        "result-served": "normal 0.",
        "result-tflite": "comit-net: largest difference",
        "result-sizes": "'quantize': 'int8'",
        "result-one-answer": "image/png",
    },
}
BUNDLES_NEEDED = ("result-prediction", "result-explanation", "result-evaluation")


@pytest.mark.parametrize("name", RESULTS)
def test_notebook_is_kept_without_outputs(repo, name):
    cells = json.loads((repo / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    kept = [n for n, cell in enumerate(cells) if cell.get("outputs") or cell.get("execution_count")]
    assert not kept, f"{name} keeps outputs in cells {kept}; clear them before a commit"
    assert "not for diagnostic use" in "".join(cells[0]["source"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RESULTS)
def test_notebook_runs_on_the_phantom(repo, monkeypatch, name):
    monkeypatch.delenv("COVIDCX_DATA", raising=False)
    outputs = _execute(repo, name, monkeypatch)
    from covidcx.bundle import names

    shipped = {"covid-cxnet", "lung-unet"} <= set(names())
    for tag, expected in RESULTS[name].items():
        if tag in BUNDLES_NEEDED and not shipped:
            expected = "skipped: bundle"
        assert expected in outputs[tag], f"{tag}: {outputs[tag][:2000]}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_first_notebook_runs_on_real_data(repo, shared_data, monkeypatch):
    monkeypatch.setenv("COVIDCX_DATA", str(shared_data.resolve()))
    outputs = _execute(repo, DATA, monkeypatch)
    # In the shared data the source names the label: the trap that the cell is there to show.
    ceiling = float(outputs["result-sources"].rpartition("COVID-19 against the rest: ")[2].split()[0])
    assert ceiling > 0.95
    assert "image/png" in outputs["result-augmentation"]


def _execute(repo: Path, name: str, monkeypatch) -> dict[str, str]:
    """Run a notebook in its own folder; return text and media types of the output of every tagged cell."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed; pip install 'covidcx[notebooks]'")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed; pip install 'covidcx[notebooks]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed; pip install 'covidcx[notebooks]'")
    pytest.importorskip("keras", reason="the notebooks train; pip install 'covidcx[train]'")
    # The kernel is a process of its own; it has to find this checkout whether or not it is installed.
    path = os.pathsep.join([str(repo), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    file = repo / "notebooks" / name
    notebook = nbformat.read(file, as_version=4)
    # An error in a cell raises CellExecutionError, which shows the cell and its traceback.
    resources = {"metadata": {"path": str(file.parent)}}
    nbclient.NotebookClient(notebook, timeout=880, kernel_name="python3", resources=resources).execute()
    found = {}
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", ()):
            found[tag] = "\n".join(_text(output) for output in cell.outputs)
    return found


def _text(output: dict) -> str:
    media = (f"{kind} {value}"[:5000] for kind, value in output.get("data", {}).items())
    return "\n".join([output.get("text", ""), *media])
