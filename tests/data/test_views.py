"""The table the gate learns from: labels that are true, and nothing that crosses splits."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcx.data import non_chests, views
from covidcx.data.manifest import VIEW_LABELS, Manifest
from covidcx.data.non_chests import LEG, folder_pictures, packaged_pictures, read_any
from covidcx.data.phantom.lateral import lateral
from covidcx.data.phantom.others import HELD_OUT, draw_other, families
from covidcx.data.views import write_views
from covidcx.errors import CovidcxError, ManifestError


def _chest(rng: np.random.Generator) -> np.ndarray:
    """A picture that tells which way is up: bright at the bottom left."""
    image = np.zeros((90, 120), np.uint8)
    image[50:85, 5:50] = 255
    return np.clip(image + rng.normal(20, 5, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, Manifest]:
    folder, rng = tmp_path_factory.mktemp("views"), np.random.default_rng(0)
    rows = []
    for number in range(24):
        cv2.imwrite(str(folder / f"{number}.png"), _chest(rng))
        split = ("train", "val", "test", "pediatric")[number // 2 % 4]
        rows.append([f"{number}.png", f"p{number // 2}", "normal", split, "here", "CC0"])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "patient_id", "label", "split", "source", "licence"], *rows])
    own = folder / "own"
    own.mkdir()
    for name in "abcdefgh":
        cv2.imwrite(str(own / f"{name}.png"), rng.integers(0, 255, (60, 80), np.uint8))
    (own / "notes.txt").write_text("no picture")
    path = write_views(folder / "manifest.csv", folder / "out", seed=3, others=own, drawn=0.01)
    return folder, Manifest.read(path)


def test_table_is_sound_and_has_every_label_in_every_split(written):
    _, table = written
    table.check()
    for split in ("train", "val", "test"):
        assert set(table.subset(split=split).frame["label"]) == set(VIEW_LABELS)


def test_no_patient_and_no_picture_crosses_splits(written):
    _, table = written
    assert (table.frame.groupby("patient_id")["split"].nunique() == 1).all()
    own = table.frame[table.frame["source"].str.startswith("here")]
    assert len(own["patient_id"].unique()) == 12 and set(own["licence"]) == {"CC0"}
    for patient, splits in own.groupby("patient_id")["split"]:
        assert set(splits) == {("train", "val", "test", "pediatric")[int(patient[1:]) % 4]}


def test_views_are_what_their_label_says(written):
    folder, table = written
    # Where the bright corner of the original (bottom left) must be, on a grid of top/bottom and left/right.
    corners = {"frontal": {(1, 0)}, "upside_down": {(0, 1)}, "sideways": {(1, 1), (0, 0)}}
    seen = set()
    for _, row in table.frame[table.frame["source"] == "here"].iterrows():
        if row["label"] not in corners or (row["label"] == "frontal" and row["source_id"] != "0"):
            continue
        image = cv2.imread(str(folder / "out" / row["image"]), cv2.IMREAD_GRAYSCALE)
        top, left = image.shape[0] // 2, image.shape[1] // 2
        means = {(i, j): image[i * top : (i + 1) * top, j * left : (j + 1) * left].mean()
                 for i in (0, 1) for j in (0, 1)}  # fmt: skip
        brightest = max(means, key=means.get)
        assert brightest in corners[row["label"]]
        assert (image.shape[0] > image.shape[1]) == (row["label"] == "sideways")
        seen.add((row["label"], brightest))
    assert seen == {(label, corner) for label, places in corners.items() for corner in places}


def test_inverted_views_are_the_negative(written):
    folder, table = written
    inverted = table.frame[(table.frame["source"] == "here") & (table.frame["label"] == "inverted")]
    assert len(inverted) > 3
    for image in inverted["image"]:
        assert cv2.imread(str(folder / "out" / image), cv2.IMREAD_GRAYSCALE).mean() > 150


def test_same_seed_writes_the_same_files(written, tmp_path):
    folder, table = written
    again = write_views(folder / "manifest.csv", tmp_path, seed=3, others=folder / "own", drawn=0.01)
    assert again.read_bytes() == table.path.read_bytes()
    for image in table.frame["image"][::7]:
        assert (tmp_path / image).read_bytes() == (folder / "out" / image).read_bytes()


def test_another_selection_of_rows_gives_an_image_the_same_views(written, tmp_path):
    folder, table = written
    lines = (folder / "manifest.csv").read_text().splitlines()
    (folder / "few.csv").write_text("\n".join([lines[0], lines[5], lines[6]]) + "\n")
    few = Manifest.read(write_views(folder / "few.csv", tmp_path, seed=3, drawn=0.01)).frame
    whole = table.frame[table.frame["patient_id"] == "p2"]
    assert few[few["patient_id"] == "p2"]["label"].tolist() == whole["label"].tolist()


def test_table_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "manifest.csv").write_text("image,patient_id,label,split\nabsent.png,p1,normal,train\n")
    with pytest.raises(ManifestError, match="none of the 1 images"):
        write_views(tmp_path / "manifest.csv", tmp_path / "out", drawn=0.01)


def test_test_pictures_are_of_files_and_kinds_that_training_never_sees(written):
    _, table = written
    sources = {split: set(table.subset(split=split).frame["source"]) for split in ("train", "val", "test")}
    assert {f"drawn-{kind}" for kind in HELD_OUT} <= sources["test"] - sources["train"] - sources["val"]
    real = {s for s in sources["train"] | sources["val"] if s.startswith(("photo", "dicom"))}
    assert not real & sources["test"]


def test_leg_is_for_testing_only():
    assert [
        split for _, _, _, names in non_chests._PICTURES for split, files in names.items() if f"{LEG}.dcm" in files
    ] == ["test"]
    assert not any("RG1" in name for _, _, _, names in non_chests._PICTURES for files in names.values()
                   for name in files), "RG1 is a chest"  # fmt: skip


def test_packaged_pictures_are_distinct_grey_images():
    pytest.importorskip("skimage")
    pictures = list(packaged_pictures())
    assert len(pictures) > 25 and len({p.source for p in pictures}) == len(pictures)
    for picture in pictures:
        assert picture.pixels.ndim == 2 and picture.pixels.dtype == np.float32
        assert picture.pixels.min() == 0 and picture.pixels.max() == pytest.approx(1)


def test_own_pictures_keep_their_split_and_what_is_no_picture_is_passed_over(written, caplog):
    folder, _ = written
    pictures = list(folder_pictures(folder / "own"))
    assert [p.source for p in pictures] == [f"own-{name}.png" for name in "abcdefgh"]
    (folder / "own" / "zzz.png").write_bytes((folder / "own" / "a.png").read_bytes())
    again = {p.source: p.split for p in folder_pictures(folder / "own")}
    assert all(again[p.source] == p.split for p in pictures)
    assert "notes.txt is left out" in caplog.text
    assert read_any(folder / "absent.png") is None


@pytest.mark.parametrize("family", families())
def test_drawn_pictures_are_images_that_their_seed_names(family):
    one, other = draw_other(family, 1, 64), draw_other(family, 2, 64)
    assert one.shape == (64, 64) and one.dtype == np.float32 and 0 <= one.min() <= one.max() <= 1
    assert np.array_equal(one, draw_other(family, 1, 64)) and not np.array_equal(one, other)


def test_varied_frontal_images_are_images_and_differ():
    rng = np.random.default_rng(0)
    pixels = _chest(rng).astype(np.float32) / 255
    changed = 0
    for seed in range(40):
        varied = views._varied(pixels, np.random.default_rng(seed))
        assert varied.dtype == np.float32 and 0 <= varied.min() <= varied.max() <= 1 and min(varied.shape) >= 60
        changed += varied.shape != pixels.shape or not np.array_equal(varied, pixels)
    assert changed > 35


def test_unknown_family_is_named():
    with pytest.raises(CovidcxError, match=r"'legs'.*Did you mean 'leg'"):
        draw_other("legs", 0)


def test_laterals_have_lung_before_the_spine_and_a_dense_belly():
    for seed in range(6):
        picture = lateral(seed, 96)
        assert picture.shape == (96, 96) and picture.dtype == np.float32 and 0 <= picture.min() <= picture.max() <= 1
        # The middle of the chest holds air; below the diaphragm there is none.
        assert np.median(picture[30:50, 35:60]) < np.median(picture[80:92, 35:60])
    assert np.array_equal(lateral(3, 96), lateral(3, 96))


def test_number_of_views_per_image_follows_the_share(written):
    _, table = written
    here = table.frame[table.frame["source"] == "here"]
    counts = here["label"].value_counts()
    frontal = here[here["label"] == "frontal"].groupby("split").size()
    # What is measured on stays as it is; what is learned from is varied as well.
    assert frontal["val"] == frontal["test"] == 6
    assert 12 < frontal["train"] + frontal["pediatric"] < 24
    for label in ("sideways", "upside_down", "inverted"):
        assert abs(counts[label] / 24 - views.SHARE) < 0.35
