"""Every registered data source keeps the same promises; a new line in the registry is tested by itself."""

from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from conformance import read_csv, rename_column, tree_for, write_csv, write_tree

from covidcx.data import sources
from covidcx.data.manifest import BOX_COLUMNS, COLUMNS, LABELS, VIEWS, Manifest, box_problems
from covidcx.errors import ManifestError

MASK_COLUMNS = {"lung": "lung_mask", "disease": "disease_mask"}
WITH_TABLE = [name for name in sources.names() if tree_for(name).table]
WITH_LABELS = [name for name in sources.names() if tree_for(name).break_label]


@pytest.fixture(params=sources.names())
def name(request):
    return request.param


@pytest.fixture
def made(name, tmp_path):
    return write_tree(name, tmp_path / "source"), tmp_path / "source"


def snapshot(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_docstring_tells_citation_licence_place_and_tree(name):
    module = import_module(sources.SOURCES[name])
    for word in ("Citation:", "Licence:", "Where:", "Tree:"):
        assert f"\n{word}" in module.__doc__, f"{name}: the docstring lacks a line {word!r}"
    source = sources.info(name)
    assert source.name == name
    for text in (source.title, source.citation, source.licence, source.url, source.tree):
        assert text.strip()
    assert source.images is None or source.images > 0
    assert set(source.labels) <= set(LABELS)
    assert set(source.views) <= set(VIEWS)
    assert set(source.masks) <= {"lung", "disease", "boxes"}


def test_tree_reads_into_the_schema_without_problems(name, made, tmp_path):
    tree, folder = made
    before = snapshot(folder)
    reading = sources.read(name, folder, derived=tmp_path / "derived")
    manifest, frame = reading.manifest, reading.manifest.frame
    assert isinstance(manifest, Manifest)
    assert manifest.root == folder
    assert manifest.problems() == []
    assert len(frame) == tree.rows
    assert set(COLUMNS) <= set(frame.columns)
    assert frame[["image", "patient_id", "source"]].notna().all().all()
    assert (frame["source"] == name).all()
    # A data set made of others may name the patients of those, so that merged tables keep a patient together.
    assert frame["patient_id"].str.startswith(tuple(f"{known}_" for known in sources.names())).all()
    assert set(frame["label"].dropna()) <= set(sources.info(name).labels)
    assert frame["label"].notna().any()
    assert set(frame["view"].dropna()) <= {"PA", "AP"}
    cells = frame.to_numpy().ravel()
    assert all(isinstance(cell, str) or (isinstance(cell, float) and np.isnan(cell)) for cell in cells)
    assert snapshot(folder) == before, "an adapter must not write into the source's folder"


def test_masks_and_boxes_are_those_the_source_promises(name, made, tmp_path):
    _, folder = made
    reading = sources.read(name, folder, derived=tmp_path / "derived")
    promised = sources.info(name).masks
    for kind, column in MASK_COLUMNS.items():
        if kind not in promised:
            assert reading.manifest.frame[column].isna().all()
        elif name != "manifest":
            assert reading.manifest.frame[column].notna().any()
    assert (reading.boxes is not None) == ("boxes" in promised)
    if reading.boxes is not None:
        assert list(reading.boxes.columns) == list(BOX_COLUMNS)
        assert len(reading.boxes)
        assert box_problems(reading.boxes, reading.manifest) == []


def test_other_views_come_on_request(name, made, tmp_path):
    tree, folder = made
    reading = sources.read(name, folder, derived=tmp_path / "derived", all_views=True)
    assert len(reading.manifest) == tree.all_rows
    assert reading.manifest.problems() == []


def test_reading_twice_gives_the_same_table(name, made, tmp_path):
    _, folder = made
    first = sources.read(name, folder, derived=tmp_path / "derived")
    second = sources.read(name, folder, derived=tmp_path / "derived")
    pd.testing.assert_frame_equal(first.manifest.frame, second.manifest.frame)
    assert first.skipped == second.skipped


def test_an_image_that_is_not_there_is_skipped_and_named(name, made, tmp_path):
    tree, folder = made
    image = folder / tree.image
    image.unlink()
    reading = sources.read(name, folder, derived=tmp_path / "derived")
    assert len(reading.manifest) == tree.rows - 1
    assert tree.image not in set(reading.manifest.frame["image"])
    if tree.table:
        assert any(image.stem in skipped or skipped in tree.image for skipped, _ in reading.skipped), reading.skipped
    assert reading.manifest.problems() == []


def test_empty_and_missing_folders_are_refused_with_what_is_expected(name, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ManifestError, match=r"Expected there: .*Found: nothing"):
        sources.read(name, empty)
    with pytest.raises(ManifestError, match="is no folder"):
        sources.read(name, tmp_path / "nowhere")


def test_tables_without_their_images_are_refused(name, made):
    _, folder = made
    for path in snapshot(folder):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".dcm", ".dicom"):
            path.unlink()
    with pytest.raises(ManifestError, match="Expected there:"):
        sources.read(name, folder)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_every_missing_column_is_named_with_the_near_one(name, tmp_path):
    for column in tree_for(name).required:
        folder = tmp_path / f"without-{column.replace('/', '-')}"
        tree = write_tree(name, folder)
        rename_column(folder / tree.table, column, column + "x", tree.delimiter)
        with pytest.raises(ManifestError) as caught:
            sources.read(name, folder)
        assert repr(column) in str(caught.value)
        assert repr(column + "x") in str(caught.value)
        assert tree.table.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_a_table_without_rows_and_a_damaged_one_are_refused(name, tmp_path):
    tree = write_tree(name, tmp_path)
    table = tmp_path / tree.table
    write_csv(table, read_csv(table, tree.delimiter)[0], delimiter=tree.delimiter)
    with pytest.raises(ManifestError):
        sources.read(name, tmp_path)
    table.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\xff\xfe")
    with pytest.raises(ManifestError):
        sources.read(name, tmp_path)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_an_unknown_label_is_never_guessed(name, tmp_path):
    tree = write_tree(name, tmp_path)
    tree.break_label(tmp_path)
    reading = sources.read(name, tmp_path, derived=tmp_path.with_name("derived"))
    frame = reading.manifest.frame
    row = frame[frame["image"] == tree.image]
    if len(row):
        assert row["label"].isna().all(), row["label"].tolist()
    else:
        assert reading.skipped
    assert reading.manifest.problems() == []
