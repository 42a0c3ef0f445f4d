"""SIIM multi-class: tables of studies, boxes, and every table and figure on networks that are built but not trained."""

from dataclasses import replace

import numpy as np
import pytest

from covidcx.cli import main
from covidcx.data.manifest import pd
from covidcx.data.phantom import write_phantom
from covidcx.errors import ManifestError, MissingDataError
from covidcx.models import save_weights
from covidcx.papers import get
from covidcx.papers.item import Budget, Context
from covidcx.papers.siim import approaches, boxes, looks, studies, tables
from covidcx.papers.trained import Trained
from covidcx.training import recipes
from covidcx.training.run_folder import RunFolder
from covidcx.training.start import seeded_build

SMALL = {"preprocessing.size": "32,32", "model.kwargs.blocks": "1,1,1,1", "model.kwargs.growth": "4"}


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siim")
    path = write_phantom(folder / "set", patients=48, size=64, labels="rsna", seed=3)
    (folder / "out").mkdir()
    return Context(path, True, folder / "out", folder / "runs", Budget("tiny", SMALL, 1, 20))


@pytest.fixture
def untrained(monkeypatch):
    """Let every training return its network as it is built, quickly."""

    def train_cell(context, cell):
        recipe = recipes.get(cell.recipe).override({**context.budget.overrides, **cell.overrides})
        folder = RunFolder(context.work / cell.name)
        save_weights(seeded_build(recipe.model_spec(), 0), folder.weights, "float32")
        return Trained(folder, recipe, {}, 0.0, ())

    for module in (approaches, tables):
        monkeypatch.setattr(module, "train_cell", train_cell)
    for module in (approaches, looks):
        monkeypatch.setattr(module, "trained", lambda context, recipe: train_cell(context, approaches.Cell(
            recipe, recipe, {})))  # fmt: skip
    monkeypatch.setattr(approaches, "full_start", lambda context: {})
    monkeypatch.setattr(looks, "by_key", lambda key: replace(approaches.by_key(key), start=approaches.random_start))


@pytest.fixture
def constant(untrained, monkeypatch):
    """Let every network answer its first class, whatever it sees: figures can then be worked out by hand."""

    def probabilities(self, images):
        classes = len(self.recipe.labels)
        return np.tile(np.eye(classes)[0] * 0.6 + 0.4 / classes, (len(images), 1))

    monkeypatch.setattr(Trained, "probabilities", probabilities)


def _patients(frame, part):
    return set(frame["patient_id"][frame["split"] == part])


def test_80_20_keeps_patients_and_classes_and_takes_its_boxes_along(context):
    split = studies.eighty_twenty(context)
    frame = split.manifest.frame
    assert split.manifest.problems() == [] and len(frame) == len(context.manifest)
    parts = [_patients(frame, part) for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 48
    assert frame["split"].value_counts(normalize=True)["test"] == pytest.approx(0.2, abs=0.06)
    assert len(boxes.box_sides(context)) == len(pd.read_csv(context.manifest.root / "boxes.csv").merge(
        context.manifest.frame, on="image").query("finding != 'Pneumothorax'"))  # fmt: skip
    before = split.manifest_path.read_bytes()
    assert studies.eighty_twenty(context).manifest_path.read_bytes() == before


def test_five_folds_test_every_image_once_and_part_no_patient(context):
    tested = []
    for number in range(studies.FOLDS):
        frame = studies.fold(context, number).manifest.frame
        assert not _patients(frame, "test") & (_patients(frame, "train") | _patients(frame, "val"))
        assert not _patients(frame, "train") & _patients(frame, "val")
        tested += frame["image"][frame["split"] == "test"].tolist()
    assert len(tested) == len(set(tested)) == len(context.manifest)


def test_positive_and_negative_are_the_same_images_in_the_same_parts(context):
    four, two = studies.eighty_twenty(context).manifest.frame, studies.positive_negative(context).manifest.frame
    assert (four[["source_id", "split"]] == two[["source_id", "split"]]).all().all()
    assert ((two["label"] == "negative") == (four["label"] == "negative")).all()
    assert set(two["label"]) == {"negative", "positive"}


def _other_table(context, folder, change):
    """Write a changed copy of the manifest (and its boxes) and return the context on it."""
    frame, held = change(context.manifest.frame.copy(), pd.read_csv(context.manifest.root / "boxes.csv"))
    for column in ("image", "lung_mask", "disease_mask"):
        frame[column] = [str(context.manifest.root / value) for value in frame[column]]
    held["image"] = [str(context.manifest.root / value) for value in held["image"]]
    frame.to_csv(folder / "manifest.csv", index=False)
    held.to_csv(folder / "boxes.csv", index=False)
    return replace(context, manifest_path=folder / "manifest.csv", work=folder / "runs")


def test_a_class_that_is_absent_from_a_part_or_a_fold_is_an_error(context, tmp_path):
    def rare(frame, held):
        patient = frame["patient_id"][frame["label"] == "atypical"].iloc[0]
        return frame[(frame["label"] != "atypical") | (frame["patient_id"] == patient)], held

    few = _other_table(context, tmp_path, rare)
    with pytest.raises(ManifestError, match="no image of atypical in"):
        studies.eighty_twenty(few)
    with pytest.raises(ManifestError, match="not every label is in each of 5 folds"):
        studies.fold(few, 0)
    none = _other_table(context, tmp_path, lambda frame, held: (frame.assign(label="covid"), held))
    with pytest.raises(MissingDataError, match="four-class appearance needs rows with label negative"):
        studies.eighty_twenty(none)


def test_a_box_outside_its_image_is_an_error(context, tmp_path):
    with pytest.raises(ManifestError, match=r"1 boxes that do not fit their image.*reaches outside"):
        studies.eighty_twenty(_other_table(context, tmp_path, lambda frame, held: (frame, held.assign(
            x=held["x"].where(held.index != 0, 60), width=held["width"].where(held.index != 0, 20)))))  # fmt: skip


def test_what_real_images_lack_to_pretrain_is_named_and_skips_its_rows(context, tmp_path, constant, monkeypatch):
    real = replace(context, phantom=False, work=tmp_path)
    for made, needs in ((studies.findings_set, "findings of ChestX-ray14"), (studies.opacity_set, "boxes of opacities"),
                        (studies.unlabelled_set, "images of another data set")):  # fmt: skip
        with pytest.raises(MissingDataError, match=needs):
            made(real)
    kept = [approach for approach in approaches.APPROACHES if approach.key in ("baseline", "inpainting")]
    monkeypatch.setattr(tables, "APPROACHES", kept)
    verdicts = {(c.system, c.metric): c.verdict for c in tables.table_1(real).comparisons}
    assert verdicts["SSL Inpainting-CXR", "macro F1"] == verdicts["SSL Inpainting-CXR", "accuracy"] == "skipped"
    assert verdicts["Baseline: DenseNet-121", "macro F1"] in ("reproduced", "differs", "not comparable")


def test_a_merged_table_of_real_images_pretrains_on_what_each_stage_can_use(context, tmp_path):
    """A manifest as `covidcx data merge` makes it: SIIM's rows, ChestX-ray14's with findings, RSNA's with readings."""
    others = pd.DataFrame({
        "image": [f"o{n}.png" for n in range(40)], "patient_id": [f"o{n}" for n in range(40)], "split": np.nan,
        "label": ["normal", "cap", "other", "other"] * 10, "width": 64, "height": 64,
        "findings": ["No Finding", "Pneumonia", "Mass", "No Lung Opacity / Not Normal"] * 10,
        "rsna_class": [np.nan, np.nan, np.nan, "No Lung Opacity / Not Normal"] * 10,
    })  # fmt: skip
    drawn = pd.DataFrame({"image": ["o1.png", "o5.png"], "x": 1, "y": 2, "width": 9, "height": 9,
                          "finding": "opacity", "reader": "rsna"})  # fmt: skip
    own = _other_table(context, tmp_path, lambda frame, held: (frame, held))
    frame, held = pd.read_csv(own.manifest_path), pd.read_csv(tmp_path / "boxes.csv")
    merged = replace(own, phantom=False, manifest_path=tmp_path / "all.csv")
    pd.concat([frame, others]).to_csv(merged.manifest_path, index=False)
    pd.concat([held, drawn]).to_csv(tmp_path / "all_boxes.csv", index=False)
    kinds = {name: made(merged).manifest.frame for name, made in (
        ("findings", studies.findings_set), ("opacities", studies.opacity_set), ("images", studies.unlabelled_set))}
    # RSNA's reading is no finding of ChestX-ray14; a mass that nobody read for opacities teaches none.
    assert kinds["findings"]["findings"].value_counts().to_dict() == {"No Finding": 10, "Pneumonia": 10, "Mass": 10}
    assert kinds["opacities"]["label"].value_counts().to_dict() == {"normal": 10, "other": 10, "cap": 2}
    assert len(kinds["images"]) == 40 and set(kinds["images"]["split"]) == {"train", "val"}
    assert set(studies.eighty_twenty(merged).manifest.frame["label"]) == set(tables.studies.CLASSES)


def test_every_published_value_of_the_tables_is_there(context, constant, monkeypatch):
    monkeypatch.setattr(tables, "_BACKBONES", tables._BACKBONES[-1:])
    monkeypatch.setattr(tables, "_PAIRS", tables._PAIRS[-2:])
    binary = tables.table_4(context)
    assert [(c.system, c.published) for c in binary.comparisons if c.metric == "accuracy"] == [
        ("Typical-Atypical", 0.8596), ("Positive-Negative", 0.8198),
    ]  # fmt: skip
    assert all(c.verdict == "not comparable" and 0 <= c.ours.value <= 1 for c in binary.comparisons)
    assert tables.table_3(context).comparisons[0].published == 0.4345
    printed = {a.key: a.published for a in approaches.APPROACHES}
    assert len(printed) == 9 and printed["inpainting"] == (0.4706, 0.6522) and printed["mt-full"] == (0.4794, 0.6177)


def test_five_folds_give_mean_and_deviation_and_pool_every_image(context, constant, monkeypatch):
    monkeypatch.setattr(tables, "APPROACHES", [approaches.by_key("baseline")])
    result = tables.table_2(context)
    share = (context.manifest.frame["label"] == "negative").mean()
    values = {c.metric: c.ours.value for c in result.comparisons}
    assert values["accuracy, five folds"] == pytest.approx(share)
    assert values["macro F1, five folds"] == pytest.approx(2 * share / (1 + share) / 4)
    shares = []
    for number in range(5):
        frame = studies.fold(context, number).manifest.subset(split="test").frame
        shares.append((frame["label"] == "negative").mean())
    ours = result.tables[0].rows[0][4]
    assert ours == f"{np.mean(shares):.2%} ± {np.std(shares, ddof=1):.2%}"


@pytest.mark.parametrize("name", ["figure-4", "figure-5", "figure-7"])
def test_figures_are_drawn(context, untrained, name):
    result = get("siim").item(name).run(context)
    assert all(path.stat().st_size > 10_000 for path in result.figures) and len(result.figures) == 1
    assert result.tables[0].rows and result.split_hash


def test_crop_keeps_the_box_in_its_own_pixels():
    pixels = np.arange(100 * 80, dtype=np.float32).reshape(100, 80)
    part, (x, y, width, height) = looks._crop(pixels, (60, 10, 20, 40), 1.5)
    assert part.shape == (60, 60) and (x, y, width, height) == (40, 10, 20, 40)
    assert part[int(y), int(x)] == pixels[10, 60]


def test_figure_6_reads_siims_own_tables(tmp_path, capsys):
    images, table = tmp_path / boxes.IMAGE_TABLE, tmp_path / boxes.STUDY_TABLE
    images.write_text(
        "id,boxes,label,StudyInstanceUID\na_image,,opacity 1 10 10 40 50 opacity 1 0 0 60 20,s1\n"
        "b_image,,none 1 0 0 1 1,s2\nc_image,,opacity 1 0 0 8 18,s3\nd_image,,opacity 1 0 0 9 9,s9\n"
    )
    with pytest.raises(ManifestError, match=r"train_study_level.csv beside it"):
        boxes._is_published(images)
    table.write_text(
        "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance\n"
        "s1_study,0,1,0,0\ns2_study,1,0,0,0\ns3_study,0,0,0,1\n"
    )
    found = boxes.published_sides(images, table)
    # Square roots of 30 x 40, 60 x 20 and 8 x 18; the study s9 was not read.
    assert found["dimension"].tolist() == pytest.approx([1200**0.5, 1200**0.5, 12])
    assert main(["reproduce", "siim", "figure-6", "--data", str(images), "--out", str(tmp_path / "out")]) == 0
    assert "| typical | 2 | 34.6 | 34.6 |" in capsys.readouterr().out


def test_box_dimensions_refer_to_the_square_of_224(tmp_path):
    frame = pd.DataFrame({
        "image": [f"{n}.png" for n in range(30)], "patient_id": [f"p{n}" for n in range(30)], "split": np.nan,
        "label": (["negative", "typical", "indeterminate", "atypical"] * 8)[:30], "width": 448, "height": 112,
    })  # fmt: skip
    frame.to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height,finding,reader\n1.png,0,0,64,36,opacity,r\n")
    table = Context(tmp_path / "manifest.csv", False, tmp_path, tmp_path / "runs", Budget("b", bootstrap=5))
    # 64 of 448 and 36 of 112 pixels are 32 and 72 of 224.
    assert boxes.box_sides(table)["dimension"].tolist() == pytest.approx([48.0])
