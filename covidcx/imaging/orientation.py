"""Turning an image upright: what DICOM's Patient Orientation and a picture's EXIF tag say about the stored rows.

Three more DICOM elements look as if they asked for a turn and do not. Field of View Rotation (0018,7032) and Field of
View Horizontal Flip (0018,7034) tell what has been done to the pixels on their way from the detector, so that detector
defects can be found again: Pixel Data hold the image after both (PS3.3 C.8.11.4.1.1, PS3.17 FFF.1.2.5.3). Image
Laterality (0020,0062) names the side of a paired body part. All three are left alone.

Masks and boxes of a manifest are given in the file's own rows and columns, as every published data set gives them.
Whoever reads them turns them by the `turn` of the `Radiograph` they belong to; the rules are those of `Turn`.
"""

import re
from dataclasses import dataclass

import numpy as np

from covidcx.errors import UnsupportedImageError

_ORIENTATION_TAG = 0x0112
_SHORT = 3
# PS3.3 C.7.6.1.1.1, bipeds: each axis is named by up to three letters, the chief direction first.
_DIRECTIONS = re.compile("[APRLHF]{1,3}")


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay an image down, in the order the fields are written.

    Attributes:
        transposed: rows and columns change places.
        upside_down: the last row comes first.
        mirrored: the last column comes first.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn an image.

        Args:
            image: H x W, or H x W x channels.

        Returns:
            A view of it, H x W or, transposed, W x H; the image itself where it stays as it is.
        """
        if self == UPRIGHT:
            return image
        if self.transposed:
            image = image.swapaxes(0, 1)
        return image[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]

    def undo(self, image: np.ndarray) -> np.ndarray:
        """Lay an upright image down again, as the file stores its rows and columns: the inverse of `apply`."""
        image = image[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return image.swapaxes(0, 1) if self.transposed else image

    def boxes(self, boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Turn boxes along with their image.

        Args:
            boxes: N x 4: x, y (top left), width, height in the pixels of the file.
            shape: height and width of the upright image.

        Returns:
            float64, N x 4, in the pixels of the upright image.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        x, y, width, height = (boxes[:, [1, 0, 3, 2]] if self.transposed else boxes).T
        if self.mirrored:
            x = shape[1] - x - width
        if self.upside_down:
            y = shape[0] - y - height
        return np.stack([x, y, width, height], axis=1)

    @property
    def number(self) -> int:
        """The EXIF orientation that asks for this turn, 1 to 8: one number for each of the eight."""
        return next((number for number, turn in _EXIF.items() if turn == self), 1)

    def spacing(self, spacing: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the row and column spacing of the turned image."""
        return spacing[::-1] if spacing and self.transposed else spacing


UPRIGHT = Turn()

# EXIF 2.32, 4.6.5: where the stored first row and first column lie in the picture as it is to be seen.
_EXIF = {
    2: Turn(mirrored=True),
    3: Turn(upside_down=True, mirrored=True),
    4: Turn(upside_down=True),
    5: Turn(transposed=True),
    6: Turn(transposed=True, mirrored=True),
    7: Turn(transposed=True, upside_down=True, mirrored=True),
    8: Turn(transposed=True, upside_down=True),
}


def turn_of_patient(directions: list[str]) -> Turn:
    """Find the turn that brings a frontal radiograph upright: rows to the patient's left, columns to the feet.

    Args:
        directions: Patient Orientation (0020,0020): the direction of the rows, then that of the columns.

    Returns:
        The turn; none where the two values are empty or say nothing sensible about a frontal image.

    Raises:
        UnsupportedImageError: the two axes lie in a sagittal or transverse plane, so the image is no frontal one.

    Source: DICOM PS3.3 C.7.6.1.1.1.
    """
    if len(directions) != 2 or not all(_DIRECTIONS.fullmatch(text) for text in directions):
        return UPRIGHT
    row, column = (text[0] for text in directions)
    planes = {"LR": "across", "HF": "along", "AP": "through"}
    axes = {next(name for letters, name in planes.items() if direction in letters) for direction in (row, column)}
    if axes == {"along", "through"}:
        raise UnsupportedImageError("Patient Orientation names a lateral projection; give the frontal (PA or AP) image")
    if axes == {"across", "through"}:
        raise UnsupportedImageError(
            "Patient Orientation names a transverse image, not a projection from front or back; give a PA or AP image"
        )
    if axes != {"across", "along"}:
        return UPRIGHT
    transposed = row in "HF"
    if transposed:
        row, column = column, row
    return Turn(transposed, upside_down=column == "H", mirrored=row == "R")


def turn_of_exif(orientation: int) -> Turn:
    """Find the turn an EXIF or TIFF orientation of 1 to 8 asks for; any other number asks for none."""
    return _EXIF.get(orientation, UPRIGHT)


def exif_orientation(block: bytes) -> int:
    """Read the orientation out of an EXIF block (a TIFF header and its first directory).

    Args:
        block: the block, with or without the `Exif\\0\\0` that JPEG puts before it.

    Returns:
        1 to 8; 1, which is upright, where the block is damaged or silent.
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    if order is None:
        return 1
    start = int.from_bytes(block[4:8], order)
    count = int.from_bytes(block[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind = (int.from_bytes(block[i : i + 2], order) for i in (at, at + 2))
        if tag == _ORIENTATION_TAG and kind == _SHORT:
            value = int.from_bytes(block[at + 8 : at + 10], order)
            return value if value in _EXIF else 1
    return 1
