"""The cache of prepared images: right pixels, prepared once, never half written."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcx import imaging
from covidcx.data import cache, store
from covidcx.data.cache import PreparedCache, masks_from, prepare_manifest, prepare_masks, read_mask, resize_mask
from covidcx.data.manifest import Manifest
from covidcx.errors import ImageError, ManifestError
from covidcx.imaging import LungROI, Preprocessing

SPEC = Preprocessing(size=(32, 32), channels=("original", "clahe"))
ROI = Preprocessing(size=(32, 32), channels=("original",), roi=LungROI(enhance="none"))


def make_image(folder: Path, name: str, seed: int) -> None:
    cv2.imwrite(str(folder / name), np.random.default_rng(seed).integers(0, 256, (90, 70)).astype(np.uint8))


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    rows = ["image,patient_id,label,split,lung_mask,disease_mask"]
    mask = np.zeros((90, 70), np.uint8)
    mask[20:70, 10:30] = mask[20:70, 40:60] = 255
    mask[40:44, 10:30] = 127
    disease = np.zeros((90, 70), np.uint8)
    disease[30:50, 12:28] = 128
    cv2.imwrite(str(tmp_path / "lung.png"), mask)
    cv2.imwrite(str(tmp_path / "disease.png"), disease)
    for i in range(7):
        make_image(tmp_path, f"{i}.png", i)
        masks = ("lung.png", "disease.png" if i == 2 else "") if i < 4 else ("", "")
        rows.append(f"{i}.png,p{i},normal,train,{','.join(masks)}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return Manifest.read(path)


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are decoded, in the order of decoding."""
    seen, read = [], imaging.read

    def counted(path):
        seen.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(cache.imaging, "read", counted)
    return seen


def test_cached_pixels_are_those_of_prepare(manifest, tmp_path):
    prepared = prepare_manifest(manifest, SPEC, tmp_path / "cache")
    assert prepared.images.shape == (7, 32, 32, 2)
    assert prepared.images.dtype == np.uint8
    assert isinstance(prepared.images, np.memmap)
    assert not prepared.images.flags.writeable
    assert prepared.lungs is None
    assert prepared.failures == ()
    for i, name in enumerate(prepared.rows["image"]):
        expected = imaging.prepare(imaging.read(manifest.file(name)).pixels, SPEC).image
        np.testing.assert_array_equal(prepared.images[i], expected)


def test_second_call_decodes_nothing_and_a_changed_file_alone(manifest, tmp_path, reads):
    first = prepare_manifest(manifest, SPEC, tmp_path / "cache")
    assert len(reads) == 7
    reads.clear()
    again = prepare_manifest(manifest, SPEC, tmp_path / "cache")
    np.testing.assert_array_equal(again.images, first.images)
    assert prepare_manifest(manifest.take(np.arange(7) > 2), SPEC, tmp_path / "cache").images.shape[0] == 4
    assert reads == []
    make_image(tmp_path, "3.png", 99)
    changed = prepare_manifest(manifest, SPEC, tmp_path / "cache")
    assert reads == ["3.png"]
    np.testing.assert_array_equal((changed.images != first.images).any(axis=(1, 2, 3)), np.arange(7) == 3)


def test_another_preprocessing_or_segmenter_is_prepared_anew(manifest, tmp_path, reads):
    folder = tmp_path / "cache"
    masked = manifest.take(manifest.frame["lung_mask"].notna().to_numpy())
    prepare_manifest(masked, SPEC, folder)
    prepare_manifest(masked, Preprocessing(size=(40, 40)), folder)
    prepare_manifest(masked, ROI, folder, masks_from(masked), key_extra="one")
    assert len(reads) == 12
    prepare_manifest(masked, ROI, folder, masks_from(masked), key_extra="two")
    assert len(reads) == 16
    prepare_manifest(masked, ROI, folder, masks_from(masked), key_extra="one")
    assert len(reads) == 16


def test_labels_come_from_the_manifest_and_not_from_the_cache(manifest, tmp_path):
    prepare_manifest(manifest, SPEC, tmp_path / "cache")
    manifest.frame["label"] = "covid"
    assert set(prepare_manifest(manifest, SPEC, tmp_path / "cache").rows["label"]) == {"covid"}


def test_bad_files_are_left_out_warned_about_and_tried_again(manifest, tmp_path, caplog):
    (tmp_path / "1.png").unlink()
    prepare_masks(manifest.take(np.arange(7) == 0), size=32, enhance="none")
    cv2.imwrite(str(tmp_path / "disease.png"), np.zeros((5, 5), np.uint8))
    for _ in range(2):
        caplog.clear()
        prepared = prepare_manifest(manifest, SPEC, tmp_path / "cache")
        assert prepared.rows["image"].tolist() == ["0.png", "3.png", "4.png", "5.png", "6.png"]
        assert len(prepared) == 5
        assert [name for name, _ in prepared.failures] == ["1.png", "2.png"]
        assert "image's size" in prepared.failures[1][1]
        assert "left out 1.png" in caplog.text
    np.testing.assert_array_equal(
        prepared.images[1], imaging.prepare(imaging.read(tmp_path / "3.png").pixels, SPEC).image
    )
    make_image(tmp_path, "1.png", 1)
    assert len(prepare_manifest(manifest, SPEC, tmp_path / "cache")) == 6


def test_failure_that_is_over_is_noticed_though_the_file_is_the_same(tmp_path):
    broken = {"yes": True}

    def work(i: int) -> dict[str, np.ndarray]:
        if i == 1 and broken["yes"]:
            raise ImageError("install the codec")
        return {"x": np.full(2, i, np.uint8)}

    def build():
        return store.build(tmp_path, "g", ["a", "b", "c"], ["A", "B", "C"], {"x": ((2,), np.uint8)}, work, "test")

    arrays, kept, failures = build()
    assert (arrays["x"][:, 0].tolist(), kept, failures) == ([0, 2], [0, 2], (("B", "install the codec"),))
    broken["yes"] = False
    arrays, kept, failures = build()
    assert (arrays["x"][:, 0].tolist(), kept, failures) == ([0, 1, 2], [0, 1, 2], ())


def test_nothing_to_prepare_is_an_error(manifest, tmp_path):
    with pytest.raises(ManifestError, match="no row to prepare"):
        prepare_manifest(manifest.subset("test"), SPEC, tmp_path / "cache")
    for name in manifest.frame["image"]:
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(ManifestError, match="not one of 7 files"):
        prepare_manifest(manifest, SPEC, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/.partial-*"))


def test_killed_write_leaves_no_entry(manifest, tmp_path, repo):
    program = (
        "import os, sys\n"
        "from covidcx.data import cache\n"
        "from covidcx.data.manifest import Manifest\n"
        "from covidcx.imaging import Preprocessing\n"
        "read = cache.imaging.read\n"
        "cache.imaging.read = lambda path: os._exit(9) if path.name == '5.png' else read(path)\n"
        "spec = Preprocessing(size=(32, 32), channels=('original', 'clahe'))\n"
        "cache.prepare_manifest(Manifest.read(sys.argv[1]), spec, sys.argv[2])\n"
    )
    folder = tmp_path / "cache"
    arguments = [sys.executable, "-c", program, str(manifest.path), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    assert subprocess.run(arguments, env=environment, check=False).returncode == 9
    left = list(folder.glob("*/.partial-*"))
    assert len(left) == 1
    assert not list(folder.glob("*/[!.]*"))
    os.utime(left[0], (0, 0))
    assert len(prepare_manifest(manifest, SPEC, folder)) == 7
    assert not left[0].exists(), "what a killed process left a day ago is swept"


def test_damaged_entry_is_made_anew(manifest, tmp_path, reads, caplog):
    first = prepare_manifest(manifest, SPEC, tmp_path / "cache").images.copy()
    (images,) = (tmp_path / "cache").glob("*/*/images.npy")
    images.write_bytes(images.read_bytes()[:500])
    reads.clear()
    np.testing.assert_array_equal(prepare_manifest(manifest, SPEC, tmp_path / "cache").images, first)
    assert len(reads) == 7
    assert "damaged" in caplog.text


def test_lungs_disease_and_geometry_lie_on_the_networks_grid(manifest, tmp_path):
    masked = manifest.take(manifest.frame["lung_mask"].notna().to_numpy())
    prepared = prepare_manifest(masked, ROI, tmp_path / "cache", masks_from(masked), key_extra="own masks")
    assert prepared.lungs.shape == prepared.disease.shape == (4, 32, 32)
    assert prepared.lungs.dtype == bool
    expected = imaging.prepare(imaging.read(tmp_path / "2.png").pixels, ROI, read_mask(tmp_path / "lung.png") == 1)
    assert prepared.geometry(2) == expected.geometry
    assert prepared.geometry(2).box != (0, 90, 0, 70)
    np.testing.assert_array_equal(prepared.lungs[2], expected.lungs)
    assert prepared.has_disease_mask.tolist() == [False, False, True, False]
    assert prepared.disease[2].any()
    assert not prepared.disease[[0, 1, 3]].any()
    back = prepared.geometry(2).restore(prepared.disease[2]) > 0.5
    truth = cv2.imread(str(tmp_path / "disease.png"), cv2.IMREAD_GRAYSCALE) > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.85


def test_roi_without_lungs_or_key_is_refused(manifest, tmp_path):
    with pytest.raises(ImageError, match="pass lung_mask"):
        prepare_manifest(manifest, ROI, None)
    with pytest.raises(ImageError, match="pass key_extra"):
        prepare_manifest(manifest, ROI, tmp_path, masks_from(manifest))
    prepared = prepare_manifest(manifest, ROI, None, masks_from(manifest))
    assert [name for name, _ in prepared.failures] == ["4.png", "5.png", "6.png"]


def test_segmenter_is_called_by_one_thread_at_a_time(manifest, tmp_path):
    inside = []

    def lung_mask(row, radiograph):
        inside.append(row["image"])
        assert len(inside) == 1
        cv2.GaussianBlur(np.zeros((500, 500), np.float32), (31, 31), 5)
        inside.pop()
        return np.ones(radiograph.shape, bool)

    assert PreparedCache(None, SPEC).prepare(manifest, lung_mask, workers=4).lungs.all()


def test_masks_keep_what_is_to_be_ignored(manifest, tmp_path):
    prepared = prepare_masks(manifest, enhance="clahe", cache_dir=tmp_path / "cache")
    assert prepared.images.shape == prepared.targets.shape == (4, 256, 256, 1)
    assert prepared.images.dtype == np.uint8
    assert prepared.targets.dtype == np.int8
    assert prepared.rows["image"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    target = prepared.targets[0, ..., 0]
    assert set(np.unique(target)) == {-1, 0, 1}
    # Source rows 40 .. 43 of 90 are ignored, columns 10 .. 29 of 70.
    assert (target[np.ix_(range(114, 125), range(37, 109))] == -1).all()
    assert (target[np.ix_(range(60, 110), range(40, 108))] == 1).all()
    assert (target[:56] == 0).all()
    expected = imaging.roi.segmenter_input(imaging.read(tmp_path / "0.png").pixels, "clahe")
    np.testing.assert_array_equal(prepared.images[0, ..., 0], expected)


def test_thin_ignored_line_survives_shrinking():
    mask = np.ones((512, 512), np.int8)
    mask[100] = -1
    small = resize_mask(mask, 64)
    assert (small[12] == -1).all()
    assert (np.delete(small, 12, axis=0) == 1).all()


def test_mask_with_other_grey_levels_is_refused(tmp_path):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((4, 4), 80, np.uint8))
    with pytest.raises(ImageError, match=r"grey levels \[80\]"):
        read_mask(path)
    with pytest.raises(ImageError, match="a mask has its image's size"):
        read_mask(path, (4, 5))
    with pytest.raises(ImageError, match="is missing or cannot be read"):
        read_mask(tmp_path / "none.png")


def test_shared_masks_become_targets(shared_data):
    manifest = Manifest.read(shared_data).subset("control")
    prepared = prepare_masks(manifest, enhance="none")
    assert len(prepared) == 13
    share = (prepared.targets == 1).mean(axis=(1, 2, 3))
    assert ((share > 0.08) & (share < 0.7)).all()
    assert prepared.failures == ()
