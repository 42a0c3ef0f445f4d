"""Augmentation as a value: geometry and degradation by albumentations, plus what destroys a scanner's signature.

The data sets of this field name their disease by their source. `texture_swap` and `tone` take the source's signature
away: the first exchanges the fine texture (noise, sharpening, compression) between the images of a batch, the second
re-windows each image by a random monotone curve.
"""

import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities of random changes; all zero changes nothing.

    Attributes:
        flip: probability of a left-right flip.
        rotate: largest rotation in degrees.
        shift: largest shift as a share of the side.
        scale: largest relative change of size, also between width and height by half of it.
        brightness: largest brightness and contrast change as a share of the full range.
        blur: probability of a Gaussian blur.
        downscale: probability of losing resolution (down to 35%).
        noise: probability of Gaussian noise.
        jpeg: probability of JPEG compression at quality 20 to 80.
        cutout: probability of up to three blank rectangles.
        tone: probability of a random monotone grey-level curve (re-windowing).
        texture_swap: probability of taking the fine texture from another image of the batch.
    """

    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    blur: float = 0.0
    downscale: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0
    cutout: float = 0.0
    tone: float = 0.0
    texture_swap: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the settings as a JSON-ready dictionary."""
        return asdict(self)

    def apply_batch(
        self, images: np.ndarray, lungs: np.ndarray | None = None, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Augment a batch for classification.

        Args:
            images: uint8, N x H x W x C.
            lungs: bool, N x H x W: pixels outside stay black where they were blanked; None without a ROI.
            rng: source of randomness; the same generator state gives the same result.

        Returns:
            uint8, N x H x W x C, a new array.
        """
        rng = rng or np.random.default_rng()
        out = images.copy()
        for i in range(len(images)):
            if rng.random() < self.texture_swap:
                out[i] = swap_texture(images[i], images[rng.integers(len(images))], rng.uniform(1.5, 5.0))
            if rng.random() < self.tone:
                out[i] = random_tone(out[i], rng)
            if lungs is None:
                out[i] = self._compose(out[i], rng)["image"]
                continue
            # Blanked pixels move with the image and stay blank: noise or a donor's outline there would be a new clue.
            kept = ~((images[i] == 0).all(axis=-1) & ~lungs[i])
            done = self._compose(out[i], rng, mask=kept.astype(np.uint8))
            out[i] = done["image"] * done["mask"][..., None]
        return out

    def apply_pair(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment an image and its masks alike, for segmentation.

        Args:
            image: uint8, H x W x C.
            mask: int8, H x W x M: 1 inside, 0 outside, -1 ignored; M is 0 where no task has one.
            rng: source of randomness.

        Returns:
            The changed image and mask; what moves in from outside the image is background.
        """
        if rng.random() < self.tone:
            image = random_tone(image, rng)
        if not mask.shape[-1]:
            return self._compose(image, rng)["image"].reshape(image.shape), mask.copy()
        done = self._compose(image, rng, masks=[mask[..., m].astype(np.int16) for m in range(mask.shape[-1])])
        return done["image"].reshape(image.shape), np.stack(done["masks"], axis=-1).astype(mask.dtype)

    def apply_boxes(
        self, image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment an image and its boxes alike.

        Args:
            image: uint8, H x W x C.
            boxes: float, M x 4: x, y, width, height in pixels.
            rng: source of randomness.

        Returns:
            The changed image and the boxes that are still at least 10% visible, in the order given.
        """
        done = self._compose(image, rng, bboxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4))
        return done["image"].reshape(image.shape), np.asarray(done["bboxes"], np.float32).reshape(-1, 4)

    def _compose(self, image: np.ndarray, rng: np.random.Generator, **targets: Any) -> dict[str, Any]:
        compose = _pipeline(self, "bboxes" in targets)
        compose.set_random_seed(int(rng.integers(2**31)))
        return compose(image=image, **targets)


@lru_cache(maxsize=16)
def _pipeline(value: Augmentation, boxes: bool) -> Any:
    # albumentations asks the network for its newest version at import unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A  # noqa: N812 - the name its documentation uses

    steps = []
    if value.flip:
        steps.append(A.HorizontalFlip(p=value.flip))
    if value.rotate or value.shift or value.scale:
        steps.append(
            A.Affine(
                rotate=(-value.rotate, value.rotate),
                translate_percent={"x": (-value.shift, value.shift), "y": (-value.shift, value.shift)},
                scale={
                    "x": (1 - value.scale, 1 + value.scale),
                    "y": (1 - value.scale, 1 + value.scale),
                },
                balanced_scale=False,
                keep_ratio=False,
                p=0.9,
            )
        )
    if value.brightness:
        steps.append(A.RandomBrightnessContrast(value.brightness, value.brightness, p=0.7))
    if value.downscale:
        steps.append(A.Downscale(scale_range=(0.35, 0.9), p=value.downscale))
    if value.blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 2.0), p=value.blur))
    if value.noise:
        steps.append(A.GaussNoise(std_range=(0.01, 0.05), p=value.noise))
    if value.jpeg:
        steps.append(A.ImageCompression(quality_range=(20, 80), p=value.jpeg))
    if value.cutout:
        steps.append(
            A.CoarseDropout(
                num_holes_range=(1, 3), hole_height_range=(0.06, 0.2), hole_width_range=(0.06, 0.2), p=value.cutout
            )
        )
    params = A.BboxParams(format="coco", min_visibility=0.1) if boxes else None
    return A.Compose(steps, bbox_params=params)


def swap_texture(image: np.ndarray, other: np.ndarray, sigma: float) -> np.ndarray:
    """Keep an image's coarse structure and take the fine texture of another.

    Args:
        image: uint8, H x W x C.
        other: uint8, H x W x C, the texture's donor.
        sigma: standard deviation, in pixels, of the Gaussian that parts coarse from fine.

    Returns:
        uint8, H x W x C.
    """
    # OpenCV drops the axis of a single channel.
    coarse = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma).reshape(image.shape)
    donor = other.astype(np.float32)
    fine = donor - cv2.GaussianBlur(donor, (0, 0), sigma).reshape(image.shape)
    return np.clip(coarse + fine + 0.5, 0, 255).astype(np.uint8).reshape(image.shape)


def random_tone(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a random monotone curve to all channels: gamma, then a bend at three random knots.

    Args:
        image: uint8, H x W x C; level 0 stays 0 so that blanked pixels stay blank.
        rng: source of randomness.

    Returns:
        uint8, H x W x C.
    """
    levels = np.linspace(0.0, 1.0, 256) ** np.exp(rng.uniform(-0.7, 0.7))
    knots = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    rises = np.exp(rng.uniform(-0.6, 0.6, 4))
    curve = np.interp(levels, knots, np.concatenate([[0.0], np.cumsum(rises)]) / rises.sum())
    low, high = rng.uniform(0.0, 0.1), rng.uniform(0.85, 1.0)
    table = np.round((low + (high - low) * curve) * 255).astype(np.uint8)
    table[0] = 0
    return cv2.LUT(image, table).reshape(image.shape)
