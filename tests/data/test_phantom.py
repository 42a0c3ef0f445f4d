"""The phantom: pictures that show what their labels say, and give the label away nowhere else."""

import csv
import functools
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from covidcx.data.phantom import LABELS, phantom, write_phantom
from covidcx.data.phantom.lesions import CONSOLIDATION, GROUND_GLASS, boxes
from covidcx.errors import CovidcxError
from covidcx.imaging import read

SIZE = 160
SEEDS = range(10)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@functools.cache
def sample(label: str, seed: int):
    """A phantom of the common size, made once for all tests."""
    return phantom(label, seed, SIZE)


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)).astype(bool)


def opacity_by_side(label: str, seed: int) -> tuple[float, float]:
    """Share of the right and the left lung that the disease mask covers."""
    made = sample(label, seed)
    _, parts = cv2.connectedComponents(made.lung_mask.astype(np.uint8))
    lungs = sorted((parts == i for i in range(1, parts.max() + 1)), key=np.count_nonzero)[-2:]
    lungs.sort(key=lambda lung: np.nonzero(lung)[1].mean())
    right, left = ((made.disease_mask[lung] > 0).mean() for lung in lungs)
    return float(right), float(left)


@pytest.mark.parametrize("label", LABELS)
def test_image_and_masks_have_documented_shape_type_and_range(label):
    for seed in SEEDS:
        made = sample(label, seed)
        assert made.pixels.shape == made.lung_mask.shape == made.disease_mask.shape == (SIZE, SIZE)
        assert (made.pixels.dtype, made.lung_mask.dtype, made.disease_mask.dtype) == (np.float32, bool, np.uint8)
        assert made.pixels.min() >= 0 and made.pixels.max() <= 1 and np.isfinite(made.pixels).all()
        assert 0.12 < made.lung_mask.mean() < 0.62
        assert set(np.unique(made.disease_mask)) <= {0, GROUND_GLASS, CONSOLIDATION}
        assert made.label == label and made.view in ("PA", "AP")
        assert 0 <= made.severity <= 1 and (made.severity > 0) == (label != "normal")


def test_same_seed_same_bytes_and_other_seed_other_picture():
    first, again, other = phantom("covid", 3, SIZE), phantom("covid", 3, SIZE), phantom("covid", 4, SIZE)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.disease_mask.tobytes() == again.disease_mask.tobytes()
    assert np.abs(first.pixels - other.pixels).mean() > 0.01


def test_size_changes_the_sampling_but_not_the_anatomy():
    small, large = phantom("cap", 5, 128), phantom("cap", 5, 384)
    shrunk = cv2.resize(large.lung_mask.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA) > 0.5
    overlap = 2 * (shrunk & small.lung_mask).sum() / (shrunk.sum() + small.lung_mask.sum())
    assert overlap > 0.97
    assert small.severity == pytest.approx(large.severity, rel=0.1)


def test_lungs_are_two_large_darker_parts_and_right_lies_left_in_the_image():
    for seed in SEEDS:
        made = sample("normal", seed)
        _, _, stats, centres = cv2.connectedComponentsWithStats(made.lung_mask.astype(np.uint8))
        large = [i for i in range(1, len(stats)) if stats[i, cv2.CC_STAT_AREA] > 0.05 * SIZE**2]
        assert len(large) == 2
        assert abs(centres[large[0]][0] - centres[large[1]][0]) > 0.2 * SIZE
        ring = dilate(made.lung_mask, 6) & ~dilate(made.lung_mask, 2)
        assert np.median(made.pixels[made.lung_mask]) < np.median(made.pixels[ring])


@pytest.mark.parametrize("label", ["cap", "covid"])
def test_disease_lies_in_the_lungs_and_brightens_the_same_picture(label):
    for seed in SEEDS:
        ill, well = sample(label, seed), sample("normal", seed)
        sick = ill.disease_mask > 0
        assert sick.sum() > 0.005 * SIZE**2
        assert not (sick & ~dilate(ill.lung_mask, 1)).any()
        assert (ill.pixels[sick] - well.pixels[sick]).mean() > 0.01


def test_normal_has_no_disease():
    made = phantom("normal", 1, SIZE)
    assert not made.disease_mask.any() and made.boxes == () and made.severity == 0


def test_cap_is_unilateral_and_dense():
    dense = 0
    for seed in range(20):
        right, left = opacity_by_side("cap", seed)
        assert min(right, left) == 0 and max(right, left) > 0.02
        dense += bool((sample("cap", seed).disease_mask == CONSOLIDATION).any())
    assert dense >= 18


def test_covid_is_bilateral_peripheral_low_and_mostly_ground_glass():
    sick_x, sick_y, lung_x, lung_y, dense = [], [], [], [], []
    for seed in range(20):
        right, left = opacity_by_side("covid", seed)
        assert right > 0.01 and left > 0.01
        made = sample("covid", seed)
        for mask, xs, ys in ((made.disease_mask > 0, sick_x, sick_y), (made.lung_mask, lung_x, lung_y)):
            y, x = np.nonzero(mask)
            middle = np.nonzero(made.lung_mask)[1].mean()
            xs.append(np.abs(x - middle).mean())
            ys.append(y.mean())
        dense.append((made.disease_mask == CONSOLIDATION).sum() / (made.disease_mask > 0).sum())
    assert np.mean(sick_x) > np.mean(lung_x) + 0.02 * SIZE
    assert np.mean(sick_y) > np.mean(lung_y) + 0.05 * SIZE
    assert np.mean(dense) < 0.2


def test_boxes_hold_every_large_opacity():
    made = sample("covid", 2)
    assert made.boxes == boxes(made.disease_mask) and made.boxes
    inside = np.zeros((SIZE, SIZE), bool)
    for x, y, width, height in made.boxes:
        assert x >= 0 and y >= 0 and x + width <= SIZE and y + height <= SIZE
        inside[y : y + height, x : x + width] = True
    assert (inside & (made.disease_mask > 0)).sum() > 0.9 * (made.disease_mask > 0).sum()


def test_label_changes_nothing_outside_the_lungs():
    for seed in SEEDS:
        normal, cap, covid = (sample(label, seed) for label in LABELS)
        outside = ~dilate(normal.lung_mask, 5)
        for ill in (cap, covid):
            assert (ill.lung_mask == normal.lung_mask).all() and ill.view == normal.view
            np.testing.assert_allclose(ill.pixels[outside], normal.pixels[outside], atol=5e-4)


def test_one_patient_keeps_the_body_over_several_pictures():
    first, second = phantom("normal", 1, SIZE, patient_seed=9), phantom("normal", 2, SIZE, patient_seed=9)
    assert (first.age, first.sex) == (second.age, second.sex)
    assert not np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize(("label", "size"), [("covd", 128), ("covid", 16)])
def test_bad_request_is_refused(label, size):
    with pytest.raises(CovidcxError, match=r"covid|16"):
        phantom(label, 0, size)


def test_png_folder_has_the_shared_manifest_schema_and_all_files(tmp_path):
    manifest = write_phantom(tmp_path / "set", patients=24, size=96, seed=1)
    table = rows(manifest)
    expected = (
        "image,patient_id,label,split,source,source_id,source_patient_id,view,age,sex,findings,rsna_class,licence,"
        "width,height,original_width,original_height,lung_mask,lung_mask_reader,lung_mask_2,disease_mask,offset,severity"
    )
    assert ",".join(table[0]) == expected
    assert {row["split"] for row in table} == {"train", "val", "test", "control"}
    split_of: dict[str, set[str]] = {}
    visits: dict[str, int] = {}
    for row in table:
        split_of.setdefault(row["patient_id"], set()).add(row["split"])
        visits[row["patient_id"]] = visits.get(row["patient_id"], 0) + 1
        image = cv2.imread(str(manifest.parent / row["image"]), cv2.IMREAD_UNCHANGED)
        lungs = cv2.imread(str(manifest.parent / row["lung_mask"]), cv2.IMREAD_UNCHANGED)
        disease = cv2.imread(str(manifest.parent / row["disease_mask"]), cv2.IMREAD_UNCHANGED)
        assert image.shape == lungs.shape == disease.shape == (int(row["height"]), int(row["width"]))
        assert set(np.unique(lungs)) == {0, 255}
        assert disease.any() == (row["label"] != "normal")
        assert row["source"] == row["lung_mask_reader"] == "phantom" and row["licence"] == "CC0-1.0"
    assert len(split_of) == 24 and all(len(splits) == 1 for splits in split_of.values())
    assert set(visits.values()) == {1, 2}
    found = rows(manifest.parent / "boxes.csv")
    assert list(found[0]) == ["image", "x", "y", "width", "height", "finding", "reader"]
    ill = {row["image"] for row in table if row["label"] != "normal"}
    assert {row["image"] for row in found} == ill


def test_shared_manifest_has_the_same_columns_but_the_course_of_disease(tmp_path, shared_data):
    table = rows(write_phantom(tmp_path / "set", patients=3, size=64))
    assert list(table[0]) == [*rows(shared_data / "manifest.csv")[0], "offset", "severity"]


@pytest.mark.parametrize("patients", [6, 9, 12, 30, 60])
def test_labels_are_balanced_and_every_split_that_can_be_is_served(tmp_path, patients):
    from covidcx.data.phantom.write import SPLITS, plan

    studies = {study.patient: study for study in plan(patients, SPLITS, 0)}.values()
    for label in LABELS:
        own = [study.split for study in studies if study.label == label]
        assert len(own) == patients // 3
        if len(own) >= 3:
            assert {"train", "val", "test"} <= set(own)
    assert {"train", "val", "test"} <= {study.split for study in studies}


def test_custom_splits_are_followed(tmp_path):
    table = rows(write_phantom(tmp_path / "set", patients=9, size=64, splits={"train": 0.7, "val": 0.3}))
    assert {row["split"] for row in table} == {"train", "val"}


def test_same_settings_write_the_same_bytes(tmp_path):
    for format in ("png", "dicom"):
        for name in ("a", "b"):
            write_phantom(tmp_path / format / name, patients=4, size=64, seed=3, format=format)
        assert digest(tmp_path / format / "a") == digest(tmp_path / format / "b")


def test_dicom_reads_back_to_the_same_picture(tmp_path):
    import pydicom

    dicom = write_phantom(tmp_path / "dicom", patients=12, size=96, seed=2, format="dicom")
    table = rows(dicom)
    seen, uids = set(), set()
    from covidcx.data.phantom.write import SPLITS, plan

    studies = {study.name: study for study in plan(12, SPLITS, 2)}
    for row in table:
        path = dicom.parent / row["image"]
        study = studies[path.stem]
        made = phantom(study.label, study.seed, 96, study.patient_seed, day=study.day)
        back = read(path)
        np.testing.assert_allclose(back.pixels, made.pixels, atol=1.5 / 4095)
        assert (back.view, back.sex, back.age) == (row["view"], row["sex"], float(row["age"]))
        assert back.spacing == pytest.approx(made.spacing, abs=1e-3)
        ds = pydicom.dcmread(path)
        assert ds.BitsStored == 12 and str(ds.PatientName).startswith("Phantom^")
        assert ds.SOPInstanceUID.is_valid and ds.SOPInstanceUID.startswith(pydicom.uid.PYDICOM_ROOT_UID)
        seen.add((ds.Modality, ds.PhotometricInterpretation))
        uids.add(ds.SOPInstanceUID)
    assert {modality for modality, _ in seen} == {"CR", "DX"}
    assert {kind for _, kind in seen} == {"MONOCHROME1", "MONOCHROME2"}
    assert len(uids) == len(table)


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CovidcxError, match="not empty"):
        write_phantom(tmp_path, patients=3, size=64)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_own_folder_is_used_again_only_with_the_same_settings(tmp_path):
    manifest = write_phantom(tmp_path / "set", patients=3, size=64, seed=1)
    image = next((tmp_path / "set" / "images").iterdir())
    before = image.stat().st_mtime_ns
    assert write_phantom(tmp_path / "set", patients=3, size=64, seed=1) == manifest
    assert image.stat().st_mtime_ns == before
    with pytest.raises(CovidcxError, match="seed=1 there, 2 asked"):
        write_phantom(tmp_path / "set", patients=3, size=64, seed=2)


def test_interrupted_folder_is_completed(tmp_path):
    out = tmp_path / "set"
    whole = digest(write_phantom(out, patients=3, size=64).parent)
    record = out / "phantom.json"
    record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    next((out / "images").iterdir()).unlink()
    write_phantom(out, patients=3, size=64)
    assert digest(out) == whole


@pytest.mark.parametrize(
    "settings",
    [
        {"format": "jpeg"},
        {"patients": 2},
        {"size": 10},
        {"splits": {}},
        {"splits": {"train": -1.0}},
        {"labels": "rnsa"},
        {"labels": "rsna", "patients": 3},
        {"days": ()},
        {"days": (3, 1)},
        {"days": (-1,)},
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, settings):
    with pytest.raises(CovidcxError):
        write_phantom(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()
