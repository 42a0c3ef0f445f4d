"""A sceptic's view of the phantom: a label is read in the lungs or nowhere, and lungs have real proportions."""

import csv

import cv2
import numpy as np
import pytest

from covidcx.data.phantom import LABELS, phantom
from covidcx.data.phantom.findings import ALL_LABELS
from covidcx.data.phantom.write import SPLITS, plan

GRID = 20
PATIENTS, VISITS, SIZE = 120, 2, 64


@pytest.fixture(scope="module")
def cohort():
    """Pixels, grown lung masks, labels and patients of 240 phantoms of 120 patients."""
    images, masks, labels, patients = [], [], [], []
    for patient in range(PATIENTS):
        for visit in range(VISITS):
            made = phantom(LABELS[patient % 3], 70_000 + VISITS * patient + visit, SIZE, 90_000 + patient)
            images.append(made.pixels)
            masks.append(cv2.dilate(made.lung_mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool))
            labels.append(made.label)
            patients.append(patient)
    return np.stack(images), np.stack(masks), np.array(labels), np.array(patients)


def small(images: np.ndarray) -> np.ndarray:
    return np.stack([cv2.resize(i, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel() for i in images])


def auc_interval(features: np.ndarray, positive: np.ndarray, patients: np.ndarray) -> tuple[float, float, float]:
    """AUC of cross-validated logistic regression, patients kept together, with its 95% interval over patients."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=200))
    score = cross_val_predict(model, features, positive, groups=patients, cv=GroupKFold(5), method="decision_function")
    rng = np.random.default_rng(0)
    rows_of = [np.flatnonzero(patients == p) for p in range(PATIENTS)]
    drawn = []
    for _ in range(200):
        rows = np.concatenate([rows_of[p] for p in rng.integers(PATIENTS, size=PATIENTS)])
        drawn.append(roc_auc_score(positive[rows], score[rows]))
    return float(roc_auc_score(positive, score)), *np.percentile(drawn, (2.5, 97.5))


@pytest.mark.parametrize("label", LABELS)
def test_linear_model_outside_the_lungs_is_at_chance(cohort, label):
    images, masks, labels, patients = cohort
    value, low, high = auc_interval(small(np.where(masks, 0, images)), labels == label, patients)
    assert low < 0.5 < high, f"AUC {value:.2f} ({low:.2f} to {high:.2f})"


def test_the_same_model_reads_the_label_inside_the_lungs(cohort):
    images, masks, labels, patients = cohort
    level = np.array([np.median(i[m]) for i, m in zip(images, masks, strict=True)])
    features = small(np.where(masks, images - level[:, None, None], 0))
    value, low, _ = auc_interval(features, labels == "normal", patients)
    assert low > 0.6, f"AUC {value:.2f}"


def test_the_same_model_finds_a_mark_that_goes_with_the_label(cohort):
    images, masks, labels, patients = cohort
    marked = np.where(masks, 0, images)
    marked[labels == "covid", 2:8, 50:56] = 1.0
    value, low, _ = auc_interval(small(marked), labels == "covid", patients)
    assert low > 0.8, f"AUC {value:.2f}: the test above would miss a leak"


def test_nothing_known_about_a_picture_goes_with_the_label():
    for seed in range(5):
        made = [phantom(label, seed, 64, 300 + seed) for label in ALL_LABELS]
        facts = {(m.view, m.age, m.sex, m.spacing, m.lung_mask.tobytes()) for m in made}
        assert len(facts) == 1


def test_patients_days_and_splits_do_not_depend_on_the_label():
    studies = plan(300, SPLITS, 4)
    for label in LABELS:
        own = [s for s in studies if s.label == label]
        assert abs(np.mean([s.day for s in own]) - np.mean([s.day for s in studies])) < 0.8
        assert abs(np.mean([s.split == "train" for s in own]) - 0.6) < 0.08
        assert abs(np.mean([s.name.endswith("_2") for s in own]) - 0.26) < 0.08


def proportions(mask: np.ndarray) -> tuple[float, ...] | None:
    """Share of the image, top, bottom, outer borders, gap and right to left ratio of a lung mask."""
    mask = cv2.resize(mask.astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    lungs = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:2] + 1
    if len(lungs) < 2 or stats[lungs[1], cv2.CC_STAT_AREA] < 300:
        return None
    right, left = (stats[i] for i in sorted(lungs, key=lambda i: centres[i][0]))
    y, x = np.nonzero(mask)
    gap = left[cv2.CC_STAT_LEFT] - right[cv2.CC_STAT_LEFT] - right[cv2.CC_STAT_WIDTH]
    ratio = right[cv2.CC_STAT_AREA] / left[cv2.CC_STAT_AREA]
    return mask.mean(), y.min() / 128, y.max() / 128, x.min() / 128, x.max() / 128, gap / 128, ratio


def test_lungs_have_the_proportions_of_real_ones(shared_data):
    with (shared_data / "manifest.csv").open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["split"] == "train" and r["lung_mask_reader"] == "v7"]
    real = [proportions(cv2.imread(str(shared_data / r["lung_mask"]), 0) == 255) for r in rows]
    made = [proportions(phantom("normal", seed, 64).lung_mask) for seed in range(100)]
    real, made = (np.array([p for p in group if p is not None]) for group in (real, made))
    names = ("share", "top", "bottom", "left", "right", "gap", "right to left")
    for name, there, here in zip(names, real.T, made.T, strict=True):
        low, high = np.percentile(there, (20, 80))
        assert low < np.median(here) < high, f"{name}: {np.median(here):.3f}, real {low:.3f} to {high:.3f}"
        assert here.std() > 0.5 * there.std(), f"{name} varies too little: {here.std():.3f}, real {there.std():.3f}"
