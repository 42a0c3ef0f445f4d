"""Where in the image an answer comes from, and how well that place sits on lungs and lesions."""

from covidcx.explain.explain import explain_files
from covidcx.explain.gradcam import grad_cam
from covidcx.explain.lime_maps import lime_map
from covidcx.explain.localisation import heat_inside, pointing_hit
from covidcx.explain.sanity import randomised

__all__ = ["explain_files", "grad_cam", "heat_inside", "lime_map", "pointing_hit", "randomised"]
