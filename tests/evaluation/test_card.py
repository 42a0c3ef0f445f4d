"""Model cards: everything a reader needs, nothing invented."""

from covidcx.evaluation.card import model_card
from covidcx.finding import DISCLAIMER
from covidcx.imaging import LungROI, Preprocessing

INFO = {
    "name": "covid-cxnet",
    "task": "classify",
    "labels": ["normal", "cap", "covid"],
    "preprocessing": Preprocessing(roi=LungROI(blank=True), winsorise=98.0, lung_statistics=True).to_dict(),
    "model": {"name": "covid-cxnet", "kwargs": {"classes": 3}},
    "operating_points": {"covid": {"threshold": 0.4321, "rule": "sensitivity>=0.95 on val"}},
    "temperature": 1.5,
    "segmenter": "lung-unet",
    "training": {"data": "shared radiographs", "split_hash": "abc123abc123", "recipe": "covid-cxnet",
                 "command": "covidcx train covid-cxnet --seed 3", "seed": 3, "date": "2026-11-01"},
    "licence": "CC BY-NC 4.0",
    "data_licences": ["CC BY 4.0 (armiro)", "NIH free use"],
    "files": {"weights.h5": "0" * 64},
    "disclaimer": DISCLAIMER,
}  # fmt: skip


def _interval(value, low=None, high=None):
    return {"value": value, "low": low, "high": high, "repeats": 1000, "undefined": 0}


RESULT = {
    "command": "covidcx evaluate covid-cxnet",
    "split_hash": "abc123abc123",
    "notes": ["This manifest is another one."],
    "splits": {
        "test": {"images": 282, "patients": 250, "metrics": {
            "macro_f1": _interval(0.681, 0.62, 0.74), "accuracy": _interval(1.0, 1.0, 1.0)},
            "shortcut": {"notes": ["Source equals label: really."]}},
        "control": {"images": 48, "patients": 40, "metrics": {
            "macro_f1": _interval(None), "cap_called_covid": _interval(0.8, 0.7, 0.9)}},
    },
}  # fmt: skip


def test_card_holds_what_the_bundle_records():
    card = model_card(INFO, RESULT)
    for part in (
        "# covid-cxnet", "normal, cap, covid", "320 x 320", "original, clahe, beasf", "blanked outside them",
        "percentiles 0.0 and 98.0", "inside the lungs only", "`lung-unet`", "abc123abc123", "CC BY 4.0 (armiro)",
        "CC BY-NC 4.0", ">= 0.4321", "sensitivity>=0.95 on val", "covidcx train covid-cxnet --seed 3",
        "covidcx evaluate covid-cxnet", "Temperature: 1.5", "weights.h5",
    ):  # fmt: skip
        assert part in card, part


def test_card_carries_the_disclaimer_at_both_ends():
    card = model_card(INFO, RESULT)
    assert card.count(DISCLAIMER) == 2
    assert DISCLAIMER in card[:200]


def test_metrics_stand_beside_each_other_by_split():
    card = model_card(INFO, RESULT)
    assert "| metric | test | control |" in card
    assert "| Macro F1 | 0.681 (0.620 to 0.740) | - |" in card
    assert "| Accuracy | 1.000 (1.000 to 1.000)* | - |" in card
    assert "| CAP called COVID (false COVID rate) | - | 0.800 (0.700 to 0.900) |" in card


def test_measured_shortcuts_come_before_general_limits():
    card = model_card(INFO, RESULT)
    limits = card[card.index("## Known shortcuts") :]
    assert limits.index("share of other pneumonia that is called COVID is 0.800") < limits.index("NIH ChestX-ray14")
    assert "Source equals label: really." in limits
    assert "This manifest is another one." in limits


def test_headline_metrics_of_a_bundle_are_understood():
    short = {name: {k: section[k] for k in ("images", "patients", "metrics")}
             for name, section in RESULT["splits"].items()}  # fmt: skip
    card = model_card(INFO, short)
    assert "0.681 (0.620 to 0.740)" in card
    assert "Evaluation (manifest" not in card


def test_what_is_not_recorded_is_named_so():
    card = model_card({"name": "bare", "task": "segment"}, {})
    assert "Not evaluated yet" in card
    assert card.count("not recorded") >= 5
    assert DISCLAIMER in card
    assert "Operating points" not in card


def test_segmenter_card_shows_the_readers_ceiling():
    metrics = {"test": {"images": 51, "patients": 40, "metrics": {
        "dice_mean": _interval(0.95, 0.94, 0.96), "reader_dice_median": _interval(0.951, 0.94, 0.96)}}}  # fmt: skip
    card = model_card({"name": "lung-unet", "task": "segment", "labels": ["lung"]}, metrics)
    assert "| Dice, mean | 0.950 (0.940 to 0.960) |" in card
    assert "second reader" in card


def test_card_of_a_gate_speaks_of_views_and_not_of_covid():
    labels = ["frontal", "sideways", "upside_down", "inverted", "lateral", "no_chest"]
    points = {"frontal": {"threshold": 0.4, "rule": "sensitivity>=0.99"}}
    metrics = {"splits": {"test": {"images": 9, "patients": 9, "metrics": {"recall_frontal": _interval(0.99)}}}}
    card = model_card({**INFO, "name": "frontal-gate", "labels": labels, "operating_points": points}, metrics)
    assert "Recall (sensitivity), frontal | 0.990" in card and "no real lateral radiograph was seen" in card
    assert "recognise the source" not in card


def test_card_names_the_gate_in_front():
    assert "Gate in front of it: `frontal-gate`" in model_card({**INFO, "gate": "frontal-gate"}, RESULT)
