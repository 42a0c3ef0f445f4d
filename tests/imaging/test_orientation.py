"""Eight ways to lay an image down, and what Patient Orientation and EXIF say about each."""

import itertools
import struct

import numpy as np
import pytest

from covidcx.errors import UnsupportedImageError
from covidcx.imaging.orientation import UPRIGHT, Turn, exif_orientation, turn_of_exif, turn_of_patient

# An upright chest: rows run to the patient's left (viewer's right), columns to the feet.
UPRIGHT_IMAGE = np.arange(6).reshape(2, 3)
OPPOSITE = {"L": "R", "R": "L", "F": "H", "H": "F"}


def laid_down() -> list[tuple[list[str], np.ndarray]]:
    """Turn the upright image step by step, moving its directions along by the definition in C.7.6.1.1.1."""
    found, image, row, column = [], UPRIGHT_IMAGE, "L", "F"
    for _ in range(4):
        found.append(([row, column], image))
        found.append(([OPPOSITE[row], column], image[:, ::-1]))
        # A quarter turn clockwise: what ran down now runs to the left, what ran right now runs down.
        image, row, column = np.rot90(image, -1), OPPOSITE[column], row
    return found


def test_every_orientation_is_turned_upright():
    found = laid_down()
    assert len({tuple(directions) for directions, _ in found}) == 8
    for directions, image in found:
        turn = turn_of_patient(directions)
        np.testing.assert_array_equal(turn.apply(image), UPRIGHT_IMAGE, err_msg=str(directions))
        spacing = (0.1, 0.2) if image.shape == UPRIGHT_IMAGE.shape else (0.2, 0.1)
        assert turn.spacing(spacing) == (0.1, 0.2)


def test_compound_directions_count_by_their_first_letter():
    assert turn_of_patient(["LF", "FR"]) == UPRIGHT
    assert turn_of_patient(["RAH", "F"]) == Turn(mirrored=True)


@pytest.mark.parametrize("directions", [[], ["L"], ["", ""], ["L", "R"], ["X", "F"], ["LEFT", "FEET"], ["L", "F", "A"]])
def test_what_says_nothing_turns_nothing(directions):
    assert turn_of_patient(directions) == UPRIGHT


@pytest.mark.parametrize("directions", list(itertools.product("AP", "HF")) + list(itertools.product("HF", "AP")))
def test_sagittal_images_are_refused_as_lateral(directions):
    with pytest.raises(UnsupportedImageError, match="lateral projection; give"):
        turn_of_patient(list(directions))


def test_transverse_images_are_refused():
    with pytest.raises(UnsupportedImageError, match="transverse"):
        turn_of_patient(["L", "P"])


def test_exif_orientations_against_the_picture_they_mean():
    # EXIF 2.32, 4.6.5: where stored row 0 and stored column 0 are to be seen.
    places = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }  # fmt: skip
    stored = np.arange(12).reshape(3, 4)
    for number, (row, column) in places.items():
        seen = turn_of_exif(number).apply(stored)
        edge = {"top": seen[0], "bottom": seen[-1], "left": seen[:, 0], "right": seen[:, -1]}
        assert set(edge[row]) == set(stored[0]) and set(edge[column]) == set(stored[:, 0]), number
        assert seen.shape == ((3, 4) if number < 5 else (4, 3))
    assert turn_of_exif(0) == turn_of_exif(9) == UPRIGHT


def block(order: str, value: int, kind: int = 3, count: int = 1) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, kind, 1, value, 0)
    other = struct.pack(f"{order}HHIHH", 0x010F, 2, 4, 0, 0)
    return mark + struct.pack(f"{order}IH", 8, count + 1) + other + entry + b"\0\0\0\0"


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_block(order):
    for value in range(1, 9):
        assert exif_orientation(block(order, value)) == value
        assert exif_orientation(b"Exif\0\0" + block(order, value)) == value


def test_damaged_exif_blocks_are_upright():
    good = block(">", 6)
    for length in range(len(good) - 6):
        assert exif_orientation(good[:length]) in (1, 6)
    assert exif_orientation(block(">", 9)) == exif_orientation(block(">", 6, kind=4)) == 1
    assert exif_orientation(b"MM\0*" + b"\xff" * 40) == exif_orientation(b"") == exif_orientation(b"JUNK" * 9) == 1
