"""The manifest: what it reads, what it refuses, and the matrices it hands to training."""

from pathlib import Path

import numpy as np
import pytest

from covidcx.data.manifest import COLUMNS, Manifest, box_problems, read_boxes
from covidcx.errors import ManifestError

HEADER = "image,patient_id,label,split,view,age,sex,lung_mask,width,height"


@pytest.fixture
def write(tmp_path):
    def write(*rows: str, header: str = HEADER) -> Path:
        for name in "abcdef":
            (tmp_path / f"{name}.png").touch()
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def test_reads_text_columns_and_fills_optional_ones(write):
    manifest = Manifest.read(write("a.png,007,normal,train,PA,68.0,M,,512,417", "b.png,p2,,,,,, ,,"))
    assert manifest.frame["patient_id"].tolist() == ["007", "p2"]
    assert manifest.frame.loc[1, ["label", "split", "view", "age", "lung_mask"]].isna().all()
    assert set(COLUMNS) <= set(manifest.frame.columns)
    assert manifest.frame["disease_mask"].isna().all()
    assert manifest.problems() == []
    manifest.check()
    assert manifest.file(manifest.frame["image"][0]).is_file()


def test_folder_stands_for_its_manifest(write):
    path = write("a.png,p1,normal,train,,,,,,")
    assert Manifest.read(path.parent).path == path


def test_missing_column_is_named_with_the_near_one(write):
    path = write("a.png,p1,normal,train", header="image,patientid,label,split")
    with pytest.raises(ManifestError, match=r"'patient_id' \(is it 'patientid'\? rename it\)"):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the column"),
        (b"image,patient_id,label,split\na,b,c\n", "line 2 does not have 4 fields"),
        (b"image,patient_id,label,split,label\n", "two columns named 'label'"),
        (b"image,patient_id,label,split\n\xff\xfe,b,c,d\n", "UTF-8"),
        (None, "cannot read the table"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "manifest.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        ("gone.png,p1,normal,train,,,,,,", "image", "gone.png", "no such file"),
        ("b.png,p1,normal,train,,,,gone.png,,", "lung_mask", "gone.png", "no such file"),
        ("b.png,p1,covd,train,,,,,,", "label", "covd", "Did you mean 'covid'"),
        ("b.png,p1,covid,trian,,,,,,", "split", "trian", "Did you mean 'train'"),
        ("b.png,p1,covid,train,frontal,,,,,", "view", "frontal", "PA"),
        ("b.png,p1,covid,train,,old,,,,", "age", "old", "0 to 120"),
        ("b.png,p1,covid,train,,-1,,,,", "age", "-1", "0 to 120"),
        ("b.png,p1,covid,train,,411,,,,", "age", "411", "0 to 120"),
        ("b.png,p1,covid,train,,nan,,,,", "age", "nan", "0 to 120"),
        ("b.png,p1,covid,train,,,female,,,", "sex", "female", "F, M"),
        ("b.png,p1,covid,train,,,,,0,9", "width", "0", "positive"),
        ("b.png,,covid,train,,,,,,", "patient_id", "", "empty"),
        (",p1,covid,train,,,,,,", "image", "", "empty"),
        ("./a.png,p0,covid,train,,,,,,", "image", "./a.png", "already on line 2"),
    ],
)
def test_each_problem_is_listed_with_its_line(write, row, column, value, message):
    manifest = Manifest.read(write("a.png,p0,normal,train,,,,,,", row))
    (problem,) = manifest.problems()
    assert (problem.row, problem.column, problem.value) == (3, column, value)
    assert message in problem.message
    with pytest.raises(ManifestError, match="1 problem: line 3"):
        manifest.check()


def test_lines_are_those_of_the_file_despite_blank_lines_and_line_breaks(write):
    path = write(
        'a.png,p1,normal,train,"two\nlines"', "", "b.png,p2,covd,train,", header="image,patient_id,label,split,findings"
    )
    (problem,) = Manifest.read(path).problems()
    assert problem.row == 5


def test_patient_in_two_splits_is_found_with_all_lines(write):
    rows = ("a.png,p1,,train,", "b.png,p2,,val,", "c.png,p1,,control,", "d.png,p1,,train,")
    (problem,) = Manifest.read(write(*(row + ",,,,," for row in rows))).problems()
    assert (problem.row, problem.value) == (4, "p1")
    assert "train (line 2, 5)" in problem.message
    assert "control (line 4)" in problem.message


def test_check_counts_all_problems_and_says_how_to_see_them(write):
    path = write(*[f"x{i}.png,p{i},covd,train,,,,,," for i in range(6)])
    with pytest.raises(ManifestError, match=r"12 problems: line 2.*covidcx data validate") as caught:
        Manifest.read(path).check()
    assert "line 7" not in str(caught.value)


def test_subset_keeps_lines_and_refuses_unknown_names(write):
    rows = ("a.png,p1,normal,train", "b.png,p2,covid,test", "c.png,p3,cap,test", "d.png,p4,,test")
    manifest = Manifest.read(write(*(row + ",,,,,," for row in rows)))
    test = manifest.subset("test", labels=("covid", "cap"))
    assert test.frame["image"].tolist() == ["b.png", "c.png"]
    assert test.frame.index.tolist() == [0, 1]
    assert test.lines == (3, 4)
    assert len(manifest.subset(("train", "test"))) == 4
    assert len(manifest.subset("control")) == 0
    assert len(manifest.subset("control").label_matrix(("normal",))) == 0
    with pytest.raises(ManifestError, match="Did you mean 'test'"):
        manifest.subset("tset")
    with pytest.raises(ManifestError, match="Did you mean 'covid'"):
        manifest.subset(labels=["covd"])
    assert manifest.without_lines([3, 5]).frame["image"].tolist() == ["a.png", "c.png"]


def labelled(write, *labels: str) -> Manifest:
    rows = zip("abcdef", labels, strict=False)
    return Manifest.read(write(*(f"{name}.png,{name},{label},train,,,,,," for name, label in rows)))


def test_label_matrix_is_nan_where_nothing_is_known(write):
    manifest = labelled(write, "covid", "", "other", "normal")
    matrix = manifest.label_matrix(("normal", "cap", "covid"))
    nan = np.nan
    np.testing.assert_array_equal(matrix, np.float32([[0, 0, 1], [nan] * 3, [nan] * 3, [1, 0, 0]]))
    assert matrix.dtype == np.float32


def test_allowed_matrix_says_what_is_known_and_no_more(write):
    manifest = labelled(write, "covid", "", "other", "typical")
    labels = ("normal", "cap", "covid")
    matrix = manifest.allowed_matrix(labels, {"other": ("normal", "cap")})
    np.testing.assert_array_equal(matrix, np.float32([[0, 0, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]))
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(manifest.allowed_matrix(labels)[2], 1)
    with pytest.raises(ManifestError, match="Did you mean 'normal'"):
        manifest.allowed_matrix(labels, {"other": ("norml",)})


def test_boxes_outside_their_image_are_reported(write, tmp_path):
    manifest = Manifest.read(write("a.png,p1,cap,train,,,,,100,80", "b.png,p2,cap,train,,,,,,"))
    path = tmp_path / "boxes.csv"
    path.write_text(
        "image,x,y,width,height,finding,reader\n"
        "a.png,10,10,90.4,70,Lung Opacity,rsna\n"
        "a.png,10,10,95,70,Lung Opacity,rsna\n"
        "a.png,-3,10,5,70,Lung Opacity,rsna\n"
        "a.png,10,10,0,70,Lung Opacity,rsna\n"
        "b.png,10,10,999,999,Lung Opacity,rsna\n"
        "z.png,10,10,5,5,Lung Opacity,rsna\n"
    )
    boxes = read_boxes(path)
    assert boxes["width"].dtype == np.float64
    found = [(problem.row, problem.column) for problem in box_problems(boxes, manifest)]
    assert found == [(3, "x"), (4, "x"), (5, "width"), (7, "image")]


def test_box_without_numbers_is_refused(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("image,x,y,width,height,finding,reader\na.png,left,10,5,5,Mass,nih\n")
    with pytest.raises(ManifestError, match="x is no number on line 2, received 'left'"):
        read_boxes(path)


def test_shared_manifest_has_only_the_problems_known_of_it(shared_data):
    """Four rows name one file and four patients sit in two splits; anything else would be a fault of the reader."""
    manifest = Manifest.read(shared_data)
    found = [(problem.row, problem.column, problem.value) for problem in manifest.problems()]
    name = "images/cohen_post-intubuation-pneumomediastium-and-pneumothorax-backgroun.jpg"
    assert found == [
        (168, "patient_id", "p2581"),
        (443, "patient_id", "p2079"),
        (690, "image", name),
        (691, "image", name),
        (692, "image", name),
        (1609, "patient_id", "p0267"),
        (1845, "patient_id", "p0535"),
    ]
    assert len(manifest) == 2800


def test_shared_boxes_fit_their_images(shared_data):
    boxes = read_boxes(shared_data)
    assert len(boxes) == 179
    assert box_problems(boxes, Manifest.read(shared_data)) == []
