"""Where in the image an answer comes from, and how well that place sits on lungs and lesions."""

from covidcx.explain.embeddings import embeddings, separation, tsne
from covidcx.explain.explain import explain_files
from covidcx.explain.feature_maps import feature_maps
from covidcx.explain.gradcam import grad_cam
from covidcx.explain.lime_maps import lime_map
from covidcx.explain.localisation import heat_inside, pointing_hit
from covidcx.explain.sanity import agreement, randomisation_agreement, randomised

__all__ = [
    "agreement", "embeddings", "explain_files", "feature_maps", "grad_cam", "heat_inside", "lime_map", "pointing_hit",
    "randomisation_agreement", "randomised", "separation", "tsne",
]  # fmt: skip
