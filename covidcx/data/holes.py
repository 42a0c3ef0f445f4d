"""Holes in radiographs that a network learns to fill (SIIM multi-class, sections 2.3 and 4, Fig. 1)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from covidcx.errors import RecipeError


@dataclass(frozen=True)
class InpaintingMasks:
    """Where images are masked.

    Attributes:
        kind: `centre`, one square in the middle, or `lungs`, one square in each half of the region of Fig. 1.
        centre: side of the central square in pixels.
        lungs: smallest and largest side of a lung square in pixels.
        patches: squares per lung; the paper has one.
        reference: side of the image that these pixels refer to; other image sizes scale them.
        sides: share of the width at the left and at the right where no lung square may be.
        top: the same share of the height at the top.
        bottom: and at the bottom.
    """

    kind: Literal["centre", "lungs"] = "lungs"
    centre: int = 100
    lungs: tuple[int, int] = (17, 32)
    patches: int = 1
    reference: int = 224
    sides: float = 0.10
    top: float = 0.15
    bottom: float = 0.20

    def __post_init__(self) -> None:
        if not 1 <= self.lungs[0] <= self.lungs[1]:
            raise RecipeError(f"masks.lungs is a smallest and a largest side in pixels, received {self.lungs}")
        if not 1 <= self.centre <= self.reference:
            raise RecipeError(f"masks.centre must lie within 1 and reference={self.reference}, received {self.centre}")
        if self.patches < 1:
            raise RecipeError(f"masks.patches must be 1 or more, received {self.patches}")
        if min(self.sides, self.top, self.bottom) < 0:
            raise RecipeError("masks.sides, top and bottom are shares of 0 or more")
        largest, width, height = self.lungs[1] / self.reference, 0.5 - self.sides, 1 - self.top - self.bottom
        if largest > min(width, height):
            raise RecipeError(
                f"a square of {self.lungs[1]} of {self.reference} pixels does not fit a lung region of "
                f"{width:.0%} x {height:.0%}; lower masks.lungs or the region's limits"
            )

    def boxes(self, height: int, width: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
        """Draw the squares of one image.

        Args:
            height: of the image in pixels.
            width: of the image in pixels.
            rng: source of randomness.

        Returns:
            Top, left, height and width in pixels of each square; first those of the image's left half.
        """
        share = min(height, width) / self.reference
        if self.kind == "centre":
            side = max(1, round(self.centre * share))
            return [((height - side) // 2, (width - side) // 2, side, side)]
        found = []
        rows = int(np.ceil(self.top * height)), int(np.floor((1 - self.bottom) * height))
        middle = width // 2
        halves = (int(np.ceil(self.sides * width)), middle), (middle, int(np.floor((1 - self.sides) * width)))
        for left, right in halves:
            for _ in range(self.patches):
                side = max(1, round(int(rng.integers(self.lungs[0], self.lungs[1] + 1)) * share))
                side = min(side, right - left, rows[1] - rows[0])
                y, x = rng.integers(rows[0], rows[1] - side + 1), rng.integers(left, right - side + 1)
                found.append((int(y), int(x), side, side))
        return found

    def apply_batch(self, images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mask a batch.

        Args:
            images: uint8, N x H x W x C.
            rng: source of randomness.

        Returns:
            The images with every hole filled by the image's mean grey level of that channel, and the holes as bool,
            N x H x W.
        """
        masked, holes = images.copy(), np.zeros(images.shape[:3], bool)
        for i, image in enumerate(images):
            for y, x, tall, wide in self.boxes(*image.shape[:2], rng):
                holes[i, y : y + tall, x : x + wide] = True
            masked[i][holes[i]] = image.mean(axis=(0, 1)).round().astype(np.uint8)
        return masked, holes
