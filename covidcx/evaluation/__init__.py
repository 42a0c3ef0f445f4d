"""How good a bundle is, for whom, and how sure one can be."""

from covidcx.evaluation.calibration import choose_operating_point, expected_calibration_error, fit_temperature
from covidcx.evaluation.card import model_card
from covidcx.evaluation.classification import ClassificationResult, classification_metrics
from covidcx.evaluation.evaluate import evaluate, headline
from covidcx.evaluation.intervals import Interval, bootstrap
from covidcx.evaluation.pixels import PixelCounts, count_pixels, pixel_metrics
from covidcx.evaluation.predictions import PredictionTable, predict_manifest
from covidcx.evaluation.segmentation import MaskScore, score_mask

__all__ = [
    "ClassificationResult",
    "Interval",
    "MaskScore",
    "PixelCounts",
    "PredictionTable",
    "bootstrap",
    "choose_operating_point",
    "classification_metrics",
    "count_pixels",
    "evaluate",
    "expected_calibration_error",
    "fit_temperature",
    "headline",
    "model_card",
    "pixel_metrics",
    "predict_manifest",
    "score_mask",
]
