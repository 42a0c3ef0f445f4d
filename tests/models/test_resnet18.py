import keras
import numpy as np
from keras import layers

from covidcx.models import build
from covidcx.models.resnet18 import resnet18_stages


def test_it_is_resnet18_in_size_and_strides():
    image = layers.Input((224, 224, 3))
    maps = resnet18_stages(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)]
    model = keras.Model(image, maps)
    # torchvision.models.resnet18 has 11,689,512 parameters; its last layer of 512 x 1,000 and 1,000 is not here.
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 11_689_512 - 513_000


def test_the_shortcut_is_added_and_halved_maps_are_projected():
    model = build("cnn-baseline", input_shape=(32, 32, 1), backbone="resnet18", width=0.125)
    names = [layer.name for layer in model.layers]
    assert [n for n in names if n.endswith("shortcut_conv")] == [
        "stage3_a_shortcut_conv", "stage4_a_shortcut_conv", "stage5_a_shortcut_conv",
    ]  # fmt: skip
    # With the second normalisation of a block at zero, the block passes its input on.
    for block in ("stage2_a", "stage2_b"):
        model.get_layer(f"{block}_second_bn").gamma.assign(np.zeros(8))
    tap = keras.Model(model.input, [model.get_layer("stem_pool").output, model.get_layer("stage2_b_relu").output])
    before, after = tap.predict_on_batch(np.random.default_rng(0).random((1, 32, 32, 1), np.float32))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert after.std() > 0
