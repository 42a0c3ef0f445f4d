"""The lung segmenter's architecture."""

import keras
import numpy as np
import pytest

from covidcx.models.unet import lung_unet


def test_five_levels_double_their_filters_as_in_the_reference():
    model = lung_unet(filters=2, depth=5, size=32)
    filters = [model.get_layer(f"down{level}_b_conv").filters for level in range(5)]
    assert filters == [2, 4, 8, 16, 32]
    sides = [model.get_layer(f"down{level}_b_relu").output.shape[1] for level in range(5)]
    assert sides == [32, 16, 8, 4, 2]


def test_each_level_up_sees_the_encoder_of_its_own_level():
    model = lung_unet(filters=2, depth=4, size=32)
    for level in range(3):
        skip, risen = model.get_layer(f"up{level}_concat").input
        assert skip.shape == risen.shape
        assert skip is model.get_layer(f"down{level}_b_relu").output


def test_default_filters_and_parameter_count():
    model = lung_unet(filters=32)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 5 * 2 + 4 * 3 + 1
    assert model.get_layer("down4_b_conv").filters == 512
    by_hand = sum(np.prod(layer.kernel.shape) for layer in convolutions) + 1  # the output's bias
    by_hand += sum(4 * layer.filters for layer in convolutions if not layer.use_bias)
    assert model.count_params() == by_hand


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="shape"):
        lung_unet(filters=2, depth=5, size=40)
