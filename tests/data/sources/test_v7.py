"""V7: tags, names of images, and polygons drawn as masks."""

import cv2
import numpy as np
import pandas as pd
import pytest
from conformance import write_mask, write_png, write_tree
from trees.v7 import LEFT, RELEASE, SIZE, lung, path_of, tag, write_note

from covidcx.data import sources
from covidcx.data.sources.tables import NO_FILE, NO_XRAY, NOT_FRONTAL
from covidcx.data.sources.v7 import BAD_JSON, OTHER_SIZE, draw_masks


@pytest.fixture
def folder(tmp_path):
    write_tree("v7", tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def read(folder, tmp_path):
    def read(derived=True, **options):
        reading = sources.read("v7", folder, derived=tmp_path / "derived" if derived else None, **options)
        return reading, reading.manifest.frame.set_index("source_id")

    return read


def test_rows_hold_the_tags(read):
    reading, frame = read()
    covid = frame.loc["1676192.png"]
    assert (covid["label"], covid["view"], covid["age"], covid["sex"]) == ("covid", "PA", "35", "M")
    assert covid["findings"] == "COVID-19|Viral Pneumonia"
    assert (covid["width"], covid["height"]) == ("100", "80")
    supine = frame.loc["supine.jpg"]
    assert (supine["label"], supine["view"], supine["findings"]) == ("cap", "AP", "Bacterial Pneumonia")
    assert frame.loc["1676194.png", "label"] == "normal"
    assert dict(reading.skipped) == {
        "1676195.png": NOT_FRONTAL, "1676196.png": NO_XRAY, "1676197.png": NO_FILE, "notes.json": BAD_JSON
    }  # fmt: skip


def test_images_are_found_under_each_name_darwin_has_used(read):
    _, frame = read()
    assert frame["image"].to_dict() == {
        "1676192.png": "images/1676192.png", "1676193.png": "images/1676193_person1_virus_6.jpeg",
        "1676194.png": "images/IM-0115-0001.jpeg", "supine.jpg": "images/supine.jpg",
    }  # fmt: skip


def test_patients_of_kermany_are_in_the_names(read):
    _, frame = read()
    assert frame.loc["1676193.png", "patient_id"] == "v7_person1"
    assert frame.loc["1676194.png", "patient_id"] == "v7_IM-0115"
    assert frame.loc["1676192.png", "patient_id"] == "v7_1676192.png"


def test_lungs_are_255_and_what_lies_on_them_127(read):
    _, frame = read()
    mask = cv2.imread(frame.loc["1676192.png", "lung_mask"], cv2.IMREAD_UNCHANGED)
    assert mask.shape == SIZE
    assert mask[40, 20] == mask[40, 75] == 255
    assert mask[40, 50] == mask[5, 5] == 0
    # The device lies over both lungs and between them.
    assert mask[25, 38] == mask[25, 50] == mask[25, 62] == 127
    assert set(np.unique(mask)) == {0, 127, 255}
    assert (frame["lung_mask_reader"] == "v7").all()


def test_a_second_path_is_a_hole(read):
    _, frame = read()
    mask = cv2.imread(frame.loc["supine.jpg", "lung_mask"], cv2.IMREAD_UNCHANGED)
    assert (mask[40, 20], mask[40, 50], mask[40, 80]) == (255, 0, 255)


def test_polygons_are_drawn_at_fractions_of_a_pixel_and_cut_at_the_border():
    circle = [(50 + 30.25 * np.cos(t), 40 + 30.25 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 200)[:-1]]
    mask = draw_masks([lung(circle)], SIZE)
    assert (mask > 0).sum() == pytest.approx(np.pi * 30.25**2, rel=0.05)
    outside = draw_masks([lung([(-50, -50), (50, -50), (50, 40), (-50, 40)])], SIZE)
    assert outside[0, 0] == 255
    assert outside[60, 80] == 0
    old = {"name": "Lung", "complex_polygon": {"path": [path_of(LEFT)]}}
    np.testing.assert_array_equal(draw_masks([old], SIZE), draw_masks([lung(LEFT)], SIZE))


@pytest.mark.parametrize(
    ("tags", "label"),
    [
        (["COVID-19", "Viral Pneumonia"], "covid"),
        (["No Pneumonia (healthy)"], "normal"),
        (["No Finding"], "normal"),
        (["Undefined Pneumonia"], "cap"),
        (["Viral Pneumonia", "SARS"], "cap"),
        (["Lipoid pneumonia"], "cap"),
        (["Tuberculosis"], "other"),
        ([], None),
        (["Something new"], None),
        (["No Finding", "Something new"], None),
    ],
)
def test_labels_of_tags(read, folder, tags, label):
    write_note(folder, "1676192", "a.png", lung(LEFT), *(tag(name) for name in tags))
    _, frame = read()
    found = frame.loc["1676192.png", "label"]
    assert found == label if label else pd.isna(found)


def test_without_derived_the_masks_of_the_repository_serve(read, folder):
    _, frame = read(derived=False)
    assert frame["lung_mask"].isna().all()
    write_mask(folder / "annotations" / "all-images-semantic-masks" / "1676192.png", SIZE)
    write_mask(folder / "annotations" / "all-images-semantic-masks" / "1676194.png", (40, 50))
    _, frame = read(derived=False)
    assert frame.loc["1676192.png", "lung_mask"] == "annotations/all-images-semantic-masks/1676192.png"
    assert frame["lung_mask"].notna().sum() == 1


def test_a_changed_annotation_is_drawn_again(read, folder):
    _, frame = read()
    before = cv2.imread(frame.loc["1676194.png", "lung_mask"], cv2.IMREAD_UNCHANGED)
    write_note(folder, "1676194", "IM-0115-0001.jpeg", lung(LEFT), tag("No Pneumonia (healthy)"))
    _, frame = read()
    after = cv2.imread(frame.loc["1676194.png", "lung_mask"], cv2.IMREAD_UNCHANGED)
    assert (before != after).any()


def test_a_resized_image_gets_no_mask(read, folder):
    write_png(folder / "images" / "1676192.png", 1, (40, 50))
    reading, frame = read()
    assert ("1676192.png", OTHER_SIZE) in reading.skipped
    assert frame.loc["1676192.png", ["width", "height"]].tolist() == ["50", "40"]
    assert frame.loc["1676192.png", ["lung_mask", "lung_mask_reader"]].isna().all()


def test_lateral_images_come_on_request_without_a_mask(read):
    _, frame = read(all_views=True)
    assert frame.loc["1676195.png", "view"] == "LL"
    assert frame.loc["1676195.png", ["lung_mask", "lung_mask_reader"]].isna().all()


def test_numbers_that_are_no_size_are_refused(read, folder):
    path = folder / RELEASE / "1676192.json"
    path.write_text(path.read_text("utf-8").replace('"width": 100', '"width": null'), "utf-8")
    reading, frame = read()
    assert ("1676192.json", BAD_JSON) in reading.skipped
    assert "1676192.png" not in frame.index
