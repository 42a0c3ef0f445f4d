"""Where a run computes: GPUs, precision, replicas."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import keras

from covidcx.training.pretraining import Pretraining
from covidcx.training.recipe import Recipe

log = logging.getLogger(__name__)


def gpus() -> list[str]:
    """Return the names of the GPUs that Keras's backend can use."""
    try:
        return list(keras.distribution.list_devices("gpu"))
    except (RuntimeError, ValueError, NotImplementedError):
        # JAX raises where no GPU is installed instead of returning none.
        return []


def precision_of(recipe: Recipe | Pretraining) -> str:
    """Return the Keras dtype policy of a run: `auto` is float16 with loss scaling on a GPU, float32 otherwise."""
    if recipe.mixed_precision != "auto":
        return recipe.mixed_precision
    return "mixed_float16" if gpus() else "float32"


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Build layers under a dtype policy, and put the policy of before back."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def replicas() -> AbstractContextManager:
    """Return the scope in which model and optimiser are made: mirrored over all GPUs where there are several.

    Gradients are summed on one device and copied back. With MirroredStrategy's own choice, collective operations, one
    run on two devices stopped with a shape mismatch of a collective (as in tensorflow/tensorflow#62790) and one never
    ended. Without collectives neither can happen, and for models of this size the sum on one device costs little.
    Keras under JAX uses one GPU here.
    """
    devices = gpus()
    if keras.backend.backend() == "tensorflow" and len(devices) > 1:
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
        log.info("training on %d GPUs, each batch is shared among them", strategy.num_replicas_in_sync)
        return strategy.scope()
    return nullcontext()
