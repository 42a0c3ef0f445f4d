"""The TensorFlow executor of `Preprocessing`: what an exported model does to raw pixels inside its own graph.

It follows `covidcx.imaging.preprocessing.prepare` step by step; `tests/deploy/test_graph.py` holds the two together.
Everything works on tensors of unknown height and width, in eager mode and inside a `tf.function`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from covidcx.deploy import graph_enhance
from covidcx.errors import ImageError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.resize import SHARE_TIE
from covidcx.imaging.roi import ROI_ENHANCEMENTS, SEGMENTER_SIZE, LungROI


class GraphPrepared(NamedTuple):
    """A network's input before scaling to 0..1, as tensors.

    Attributes:
        image: uint8, H x W x C.
        box: int64, 4: top, bottom, left, right (half open) of the kept part, in original pixels.
        lungs: bool, H x W: dilated lungs on the network's grid; all False without a ROI or without lungs.
        found: bool scalar: False where no lungs are left on the network's grid, and the box is the whole image; True
            without a ROI.
    """

    image: tf.Tensor
    box: tf.Tensor
    lungs: tf.Tensor
    found: tf.Tensor

    @property
    def network_input(self) -> tf.Tensor:
        """float32, 1 x H x W x C, 0..1: what every covidcx classifier takes."""
        return tf.cast(self.image, tf.float32)[None] / np.float32(255.0)


def prepare_graph(pixels: tf.Tensor, spec: Preprocessing, lung_mask: tf.Tensor | None = None) -> GraphPrepared:
    """Carry out a `Preprocessing` with TensorFlow operations.

    Args:
        pixels: float32, H x W, 0..1; H and W may be unknown while tracing.
        spec: what to do.
        lung_mask: bool, H x W; required when `spec.roi` is set.

    Returns:
        The network's input with its geometry; the image differs from `prepare`'s by at most one grey level.

    Raises:
        ImageError: the pixels are no floating H x W image, or a ROI is asked for without a mask of that shape.
    """
    pixels = _require_pixels(pixels)
    shape = tf.shape(pixels, out_type=tf.int64)
    box = whole = tf.stack([tf.constant(0, tf.int64), shape[0], tf.constant(0, tf.int64), shape[1]])
    lungs, found = tf.zeros(spec.size, tf.bool), tf.constant(True)
    if spec.roi is not None:
        grid = grow_graph(_require_mask(lung_mask, pixels), spec.roi)
        if spec.roi.crop:
            box = bounding_box_graph(grid, shape, spec.roi.margin)
        lungs = _sample_grid(grid, shape, box, spec.size)
        found = tf.reduce_any(lungs)
        box = tf.where(found, box, whole)
    image = to_uint8_graph(resize_area_graph(pixels[box[0] : box[1], box[2] : box[3]], *spec.size))
    everywhere = tf.ones(spec.size, tf.bool)
    # Where no lungs were found statistics and blanking fall back to the whole image, as in NumPy.
    kept = tf.logical_or(lungs, tf.logical_not(found))
    region = kept if spec.lung_statistics else everywhere
    if spec.winsorise is not None:
        image = graph_enhance.winsorise_graph(image, spec.winsorise, spec.winsorise_low, region)
    if spec.histogram is not None:
        image = graph_enhance.match_histogram_graph(image, spec.histogram, region)
    blank = spec.roi is not None and spec.roi.blank
    if blank:
        image = tf.where(kept, image, graph_enhance.median_level_graph(image, kept))
    stack = tf.stack([_channel(image, name, spec) for name in spec.channels], axis=-1)
    if blank:
        stack = tf.where(kept[..., None], stack, tf.zeros_like(stack))
    return GraphPrepared(stack, box, lungs, found)


def segmenter_input_graph(pixels: tf.Tensor, enhance: str = "ahe") -> tf.Tensor:
    """Turn a radiograph into what the lung segmenter sees, the twin of `roi.segmenter_input`.

    Args:
        pixels: float32, H x W, 0..1; H and W may be unknown while tracing.
        enhance: one of `roi.ROI_ENHANCEMENTS`.

    Returns:
        uint8, 256 x 256.

    Raises:
        ImageError: the enhancement is unknown or the pixels are no floating H x W image.
    """
    if enhance not in ROI_ENHANCEMENTS:
        raise ImageError(f"unknown ROI enhancement {enhance!r}; use one of {', '.join(ROI_ENHANCEMENTS)}")
    image = to_uint8_graph(resize_area_graph(_require_pixels(pixels), SEGMENTER_SIZE, SEGMENTER_SIZE))
    if enhance == "ahe":
        return graph_enhance.equalize_adaptive_graph(image)
    return graph_enhance.equalize_clahe_graph(image) if enhance == "clahe" else image


def restore_graph(heat: tf.Tensor, shape: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Bring a map from the network's grid back to the original image, the twin of `Geometry.restore`.

    Args:
        heat: float32, h x w, any grid that covers the network's input.
        shape: int, 2: height and width of the original image.
        box: int, 4: `GraphPrepared.box`.

    Returns:
        float32, H x W of the original; zero outside the kept part.
    """
    shape, box = tf.cast(shape, tf.int32), tf.cast(box, tf.int32)
    size = tf.stack([box[1] - box[0], box[3] - box[2]])
    patch = tf.image.resize(tf.cast(heat, tf.float32)[..., None], size, method="bilinear", antialias=False)[..., 0]
    return tf.pad(patch, [[box[0], shape[0] - box[1]], [box[2], shape[1] - box[3]]])


def resize_area_graph(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resample by pixel area, the twin of `resize.resize_area`, as two products with the footprints' shares.

    Args:
        image: H x W, float or bool; H and W may be unknown while tracing.
        height: output height in pixels.
        width: output width in pixels.

    Returns:
        float64, height x width.
    """
    shape = tf.shape(image, out_type=tf.int64)
    rows = tf.matmul(_footprints(shape[0], height), tf.cast(image, tf.float64))
    return tf.ensure_shape(tf.matmul(rows, _footprints(shape[1], width), transpose_b=True), [height, width])


def mostly_graph(mask: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resample a mask, the twin of `resize.mostly`.

    Args:
        mask: bool, H x W; H and W may be unknown while tracing.
        height: output height in pixels.
        width: output width in pixels.

    Returns:
        bool, height x width.
    """
    return resize_area_graph(mask, height, width) > 0.5 + SHARE_TIE


def _footprints(length: tf.Tensor, size: int) -> tf.Tensor:
    """Share of every input pixel in every output pixel along one axis: float64, size x length; rows sum to 1."""
    # In units of 1 / size of an input pixel every edge is a whole number.
    edges, pixels = tf.range(size + 1, dtype=tf.int64) * length, tf.range(length + 1, dtype=tf.int64) * size
    end = tf.minimum(edges[1:, None], pixels[None, 1:])
    overlap = tf.maximum(end - tf.maximum(edges[:-1, None], pixels[None, :-1]), 0)
    return tf.cast(overlap, tf.float64) / tf.cast(length, tf.float64)


def to_uint8_graph(image: tf.Tensor) -> tf.Tensor:
    """Quantise 0..1 to 0..255, the twin of `resize.to_uint8`.

    Args:
        image: float64, values 0..1 (values outside are clipped).

    Returns:
        uint8, same shape.
    """
    return tf.cast(tf.floor(tf.clip_by_value(image, 0.0, 1.0) * 255.0 + 0.500001), tf.uint8)


def grow_graph(mask: tf.Tensor, roi: LungROI) -> tf.Tensor:
    """Remove specks and dilate a lung mask on the segmenter's grid, the twin of `roi.grow`.

    Args:
        mask: bool, H x W.
        roi: kernel and iterations.

    Returns:
        bool, 256 x 256.
    """
    grid = tf.cast(mostly_graph(mask, SEGMENTER_SIZE, SEGMENTER_SIZE), tf.float32)
    # What lies beyond the border is background: an erosion eats from there, a dilation gains nothing.
    eroded = -_maximum(-grid, roi.kernel)
    # Repeated dilations by one square are one dilation by a larger one; the first undoes the erosion.
    return _maximum(eroded, (roi.kernel - 1) * (roi.iterations + 1) + 1) > 0.5


def _maximum(grid: tf.Tensor, side: int) -> tf.Tensor:
    reach = side // 2
    padded = tf.pad(grid, [[reach, reach], [reach, reach]])[None, :, :, None]
    # Rows, then columns: a square's maximum at a fraction of the cost.
    rows = tf.nn.max_pool2d(padded, [side, 1], 1, "VALID")
    return tf.nn.max_pool2d(rows, [1, side], 1, "VALID")[0, :, :, 0]


def bounding_box_graph(grid: tf.Tensor, shape: tf.Tensor, margin: float) -> tf.Tensor:
    """Find the lungs' box in the image's own pixels, the twin of `roi.bounding_box`.

    Args:
        grid: bool, 256 x 256, from `grow_graph`.
        shape: int64, 2: height and width of the image.
        margin: share of the box's size added on each side.

    Returns:
        int64, 4: top, bottom, left, right (half open); the whole image where the grid is empty.
    """
    top, bottom = _span(tf.reduce_any(grid, axis=1), shape[0], margin)
    left, right = _span(tf.reduce_any(grid, axis=0), shape[1], margin)
    whole = tf.stack([tf.zeros_like(top), shape[0], tf.zeros_like(left), shape[1]])
    return tf.where(tf.reduce_any(grid), tf.stack([top, bottom, left, right]), whole)


def _span(occupied: tf.Tensor, length: tf.Tensor, margin: float) -> tuple[tf.Tensor, tf.Tensor]:
    first = tf.cast(tf.argmax(occupied), tf.float64)
    last = tf.cast(SEGMENTER_SIZE - tf.argmax(occupied[::-1]), tf.float64)
    pad = margin * (last - first)
    side = tf.cast(length, tf.float64)
    start = tf.maximum(first - pad, 0.0) * side / SEGMENTER_SIZE
    stop = tf.minimum(last + pad, float(SEGMENTER_SIZE)) * side / SEGMENTER_SIZE
    start, stop = tf.floor(start + 1e-9), tf.math.ceil(stop - 1e-9)
    return tf.cast(start, tf.int64), tf.cast(tf.maximum(stop, start + 1), tf.int64)


def _sample_grid(grid: tf.Tensor, shape: tf.Tensor, box: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    rows = _centres(box[0], box[1], shape[0], size[0])
    columns = _centres(box[2], box[3], shape[1], size[1])
    return tf.gather(tf.gather(grid, rows, axis=0), columns, axis=1)


def _centres(start: tf.Tensor, stop: tf.Tensor, length: tf.Tensor, size: int) -> tf.Tensor:
    doubled = start * (2 * size) + (2 * tf.range(size, dtype=tf.int64) + 1) * (stop - start)
    return tf.minimum(doubled * SEGMENTER_SIZE // (2 * size * length), SEGMENTER_SIZE - 1)


def _channel(image: tf.Tensor, name: str, spec: Preprocessing) -> tf.Tensor:
    if name == "he":
        return graph_enhance.equalize_graph(image)
    if name == "ahe":
        return graph_enhance.equalize_adaptive_graph(image)
    if name == "clahe":
        return graph_enhance.equalize_clahe_graph(image, spec.clahe_clip, spec.clahe_tiles)
    if name == "beasf":
        return graph_enhance.equalize_beasf_graph(image, spec.gamma, spec.beasf_variant)
    return image


def _require_pixels(pixels: tf.Tensor) -> tf.Tensor:
    pixels = tf.convert_to_tensor(pixels)
    if not pixels.dtype.is_floating or pixels.shape.rank != 2:
        raise ImageError(
            f"the graph takes floating pixels 0..1, H x W, received {pixels.dtype.name} of shape {pixels.shape}; "
            "pass one decoded grey image"
        )
    return pixels


def _require_mask(mask: tf.Tensor | None, pixels: tf.Tensor) -> tf.Tensor:
    if mask is not None:
        mask = tf.cast(tf.convert_to_tensor(mask), tf.bool)
    if mask is None or not mask.shape.is_compatible_with(pixels.shape):
        received = None if mask is None else mask.shape
        raise ImageError(f"this preprocessing needs a lung mask of shape {pixels.shape}, received {received}")
    # Shapes unknown while tracing are compared when the graph runs.
    with tf.control_dependencies(
        [tf.debugging.assert_equal(tf.shape(mask), tf.shape(pixels), "the lung mask must have the image's shape")]
    ):
        return tf.identity(mask)
