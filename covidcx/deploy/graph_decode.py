"""PNG and JPEG bytes become pixels inside a TensorFlow graph, as `covidcx.imaging.picture` does outside of one."""

import numpy as np
import tensorflow as tf

from covidcx.imaging.picture import MAX_UNSCALED_BITS, PNG_MAGIC

# OpenCV's fixed-point weights of red, green and blue (ITU-R BT.601), and the bits behind the point.
_RED, _GREEN, _BLUE, _SHIFT = 9798, 19235, 3735, 15
_PNG_DEPTH_AT = 24


def decode_graph(data: tf.Tensor) -> tf.Tensor:
    """Decode one picture.

    Transparent parts are laid on black; 16-bit PNG files that hold unscaled detector values are scaled as
    `picture.to_grey` does. A JPEG's EXIF rotation is not applied: TensorFlow does not read it.

    Args:
        data: string scalar, a PNG (8 or 16 bits) or JPEG file's bytes.

    Returns:
        float32, H x W, 0..1.
    """
    is_png = tf.equal(tf.strings.substr(data, 0, len(PNG_MAGIC)), PNG_MAGIC)
    return tf.cond(is_png, lambda: _png(data), lambda: _jpeg(data))


def _png(data: tf.Tensor) -> tf.Tensor:
    colours = tf.cast(tf.io.decode_png(data, channels=4, dtype=tf.uint16), tf.int32)
    depth = tf.io.decode_raw(tf.strings.substr(data, _PNG_DEPTH_AT, 1), tf.uint8)[0]
    # TensorFlow widens 8-bit samples by 257, which 65535 undoes exactly; OpenCV rounds their grey to 8 bits first.
    grey = tf.where(depth == 16, _grey(colours), _grey(colours // 257) * 257)
    brightest = tf.reduce_max(grey)
    unscaled = tf.logical_and(depth == 16, brightest < 2**MAX_UNSCALED_BITS)
    white = tf.where(unscaled, _white(brightest), 2**16 - 1)
    opacity = tf.cast(colours[..., 3], tf.float32) / np.float32(2**16 - 1)
    return tf.cast(grey, tf.float32) / tf.cast(white, tf.float32) * opacity


def _white(brightest: tf.Tensor) -> tf.Tensor:
    """The largest value of as many bits as `brightest` needs, eight or more."""
    options = tf.constant([2**bits - 1 for bits in range(8, MAX_UNSCALED_BITS + 1)], tf.int32)
    index = tf.searchsorted(options, brightest[None], side="left")[0]
    return options[tf.minimum(index, MAX_UNSCALED_BITS - 8)]


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # The accurate inverse transform is the one OpenCV uses; TensorFlow's default differs by some grey levels.
    colours = tf.cast(tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"), tf.int32)
    return tf.cast(_grey(colours), tf.float32) / np.float32(255.0)


def _grey(colours: tf.Tensor) -> tf.Tensor:
    weighted = colours[..., 0] * _RED + colours[..., 1] * _GREEN + colours[..., 2] * _BLUE
    return tf.bitwise.right_shift(weighted + (1 << (_SHIFT - 1)), tf.constant(_SHIFT, tf.int32))
