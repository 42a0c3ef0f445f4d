"""Encoders that an item pretrains without labels, or finds pretrained."""

from pathlib import Path

from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError, RecipeError
from covidcx.papers.item import Context
from covidcx.training import pretrain
from covidcx.training.fit_encoder import ENCODER, PretrainingResult, finished
from covidcx.training.run_folder import RunFolder

# A few hundred steps on some hundred drawn images.
_PHANTOM = {"batch": "16", "epochs": "12", "contrast.queue": "32"}
_BACKBONE = {"model.kwargs.blocks": "blocks", "model.kwargs.growth": "growth"}


def pretrained(context: Context, recipe: str, name: str | None = None) -> PretrainingResult:
    """Pretrain an encoder within the item's budget, go on with it, or find it finished.

    Args:
        context: of the item. Of its budget's settings those of images and backbone hold here too, so that the encoder
            fits the classifier.
        recipe: a name of `covidcx.training.recipes.pretraining_names()`.
        name: folder of the run in `context.work`; the recipe's name by default. A finished run of the same recipe and
            data is used as it is, also where its settings differ, so that a long one done by `covidcx pretrain` serves.

    Returns:
        The finished run.

    Raises:
        RecipeError: the folder holds a run of another recipe or other data.
        MissingDataError: the run is not finished and the item may not train.
    """
    folder = RunFolder(context.work / (name or recipe))
    done = finished(folder)
    if done is None and not context.train:
        raise MissingDataError(f"{folder.path} holds no finished run; leave --finished-only out to train it")
    if done is None:
        return pretrain(recipe, context.manifest_path, folder.path, _settings(context, recipe), resume=True)
    data = split_hash(context.manifest.frame)
    if (done.recipe.name, done.split_hash) != (recipe, data):
        raise RecipeError(
            f"{folder.path} holds a finished pretraining {done.recipe.name} on split hash {done.split_hash}; needed is "
            f"{recipe} on {data}; pass another --work"
        )
    return done


def encoder_file(context: Context, recipe: str, name: str | None = None) -> Path:
    """Return the weights file of `pretrained`'s encoder."""
    return (pretrained(context, recipe, name).out / ENCODER).resolve()


def _settings(context: Context, recipe: str) -> dict[str, str]:
    from covidcx.training.recipes import get_pretraining

    given, settings = context.budget.overrides, {"seed": str(context.seed), "leaks": "drop"}
    for key, text in given.items():
        if key.startswith("preprocessing.") or key in ("leaks", "seed", "mixed_precision"):
            settings[key] = text
        elif key in _BACKBONE:
            # A dictionary's value is written as JSON.
            settings[f"backbone_kwargs.{_BACKBONE[key]}"] = f"[{text}]" if key.endswith("blocks") else text
    if context.phantom:
        own = get_pretraining(recipe)
        settings |= {key: text for key, text in _PHANTOM.items() if own.contrast or not key.startswith("contrast.")}
    return settings
