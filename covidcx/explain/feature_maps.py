"""What single channels of a layer see, and which of them answer to a region (SIIM multi-class, Figs. 3 and 4)."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from covidcx.errors import ExplainError
from covidcx.explain.gradcam import find_layer

if TYPE_CHECKING:
    import keras


def feature_maps(model: "keras.Model", image: np.ndarray, layer: str | None = None) -> np.ndarray:
    """Return every channel of a layer for one image.

    Args:
        model: functional model with one input.
        image: float32, H x W x C, as the model takes it.
        layer: name of a layer with a feature map; the one nearest to the classes by default.

    Returns:
        float32, h x w x channels on the layer's grid.

    Raises:
        ExplainError: the layer is unknown or has no spatial extent, or the image has another shape.
    """
    import keras

    image = np.asarray(image, np.float32)
    if image.ndim != 3 or image.shape[-1] != model.input.shape[-1]:
        raise ExplainError(f"the model takes one image of shape {tuple(model.input.shape[1:])}, received {image.shape}")
    network = keras.Model(model.input, find_layer(model, layer).output)
    return np.asarray(network.predict_on_batch(image[None])[0], np.float32)


def contrast(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Measure how strongly each channel answers inside a region rather than outside.

    Args:
        maps: float, h x w x channels.
        region: bool, H x W in the image's pixels.

    Returns:
        float32, one per channel: (mean inside - mean outside) / standard deviation of the channel; 0 for a constant
        channel. Under 0.5 the region hardly stands out.

    Raises:
        ExplainError: the region is empty or covers everything on the maps' grid.
    """
    grid = cv2.resize(region.astype(np.float32), maps.shape[1::-1], interpolation=cv2.INTER_AREA)
    inside = grid > 0.5 if (grid > 0.5).any() else grid == grid.max()
    if not region.any() or inside.all():
        raise ExplainError(
            f"the region covers {int(region.sum())} of {region.size} pixels and leaves the maps' grid of "
            f"{maps.shape[0]} x {maps.shape[1]} without an inside or an outside; choose an earlier layer"
        )
    rise = maps[inside].mean(axis=0) - maps[~inside].mean(axis=0)
    spread = maps.std(axis=(0, 1))
    return np.divide(rise, spread, out=np.zeros_like(rise), where=spread > 0).astype(np.float32)


def tile(maps: np.ndarray, columns: int = 8, side: int = 96, gap: int = 2) -> np.ndarray:
    """Lay channels out in rows, each stretched to its own range.

    Args:
        maps: float, h x w x channels.
        columns: channels per row.
        side: pixels of each channel's longer side.
        gap: white pixels between channels.

    Returns:
        uint8, H x W.
    """
    height, width = maps.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rows = -(-maps.shape[-1] // columns)
    across = min(columns, maps.shape[-1])
    sheet = np.full((rows * (size[1] + gap) - gap, across * (size[0] + gap) - gap), 255, np.uint8)
    for channel in range(maps.shape[-1]):
        values = maps[..., channel]
        low, high = float(values.min()), float(values.max())
        grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
        picture = cv2.resize((grey * 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        top, left = channel // columns * (size[1] + gap), channel % columns * (size[0] + gap)
        sheet[top : top + size[1], left : left + size[0]] = picture
    return sheet
