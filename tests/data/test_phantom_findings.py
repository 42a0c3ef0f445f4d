"""What phantoms show: every finding lies in the lungs, looks as its papers say, and runs its course in place."""

import csv

import cv2
import numpy as np
import pytest

from covidcx.data.phantom import LABEL_SETS, findings, phantom, series, write_phantom
from covidcx.data.phantom.anatomy import Patient, heart, wall
from covidcx.data.phantom.findings import OTHER
from covidcx.data.phantom.frame import Pose
from covidcx.data.phantom.lesions import boxes, course
from covidcx.errors import CovidcxError

SIZE = 160
RARE = [(label, finding) for label in ("atypical", "other") for finding in findings(label)]


def grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)).astype(bool)


def halves(made) -> tuple[np.ndarray, np.ndarray]:
    """The right and the left lung's mask."""
    _, parts = cv2.connectedComponents(made.lung_mask.astype(np.uint8))
    lungs = sorted((parts == i for i in range(1, parts.max() + 1)), key=np.count_nonzero)[-2:]
    return tuple(sorted(lungs, key=lambda lung: np.nonzero(lung)[1].mean()))


@pytest.mark.parametrize(("label", "finding"), RARE)
def test_every_finding_changes_the_lungs_alone_and_agrees_with_mask_and_boxes(label, finding):
    for seed in range(4):
        ill, well = phantom(label, seed, SIZE, finding=finding, extent=0.6), phantom("normal", seed, SIZE)
        assert ill.findings == (finding,) and ill.label == label
        sick = ill.disease_mask > 0
        assert sick.sum() > 0.0008 * SIZE**2 and not (sick & ~grow(ill.lung_mask, 1)).any()
        np.testing.assert_allclose(ill.pixels[~grow(ill.lung_mask, 5)], well.pixels[~grow(ill.lung_mask, 5)], atol=5e-4)
        assert np.abs(ill.pixels[sick] - well.pixels[sick]).mean() > 0.01
        assert ill.boxes == boxes(ill.disease_mask) and 0 < ill.severity <= 1


def test_atypical_and_other_show_each_of_their_findings():
    for label in ("atypical", "other"):
        drawn = {phantom(label, seed, 64).findings[0] for seed in range(70)}
        assert drawn == set(findings(label))


def test_typical_lies_lower_and_further_out_than_indeterminate():
    place = {}
    for label in ("typical", "indeterminate"):
        down, out, sides = [], [], []
        for seed in range(25):
            made = phantom(label, seed, SIZE)
            y, x = np.nonzero(made.disease_mask)
            ys, xs = np.nonzero(made.lung_mask)
            middle = xs.mean()
            down.append(y.mean() - ys.mean())
            out.append(np.abs(x - middle).mean() - np.abs(xs - middle).mean())
            sides.append(all((made.disease_mask[lung] > 0).any() for lung in halves(made)))
        place[label] = np.mean(down), np.mean(out), np.mean(sides)
    assert place["typical"][0] > place["indeterminate"][0] + 0.03 * SIZE
    assert place["typical"][1] > place["indeterminate"][1] + 0.01 * SIZE
    assert place["typical"][2] == 1 > place["indeterminate"][2]


def test_pneumothorax_is_darker_than_the_same_lung_and_marked_as_no_opacity():
    for seed in range(6):
        ill = phantom("other", seed, SIZE, finding="Pneumothorax", extent=0.8)
        well = phantom("normal", seed, SIZE)
        air = ill.disease_mask == OTHER
        assert air.any() and not (ill.disease_mask[~air]).any()
        assert ill.pixels[air].mean() < well.pixels[air].mean()


def test_effusion_fills_the_base_and_spares_the_apex():
    for seed in range(6):
        made = phantom("atypical", seed, SIZE, finding="Effusion", extent=0.5)
        ys = np.nonzero(made.lung_mask)[0]
        top = np.arange(SIZE)[:, None] < ys.min() + 0.35 * np.ptp(ys)
        assert not (made.disease_mask[np.broadcast_to(top, made.disease_mask.shape)]).any()


@pytest.mark.parametrize("label", ["cap", "covid", "indeterminate"])
def test_disease_grows_in_place_with_its_extent(label):
    for seed in range(6):
        early, late = phantom(label, seed, SIZE, extent=0.25), phantom(label, seed, SIZE, extent=0.9)
        inside = (early.disease_mask > 0) & (late.disease_mask > 0)
        assert inside.sum() > 0.9 * (early.disease_mask > 0).sum()
        assert late.severity > 1.1 * early.severity and (early.extent, late.extent) == (0.25, 0.9)


def test_series_keeps_the_patient_and_follows_the_course():
    days = (1, 4, 10, 25)
    made = series("covid", 11, days, SIZE)
    assert [m.offset for m in made] == list(days)
    assert len({(m.age, m.sex, m.label) for m in made}) == 1
    assert len({m.pixels.tobytes() for m in made}) == len(days)
    severity = [m.severity for m in made]
    assert severity[0] < severity[1] < severity[2] > severity[3]


def test_courses_peak_when_the_disease_does():
    days = np.arange(0, 30)
    peak = {
        label: np.mean([days[np.argmax([course(label, np.random.default_rng(i), d) for d in days])] for i in range(40)])
        for label in ("covid", "cap")
    }
    assert 8 < peak["covid"] < 12 and 1 < peak["cap"] < 5


def test_heart_is_wider_at_the_bedside():
    ratio = {}
    for view in ("PA", "AP"):
        widths = []
        for seed in range(60):
            patient, pose = Patient.draw(np.random.default_rng(seed)), Pose.draw(np.random.default_rng(seed))
            if pose.view == view:
                outline = heart(patient, pose)
                widths.append(np.ptp(outline[outline[:, 1] > -0.1, 0]) / (2 * wall(patient, pose)[:, 0].max()))
        ratio[view] = np.mean(widths)
    # Cardiothoracic ratio: below one half upright, more in AP.
    assert 0.38 < ratio["PA"] < 0.5 and ratio["AP"] > ratio["PA"] + 0.02


@pytest.mark.parametrize("name", ["rsna", "comit-net"])
def test_folder_of_another_label_set(tmp_path, name):
    manifest = write_phantom(tmp_path / "set", patients=16, size=64, labels=name, days=(0, 5, 12))
    with manifest.open(newline="") as stream:
        table = list(csv.DictReader(stream))
    with (manifest.parent / "boxes.csv").open(newline="") as stream:
        marked = list(csv.DictReader(stream))
    assert {row["label"] for row in table} == set(LABEL_SETS[name])
    assert [row["offset"] for row in table] == ["0", "5", "12"] * 16
    by_image = {row["image"]: row for row in table}
    for row in marked:
        study = by_image[row["image"]]
        rare = study["label"] in ("atypical", "other")
        assert row["finding"] == (study["findings"] if rare else "Lung Opacity")
    for row in table:
        assert (float(row["severity"]) > 0) == (row["label"] not in ("normal", "negative"))
        assert (row["findings"] == "No Finding") == (row["label"] in ("normal", "negative"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [({"extent": 1.2}, "between 0 and 1"), ({"finding": "Mass"}, "Pneumonia"), ({"finding": "Gout"}, "Gout")],
)
def test_impossible_disease_is_refused(request_, message):
    with pytest.raises(CovidcxError, match=message):
        phantom("cap", 0, 64, **request_)


def test_air_far_from_the_pleura_is_still_a_number():
    """Both exponentials of the smooth minimum once vanished there and left NaN in 609 pixels."""
    made = phantom("atypical", 1872264436, 256, 642980123, day=3)
    assert made.findings == ("Pneumothorax",) and np.isfinite(made.pixels).all()
