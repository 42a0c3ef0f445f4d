"""A file becomes a `Radiograph`, and a `Radiograph` becomes a network's input."""

from covidcx.imaging.enhance import (
    equalize,
    equalize_adaptive,
    equalize_beasf,
    equalize_clahe,
    match_histogram,
    winsorise,
)
from covidcx.imaging.preprocessing import Geometry, Prepared, Preprocessing, prepare
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read
from covidcx.imaging.resize import SummedImage, resize_area, to_uint8
from covidcx.imaging.roi import LungROI, segment_lungs

__all__ = [
    "Geometry",
    "LungROI",
    "Prepared",
    "Preprocessing",
    "Radiograph",
    "SummedImage",
    "equalize",
    "equalize_adaptive",
    "equalize_beasf",
    "equalize_clahe",
    "match_histogram",
    "prepare",
    "read",
    "resize_area",
    "segment_lungs",
    "to_uint8",
    "winsorise",
]
