"""Every item of COVID-CXNet on a small phantom, and what its numbers are worth."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny_cxnet

from covidcx.data.manifest import Manifest
from covidcx.models import weights
from covidcx.papers import get
from covidcx.papers.comparison import Table
from covidcx.papers.covid_cxnet.curves import fluctuation
from covidcx.papers.covid_cxnet.measures import TITLES, Looking, Measures
from covidcx.papers.covid_cxnet.models import BASE_V1, FLAT, TABLE_6, not_comparable, run_of
from covidcx.papers.item import Budget, Context
from covidcx.papers.reproduce import Job, phantom_manifest, reproduce
from covidcx.training import recipes

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.slow
PAPER = replace(get("covid-cxnet"), patients=45)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All items once, on runs that they share."""
    out = tmp_path_factory.mktemp("covid-cxnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "get", tiny_cxnet.get)
        patch.setattr("covidcx.papers.reproduce._PHANTOM_SIZE", 128)
        settings = {"preprocessing.size": "32,32", "epochs": "1"}
        job = Job(PAPER, PAPER.items, out, overrides=settings, seeds=1, bootstrap=20)
        # One image of the test split is damaged, as in any real collection.
        manifest = Manifest.read(phantom_manifest(job))
        damaged = manifest.file(manifest.subset(split="test", labels="cap").frame["image"].iloc[0])
        damaged.write_bytes(damaged.read_bytes()[:300])
        yield job, reproduce(job)


def test_every_item_ends_with_a_result(done):
    job, found = done
    assert [str(error) for error in found.values() if isinstance(error, Exception)] == []
    for item in PAPER.items:
        record = json.loads((job.out / item.name / "result.json").read_text())
        assert record["comparisons"] or record["tables"], item.name
        for name in record["figures"]:
            assert (job.out / item.name / name).stat().st_size > 3000
        verdicts = {row["verdict"] for row in record["comparisons"]}
        assert verdicts <= {"not comparable", "ours only", "skipped"}, item.name


def test_only_what_needs_chexnet_is_skipped_and_says_how_to_give_it(done):
    skipped = [
        (name, row) for name, result in done[1].items() for row in result.comparisons if row.verdict == "skipped"
    ]
    assert {name for name, _ in skipped} == {"figure-14", "figure-16"}
    assert all("--weights chexnet=FILE" in row.reason for _, row in skipped)


def test_published_matrices_beside_ours_and_the_control_in_every_table(done):
    for number, total in ((1, 60), (2, 683), (3, 726), (4, 1540), (5, 1540)):
        result = done[1][f"table-{number}"]
        theirs, ours = result.tables
        assert sum(cell for row in theirs.rows for cell in row[1:]) == total
        assert [row[0] for row in theirs.rows] == [row[0] for row in ours.rows]
        assert any(row.metric.startswith("control") and row.ours is not None for row in result.comparisons)
    rows = {row.metric: row.published for row in done[1]["table-5"].comparisons}
    assert rows["accuracy"] == pytest.approx(0.8721, abs=5e-5)
    assert rows["F1, COVID-19"] == pytest.approx(0.92, abs=0.005)
    assert rows["F1, CAP"] == pytest.approx(0.85, abs=0.005)


def test_table_6_has_every_model_and_the_new_columns(done):
    (table,) = done[1]["table-6"].tables
    assert isinstance(table, Table) and [row[0] for row in table.rows] == [model.name for model in TABLE_6]
    assert {"heat inside lungs", "pointing game, masks", "survives black lungs", "control CAP called COVID-19"} <= set(
        table.header
    )
    assert all(len(row) == len(table.header) for row in table.rows)
    assert all("random start" in note for note in done[1]["table-6"].notes if "best epoch" in note)


def test_runs_are_shared_and_a_random_start_is_named(done, monkeypatch):
    monkeypatch.setattr(recipes, "get", tiny_cxnet.get)
    job, _ = done
    runs = {path.parent.name for path in (job.out / "runs").glob("*/run.json")}
    names = {model.recipe for model in TABLE_6} | {"imagenet-densenet121", "imagenet-resnet50", "base-model-v1-8"}
    assert runs == names
    context = Context(job.out / "phantom" / "manifest.csv", True, job.out, job.out / "runs", job.budget, train=False)
    assert not_comparable(context, FLAT, run_of(context, FLAT)) == "started from random weights, not from CheXNet's"
    assert not_comparable(context, BASE_V1, run_of(context, BASE_V1)) == ""


def test_a_manifest_without_children_skips_that_row_alone(done, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "get", tiny_cxnet.get)
    job, _ = done
    manifest = job.out / "phantom" / "manifest.csv"
    lines = [line for line in manifest.read_text().splitlines(keepends=True) if ",pediatric," not in line]
    bare = manifest.with_name("adults.csv")
    bare.write_text("".join(lines))
    items = (PAPER.item("table-1"), PAPER.item("table-6"))
    # Nothing is finished for this table of studies, and nothing may be trained.
    found = reproduce(Job(PAPER, items, tmp_path / "out", data=bare, work=tmp_path / "runs", train=False, seeds=1))
    first = found["table-1"].comparisons
    assert {row.verdict for row in first} == {"skipped"} and "split pediatric and label normal" in first[
        0
    ].reason.replace(", ", " and ")
    reasons = {row.system: row.reason for row in found["table-6"].comparisons}
    assert "pediatric" in reasons["Base Model v1"] and "no finished run" in reasons["Base Model v2"]


def test_chexnet_as_it_is_with_a_file(done, monkeypatch, tmp_path):
    job, _ = done

    def stand_in(path, input_shape):
        image = keras.Input(input_shape, name="image")
        x = keras.layers.Conv2D(4, 8, strides=8, activation="relu", name="relu")(image)
        x = keras.layers.GlobalAveragePooling2D()(x)
        model = keras.Model(image, {"probabilities": keras.layers.Dense(14, "sigmoid", name="head")(x)})
        return weights.ImportedWeights(model, weights.CHEXNET_LABELS, "0" * 64, "keras-h5", "imagenet")

    monkeypatch.setattr(weights, "chexnet", stand_in)
    monkeypatch.setattr(recipes, "get", tiny_cxnet.get)
    file = tmp_path / "chexnet.h5"
    file.write_bytes(b"x")
    items = (PAPER.item("figure-14"), PAPER.item("figure-16"))
    job = replace(job, items=items, weights={"chexnet": file}, train=False)
    found = reproduce(job)
    metrics = [row.metric for row in found["figure-14"].comparisons]
    assert len(metrics) == 15 and metrics[0].startswith("AUC, outputs weighted")
    assert all(row.verdict == "ours only" for result in found.values() for row in result.comparisons)


def model_of_a_place(rows, columns):
    """A two-class network that is more certain of COVID-19 the brighter one place of its input is."""
    image = keras.Input((32, 32, 3), name="image")
    features = keras.layers.Conv2D(1, 1, use_bias=False, name="features")(image)
    mask = np.zeros((1, 32, 32, 1), np.float32)
    mask[:, rows, columns] = 1.0
    seen = keras.layers.Rescaling(1.0, name="place")(features * mask)
    pooled = keras.layers.GlobalAveragePooling2D()(seen)
    model = keras.Model(image, {"probabilities": keras.layers.Dense(1, "sigmoid", name="head")(pooled)})
    model.get_layer("features").set_weights([np.full((1, 1, 3, 1), 1 / 3, np.float32)])
    model.get_layer("head").set_weights([np.float32([[100.0]]), np.float32([0.0])])
    return model


def test_heat_in_the_corner_is_outside_the_lungs_and_heat_in_them_inside(done, monkeypatch):
    monkeypatch.setattr(recipes, "get", tiny_cxnet.get)
    from covidcx.papers.covid_cxnet.images import studies

    job, _ = done
    context = Context(job.out / "phantom" / "manifest.csv", True, job.out, job.out / "runs", job.budget, train=False)
    run = run_of(context, TABLE_6[1])
    frame = context.manifest.subset(split="test", labels=("covid",)).frame.head(4)
    shown = list(studies(context, frame))
    found = {}
    for name, place in (("corner", (slice(0, 4), slice(0, 4))), ("lung", (slice(14, 20), slice(6, 10)))):
        looking = Looking(context, run)
        looking.run = replace(run)
        object.__setattr__(looking.run, "model", model_of_a_place(*place))
        found[name] = looking.measure(shown)
    assert np.nanmax(found["corner"]["heat_inside"]) < 0.05
    assert np.nanmin(found["lung"]["heat_inside"]) > 0.9
    # The corner's model does not notice that the lungs are gone; the lung's model does.
    whole, black = (found["corner"][f"p_{name}"] for name in ("whole", "lungs_black"))
    np.testing.assert_allclose(whole, black, atol=0.2)
    assert (found["lung"]["p_lungs_black"][:, 1] < found["lung"]["p_whole"][:, 1]).all()


def test_figures_take_each_measure_from_its_own_rows():
    n, covid = 8, np.array([0.1, 0.8, 0.4, 0.7, 0.1, 0.6, 0.9, 0.8])
    measures = Measures(
        ("normal", "covid"), ("normal", "covid", "normal", "covid", "cap", "cap", "cap", "cap"),
        ("test",) * 6 + ("control",) * 2, tuple("abcdefgh"),
        dict.fromkeys(("whole", "lungs_black", "border_only"), np.stack([1 - covid, covid], axis=1)),
        np.array([0.5, 0.7, np.nan, 0.6, 0.6, 0.6, 0.0, 0.0]), np.full(n, 0.3),
        np.array([np.nan, 1, np.nan, 0, 1, np.nan, 1, np.nan]), np.array([0, 1, 0, 1, 0, 0, 1, 0], bool),
    )  # fmt: skip
    found = {name: value.value for name, value in measures.figures(20, 0).items()}
    assert set(found) == set(TITLES)
    assert found["heat_inside"] == pytest.approx(0.6)  # test rows with heat only
    assert found["pointing_mask"] == pytest.approx(2 / 3) and found["pointing_box"] == 1.0
    assert found["cap_called_covid"] == 0.5 and found["control"] == 1.0
    assert found["auc_whole"] == 1.0 and found["survives_lungs_black"] == 1.0


def test_fluctuation_is_the_mean_step_over_the_mean():
    assert fluctuation([1.0, 1.0, 1.0]) == 0.0
    assert fluctuation([1.0, 3.0, 1.0]) == pytest.approx(2 / (5 / 3))
    assert np.isnan(fluctuation([1.0]))


def test_the_paper_seeds_ten_on_real_data_and_says_so():
    budget = Job(PAPER, (), out=None, data="manifest.csv").budget
    assert budget.seeds == 10 and "10 initialisations" in budget.text()
    assert Budget("x").seeds == 1
