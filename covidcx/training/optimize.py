"""Optimiser and learning rate of a run."""

import keras

from covidcx.training.pretraining import Pretraining
from covidcx.training.recipe import Recipe

_LAST = 0.01
_MOMENTUM = 0.9


def optimizer(recipe: Recipe | Pretraining, steps: int) -> keras.optimizers.Optimizer:
    """Make a recipe's optimiser.

    Args:
        recipe: the run.
        steps: steps of an epoch.

    Returns:
        A new optimiser; with `adamw`, biases and normalisation weights do not decay.
    """
    settings = recipe.optimizer
    clip = {} if settings.clip_norm is None else {"clipnorm": settings.clip_norm}
    if settings.name == "adam":
        return keras.optimizers.Adam(schedule(recipe, steps), **clip)
    if settings.name == "sgd":
        return keras.optimizers.SGD(schedule(recipe, steps), momentum=_MOMENTUM, **clip)
    made = keras.optimizers.AdamW(schedule(recipe, steps), weight_decay=settings.weight_decay, **clip)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def schedule(recipe: Recipe | Pretraining, steps: int) -> "float | keras.optimizers.schedules.LearningRateSchedule":
    """Return the learning rate as a function of the step, or a number where it is constant.

    Args:
        recipe: the run.
        steps: steps of an epoch.
    """
    settings = recipe.optimizer
    warmup = round(settings.warmup_epochs * steps)
    if settings.schedule == "constant" and not warmup:
        return settings.learning_rate
    decay = max(recipe.epochs * steps - warmup, 1)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        decay_steps=decay,
        alpha=_LAST if settings.schedule == "cosine" else 1.0,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
