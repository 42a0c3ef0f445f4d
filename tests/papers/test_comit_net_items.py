"""Every item of COMiT-Net on a handful of phantoms; fewer systems than the paper compares, one step each."""

import json

import numpy as np
import pytest

from covidcx.cli import main
from covidcx.data.manifest import Manifest
from covidcx.data.phantom import write_phantom
from covidcx.evaluation.roc import sensitivity_at_specificity
from covidcx.papers import get
from covidcx.papers.comit_net import ablation, classification, external, protocol, segmentation, single_tasks
from covidcx.papers.item import Budget, Context
from covidcx.training import recipes
from covidcx.training.run_folder import RunFolder

tf = pytest.importorskip("tensorflow")
SETTINGS = {
    "preprocessing.size": "32,32", "model.kwargs.width": "0.0625", "epochs": "1", "initial_weights": "random",
    "optimizer.name": "adam", "optimizer.weight_decay": "0", "copies": "",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Building a graph takes longer than the one step that is made of it."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module", autouse=True)
def few_systems():
    """Two networks, two rows of the ablation, two segmenters: the others differ by their recipe's name alone."""
    patch = pytest.MonkeyPatch()
    networks = {"ResNet18 + FC": "comit-resnet18", "COMiT-Net": "comit-net"}
    patch.setattr(classification, "NETWORKS", networks)
    patch.setattr(ablation, "ROWS", {row: ablation.ROWS[row] for row in ("All 4 Tasks", "Task 4 Only")})
    patch.setattr(segmentation, "SYSTEMS", {"Mask R-CNN": "mask-rcnn", "SegNet": "segnet", "COMiT-Net": "comit-net"})
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("comit")


@pytest.fixture(scope="module")
def manifest(folder):
    splits = {"train": 0.4, "val": 0.25, "test": 0.35}
    return write_phantom(folder / "phantom", patients=24, size=64, seed=2, labels="comit-net", splits=splits)


@pytest.fixture(scope="module")
def context(manifest, folder):
    out = folder / "out"
    out.mkdir()
    return Context(manifest, True, out, folder / "runs", Budget("test", SETTINGS, seeds=1, bootstrap=20))


def run(context, name):
    return get("comit-net").item(name).run(context)


def test_every_system_of_the_paper_has_a_recipe_and_a_published_value():
    known = set(recipes.names())
    assert set(protocol.NETWORKS.values()) < known and len(protocol.NETWORKS) == 5
    assert {*protocol.NETWORKS, *classification.EMBEDDED} == set(classification._PUBLISHED)
    for stem in ("unet", "segnet", "mask-rcnn"):
        assert {f"{stem}-lung", f"{stem}-disease"} <= known
    items = [item.name for item in get("comit-net").items]
    assert items == [
        "table-1", "table-2", "table-3", "table-4", "figure-8", "figure-9", "table-5", "figure-5", "figure-6",
        "figure-7", "figure-10", "figure-11", "figure-12", "section-4.4", "single-tasks",
        "single-tasks-small",
    ]  # fmt: skip


def test_tables_1_to_3_count_the_manifest(context, manifest):
    frame = Manifest.read(manifest).frame
    ours = run(context, "table-1").tables[0]
    assert sum(row[-1] for row in ours.rows) == (frame["label"] != "covid").sum()
    ours = run(context, "table-2").tables[0]
    assert ours.rows[-1][-1] == (frame["label"] == "covid").sum()
    ours = {row[0]: dict(zip(run(context, "table-3").tables[0].header, row, strict=True))
            for row in run(context, "table-3").tables[0].rows}  # fmt: skip
    train, test = (frame[frame["split"] == split] for split in ("train", "test"))
    assert ours["train"]["Covid"] == 6 * (train["label"] == "covid").sum()
    assert ours["test"]["Covid"] == (test["label"] == "covid").sum()
    assert ours["test"]["PA"] + ours["test"]["AP"] == len(test)
    assert ours["test"]["Lung"] == test["lung_mask"].notna().sum()


def test_table_4_measures_each_system_with_the_roc_functions(context):
    result = run(context, "table-4")
    systems = list(dict.fromkeys(row.system for row in result.comparisons))
    assert systems == ["ResNet18 + FC", *classification.EMBEDDED, "COMiT-Net"]
    assert all(row.verdict in ("not comparable", "ours only") for row in result.comparisons)
    published = {(row.system, row.metric): row.published for row in result.comparisons}
    assert published["COMiT-Net", "sensitivity at 90% specificity"] == 0.968
    from covidcx.papers.trained import Cell, train_cell

    trained = train_cell(context, Cell("comit-net", "comit-net", {}))
    scored = protocol.covid_scores(trained, protocol.subset(context, "", ("test",), "infection"))
    row = result.comparisons[-2]
    assert row.ours.value == sensitivity_at_specificity(scored.positive, scored.score, 0.9)[0]
    assert 0 < scored.positive.sum() < len(scored.positive)


def test_figures_8_and_9_and_table_5_use_the_runs_that_are_there(context):
    before = (RunFolder(context.work / "comit-net").record).read_text()
    assert len(run(context, "figure-8").figures) == 1
    assert [path.name for path in run(context, "figure-9").figures] == ["figure-9a.png", "figure-9b.png"]
    result = run(context, "table-5")
    assert [row.system for row in result.comparisons] == ["All 4 Tasks", "Task 4 Only"]
    assert RunFolder(context.work / "comit-net").record.read_text() == before
    alone = json.loads((context.work / "comit-net-tasks-4" / "recipe.json").read_text())
    assert alone["heads"] == ["infection"] and list(alone["head_splits"]) == ["infection"]


def test_figures_5_to_7_measure_masks_and_show_them(context):
    lungs = run(context, "figure-5")
    assert {row.metric for row in lungs.comparisons} == {"lung IoU, mean"}
    assert {row.system: row.published for row in lungs.comparisons}["Mask R-CNN"] == 0.85
    assert all(0 <= row.ours.value <= 1 for row in lungs.comparisons)
    assert lungs.figures[0].stat().st_size > 10_000
    result = run(context, "figure-7")
    assert {row.system for row in result.comparisons} == {"SegNet", "COMiT-Net"}


@pytest.mark.parametrize(("item", "recipe"), [("single-tasks", "comit-net"), ("single-tasks-small", "comit-net-small")])
def test_single_tasks_are_networks_of_one_head_compared_image_by_image(context, item, recipe):
    result = run(context, item)
    values = {(row.system, row.metric): row.ours for row in result.comparisons}
    metrics = dict.fromkeys(metric for _, metric in values)
    assert len(metrics) == 4 and len(values) == 3 * len(metrics)
    for metric in metrics:
        several, single, gain = (values[system, metric].value for system in single_tasks.SYSTEMS)
        assert gain == pytest.approx(several - single)
    assert all(row.published is None for row in result.comparisons)
    for head, cell in single_tasks.cells(recipe).items():
        settings = json.loads((context.work / cell.name / "recipe.json").read_text())
        assert (settings["heads"], settings["name"], settings["epochs"]) == ([head], recipe, 1)
    assert single_tasks.cells()["infection"].name == "comit-net-tasks-4", "the row of Table 5 is the same network"


def test_figures_10_to_12_and_section_4_4_look_at_one_network(context):
    missed = {row.metric: row.ours.value for row in run(context, "figure-10").comparisons}
    assert missed["missed by both"] <= 1 - missed["called COVID-19"] + 1e-9
    table = run(context, "figure-11").tables[0]
    frame = context.manifest.frame
    covid = ((frame["split"] == "test") & (frame["label"] == "covid")).sum()
    assert table.rows[0][1] + table.rows[0][2] == covid
    shares = {row.system: row.ours.value for row in run(context, "figure-12").comparisons}
    assert set(shares) == {"unhealthy", "COVID-19", "a map that knows nothing"}
    result = run(context, "section-4.4")
    own, *others = result.comparisons
    assert own.system == f"phantom, {covid} images (other patients of it were trained on)"
    assert {row.verdict for row in others} == {"skipped"} and len(others) == len(external._PUBLISHED)
    assert own.ours.value == pytest.approx(missed["called COVID-19"])
    assert not np.isnan(own.ours.value)


def test_the_command_line_lists_and_reruns(manifest, folder, capsys):
    assert main(["reproduce", "comit-net", "--list"]) == 0
    assert "section-4.4" in capsys.readouterr().out
    assert main(["reproduce", "comit-net", "table 3", "--data", str(manifest), "--out", str(folder / "cli")]) == 0
    assert "16551" in capsys.readouterr().out
