"""`covidcx data clean`: cleaned pictures, a sheet to look at, a table, and a bad file that ends nothing."""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcx.commands.clean import add_clean
from covidcx.edge.clean import clean_files
from covidcx.errors import BundleError, CovidcxError
from covidcx.imaging import read

SHIPPED = Path(__file__).resolve().parents[1] / "saved_models"


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_clean(parser.add_subparsers())
    parsed = parser.parse_args(["clean", *arguments])
    return parsed.run(parsed)


def _marked(path: Path, bits: int = 8, words: str = "R 12.03.2020") -> np.ndarray:
    """Write a smooth picture with a line of white text at the top, and return it without the text."""
    side = 300
    rows = np.arange(side, dtype=np.float32)[:, None].repeat(side, axis=1)
    plain = np.round((0.25 + 0.3 * rows / side) * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
    layer = np.zeros((side, side), np.uint8)
    cv2.putText(layer, words, (20, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2, cv2.LINE_AA)
    image = plain + (layer / 255 * (2**bits - 1 - plain.astype(np.float64))).astype(plain.dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return plain


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_text_is_gone_the_rest_is_untouched_and_the_depth_is_kept(tmp_path, bits):
    plain = _marked(tmp_path / "in" / "chest.png", bits)
    summary = clean_files([tmp_path / "in"], tmp_path / "out", segmenter=None)
    before = cv2.imread(str(tmp_path / "in" / "chest.png"), cv2.IMREAD_UNCHANGED)
    after = cv2.imread(str(tmp_path / "out" / "images" / "chest.png"), cv2.IMREAD_UNCHANGED)
    assert after.dtype == plain.dtype and summary.cleaned[0].bits == bits
    white = 2**bits - 1
    assert np.abs(after.astype(int) - plain).max() < 0.06 * white
    np.testing.assert_array_equal(after[40:], before[40:])


def test_a_bad_file_is_recorded_and_the_rest_goes_on(tmp_path, capsys):
    _marked(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:300])
    _marked(tmp_path / "in" / "deep" / "c.png")
    assert _run(str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--segmenter", "none") == 0
    rows = {row["source"]: row for row in _table(tmp_path / "out" / "summary.csv")}
    assert {source: row["status"] for source, row in rows.items()} == {
        "a.png": "ok", "b.png": "error", "deep/c.png": "ok",
    }  # fmt: skip
    assert "truncated" in rows["b.png"]["reason"] and rows["b.png"]["image"] == ""
    assert (tmp_path / "out" / rows["deep/c.png"]["image"]).is_file()
    text = capsys.readouterr().out
    assert "3 files: 2 written, 2 of them changed, 1 left out" in text and "left out: b.png" in text


def test_the_sheet_shows_before_after_and_mask(tmp_path):
    _marked(tmp_path / "chest.png")
    sheet = clean_files([tmp_path / "chest.png"], tmp_path / "out", segmenter=None).sheets[0]
    before, after, mask = (cv2.imread(str(sheet))[:30, left : left + 256] for left in (0, 262, 524))
    red = (mask[..., 2] > 200) & (mask[..., 1] < 100)
    assert red.sum() > 200
    assert before[red].mean() > after[red].mean() + 40
    np.testing.assert_array_equal(before[~cv2.dilate(red * np.uint8(1), np.ones((5, 5))).astype(bool)],
                                  after[~cv2.dilate(red * np.uint8(1), np.ones((5, 5))).astype(bool)])  # fmt: skip


def test_shares_inside_and_outside_the_lungs_come_from_the_segmenter(tmp_path):
    from covidcx.data.phantom import phantom

    made = phantom("normal", seed=3, size=320)
    image = np.round(made.pixels * 255).astype(np.uint8)
    cv2.putText(image, "12.03.2020", (20, 310), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2, cv2.LINE_AA)
    assert cv2.imwrite(str(tmp_path / "phantom.png"), image)
    clean_files([tmp_path / "phantom.png"], tmp_path / "out", SHIPPED / "lung-unet")
    row = _table(tmp_path / "out" / "summary.csv")[0]
    assert float(row["changed_outside_lungs"]) > 0.005 > float(row["changed_inside_lungs"])
    assert float(row["changed_inside_lungs"]) <= float(row["changed"]) <= float(row["changed_outside_lungs"])


def test_cleaned_files_can_be_read_again_and_cleaning_them_again_changes_little(tmp_path):
    _marked(tmp_path / "chest.png")
    clean_files([tmp_path / "chest.png"], tmp_path / "once", segmenter=None)
    once = tmp_path / "once" / "images" / "chest.png"
    assert read(once).pixels.shape == (300, 300)
    assert clean_files([once], tmp_path / "twice", segmenter=None).cleaned[0].changed < 0.005


def test_files_of_one_name_and_several_kinds_keep_apart(tmp_path):
    _marked(tmp_path / "in" / "a.png")
    _marked(tmp_path / "in" / "a.jpg")
    _marked(tmp_path / "in" / "a.jpg.png")
    names = [entry.image for entry in clean_files([tmp_path / "in"], tmp_path / "out", segmenter=None).cleaned]
    assert len(set(names)) == 3 and all((tmp_path / "out" / name).is_file() for name in names)


def test_many_files_make_several_sheets_and_old_sheets_go(tmp_path):
    for number in range(17):
        _marked(tmp_path / "in" / f"{number:02d}.png")
    assert len(clean_files([tmp_path / "in"], tmp_path / "out", segmenter=None).sheets) == 2
    assert len(clean_files([tmp_path / "in" / "00.png"], tmp_path / "out", segmenter=None).sheets) == 1
    assert [path.name for path in sorted((tmp_path / "out").glob("sheet_*"))] == ["sheet_001.png"]


def test_nothing_but_bad_files_is_a_failure(tmp_path, capsys):
    (tmp_path / "notes.png").write_text("This is no image.")
    assert _run(str(tmp_path / "notes.png"), "--out", str(tmp_path / "out"), "--segmenter", "none") == 2
    assert "no file could be cleaned" in capsys.readouterr().err
    assert (tmp_path / "out" / "summary.csv").is_file()


def test_mistakes_are_told_before_anything_is_written(tmp_path):
    _marked(tmp_path / "chest.png")
    with pytest.raises(CovidcxError, match="no such file or folder"):
        clean_files([tmp_path / "nowhere"], tmp_path / "out", None)
    with pytest.raises(CovidcxError, match="is a file"):
        clean_files([tmp_path / "chest.png"], tmp_path / "chest.png", None)
    with pytest.raises(BundleError, match="lung segmenter"):
        clean_files([tmp_path / "chest.png"], tmp_path / "out", SHIPPED / "covid-cxnet")
    assert not (tmp_path / "out").exists()
