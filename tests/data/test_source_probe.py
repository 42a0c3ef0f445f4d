"""The source probe: at chance where sources look alike, certain where they do not, and honest about patients."""

import numpy as np
import pytest

from covidcx.data.source_probe import MIN_PATIENTS, Estimate, label_from_source, probe_sources


def _images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 190, (count, 8, 8)).astype(np.uint8)


def _probe(images, sources, patients=None, labels=None, repeats=200):
    patients = [f"p{i}" for i in range(len(images))] if patients is None else patients
    return probe_sources(images, sources, patients, labels or ["normal", "covid"] * (len(images) // 2), repeats)


def test_sources_that_look_alike_are_told_at_chance():
    sources = list(np.random.default_rng(1).choice(["a", "b"], 240))
    figures = _probe(_images(240), sources)["source_from_image"]
    assert figures["auc"]["low"] < 0.5 < figures["auc"]["high"]
    assert figures["auc"]["value"] == pytest.approx(0.5, abs=0.12)


def test_a_corner_marker_gives_the_source_away():
    images, sources = _images(240), ["a", "b"] * 120
    images[1::2, 0, 0] = 255
    result = _probe(images, sources, labels=["normal", "covid"] * 120)
    figures = result["source_from_image"]
    assert figures["auc"]["value"] > 0.95 and figures["auc"]["low"] > 0.9
    assert set(figures["auc_per_source"]) == {"a", "b"} and figures["balanced_accuracy"]["chance"] == 0.5
    assert result["label_from_source"]["accuracy"]["value"] == 1.0
    assert any("High risk" in note and "'covid', 'normal'" in note for note in result["notes"])


def test_a_patient_is_never_on_both_sides():
    # Every patient looks like himself alone, and his source is drawn at random: to know him is to know his source.
    rng = np.random.default_rng(2)
    images = np.repeat(_images(60), 6, axis=0)
    sources = list(np.repeat(rng.choice(["a", "b"], 60), 6))
    patients = list(np.repeat([f"p{i}" for i in range(60)], 6))
    figures = _probe(images, sources, patients)["source_from_image"]
    assert figures["auc"]["value"] < 0.75 and figures["auc"]["low"] < 0.5
    learned_by_heart = _probe(images, sources, [f"p{i}" for i in range(360)])["source_from_image"]
    assert learned_by_heart["auc"]["value"] > 0.9


def test_within_a_label_disease_cannot_give_the_source_away():
    # Source b holds only covid, bright; source a normal, dark; both hold 'cap', alike.
    images = _images(300)
    sources = ["a"] * 100 + ["b"] * 100 + ["a", "b"] * 50
    labels = ["normal"] * 100 + ["covid"] * 100 + ["cap"] * 100
    images[:100] //= 2
    result = _probe(images, sources, labels=labels)
    assert set(result["within_label"]) == {"cap"}
    assert result["within_label"]["cap"]["sources"] == {"a": 50, "b": 50}
    assert result["source_from_image"]["auc"]["value"] > result["within_label"]["cap"]["auc"]["value"] + 0.1
    assert result["table"] == {"a": {"cap": 50, "normal": 100}, "b": {"cap": 50, "covid": 100}}


def test_small_and_unknown_sources_are_left_out_and_counted():
    sources = ["a", "b"] * 30 + ["tiny"] * (MIN_PATIENTS - 1) + [None] * 4
    result = _probe(_images(len(sources)), sources, labels=["normal"] * len(sources))
    assert result["left_out"] == {"tiny": MIN_PATIENTS - 1} and result["without_source"] == 4
    assert set(result["source_from_image"]["sources"]) == {"a", "b"}
    assert result["label_from_source"] is None


def test_one_source_cannot_be_probed_and_that_is_said():
    result = _probe(_images(40), ["a"] * 40)
    assert result["source_from_image"] is None and "cannot be measured" in result["notes"][0]
    nothing = probe_sources(np.zeros((0, 8, 8), np.uint8), [], [], [])
    assert nothing["source_from_image"] is None and nothing["images"] == 0


def test_label_from_source_counts_by_hand():
    sources = ["a"] * 4 + ["b"] * 6 + [None]
    labels = ["covid"] * 3 + ["normal"] + ["covid"] + ["normal"] * 5 + ["covid"]
    figures = label_from_source(sources, labels, [f"p{i}" for i in range(11)], repeats=0)
    assert figures["images"] == 10
    assert figures["accuracy"] == {"value": 0.8, "low": None, "high": None, "chance": 0.6}
    # Of 4 x 6 pairs of a covid and a normal image 3 x 5 lie in (a, b), 3 x 1 + 1 x 5 in one source, 1 x 1 in (b, a).
    assert figures["auc"]["covid"]["value"] == pytest.approx((15 + 0.5 * 8) / 24)


def test_the_interval_is_of_patients_not_of_images():
    one_each = label_from_source(["a", "b"] * 40, ["x", "y"] * 30 + ["y", "x"] * 10, list(range(80)), seed=1)
    few = label_from_source(["a", "b"] * 40, ["x", "y"] * 30 + ["y", "x"] * 10, [i // 10 for i in range(80)], seed=1)
    width = [figures["accuracy"]["high"] - figures["accuracy"]["low"] for figures in (one_each, few)]
    assert width[1] > 1.5 * width[0]


def test_an_estimate_reads_as_text():
    assert str(Estimate(0.91234, 0.9, 0.95, 0.5)) == "0.912 (0.900 to 0.950)"
    assert str(Estimate(None, None, None, 0.5)) == "undefined"
