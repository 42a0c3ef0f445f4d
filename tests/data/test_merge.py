"""`covidcx data merge`: paths, patients, repeated images, boxes."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from covidcx.cli import main
from covidcx.data.manifest import Manifest, box_problems, read_boxes
from covidcx.data.merge import merge
from covidcx.data.phantom import write_phantom
from covidcx.data.prepare import prepare
from covidcx.errors import ManifestError

sys.path.append(str(Path(__file__).parent / "sources"))
from conformance import write_csv, write_png, write_tree

HEADER = ["image", "patient_id", "label", "split", "source", "source_id", "width", "height", "sex", "mood"]


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a manifest with its images in a folder of its own."""

    def table(folder, *rows, boxes=()):
        for seed, row in enumerate(rows):
            if not (tmp_path / folder / row[0]).exists():
                write_png(tmp_path / folder / row[0], seed)
        write_csv(tmp_path / folder / "manifest.csv", HEADER, *rows)
        if boxes:
            columns = ["image", "x", "y", "width", "height", "finding", "reader"]
            write_csv(tmp_path / folder / "boxes.csv", columns, *boxes)
        return tmp_path / folder / "manifest.csv"

    return table


def test_prepared_tables_merge_without_problems(tmp_path, capsys):
    for name in ("nih", "rsna", "siim", "kermany", "cohen"):
        write_tree(name, tmp_path / "data" / name)
        prepare(name, tmp_path / "data" / name, tmp_path / "tables" / f"{name}.csv")
    paths = [str(tmp_path / "tables" / f"{name}.csv") for name in ("nih", "rsna", "siim", "kermany", "cohen")]
    out = tmp_path / "data" / "all.csv"
    assert main(["data", "merge", *paths, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    merged = Manifest.read(out)
    assert merged.problems() == []
    assert len(merged) == sum(len(Manifest.read(path)) for path in paths)
    assert f"{len(merged)} images of" in shown
    assert not merged.frame["image"].str.startswith("/").any(), "the images lie below the new table's folder"
    boxes = read_boxes(out.with_name("all_boxes.csv"))
    assert set(boxes["reader"]) == {"nih", "rsna", "siim"}
    assert box_problems(boxes, merged) == []
    assert main(["data", "validate", str(out)]) == 0


def test_same_ids_of_unrelated_tables_are_kept_apart(table, tmp_path):
    first = table("a", ["1.png", "p1", "covid", "train", "mine", "x", "", "", "", ""])
    second = table(
        "b", ["1.png", "p1", "normal", "test", "yours", "x", "", "", "", ""],
        ["2.png", "p1", "normal", "test", "yours", "y", "", "", "", ""],
    )  # fmt: skip
    made = merge([first, second], tmp_path / "all.csv")
    assert made.manifest.frame["patient_id"].tolist() == ["p1", "b_p1", "b_p1"]
    assert made.manifest.frame["image"].tolist() == ["a/1.png", "b/1.png", "b/2.png"]
    assert made.renamed == 1
    assert made.problems == ()


def test_ids_of_an_adapter_or_of_one_source_stay_one_patient(table, tmp_path):
    first = table(
        "a", ["1.png", "cohen_3", "covid", "train", "cohen", "x", "", "", "", ""],
        ["2.png", "p1", "covid", "train", "mine", "u", "", "", "", ""],
    )  # fmt: skip
    second = table(
        "b", ["1.png", "cohen_3", "covid", "test", "covidx", "x2", "", "", "", ""],
        ["2.png", "p1", "covid", "train", "mine", "v", "", "", "", ""],
    )  # fmt: skip
    made = merge([first, second], tmp_path / "all.csv")
    assert made.manifest.frame["patient_id"].tolist() == ["cohen_3", "p1", "cohen_3", "p1"]
    assert made.renamed == 0
    assert [problem.column for problem in made.problems] == ["patient_id"], "a patient in two splits is told"


def test_repeated_images_are_kept_once_and_differences_told(table, tmp_path, capsys):
    first = table(
        "a", ["1.png", "p1", "covid", "train", "mine", "x", "40", "48", "", ""],
        ["2.png", "p2", "", "train", "mine", "y", "40", "48", "", "calm"],
        boxes=[["1.png", 1, 1, 5, 5, "opacity", "me"]],
    )  # fmt: skip
    second = table(
        "b", ["1.png", "p1", "normal", "train", "mine", "x", "20", "24", "F", ""],
        boxes=[["1.png", 0, 0, 20, 24, "opacity", "me"]],
    )  # fmt: skip
    third = tmp_path / "a" / "more.csv"
    write_csv(third, HEADER, ["./2.png", "p2", "cap", "train", "mine", "", "", "", "", "glad"])
    write_csv(tmp_path / "a" / "more_boxes.csv", ["image", "x", "y", "width", "height", "finding", "reader"],
              ["2.png", 2, 2, 6, 6, "opacity", "you"])  # fmt: skip
    out = tmp_path / "all.csv"
    assert main(["data", "merge", str(first), str(second), str(third), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    frame = Manifest.read(out).frame
    assert frame["image"].tolist() == ["a/1.png", "a/2.png"]
    assert frame["label"].tolist() == ["covid", "cap"], "the first table wins, its empty cells are filled"
    assert frame["sex"][0] == "F"
    assert frame["width"].tolist() == ["40", "40"], "a size belongs to its file"
    assert frame["mood"][1] == "calm"
    conflicts = pd.read_csv(out.with_name("all_conflicts.csv"))
    assert conflicts[["image", "column", "kept", "other"]].to_numpy().tolist() == [
        ["a/1.png", "label", "covid", "normal"]
    ]  # fmt: skip
    boxes = read_boxes(out.with_name("all_boxes.csv"))
    assert boxes["image"].tolist() == ["a/1.png", "a/2.png"], "boxes of the file that was left out go with it"
    assert "2 images listed again, kept once" in shown
    assert "1 cells of these differ" in shown


def test_an_identifier_repeated_in_its_own_table_joins_nothing(table, tmp_path):
    first = table(
        "a", ["1.png", "p1", "covid", "train", "mine", "x", "", "", "", ""],
        ["2.png", "p2", "covid", "train", "mine", "x", "", "", "", ""],
    )  # fmt: skip
    second = table("b", ["3.png", "p3", "normal", "train", "mine", "x", "", "", "", ""])
    assert len(merge([first, second], tmp_path / "all.csv").manifest) == 3


def test_phantoms_of_two_seeds_are_different_patients(tmp_path):
    made = [write_phantom(tmp_path / name, 4, "png", 128, seed) for seed, name in enumerate("ab")]
    count = sum(len(Manifest.read(path)) for path in made)
    merged = merge(made, tmp_path / "all.csv")
    assert len(merged.manifest) == count
    assert merged.manifest.frame["patient_id"].nunique() == 8
    assert merged.problems == ()
    assert merged.manifest.frame["lung_mask"].str.startswith(("a/", "b/")).all()
    # Two tables beside each other, in one folder, are of one phantom.
    rows = made[0].read_text().splitlines(keepends=True)
    for name, part in (("one.csv", rows[1:3]), ("two.csv", rows[2:])):
        (tmp_path / "a" / name).write_text("".join([rows[0], *part]))
    merged = merge([tmp_path / "a" / "one.csv", tmp_path / "a" / "two.csv"], tmp_path / "again.csv")
    assert len(merged.manifest) == len(rows) - 1
    assert (merged.repeated, merged.renamed, len(merged.conflicts)) == (1, 0, 0)


def test_merge_refuses_what_makes_no_sense(table, tmp_path, capsys):
    first = table("a", ["1.png", "p1", "covid", "train", "mine", "x", "", "", "", ""])
    second = table("b", ["1.png", "p1", "covid", "train", "yours", "x", "", "", "", ""])
    out = tmp_path / "all.csv"
    for tables in ([first], [first, first], [first, second.parent, second]):
        with pytest.raises(ManifestError, match="give two or more tables, each of them once"):
            merge(tables, out)
    with pytest.raises(ManifestError, match="is one of the tables to merge"):
        merge([first, second], first)
    (tmp_path / "bad.csv").write_text("image,patient,label,split\n")
    assert main(["data", "merge", str(first), str(tmp_path / "bad.csv"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "'patient_id' (is it 'patient'?" in error
    assert error.count("\n") == 1
    assert main(["data", "merge", str(first), str(tmp_path / "none.csv"), "--out", str(out)]) == 2
    assert not out.exists()
