"""Area resampling that NumPy and a TensorFlow graph compute alike to the last grey level.

cv2's INTER_AREA keeps its weights in float32, so two executors that round its result differ by a level now and
then, and equalisation multiplies that level. Here every output pixel is a difference of a cumulative sum in
float64, which both executors can do exactly.
"""

import numpy as np


def resize_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample by pixel area when shrinking and by box interpolation when growing.

    Args:
        image: H x W, any real dtype.
        height: output height in pixels.
        width: output width in pixels.

    Returns:
        float64, height x width; each value is the mean of the input over the output pixel's footprint.
    """
    rows = _resize_first_axis(np.asarray(image, dtype=np.float64), height)
    return np.ascontiguousarray(_resize_first_axis(rows.T, width).T)


def _resize_first_axis(image: np.ndarray, size: int) -> np.ndarray:
    length = image.shape[0]
    if length == size:
        return image
    cumulative = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0)])
    # The edges are exact fractions i * length / size: integer arithmetic keeps both executors on the same side.
    scaled = np.arange(size + 1, dtype=np.int64) * length
    whole, part = scaled // size, (scaled % size) / size
    upper = np.minimum(whole + 1, length)
    edges = cumulative[whole] + (cumulative[upper] - cumulative[whole]) * part[:, None]
    return np.diff(edges, axis=0) * (size / length)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Quantise 0..1 to 0..255, with a small offset that keeps exact halves of a level off the rounding noise.

    Args:
        image: float, values 0..1 (values outside are clipped).

    Returns:
        uint8, same shape.
    """
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.500001).astype(np.uint8)
