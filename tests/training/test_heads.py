"""Multi-task training: targets that say what is known, copies, balanced views, switches per image."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_runs

from covidcx.data.cache import prepare_manifest
from covidcx.data.copies import COPIES, change
from covidcx.data.instances import join_instances
from covidcx.data.manifest import Manifest
from covidcx.data.regions import as_boxes
from covidcx.errors import ManifestError, RecipeError
from covidcx.training import heads, recipes, train
from covidcx.training.feed import augment_pairs, prepare_feed
from covidcx.training.rows import select
from covidcx.training.tasks import MOST_WEIGHT, task_of, view_weights

RECIPE = tiny_runs.recipe("multi")


@pytest.fixture(scope="module")
def table(mixed):
    return Manifest.read(mixed)


@pytest.fixture(scope="module")
def prepared(table):
    return prepare_manifest(table, RECIPE.preprocessing, None)


@pytest.fixture(scope="module")
def feed(table, tmp_path_factory):
    task = task_of(RECIPE)
    return prepare_feed(RECIPE, task, select(RECIPE, task, table), tmp_path_factory.mktemp("cache"))


def test_regions_come_from_masks_or_boxes_and_unknown_ones_are_minus_one(table, prepared):
    lung = heads.get("lung").targets(table, prepared)[..., 0]
    disease = heads.get("disease").targets(table, prepared)[..., 0]
    # 48 pixels become 32. Row 0 has a mask whose first rows are ignored, row 4 two lung boxes, row 1 nothing.
    assert (lung[0, :2] == -1).all() and lung[0, 16, 8] == lung[0, 16, 24] == 1 and lung[0, 16, 16] == 0
    expected = np.zeros((32, 32), np.int8)
    expected[6:26, 3:13] = expected[6:26, 19:29] = 1
    assert np.abs(lung[4] - expected).sum() <= 44 and lung[4, 10, 8] == 1 and lung[4, 10, 16] == 0
    assert (lung[1] == -1).all()
    # Row 1 has a finding's box, row 2 a disease mask, row 4 only lung boxes.
    assert disease[1, 10, 8] == 1 and disease[1].min() == 0
    assert disease[1].sum() == pytest.approx(12 * 20 * 4 / 9, abs=8)
    assert disease[2, 16, 8] == 1 and disease[2].min() == 0
    assert (disease[4] == -1).all()
    for name, values in (("lung", lung), ("disease", disease)):
        assert (heads.get(name).known(table) == (values >= 0).any(axis=(1, 2))).all()


def test_classes_are_missing_where_nothing_or_two_things_are_said(table):
    healthy, infection = heads.get("healthy").truth(table), heads.get("infection").truth(table)
    # Labels go round normal, cap, covid, other; row 7 is contradicted, row 10 shows nothing although positive.
    assert healthy[:4].tolist() == [[0, 1], [1, 0], [1, 0], [1, 0]]
    assert np.isnan(healthy[[7, 10]]).all() and not np.isnan(np.delete(healthy, [7, 10], axis=0)).any()
    assert infection[:4].tolist() == [[0, 0], [0, 1], [1, 0], [0, 1]]
    assert infection[7, 0] == 0 and np.isnan(infection[7, 1]) and infection[10].tolist() == [1, 0]
    frame = table.frame.assign(label=["negative", "typical", *[np.nan] * 24])
    assert not heads.get("infection").known(Manifest(frame, table.root, table.path)).any()


def test_an_epoch_holds_five_changed_copies_of_the_named_label_and_only_of_training_images(feed):
    rows, labels = feed.training.items[:, 0], feed.training.rows["label"].to_numpy()
    seen = np.bincount(rows)
    assert (seen[labels == "covid"] == 6).all() and (seen[labels != "covid"] == 1).all()
    assert sorted(feed.training.items[rows == 2, 1]) == [0, 1, 2, 3, 4, 5]
    assert feed.validation.items is None and len(feed.training) == 18 + 5 * 4
    assert feed.training.weights @ seen == pytest.approx(len(rows))


def test_copies_turn_by_ten_degrees_and_shift_by_ten_pixels_with_their_masks():
    image = np.zeros((224, 224, 1), np.uint8)
    image[100:110, 150:160] = 255
    mask = (image > 0).astype(np.int8)
    centres = []
    for copy in range(len(COPIES)):
        moved, moved_mask = change(image, mask, copy)
        places = np.argwhere(moved[..., 0] > 127)
        centres.append(places.mean(axis=0)[::-1] - (154.5, 104.5))
        assert moved.shape == image.shape and moved_mask.dtype == np.int8
        assert np.abs(np.argwhere(moved_mask[..., 0]).mean(axis=0) - places.mean(axis=0)).max() < 0.6
    np.testing.assert_allclose(centres[3:], [(10, 0), (0, 10), (10, 10)], atol=0.01)
    # About the centre (111.5, 111.5): anti-clockwise lifts what lies on the right.
    arm = np.array([43.0, -7.0])
    for turn, found in ((10, centres[1]), (-10, centres[2])):
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        turned = [c * arm[0] + s * arm[1], c * arm[1] - s * arm[0]]
        np.testing.assert_allclose(found, turned - arm, atol=0.2)


def test_all_masks_move_with_the_image_and_missing_ones_stay_missing():
    recipe = replace(RECIPE, augmentation=replace(RECIPE.augmentation, rotate=20, shift=0.2, tone=0.0, brightness=0.0))
    lung = np.zeros((6, 32, 32, 1), np.int8)
    lung[:, 8:20, 4:12] = 1
    images = np.where(lung == 1, 200, 50).astype(np.uint8)
    disease = np.where(np.arange(6)[:, None, None, None] % 2 == 0, lung, np.int8(-1))
    targets = {"disease": disease, "healthy": np.eye(2, dtype=np.float32)[[0, 1] * 3], "lung": lung}
    moved, changed = augment_pairs(recipe)(images, targets, np.random.default_rng(0), np.arange(6))
    assert (changed["disease"][1::2] == -1).all()
    np.testing.assert_array_equal(changed["disease"][::2], changed["lung"][::2])
    np.testing.assert_array_equal(changed["healthy"], targets["healthy"])
    assert np.mean((moved > 125) == (changed["lung"] == 1)) > 0.98
    assert (moved != images).any(axis=(1, 2, 3)).sum() >= 5


def test_views_of_a_label_weigh_alike_and_unknown_ones_keep_their_weight():
    label = np.array(["covid"] * 8 + ["normal"] * 4 + ["cap"] * 41)
    view = np.array(["AP"] * 6 + ["PA", np.nan, "AP", "AP", "AP", "PA", "PA"] + ["AP"] * 40, dtype=object)
    copies = np.where(label == "covid", 6, 1)
    weights = view_weights(label, view, copies)
    for name in ("covid", "normal"):
        sides = [(weights * copies)[(label == name) & (view == side)].sum() for side in ("AP", "PA")]
        assert sides[0] == pytest.approx(sides[1])
    assert weights[7] == 1 and weights[label == "cap"].max() == MOST_WEIGHT


def test_head_learns_from_its_splits_only(table, tmp_path):
    frame = table.frame.assign(split=["pediatric" if i < 6 else split for i, split in enumerate(table.frame["split"])])
    recipe = replace(
        RECIPE, train_splits=("train", "pediatric"), head_splits={n: ("train",) for n in ("healthy", "infection")}
    )
    task = task_of(recipe)
    rows = select(recipe, task, Manifest(frame, table.root, table.path))
    feed = prepare_feed(recipe, task, rows, tmp_path)
    young = (feed.training.rows["split"] == "pediatric").to_numpy()
    # Rows 0 to 4 have a mask or box; row 5 has nothing left and is not read at all.
    assert young.sum() == 5 and "images/5.png" not in set(feed.training.rows["image"])
    targets = feed.training.targets
    assert np.isnan(targets["infection"][young]).all() and (targets["lung"][young] == 1).any()
    assert not np.isnan(targets["infection"][~young, 0]).any()


def test_balanced_heads_weigh_classes_inversely_to_what_an_epoch_shows(table, tmp_path):
    recipe = replace(RECIPE, loss=replace(RECIPE.loss, balanced=("healthy", "infection")))
    task = task_of(recipe)
    feed = prepare_feed(recipe, task, select(recipe, task, table), tmp_path)
    # Of 18 training rows 5 are normal, 5 cap, 4 covid (one of them shows nothing), 4 other (one contradicted); covid
    # counts six times: 5 healthy images and 5 + 3 x 6 + 3 = 26 unhealthy ones; 24 with covid and 14 without; 5 + 3 with
    # another disease and 5 + 24 without.
    heads_of = feed.task.heads
    np.testing.assert_allclose(heads_of["healthy"].class_weights, [31 / 52, 31 / 10])
    np.testing.assert_allclose(heads_of["infection"].class_weights, [[38 / 28, 38 / 48], [37 / 58, 37 / 16]])
    losses = feed.task.losses()
    assert losses["healthy"].class_weights == heads_of["healthy"].class_weights
    assert losses["infection"].class_weights == heads_of["infection"].class_weights
    # Both classes say as much over the epoch as both together did without weights.
    seen = np.bincount(feed.training.items[:, 0])
    shown = seen @ (feed.training.targets["healthy"] == 1)
    assert shown * losses["healthy"].class_weights == pytest.approx([15.5, 15.5])
    assert heads.get("healthy").class_weights is None and task.losses()["healthy"].class_weights is None


def test_a_balanced_mask_weighs_inside_as_much_as_outside(table, tmp_path):
    recipe = replace(RECIPE, loss=replace(RECIPE.loss, balanced=("disease",)))
    task = task_of(recipe)
    feed = prepare_feed(recipe, task, select(recipe, task, table), tmp_path)
    outside, inside = feed.task.losses()["disease"].class_weights
    seen = np.bincount(feed.training.items[:, 0])
    masks = feed.training.targets["disease"]
    pixels = [int(seen @ (masks == value).sum(axis=(1, 2, 3))) for value in (0, 1)]
    assert 0 < pixels[1] < pixels[0]
    assert outside * pixels[0] == pytest.approx(inside * pixels[1]) == pytest.approx(sum(pixels) / 2)
    assert feed.task.losses()["lung"].class_weights is None


def test_a_mask_to_balance_that_is_never_inside_is_named():
    with pytest.raises(ManifestError, match=r"head .disease. has no training pixel inside.*loss\.balanced"):
        heads.get("disease").balanced(np.array([[[[0], [-1]]]], np.int8), np.ones(1, np.int64))


def test_a_class_to_balance_without_an_image_is_named(table, tmp_path):
    frame = table.frame.assign(label=table.frame["label"].where(table.frame["label"] != "normal", "cap"))
    recipe = replace(RECIPE, loss=replace(RECIPE.loss, balanced=("healthy",)))
    task = task_of(recipe)
    rows = select(recipe, task, Manifest(frame, table.root, table.path))
    with pytest.raises(ManifestError, match=r"head .healthy. has no training image .* unhealthy, normal"):
        prepare_feed(recipe, task, rows, tmp_path)


def test_a_lung_mask_is_learnt_as_its_two_boxes_where_the_recipe_says_so(table, prepared):
    mask = np.zeros((8, 10), np.int8)
    # An L of 7 pixels within rows 1 to 4 and columns 1 to 3, a bar, a speck; one ignored pixel in a box, one outside.
    mask[1:5, 1] = mask[4, 1:4] = mask[1, 2] = 1
    mask[2:7, 7] = mask[0, 9] = 1
    mask[2, 3] = mask[7, 0] = -1
    expected = np.zeros((8, 10), np.int8)
    expected[1:5, 1:4] = expected[2:7, 7] = 1
    expected[7, 0] = expected[0, 9] = -1
    np.testing.assert_array_equal(as_boxes(mask), expected)
    task = task_of(replace(RECIPE, lung_as="boxes"))
    boxes, masks = (t.targets(table, prepared)["lung"][..., 0] for t in (task, task_of(RECIPE)))
    np.testing.assert_array_equal(boxes >= -1, True)
    assert ((masks == 1) <= (boxes == 1)).all() and (boxes[0] == 1).sum() > (masks[0] == 1).sum()
    # Row 4 has boxes already, row 1 nothing.
    np.testing.assert_array_equal(boxes[[1, 4]], masks[[1, 4]])


def test_lungs_of_a_segmenter_fill_in_for_missing_masks_of_training_images_alone(table, mixed, tmp_path):
    folder = tmp_path / "segmenter"
    train(tiny_runs.recipe("segment"), mixed, folder, {"epochs": "1", "preprocessing.size": "256,256"})
    recipe = replace(RECIPE, missing_lungs="segmenter", segmenter=str(folder))
    tasks = [task_of(RECIPE), task_of(recipe)]
    plain, filled = (
        prepare_feed(task.recipe, task, select(task.recipe, task, table), tmp_path / "cache") for task in tasks
    )
    before, after = plain.training.targets["lung"], filled.training.targets["lung"]
    missing = (before < 0).all(axis=(1, 2, 3))
    assert 0 < missing.sum() < len(missing)
    np.testing.assert_array_equal(after[~missing], before[~missing])
    lungs = filled.training.lungs[missing]
    assert lungs.any(), "the tiny segmenter marks something"
    found = lungs.any(axis=(1, 2))
    np.testing.assert_array_equal(after[missing][found, ..., 0], lungs[found])
    assert (after[missing][~found] == -1).all()
    np.testing.assert_array_equal(filled.validation.targets["lung"], plain.validation.targets["lung"])
    for name in ("disease", "healthy", "infection"):
        np.testing.assert_array_equal(filled.training.targets[name], plain.training.targets[name])
    assert filled.segmenter and not plain.segmenter
    # Alone, the head learns from every training image, and validates on those with a mask.
    alone = recipe.override({"heads": "lung"})
    rows = select(alone, task_of(alone), table)
    assert len(rows.train) == (table.frame["split"] == "train").sum() > len(filled.training.images) - missing.sum()
    assert len(rows.val) == (filled.validation.targets["lung"] >= 0).any(axis=(1, 2, 3)).sum()


def test_run_tells_every_heads_figures_and_chooses_on_their_mean(mixed, tmp_path):
    import csv

    done = train(RECIPE, mixed, tmp_path / "run", {"epochs": "1", "optimizer.warmup_epochs": "0"})
    scores = {name: value for name, value in done.scores.items() if name.startswith("val_")}
    assert list(scores) == [
        "val_loss", "val_lung_dice", "val_disease_dice", "val_healthy_macro_f1", "val_infection_covid_auc",
        "val_infection_other_auc", "val_score",
    ]  # fmt: skip
    tasks = [scores["val_lung_dice"], scores["val_disease_dice"], scores["val_healthy_macro_f1"],
             (scores["val_infection_covid_auc"] + scores["val_infection_other_auc"]) / 2]  # fmt: skip
    assert scores["val_score"] == pytest.approx(np.mean(tasks)) and done.metric == "val_score"
    with done.predictions.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sum(float(rows[0][f"p_{label}"]) for label in RECIPE.labels) == pytest.approx(1, abs=1e-4)
    assert {bool(row["lung_dice"]) for row in rows} == {True, False}, "an image without a mask has no Dice"
    assert json.loads((done.out / "recipe.json").read_text())["heads"] == list(RECIPE.heads)
    boxes = mixed.parent / "boxes.csv"
    before = boxes.read_text()
    try:
        boxes.write_text(before.replace(",6,10,", ",7,10,"))
        with pytest.raises(RecipeError, match="rows_hash"):
            train(done.recipe, mixed, done.out, resume=True)
    finally:
        boxes.write_text(before)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"heads": "lungs"}, "unknown head 'lungs'.*lung"),
        ({"heads": ""}, "needs heads"),
        ({"heads": "healthy", "loss.head_weights.lung": "1"}, "head_weights names 'lung'"),
        ({"head_splits.lung": "pediatric"}, r"head_splits\.lung names 'pediatric'"),
        ({"task": "classify"}, "heads, copies, loss.head_weights belongs to task 'multi'"),
        ({"loss.balanced": "healthly"}, "loss.balanced names 'healthly'.*healthy"),
        ({"heads": "lung-instances", "loss.balanced": "lung-instances"}, "'lung-instances', whose loss has no classes"),
        ({"heads": "infection", "lung_as": "boxes"}, "lung_as=boxes needs a head of the lungs"),
        ({"heads": "infection", "missing_lungs": "segmenter"}, "missing_lungs=segmenter needs a head of the lungs"),
        ({"lung_as": "boxes", "missing_lungs": "segmenter"}, "it goes with preprocessing.roi=none, lung_as=mask"),
    ],
)
def test_settings_of_heads_that_do_not_fit_are_refused(overrides, message):
    with pytest.raises(RecipeError, match=message):
        RECIPE.override(overrides)


def test_outputs_and_labels_that_are_not_there_are_named(mixed, table, tmp_path):
    with pytest.raises(RecipeError, match="model 'tiny' has no output 'lung'"):
        train(replace(RECIPE, model=tiny_runs.recipe("classify").model), mixed, tmp_path / "a", {"epochs": "1"})
    frame = table.frame.assign(label=table.frame["label"].where(table.frame["split"] == "train"))
    task = task_of(RECIPE)
    with pytest.raises(ManifestError, match="no validation image tells anything about head healthy, infection"):
        task.scores(frame.assign(**task.figures(*_silent(len(frame)))))


def _silent(count):
    targets = {"lung": np.zeros((count, 4, 4, 1)), "disease": np.zeros((count, 4, 4, 1)),
               "healthy": np.full((count, 2), np.nan), "infection": np.full((count, 2), np.nan)}  # fmt: skip
    return targets, {name: np.full(values.shape, 0.5) for name, values in targets.items()}


def test_instances_have_planes_of_their_own_and_missing_masks_stay_missing(table, prepared):
    head, whole = heads.get("lung-instances"), heads.get("lung")
    planes, masks = head.targets(table, prepared), whole.targets(table, prepared)
    assert planes.shape == (*masks.shape[:3], 2) and planes.dtype == np.int8
    missing = ~head.known(table)
    assert missing.any() and (planes[missing] == -1).all()
    np.testing.assert_array_equal(join_instances(planes) == 1, masks == 1)
    # What a map is worth does not depend on how the truth is cut.
    maps = np.random.default_rng(0).random(masks.shape, np.float32)
    dices = [h.figures(t, maps)["lung_dice"] for h, t in ((head, planes), (whole, masks))]
    np.testing.assert_array_equal(*dices)
    losses = [h.loss(RECIPE.loss) for h in (head, whole)]
    values = [float(loss(t.astype(np.float32), maps)) for loss, t in zip(losses, (planes, masks), strict=True)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_one_setting_takes_some_of_the_tasks():
    recipe = recipes.get("comit-net")
    assert set(recipe.head_splits) > {"disease", "infection"}
    some = recipe.override({"heads": "lung,infection"})
    assert some.heads == ("lung", "infection") and set(some.head_splits) == {"infection"}
    assert some.model_spec()["kwargs"]["tasks"] == ["lung", "infection"]
    small = recipes.get("comit-net-small").override({"heads": "lung,infection"})
    assert small.loss.balanced == ("infection",) and set(small.loss.head_weights) == {"lung", "infection"}
    assert small.missing_lungs == "segmenter"
    assert recipes.get("comit-net-small").override({"heads": "infection"}).missing_lungs == "silent"
    with pytest.raises(RecipeError, match="head_splits names 'disease'"):
        recipe.override({"heads": "lung,infection", "head_splits": '{"disease": ["train"]}'})
