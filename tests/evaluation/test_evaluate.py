"""`evaluate` from end to end on tiny synthetic manifests, with functions in place of networks."""

import csv
import json

import cv2
import numpy as np
import pytest

from covidcx.bundle import Bundle, write_bundle_json
from covidcx.data.manifest import Manifest
from covidcx.errors import BundleError, CovidcxError, ManifestError
from covidcx.evaluation import evaluate, headline, predict_manifest
from covidcx.finding import DISCLAIMER
from covidcx.imaging import LungROI, Preprocessing

LABELS = ("normal", "cap", "covid")
LEVELS = {"normal": 40, "cap": 120, "covid": 200, "other": 80}
COLUMNS = ("image", "patient_id", "label", "split", "source", "view", "sex", "lung_mask", "lung_mask_2",
           "lung_mask_reader")  # fmt: skip


def by_brightness(images):
    """Stands in for a network: probability falls with the distance from the class's grey level."""
    mean = images.mean(axis=(1, 2, 3)) * 255
    logits = -np.abs(mean[:, None] - np.array([LEVELS[label] for label in LABELS])) / 30
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def bright_is_lung(images):
    return (images > 0.5).astype(np.float32)


def _bundle(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.h5").write_bytes(b"not read by these tests")
    fields = {
        "name": folder.name,
        "task": "classify",
        "labels": list(LABELS),
        "preprocessing": Preprocessing(size=(32, 32), channels=("original",)),
        "model": {"name": "covid-cxnet", "kwargs": {}},
        "operating_points": {"covid": {"threshold": 0.5, "rule": "by hand"}},
        "licence": "MIT",
        **changes,
    }
    write_bundle_json(folder, **fields)
    return folder


def _rows(root, plan):
    """Write images and return rows; plan: (label, split, source, count)."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for label, split, source, count in plan:
        for i in range(count):
            name = f"images/{split}_{source}_{label or 'none'}_{i}.png"
            level = LEVELS.get(label, 90) + rng.normal(0, 25)
            image = np.clip(rng.normal(level, 10, (40, 36)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name), image)
            patient, view, sex = f"{source}{split}{label}{i // 2}", ("PA", "AP", "")[i % 3], "FM"[i % 2]
            rows.append({"image": name, "patient_id": patient, "label": label, "split": split, "source": source,
                         "view": view, "sex": sex})  # fmt: skip
    return rows


def _write(root, rows):
    path = root / "manifest.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    rows = _rows(root, [
        ("normal", "train", "nih", 4), ("normal", "test", "nih", 14), ("cap", "test", "nih", 12),
        ("covid", "test", "cohen", 10), ("covid", "test", "armiro", 4), ("other", "test", "nih", 3),
        ("", "test", "nih", 2), ("cap", "control", "cohen", 6), ("normal", "control", "cohen", 1),
    ])  # fmt: skip
    (root / "images" / "broken.png").write_bytes(b"\x89PNG no more")
    for name in ("images/broken.png", "images/absent.png"):
        rows.append({"image": name, "patient_id": name, "label": "cap", "split": "test", "source": "nih"})
    return _write(root, rows), _bundle(root / "fake")


@pytest.fixture(scope="module")
def evaluated(study, tmp_path_factory):
    manifest, bundle = study
    out = tmp_path_factory.mktemp("out")
    return evaluate(bundle, manifest, out, "test,control", bootstrap=100, engine=by_brightness), out


def test_every_file_is_written(evaluated):
    _, out = evaluated
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert {"metrics.json", "metrics.csv", "predictions.csv", "confusion.csv", "REPORT.md"} <= names
    for split in ("test", "control"):
        for figure in ("roc", "precision_recall", "confusion", "reliability", "sources"):
            assert f"plots/{split}_{figure}.png" in names
    assert cv2.imread(str(out / "plots" / "test_roc.png")).std() > 5


def test_returned_result_is_the_json_file(evaluated):
    result, out = evaluated
    assert json.loads((out / "metrics.json").read_text()) == result


def test_predictions_agree_with_the_confusion_matrix_and_accuracy(evaluated):
    result, out = evaluated
    with (out / "predictions.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["split"] == "test" and r["label"] in LABELS]
    section = result["splits"]["test"]
    assert len(rows) == section["images"] == 40
    counted = [[sum(r["label"] == t and r["predicted"] == c for r in rows) for c in LABELS] for t in LABELS]
    assert counted == section["confusion"]
    right = np.mean([r["label"] == r["predicted"] for r in rows])
    assert section["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert all(abs(sum(float(r[f"p_{x}"]) for x in LABELS) - 1) < 1e-5 for r in rows)
    assert not any(r["image"].startswith("/") for r in rows)


def test_confusion_csv_holds_the_same_counts(evaluated):
    result, out = evaluated
    with (out / "confusion.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["split", "label", "called_normal", "called_cap", "called_covid"]
    assert [int(x) for x in rows[1][2:]] == result["splits"]["test"]["confusion"][0]
    assert rows[4][:2] == ["control", "normal"]


def test_missing_labels_and_foreign_labels_are_counted(evaluated):
    assert evaluated[0]["splits"]["test"]["excluded"] == {"other": 3, "missing": 2}


def test_bad_files_are_recorded_and_not_fatal(evaluated, study):
    result, out = evaluated
    assert {f["image"] for f in result["failures"]} == {"images/broken.png", "images/absent.png"}
    assert "Not evaluated: 2 images" in (out / "REPORT.md").read_text()
    assert not any(str(study[0].parent) in f["reason"] for f in result["failures"])


def test_cap_called_covid_is_a_metric_with_interval(evaluated):
    result, out = evaluated
    for split, images in (("test", 12), ("control", 6)):
        section = result["splits"][split]
        share = section["metrics"]["cap_called_covid"]
        row = section["confusion"][1]
        assert share["value"] == pytest.approx(row[2] / sum(row))
        assert share["low"] <= share["value"] <= share["high"]
        assert section["called_covid"]["cap"]["images"] == images
    assert set(result["splits"]["test"]["called_covid"]) == {"normal", "cap", "other", "unknown"}
    assert "CAP called COVID" in (out / "REPORT.md").read_text()


def test_groups_carry_counts_intervals_and_a_flag_when_small(evaluated):
    groups = evaluated[0]["splits"]["test"]["groups"]
    assert set(groups) == {"source", "view", "sex"}
    assert set(groups["source"]) == {"armiro", "cohen", "nih"}
    assert list(groups["view"]) == ["AP", "PA", "unknown"]
    assert groups["source"]["armiro"]["images"] == 4
    assert groups["source"]["armiro"]["small"]
    assert not groups["source"]["nih"]["small"]
    assert groups["source"]["armiro"]["metrics"]["auc_covid_vs_normal"]["value"] is None
    recall = groups["source"]["cohen"]["metrics"]["recall_covid"]
    assert recall["low"] <= recall["value"] <= recall["high"]


def test_long_table_has_one_row_a_metric_and_group(evaluated):
    result, out = evaluated
    with (out / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    one = [r for r in rows if (r["split"], r["group"], r["metric"]) == ("test", "all", "macro_f1")]
    assert len(one) == 1
    assert float(one[0]["value"]) == result["splits"]["test"]["metrics"]["macro_f1"]["value"]
    assert {r["group"] for r in rows} == {"all", "source", "view", "sex"}


def test_source_that_equals_label_is_said_in_the_report(evaluated):
    result, out = evaluated
    shortcut = result["splits"]["test"]["shortcut"]
    assert shortcut["source_only_auc_covid"] == 1.0
    assert "source recognition" in shortcut["notes"][0]
    assert result["splits"]["control"]["shortcut"] == {"notes": [], "source_only_auc_covid": None}
    assert "source recognition" in (out / "REPORT.md").read_text()


def test_report_carries_the_disclaimer_and_where_it_comes_from(evaluated, study):
    result, out = evaluated
    text = (out / "REPORT.md").read_text()
    checksum = Bundle.open(study[1]).checksum
    for part in (DISCLAIMER, checksum, result["split_hash"], "--split test,control", "threshold found on this set's"):
        assert part in text
    assert result["bundle_checksum"] == checksum
    assert (result["seed"], result["bootstrap"]) == (0, 100)
    assert "does not record the split" in text


def test_same_seed_gives_the_same_files(evaluated, study, tmp_path):
    result, out = evaluated
    again = evaluate(
        study[1], study[0], tmp_path, "test,control", bootstrap=100, engine=by_brightness, figures=False
    )
    assert not (tmp_path / "plots").exists()
    assert again["splits"] == result["splits"]
    for name in ("predictions.csv", "metrics.csv", "confusion.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_recorded_command_is_one_the_command_line_takes(evaluated, study, monkeypatch):
    import shlex

    from covidcx.cli import main

    called = []
    monkeypatch.setattr("covidcx.evaluation.evaluate", lambda *arguments: called.append(arguments) or evaluated[0])
    words = shlex.split(evaluated[0]["command"])
    assert words[0] == "covidcx"
    assert main(words[1:]) == 0
    assert called == [(str(study[1]), study[0], evaluated[1], "test,control", 100, 0)]


def test_headline_is_small_enough_for_a_bundle(evaluated, tmp_path):
    short = headline(evaluated[0])
    assert set(short) == {"test", "control"}
    assert set(short["test"]["metrics"]["macro_f1"]) == {"value", "low", "high"}
    _bundle(tmp_path / "with_metrics", metrics=short)


def test_unknown_and_empty_splits_are_clear_errors(study, tmp_path):
    manifest, bundle = study
    with pytest.raises(CovidcxError, match=r"no image in split 'tset'.* Did you mean 'test'"):
        evaluate(bundle, manifest, tmp_path / "o", "tset", engine=by_brightness)
    with pytest.raises(CovidcxError, match="no image in split 'val'"):
        evaluate(bundle, manifest, tmp_path / "o", "val", engine=by_brightness)
    with pytest.raises(CovidcxError, match="no split named"):
        evaluate(bundle, manifest, tmp_path / "o", " , ", engine=by_brightness)
    assert not (tmp_path / "o").exists()


def test_missing_manifest_and_bundle_are_clear_errors(study, tmp_path):
    with pytest.raises(ManifestError):
        evaluate(study[1], tmp_path / "none.csv", tmp_path, engine=by_brightness)
    with pytest.raises(BundleError):
        evaluate(tmp_path / "none", study[0], tmp_path, engine=by_brightness)
    with pytest.raises(CovidcxError, match="-1"):
        evaluate(study[1], study[0], tmp_path, bootstrap=-1, engine=by_brightness)


def test_nothing_readable_is_an_error_that_names_the_first_image(tmp_path):
    manifest = _write(tmp_path, [{"image": "gone.png", "patient_id": "a", "label": "cap", "split": "test"}])
    with pytest.raises(CovidcxError, match=r"none of the 1 images .*gone\.png"):
        evaluate(_bundle(tmp_path / "b"), manifest, tmp_path / "o", engine=by_brightness)


def test_model_of_other_classes_is_an_error(study, tmp_path):
    with pytest.raises(CovidcxError, match=r"shape \(16, 2\) for 16 images and 3 labels"):
        evaluate(study[1], study[0], tmp_path, engine=lambda x: np.full((len(x), 2), 0.5))


def test_notes_warn_of_leaks_and_of_a_split_that_was_used(tmp_path):
    rows = _rows(tmp_path, [("normal", "train", "nih", 4), ("covid", "val", "cohen", 4), ("normal", "val", "nih", 4)])
    rows[-1]["patient_id"] = rows[0]["patient_id"]
    manifest = _write(tmp_path, rows)
    bundle = _bundle(tmp_path / "b", training={"split_hash": "0123456789ab"})
    result = evaluate(bundle, manifest, tmp_path / "o", "train,val", bootstrap=10, engine=by_brightness, figures=False)
    notes = "\n".join(result["notes"])
    assert "Images of 1 patient of split val are also in split train" in notes
    assert "0123456789ab" in notes
    assert "Split train was learned from" in notes
    assert "Split val was used to choose" in notes


def test_an_image_listed_twice_counts_once_and_is_named(tmp_path):
    rows = _rows(tmp_path, [("normal", "test", "a", 4), ("cap", "test", "a", 4), ("covid", "test", "b", 4)])
    once = evaluate(_bundle(tmp_path / "b"), _write(tmp_path, rows), tmp_path / "x", engine=by_brightness, bootstrap=0,
                    figures=False)  # fmt: skip
    twice = evaluate(_bundle(tmp_path / "b"), _write(tmp_path, [*rows, rows[0], rows[-1]]), tmp_path / "y",
                     engine=by_brightness, bootstrap=0, figures=False)  # fmt: skip
    assert twice["splits"]["test"]["metrics"] == once["splits"]["test"]["metrics"]
    assert twice["splits"]["test"]["images"] == 12
    assert any("2 rows name an image that is already listed" in note and "14, 15" in note for note in twice["notes"])


def test_lungs_are_found_for_a_preprocessing_with_roi(study):
    folder = study[1].parent
    spec = Preprocessing(size=(32, 32), channels=("original",), roi=LungROI(enhance="none", blank=True))
    bundle = Bundle.open(_bundle(folder / "roi", preprocessing=spec, segmenter="lungs"))
    seen = []

    def left_half(images):
        seen.append(images.shape)
        mask = np.zeros(images.shape, np.float32)
        mask[:, 20:-20, 20:128] = 1.0
        return mask

    table = predict_manifest(bundle, Manifest.read(study[0]), "control", by_brightness, left_half)
    assert len(table) == 7
    assert seen == [(1, 256, 256, 1)] * 7
    with pytest.raises(BundleError, match="lungs"):
        predict_manifest(bundle, Manifest.read(study[0]), "control", by_brightness)


def test_sigmoid_model_answers_two_labels(tmp_path):
    manifest = _write(tmp_path, _rows(tmp_path, [("normal", "test", "a", 5), ("covid", "test", "a", 5)]))
    bundle = _bundle(tmp_path / "b", labels=["normal", "covid"])
    result = evaluate(
        bundle, manifest, tmp_path / "o", bootstrap=20, engine=lambda x: x.mean(axis=(1, 2, 3))[:, None], figures=False
    )
    assert result["splits"]["test"]["metrics"]["auc_covid_vs_normal"]["value"] == 1.0


def test_temperature_and_operating_point_are_applied(study):
    bundle = Bundle.open(
        _bundle(study[1].parent / "warm", temperature=2.0, operating_points={"covid": {"threshold": 0.2}})
    )
    engine = lambda x: np.tile([0.81, 0.15, 0.04], (len(x), 1))  # noqa: E731
    table = predict_manifest(bundle, Manifest.read(study[0]), "control", engine)
    roots = np.sqrt([0.81, 0.15, 0.04])
    assert table.probabilities[0] == pytest.approx(roots / roots.sum())
    assert set(table.predicted) == {"normal"}
    lower = Bundle.open(
        _bundle(study[1].parent / "warm", temperature=2.0, operating_points={"covid": {"threshold": 0.1}})
    )
    assert set(predict_manifest(lower, Manifest.read(study[0]), "control", engine).predicted) == {"covid"}


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    root = tmp_path_factory.mktemp("masks")
    (root / "images").mkdir()
    (root / "lung_masks").mkdir()
    rng, rows = np.random.default_rng(1), []
    for i in range(12):
        lung = np.zeros((64, 64), np.uint8)
        lung[10:50, 8:26] = lung[10:50, 38:56] = 255
        image = np.where(lung > 0, 220, 30).astype(np.uint8)
        cv2.imwrite(str(root / f"images/{i}.png"), image)
        drawn = lung.copy()
        drawn[10 : 10 + i % 4, 8:26] = 0
        drawn[0:4, 0:4] = 127
        cv2.imwrite(str(root / f"lung_masks/{i}.png"), drawn)
        row = {"image": f"images/{i}.png", "patient_id": f"p{i // 2}", "label": ("covid", "normal")[i % 2],
               "split": "test", "source": "nih", "lung_mask": f"lung_masks/{i}.png",
               "lung_mask_reader": "v7" if i < 8 else "gb"}  # fmt: skip
        if i < 3:
            second = np.roll(lung, int(rng.integers(1, 3)), axis=0)
            cv2.imwrite(str(root / f"lung_masks/{i}_gb.png"), second)
            row["lung_mask_2"] = f"lung_masks/{i}_gb.png"
        rows.append(row)
    cv2.imwrite(str(root / "lung_masks/small.png"), np.zeros((5, 5), np.uint8))
    for name in ("small", "bare"):
        cv2.imwrite(str(root / f"images/{name}.png"), image)
    rows.append({**rows[0], "image": "images/small.png", "lung_mask": "lung_masks/small.png", "lung_mask_2": ""})
    rows.append({**rows[0], "image": "images/bare.png", "lung_mask": "", "lung_mask_2": "", "label": "normal"})
    manifest = _write(root, rows)
    bundle = _bundle(root / "lungs", task="segment", labels=["lung"], operating_points={},
                     preprocessing=Preprocessing(size=(256, 256), channels=("original",)))  # fmt: skip
    return manifest, bundle


def test_segmenter_is_scored_against_masks_and_readers(masks, tmp_path):
    manifest, bundle = masks
    result = evaluate(bundle, manifest, tmp_path, bootstrap=50, segmenter=bright_is_lung)
    section = result["splits"]["test"]
    assert (section["images"], section["patients"], section["without_mask"]) == (12, 6, 1)
    assert len(result["failures"]) == 1
    assert "(5, 5)" in result["failures"][0]["reason"]
    with (tmp_path / "predictions.csv").open() as stream:
        dice = [float(row["dice"]) for row in csv.DictReader(stream)]
    # Every fourth mask is the bright area itself.
    assert dice[0] == dice[4] == dice[8] == 1.0
    assert dice[1] == pytest.approx(2 * (2 * 720 - 18) / (4 * 720 - 18), abs=1e-6)
    assert section["metrics"]["dice_mean"]["value"] == pytest.approx(np.mean(dice), abs=1e-6)
    assert section["metrics"]["dice_median"]["value"] == pytest.approx(np.median(dice), abs=1e-6)
    assert section["two_readers"] == 3
    assert 0.8 < section["metrics"]["reader_dice_median"]["value"] < 1
    assert "surface_distance_mm_mean" not in section["metrics"]
    assert section["groups"]["lung_mask_reader"]["v7"]["images"] == 8
    text = (tmp_path / "REPORT.md").read_text()
    assert "pools masks of several readers (gb, v7)" in text
    assert (tmp_path / "plots" / "test_dice.png").is_file()
    assert not (tmp_path / "confusion.csv").exists()


def test_segmenter_without_masks_in_the_split_is_an_error(study, masks, tmp_path):
    with pytest.raises(CovidcxError, match="no image of split test has a lung mask"):
        evaluate(masks[1], study[0], tmp_path, segmenter=bright_is_lung)
