"""`covidcx data prepare` and `covidcx data tables`: what is written, and one line for what is wrong."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcx.cli import main
from covidcx.data.dataset_tables import as_rows, tables
from covidcx.data.manifest import Manifest, box_problems, read_boxes
from covidcx.data.prepare import prepare
from covidcx.errors import ManifestError

sys.path.append(str(Path(__file__).parent / "sources"))
from conformance import write_tree


def one_line(capsys, *words):
    error = capsys.readouterr().err
    assert error.startswith("covidcx: error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    return error


def test_prepare_writes_manifest_boxes_and_what_was_left_out(tmp_path, capsys):
    write_tree("nih", tmp_path / "NIH")
    out = tmp_path / "tables" / "nih.csv"
    assert main(["data", "prepare", "nih", str(tmp_path / "NIH"), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    manifest = Manifest.read(out)
    assert manifest.problems() == []
    assert manifest.frame["width"].tolist() == ["32"] * 3
    boxes = read_boxes(out.with_name("nih_boxes.csv"))
    assert box_problems(boxes, manifest) == []
    skipped = pd.read_csv(out.with_name("nih_skipped.csv"))
    assert skipped.to_numpy().tolist() == [["00000003_000.png", "listed, but there is no such file"]]
    for line in (
        "label: other 1, cap 1, normal 1", "view: PA 2, AP 1", "split: train 2, test 1",
        "left out: 1 listed, but there is no such file", "licence: free use with citation", "3 images of 2 patients",
    ):  # fmt: skip
        assert line in shown
    assert main(["data", "validate", str(out)]) == 0


def test_prepared_paths_are_relative_inside_the_tables_folder(tmp_path):
    write_tree("hannover", tmp_path / "data" / "hannover")
    inside = prepare("hannover", tmp_path / "data" / "hannover", tmp_path / "data")
    assert inside.manifest.path == tmp_path / "data" / "manifest.csv"
    assert inside.manifest.frame["image"][0] == "hannover/png/fff13f3a.png"
    assert inside.boxes is None
    assert inside.skipped == tmp_path / "data" / "skipped.csv"
    outside = prepare("hannover", tmp_path / "data" / "hannover", tmp_path / "elsewhere" / "h.csv")
    assert Path(outside.manifest.frame["image"][0]).is_absolute()
    assert outside.manifest.problems() == []
    (tmp_path / "moved").mkdir()
    (tmp_path / "data").rename(tmp_path / "moved" / "data")
    assert Manifest.read(tmp_path / "moved" / "data").problems() == []


def test_an_earlier_runs_boxes_do_not_stay(tmp_path):
    write_tree("nih", tmp_path / "nih")
    assert prepare("nih", tmp_path / "nih", tmp_path / "t.csv").boxes.is_file()
    (tmp_path / "nih" / "BBox_List_2017.csv").unlink()
    assert prepare("nih", tmp_path / "nih", tmp_path / "t.csv").boxes is None
    assert not (tmp_path / "t_boxes.csv").exists()


def test_prepare_leaves_out_damaged_images_and_boxes_that_do_not_fit(tmp_path):
    write_tree("rsna", tmp_path / "rsna")
    labels = tmp_path / "rsna" / "stage_2_train_labels.csv"
    labels.write_text(labels.read_text().replace("22.0,4.0", "38.0,4.0"))
    made = prepare("rsna", tmp_path / "rsna", tmp_path / "rsna.csv")
    assert len(read_boxes(made.boxes)) == 1
    assert made.reasons["with a box that does not fit; the box is left out"] == 1
    write_tree("hannover", tmp_path / "hannover")
    (tmp_path / "hannover" / "png" / "fff13f3a.png").write_bytes(b"\x89PNG\r\n")
    made = prepare("hannover", tmp_path / "hannover", tmp_path / "h.csv")
    assert len(made.manifest) == 2
    assert made.reasons["that cannot be read"] == 1


def test_prepare_takes_all_views_and_options(tmp_path, capsys):
    write_tree("chexpert", tmp_path / "c")
    out = tmp_path / "c.csv"
    command = ["data", "prepare", "chexpert", str(tmp_path / "c"), "--out", str(out)]
    assert main([*command, "--all-views", "--set", "uncertain=ones"]) == 0
    frame = Manifest.read(out).frame
    assert frame["view"].tolist().count("LL") == 1
    assert frame["label"].tolist().count("cap") == 3
    capsys.readouterr()
    assert main([*command, "--set", "uncertain=perhaps"]) == 2
    one_line(capsys, "'perhaps'", "Known: ignore, ones, zeros")
    assert main([*command, "--set", "uncertan=ones"]) == 2
    one_line(capsys, "Did you mean 'uncertain'")
    assert main([*command, "--set", "uncertain"]) == 2
    one_line(capsys, "name=value")


def test_prepare_tells_mistakes_in_one_line(tmp_path, capsys):
    out = str(tmp_path / "o.csv")
    assert main(["data", "prepare", "nhi", str(tmp_path), "--out", out]) == 2
    one_line(capsys, "unknown data source 'nhi'", "Did you mean 'nih'")
    (tmp_path / "empty").mkdir()
    assert main(["data", "prepare", "siim", str(tmp_path / "empty"), "--out", out]) == 2
    one_line(capsys, "train_study_level.csv", "train/STUDY/SERIES/IMAGE.dcm", "Found: nothing")
    write_tree("cohen", tmp_path / "cohen")
    table = tmp_path / "cohen" / "metadata.csv"
    table.write_text(table.read_text().replace("finding", "findings", 1))
    assert main(["data", "prepare", "cohen", str(tmp_path / "cohen"), "--out", out]) == 2
    one_line(capsys, "lacks the column 'finding' (is it 'findings'?)")
    assert main(["data", "prepare", "cohen", str(tmp_path / "cohen"), "--out", str(tmp_path / "o.txt")]) == 2
    one_line(capsys, "ends in .csv")
    assert not Path(out).exists()


def test_prepare_never_overwrites_the_data_sets_own_table(tmp_path, capsys):
    write_tree("hannover", tmp_path)
    before = (tmp_path / "data.csv").read_bytes()
    assert main(["data", "prepare", "hannover", str(tmp_path), "--out", str(tmp_path / "data.csv")]) == 2
    one_line(capsys, "is a table of the data set")
    assert (tmp_path / "data.csv").read_bytes() == before
    assert main(["data", "prepare", "hannover", str(tmp_path), "--out", str(tmp_path / "manifest.csv")]) == 0
    assert main(["data", "prepare", "manifest", str(tmp_path), "--out", str(tmp_path / "manifest.csv")]) == 2


def test_validate_has_no_alias(capsys):
    with pytest.raises(SystemExit):
        main(["data", "validate", "--help"])
    assert "usage: covidcx data validate" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    assert "validate (audit)" not in capsys.readouterr().out


@pytest.fixture
def studies(tmp_path):
    rows = [
        "a.png,p1,normal,train,nih,PA,l.png,", "b.png,p1,normal,train,nih,AP,,", "c.png,p2,cap,test,nih,PA,,",
        "d.png,p3,covid,test,cohen,AP,l.png,d.png", "e.png,p4,other,,chexpert,AP,,", "f.png,p5,,,chexpert,AP,,",
        "g.png,p6,covid,train,mine,,,",
    ]  # fmt: skip
    path = tmp_path / "manifest.csv"
    header = "image,patient_id,label,split,source,view,lung_mask,disease_mask"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_general_tables_count_images_and_patients(studies):
    by_label, _, by_split, _ = (table.frame for table in tables(Manifest.read(studies)))
    nih = by_label.set_index("source").loc["nih"]
    assert nih[["normal", "cap", "covid", "patients", "images"]].tolist() == [2, 1, 0, 2, 3]
    assert by_label.set_index("source").loc["total", ["covid", "other", "(none)", "patients", "images"]].tolist() == [
        2, 1, 1, 6, 7
    ]  # fmt: skip
    assert by_split["split"].tolist() == ["train", "test", "(none)", "total"]


def test_comit_net_tables_count_as_the_paper(studies):
    first, second, _, third = (table.frame for table in tables(Manifest.read(studies), "comit-net"))
    cells = first.set_index(["database", "class", "view"])["images"].to_dict()
    assert cells[("nih", "Healthy", "PA")] == cells[("nih", "Healthy", "AP")] == cells[("nih", "Unhealthy", "PA")] == 1
    assert cells[("chexpert", "Unhealthy", "AP")] == 1, "an image without a label is neither healthy nor unhealthy"
    assert first["published"].sum() == 13360 + 18078
    assert second.set_index("source").loc["mine", ["AP", "PA", "no view", "images"]].tolist() == [0, 0, 1, 1]
    assert second.iloc[-1].tolist() == ["total", 1, 0, 1, 2, 2513]
    third = third.set_index("split")
    assert third.loc["train"].tolist() == [1, 0, 2, 1, 0, 1, 1]
    assert third.loc["test"].tolist() == [1, 1, 0, 1, 1, 1, 1]
    assert third.loc["(none)"].tolist() == [0, 0, 0, 0, 1, 0, 2]
    assert third.loc["total"].tolist() == [2, 1, 2, 2, 2, 2, 4]
    # Table 3 of the paper adds train and test up itself.
    assert (third.loc["train (published)"] + third.loc["test (published)"]).tolist() == [
        10567, 1707, 10250, 3963, 20648, 12625, 20658
    ]  # fmt: skip


def test_tables_command_prints_and_writes(studies, tmp_path, capsys):
    out = tmp_path / "counts.csv"
    assert main(["data", "tables", str(studies), "--paper", "covid-cxnet", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "COVID-CXNet, section 3.1: images by class" in shown
    assert "<NA>" not in shown
    written = pd.read_csv(out)
    pd.testing.assert_frame_equal(written, as_rows(tables(Manifest.read(studies), "covid-cxnet")))
    cells = written.set_index(["table", "row", "column"])["images"]
    assert cells["COVID-CXNet, section 3.1: images by class", "covid", "published"] == 780
    assert cells["COVID-CXNet, section 3.1: images by source and class", "nih", "normal"] == 2
    assert main(["data", "tables", str(studies), "--paper", "comitnet"]) == 2
    one_line(capsys, "Did you mean 'comit-net'")
    assert main(["data", "tables", str(tmp_path / "no.csv")]) == 2
    one_line(capsys, "no.csv")
    studies.write_text("image,patient_id,label,split\n")
    with pytest.raises(ManifestError, match="no rows"):
        tables(Manifest.read(studies))


def test_tables_of_the_shared_data(shared_data):
    frame = tables(Manifest.read(shared_data), "covid-cxnet")[1].frame.set_index("source")
    assert frame.loc["total", ["normal", "cap", "covid"]].tolist() == [695, 921, 671]
    assert np.array_equal(frame.loc["nih", ["normal", "cap", "covid"]], [479, 423, 0])
