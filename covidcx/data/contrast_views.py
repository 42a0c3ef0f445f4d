"""Two random views of one radiograph, for contrastive learning (SIIM multi-class, section 4)."""

from dataclasses import dataclass

import cv2
import numpy as np

from covidcx.errors import RecipeError

_ASPECT = 4 / 3
_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class View:
    """One draw of `ContrastViews`, as numbers.

    Attributes:
        flip: mirrored left to right.
        degrees: rotation, counter-clockwise.
        shift: to the right, as a share of the width.
        scale: enlargement, 1 leaves the size.
        crop: top, left, height and width as shares of the image.
        brightness: factor on the grey levels.
        contrast: factor on the distance from the mean grey level.
        saturation: factor on the distance of each channel from the mean of all channels.
        grey: every channel replaced by the mean of all channels.
        sigma: of the Gaussian blur in pixels of a 224-pixel image, 0 for none.
    """

    flip: bool
    degrees: float
    shift: float
    scale: float
    crop: tuple[float, float, float, float]
    brightness: float
    contrast: float
    saturation: float
    grey: bool
    sigma: float


@dataclass(frozen=True)
class ContrastViews:
    """Ranges and probabilities of the random changes of a view; the defaults change nothing.

    Attributes:
        flip: probability of a left-right flip.
        rotate: largest rotation in degrees, to either side.
        shift: largest horizontal translation as a share of the width.
        scale: smallest and largest enlargement.
        crop: smallest and largest share of the area that is cropped and enlarged to the whole, at an aspect ratio of
            3:4 to 4:3 (MoCo-v2).
        jitter: largest relative change of brightness, contrast and saturation. Hue is left alone: the channels of a
            prepared radiograph are enhancements, not colours.
        jitter_share: probability of that change.
        grey: probability that all channels become their mean.
        blur: probability of a Gaussian blur.
    """

    flip: float = 0.0
    rotate: float = 0.0
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    crop: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    jitter_share: float = 0.8
    grey: float = 0.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "shift", "jitter", "jitter_share", "grey", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"views.{name} must lie within 0 and 1, received {getattr(self, name)}")
        if not 0 <= self.rotate <= 180:
            raise RecipeError(f"views.rotate must lie within 0 and 180 degrees, received {self.rotate}")
        if not 0 < self.scale[0] <= self.scale[1] <= 10:
            raise RecipeError(f"views.scale is a smallest and a largest enlargement, received {self.scale}")
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise RecipeError(f"views.crop is a smallest and a largest share within 0 and 1, received {self.crop}")

    def draw(self, rng: np.random.Generator) -> View:
        """Draw the changes of one view."""
        jittered = rng.random() < self.jitter_share
        factors = rng.uniform(1 - self.jitter, 1 + self.jitter, 3) if jittered else np.ones(3)
        return View(
            flip=bool(rng.random() < self.flip),
            degrees=float(rng.uniform(-self.rotate, self.rotate)),
            shift=float(rng.uniform(-self.shift, self.shift)),
            scale=float(rng.uniform(*self.scale)),
            crop=self._crop(rng),
            brightness=float(factors[0]),
            contrast=float(factors[1]),
            saturation=float(factors[2]),
            grey=bool(rng.random() < self.grey),
            sigma=float(rng.uniform(*_SIGMA)) if rng.random() < self.blur else 0.0,
        )

    def apply_batch(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one view of every image.

        Args:
            images: uint8, N x H x W x C.
            rng: source of randomness; the same generator state gives the same views.

        Returns:
            uint8, N x H x W x C, a new array.
        """
        return np.stack([apply_view(image, self.draw(rng)) for image in images])

    def _crop(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        if self.crop == (1.0, 1.0):
            return 0.0, 0.0, 1.0, 1.0
        area, aspect = rng.uniform(*self.crop), np.exp(rng.uniform(-np.log(_ASPECT), np.log(_ASPECT)))
        height, width = min(1.0, np.sqrt(area / aspect)), min(1.0, np.sqrt(area * aspect))
        top, left = rng.uniform(0, 1 - height), rng.uniform(0, 1 - width)
        return float(top), float(left), float(height), float(width)


def apply_view(image: np.ndarray, view: View) -> np.ndarray:
    """Change an image as a view says: crop, geometry in one resampling, grey levels, blur.

    Args:
        image: uint8, H x W x C.
        view: from `ContrastViews.draw`.

    Returns:
        uint8, H x W x C; what moves in from outside the image is black.
    """
    height, width = image.shape[:2]
    moved = cv2.warpAffine(image, _matrix(view, height, width), (width, height), flags=cv2.INTER_LINEAR)
    # OpenCV drops the axis of a single channel.
    x = moved.reshape(image.shape).astype(np.float32) * view.brightness
    x = x.mean() + (x - x.mean()) * view.contrast if view.contrast != 1 else x
    if view.grey or view.saturation != 1:
        mean = x.mean(axis=-1, keepdims=True)
        x = mean + (x - mean) * (0.0 if view.grey else view.saturation)
    if view.sigma:
        x = cv2.GaussianBlur(x, (0, 0), view.sigma * height / 224).reshape(image.shape)
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)


def _matrix(view: View, height: int, width: int) -> np.ndarray:
    """Return the 2 x 3 matrix from the image's pixels to the view's."""
    top, left, tall, wide = view.crop
    crop = np.array([[1 / wide, 0, -left * width / wide], [0, 1 / tall, -top * height / tall], [0, 0, 1]])
    centre = ((width - 1) / 2, (height - 1) / 2)
    turn = np.vstack([cv2.getRotationMatrix2D(centre, view.degrees, view.scale), [0, 0, 1]])
    turn[0, 2] += view.shift * width
    mirror = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]]) if view.flip else np.eye(3)
    return (turn @ mirror @ crop)[:2]
