"""Max-pooling that remembers where each maximum stood, and unpooling that puts values back there (SegNet, 2017).

TensorFlow's pooling with indices does not convert to TFLite's builtin operations. Here the places are where the map
equals its own upsampled maximum, which converts. Before ReLU two cells of a window are all but never equal in float32,
so that this is exactly the unpooling by indices; behind ReLU whole windows are zero and would tie. Measured beside the
other form that converts (`benchmarks/unpooling.py`, one thread, 64 x 64 x 16): as exact in float32, three times as
fast, and with int8 inside a correlation of 0.98 with Keras instead of 0.74.
"""

import keras
from keras import layers, ops


def pool_with_places(x: keras.KerasTensor, name: str) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Take the maximum of every 2 x 2 window and mark where it stood.

    Args:
        x: N x H x W x C, sides even; before ReLU, which may as well follow the pooling.
        name: stem of the layers' names.

    Returns:
        The maxima, N x H/2 x W/2 x C, and the places for `unpool`.
    """
    pooled = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return pooled, Places(name=f"{name}_places")([x, layers.UpSampling2D(2, name=f"{name}_maxima")(pooled)])


def unpool(values: keras.KerasTensor, places: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Put values where the maxima stood, zero elsewhere.

    Args:
        values: N x H/2 x W/2 x C.
        places: N x H x W x C of 0 and 1, from `pool_with_places`.
        name: stem of the layers' names.

    Returns:
        N x H x W x C.
    """
    return layers.Multiply(name=f"{name}_unpool")([layers.UpSampling2D(2, name=f"{name}_upsample")(values), places])


@keras.saving.register_keras_serializable("covidcx")
class Places(layers.Layer):
    """1 where two maps are equal, 0 elsewhere; no gradient passes, places are indices."""

    def call(self, inputs):
        """Return a map of the first one's shape and dtype."""
        x, maxima = inputs
        return ops.cast(ops.equal(x, maxima), x.dtype)

    def compute_output_shape(self, shapes):
        """Return the first map's shape."""
        return shapes[0]
