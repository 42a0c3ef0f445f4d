"""The audit of a table: clusters with names, the cleaned table, merged patients, and the files it leaves."""

import argparse
import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcx.commands.audit import _gate, add_audit
from covidcx.data.audit import audit, describe, merge_patients
from covidcx.data.duplicates import Found, Pair
from covidcx.data.manifest import Manifest
from covidcx.data.phantom import phantom
from covidcx.data.splits import split_by_patient
from covidcx.errors import ManifestError
from covidcx.imaging import to_uint8

COLUMNS = ("image", "patient_id", "label", "split", "source", "lung_mask")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 6 chests, a mirrored copy, a small marked copy, a row named twice and a damaged file."""
    root = tmp_path_factory.mktemp("table")
    (root / "images").mkdir()
    for seed in range(6):
        image = to_uint8(phantom(("normal", "cap", "covid")[seed % 3], seed, 320).pixels)
        cv2.imwrite(str(root / f"images/c{seed}.png"), image)
        if seed == 0:
            cv2.imwrite(str(root / "images/mirrored.jpg"), np.ascontiguousarray(image[:, ::-1]))
        if seed == 1:
            small = cv2.resize(image, (200, 200), interpolation=cv2.INTER_AREA)
            cv2.putText(small, "AP", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
            cv2.imwrite(str(root / "images/small.png"), small)
    (root / "images/damaged.png").write_bytes((root / "images/c5.png").read_bytes()[:300])
    cv2.imwrite(str(root / "mask.png"), np.zeros((320, 320), np.uint8))
    rows = [
        ("images/c0.png", "p0", "normal", "train", "a", ""),  # line 2
        ("images/c1.png", "p1", "cap", "train", "a", ""),
        ("images/c2.png", "p2", "covid", "val", "b", ""),
        ("images/mirrored.jpg", "q0", "covid", "test", "b", "mask.png"),  # line 5: of c0
        ("images/small.png", "", "cap", "train", "b", ""),  # line 6: of c1
        ("images/c3.png", "q0", "normal", "test", "b", ""),
        ("images/c4.png", "p4", "cap", "train", "a", ""),
        ("images/c4.png", "p4", "cap", "train", "a", ""),  # line 9: named twice
        ("images/damaged.png", "p5", "cap", "train", "a", ""),  # line 10
    ]
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return root / "manifest.csv"


@pytest.fixture(scope="module")
def audited(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "new"
    return audit(table, out, repeats=50), out


def test_clusters_are_named_with_what_they_straddle(audited):
    result, _ = audited
    lines = [[image["line"] for image in group["images"]] for group in result["clusters"]]
    assert lines == [[5, 2], [3, 6], [8, 9]]
    assert [group["straddles"] for group in result["clusters"]] == [
        ["split", "label", "patient_id", "source"], ["source"], [],
    ]  # fmt: skip
    assert result["straddling"] == {"split": 1, "label": 1, "patient_id": 1, "source": 2}
    (pair,) = result["clusters"][0]["pairs"]
    assert pair["orientation"] == "mirrored" and pair["keypoints"] > 20 and pair["lines"] == [2, 5]
    assert result["clusters"][2]["pairs"][0]["kind"] == "same file"


def test_the_rule_keeps_masks_then_pixels_then_the_first_line(audited):
    kept = [group["kept"] for group in audited[0]["clusters"]]
    assert kept == ["images/mirrored.jpg", "images/c1.png", "images/c4.png"]


def test_the_cleaned_table_reads_and_splits_without_a_leak(audited):
    result, out = audited
    cleaned = Manifest.read(out / "cleaned.csv")
    assert [Path(image).name for image in cleaned.frame["image"]] == [
        "c1.png", "c2.png", "mirrored.jpg", "c3.png", "c4.png",
    ]  # fmt: skip
    assert all(cleaned.file(image).is_file() for image in cleaned.frame["image"])
    assert cleaned.file(cleaned.frame["lung_mask"].dropna().iloc[0]).is_file()
    # q0 shares an image with p0, whose line comes first; his other image follows him.
    assert result["merged_patients"] == {"q0": "p0"}
    assert cleaned.frame["patient_id"].tolist() == ["p1", "p2", "p0", "p0", "p4"]
    assert cleaned.frame["duplicate_lines"].fillna("").tolist() == ["6", "", "2", "", "9"]
    assert cleaned.problems() == [] and result["cleaned"]["rows"] == 5
    split = split_by_patient(cleaned.frame, {"train": 0.5, "test": 0.5}, seed=0)
    assert split.groupby("patient_id")["split"].nunique().max() == 1


def test_problems_and_unreadable_files_are_listed(audited):
    result, out = audited
    assert [(problem["row"], problem["column"]) for problem in result["problems"]] == [(6, "patient_id"), (9, "image")]
    assert [row["line"] for row in result["unreadable"]] == [10]
    text = (out / "REPORT.md").read_text(encoding="utf-8")
    assert "line 9, image `images/c4.png`: is already on line 8" in text and "line 10: cannot be read" in text
    assert "across splits" in text and "q0 into p0" in text and "sheets/page01.png" in text


def test_files_agree_with_the_result(audited):
    result, out = audited
    assert json.loads((out / "audit.json").read_text(encoding="utf-8")) == result
    rows = list(csv.DictReader((out / "duplicates.csv").open(encoding="utf-8")))
    assert [(row["cluster"], row["line"], row["kept"]) for row in rows] == [
        ("1", "5", "True"), ("1", "2", "False"), ("2", "3", "True"), ("2", "6", "False"), ("3", "8", "True"),
        ("3", "9", "False"),
    ]  # fmt: skip
    page = cv2.imread(str(out / "sheets/page01.png"))
    assert page is not None and page.std() > 20


def test_a_cleaned_table_beside_the_old_one_keeps_its_paths(table, tmp_path):
    beside = table.parent / "cleaned.csv"
    audit(table, tmp_path, cleaned=beside, repeats=0)
    assert Manifest.read(beside).frame["image"].tolist()[0] == "images/c1.png"
    with pytest.raises(ManifestError, match="would overwrite"):
        audit(table, tmp_path, cleaned=table)


def test_patients_who_share_images_in_a_chain_become_one(tmp_path):
    manifest = _plain(tmp_path, ["p3", "p1", "p2", "p1", "p4", "p4"])
    groups = [_group(manifest, 2, 3), _group(manifest, 4, 0), _group(manifest, 1, 5)]
    # p2 = p1, p4 = p3, p1 = p4: all are p3, the first in the table.
    assert merge_patients(manifest, groups) == {"p1": "p3", "p2": "p3", "p4": "p3"}
    assert merge_patients(manifest, [_group(manifest, 4, 5)]) == {}


def test_harmful_clusters_come_first(tmp_path):
    manifest = _plain(tmp_path, ["p1", "p1", "p2", "p3", "p4", "p4"], splits=["train"] * 5 + ["test"])
    found = Found((Pair(0, 1), Pair(2, 3), Pair(4, 5)), (), 3, {}, {i: (10, 10) for i in range(6)})
    assert [group["straddles"] for group in describe(manifest, found)] == [["split"], ["patient_id"], []]


def test_the_command_runs_and_says_what_it_found(table, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_audit(parser.add_subparsers())
    arguments = parser.parse_args(["audit", str(table), "--out", str(tmp_path / "out"), "--bootstrap", "0"])
    assert arguments.run(arguments) == 0
    said = capsys.readouterr().out
    assert "3 clusters of duplicates; across splits 1, labels 1, patients 1, sources 2" in said
    assert "images/mirrored.jpg = images/c0.png" in said and "REPORT.md" in said


def test_a_table_without_images_is_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("image,patient_id,label,split\n,p1,normal,train\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="names no image"):
        audit(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_leftovers_of_the_shared_set_are_found(shared_data, tmp_path):
    wrong = dict.fromkeys(("nih_00017999_000.jpg", "nih_00017625_000.jpg"), "inverted")
    wrong["nih_00003490_011.jpg"] = "upside_down"
    wanted = (
        "armiro_423.jpg", "cohen_1-s2.0-S1684118220300608-main.pdf-002.jpg", "armiro_892.jpg", "armiro_896.jpg",
        "nih_00002658_001.jpg", "nih_00002658_002.jpg", "nih_00001389_001.jpg", "nih_00001389_003.jpg",
    )  # fmt: skip
    manifest = Manifest.read(shared_data)
    rows = manifest.frame[[Path(image).name in (*wanted, *wrong) for image in manifest.frame["image"]]].copy()
    rows["image"] = [str(shared_data / image) for image in rows["image"]]
    rows[["image", "patient_id", "label", "split", "source"]].to_csv(tmp_path / "manifest.csv", index=False)
    result = audit(tmp_path / "manifest.csv", tmp_path / "out", repeats=0, gate=_gate("frontal-gate"))
    groups = [{Path(image["image"]).name for image in group["images"]} for group in result["clusters"]]
    # The two of nih_00001389 are follow-ups of one patient, no copies.
    assert sorted(map(sorted, groups)) == sorted(sorted(wanted[2 * i : 2 * i + 2]) for i in range(3))
    (pair,) = result["two_labels"]
    assert {Path(image).name for image in pair["images"]} == set(wanted[4:6])
    assert set(pair["labels"]) == {"other", "normal"}
    assert {Path(one["image"]).name: one["shows"] for one in result["refused"]} == wrong
    text = (tmp_path / "out" / "REPORT.md").read_text(encoding="utf-8")
    assert "| upside_down | the image is upside down" in text and "one file, two labels" in text


def _plain(folder, patients, splits=None):
    path = folder / "manifest.csv"
    rows = [f"i{i}.png,{patient},normal,{(splits or ['train'] * 9)[i]}" for i, patient in enumerate(patients)]
    path.write_text("\n".join(["image,patient_id,label,split", *rows]) + "\n", encoding="utf-8")
    return Manifest.read(path)


def _group(manifest, *rows):
    return {"images": [{"patient_id": manifest.frame["patient_id"][row]} for row in rows]}
