"""Two-stage fine-tuning: first the dense layers on frozen features, then everything (COVID-CXNet section 5.2)."""

import keras

from covidcx.errors import RecipeError


def freeze(model: keras.Model, frozen: bool) -> None:
    """Freeze everything before the dense layers, or let it learn again; nothing happens where it is so already.

    Frozen batch normalisations also keep their statistics. The optimiser goes on as it is: it was built for all
    weights and is asked to change some.

    Args:
        model: compiled, with its optimiser built for all weights.
        frozen: whether only dense layers learn.

    Raises:
        RecipeError: the backend is JAX, whose optimisers change all weights or none.
    """
    changed = [
        layer
        for layer in model.layers
        if layer.weights and not isinstance(layer, keras.layers.Dense) and layer.trainable == frozen
    ]
    if not changed:
        return
    if keras.backend.backend() == "jax":
        raise RecipeError("freeze_epochs does not work on JAX; set KERAS_BACKEND=tensorflow or freeze_epochs=0")
    for layer in changed:
        layer.trainable = not frozen
    model.make_train_function(force=True)
