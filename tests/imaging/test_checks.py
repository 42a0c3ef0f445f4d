"""What the settings of this room refuse: `Preprocessing` from JSON and from code."""

import numpy as np
import pytest

from covidcx.errors import ImageError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import LungROI

RAMP = tuple(np.round(np.linspace(0, 1, 256), 6).tolist())


def test_unknown_setting_of_the_roi_is_refused_with_a_suggestion():
    with pytest.raises(ImageError, match=r"unknown roi setting 'margn'\. Did you mean 'margin'\?"):
        Preprocessing.from_dict({"roi": {"margn": 1}})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([], r"table of settings, received \[\]"),
        (None, "received None"),
        ({1: 2}, "setting 1"),
        ({"roi": True}, "roi.*True"),
        ({"roi": []}, r"roi.*\[\]"),
        ({"roi": {"kernel": "5"}}, "kernel.*'5'"),
        ({"roi": {"margin": None}}, "margin.*None"),
        ({"size": 320}, "size.*320"),
        ({"size": "320"}, "size.*'320'"),
        ({"size": None}, "size.*None"),
        ({"channels": "clahe"}, "channels.*'clahe'"),
        ({"channels": [1]}, "unknown channel 1"),
        ({"channels": [["clahe"]]}, r"unknown channel \['clahe'\]"),
        ({"winsorise": "99"}, "winsorise.*'99'"),
        ({"winsorise_low": None}, "winsorise_low.*None"),
        ({"histogram": 1.0}, "histogram.*1.0"),
        ({"lung_statistics": "no"}, "lung_statistics.*'no'"),
        ({"lung_statistics": 0}, "lung_statistics.*0"),
        ({"clahe_clip": [2.0]}, r"clahe_clip.*\[2.0\]"),
        ({"clahe_tiles": 8}, "clahe_tiles.*8"),
        ({"gamma": "1.5"}, "gamma.*'1.5'"),
        ({"gamma": True}, "gamma.*True"),
        ({"beasf_variant": None}, "beasf_variant.*None"),
    ],
)
def test_values_of_the_wrong_type_are_refused_with_the_value(value, shown):
    with pytest.raises(ImageError, match=shown) as caught:
        Preprocessing.from_dict(value)
    assert "\n" not in str(caught.value)


def test_a_roi_is_no_dictionary_outside_of_json():
    with pytest.raises(ImageError, match="roi takes a LungROI"):
        Preprocessing(roi={"kernel": 5})
    assert Preprocessing.from_dict({"roi": LungROI(kernel=3)}) == Preprocessing.from_dict({"roi": {"kernel": 3}})


def test_equal_settings_have_equal_hashes_however_they_are_written():
    plain = Preprocessing(
        size=[320, np.int64(320)], channels=["original", "clahe", "beasf"], roi=LungROI(margin=0), winsorise=99,
        winsorise_low=-0.0, histogram=[0] * 255 + [1], clahe_clip=2, clahe_tiles=[8, 8], gamma=1,
    )
    exact = Preprocessing(
        size=(320, 320), channels=("original", "clahe", "beasf"), roi=LungROI(margin=0.0), winsorise=99.0,
        winsorise_low=0.0, histogram=(0.0,) * 255 + (1.0,), clahe_clip=2.0, clahe_tiles=(8, 8), gamma=1.0,
    )
    assert plain == exact and hash(plain) == hash(exact) and plain.hash == exact.hash


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"size": (321, 320)}, "321"),
        ({"size": (0, 320)}, "rows.*received 0"),
        ({"size": (-8, 8)}, "-8"),
        ({"size": (320, 320), "clahe_tiles": (7, 8)}, r"\(7, 8\)"),
        ({"histogram": (0.0, 1.0)}, "received 2"),
        ({"winsorise": 101.0}, "101"),
        ({"winsorise": 5.0, "winsorise_low": 5.0}, "5.0 and 5.0"),
        ({"winsorise": 50.0, "winsorise_low": -1.0}, "-1.0"),
        ({"winsorise": float("nan")}, "nan"),
        ({"lung_statistics": True}, "LungROI"),
        ({"size": (320,)}, r"2 rows and columns, received 1: \(320,\)"),
        ({"size": (320, 320, 3)}, "received 3"),
        ({"size": (320.0, 320)}, "320.0"),
        ({"size": (True, 320)}, "True"),
        ({"clahe_tiles": (0, 8)}, "received 0"),
        ({"clahe_tiles": (-8, 8)}, "received -8"),
        ({"clahe_tiles": (8.0, 8)}, "8.0"),
        ({"channels": ()}, r"one or more names, received 0"),
        ({"beasf_variant": "covid-cxnet"}, r"'covid-cxnet'\. Did you mean 'covid_cxnet'\?"),
        ({"gamma": float("nan")}, "gamma.*nan"),
        ({"gamma": -1.5}, "gamma.*-1.5"),
        ({"gamma": 0}, "gamma.*received 0"),
        ({"gamma": float("inf")}, "gamma.*inf"),
        ({"clahe_clip": 0}, "clahe_clip"),
        ({"clahe_clip": -2.0}, "clahe_clip.*-2.0"),
        ({"clahe_clip": float("nan")}, "clahe_clip.*nan"),
        ({"clahe_clip": float("inf")}, "clahe_clip.*inf"),
        ({"winsorise_low": float("nan")}, "winsorise_low.*nan"),
        ({"histogram": (*RAMP[:-1], float("nan"))}, "level 255.*nan"),
        ({"histogram": (*RAMP[:9], 0.0, *RAMP[10:])}, "falls at level 9"),
        ({"histogram": tuple(share / 2 for share in RAMP)}, "ends at 0.5"),
        ({"histogram": tuple(share * 2 for share in RAMP)}, "level 128"),
        ({"histogram": (-0.1, *RAMP[1:])}, "-0.1"),
    ],
)
def test_impossible_settings_are_refused_with_the_value(settings, shown):
    with pytest.raises(ImageError, match=shown) as caught:
        Preprocessing(**settings)
    assert "\n" not in str(caught.value)
