"""`pretrain`: from images without labels to an encoder that classifiers start from."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covidcx.data.manifest import Manifest
from covidcx.data.splits import split_hash
from covidcx.errors import MissingDependencyError, RecipeError
from covidcx.training import recipes
from covidcx.training.pretraining import Pretraining
from covidcx.training.rows import select_images
from covidcx.training.run_folder import RunFolder, command_line, now, read_json, write_json

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

ENCODER = "encoder.weights.h5"
"""File of a finished run that `--set initial_weights=` of a classifier takes."""


@dataclass(frozen=True)
class PretrainingResult:
    """What a run ended with.

    Attributes:
        out: the run's folder.
        recipe: with every override applied.
        images: number of images learnt from.
        split_hash: of the manifest.
        epochs: epochs trained.
        loss: of the last epoch.
        encoder: float32 weights of the backbone alone.
        seconds: time spent, in all processes.
    """

    out: Path
    recipe: Pretraining
    images: int
    split_hash: str
    epochs: int
    loss: float
    encoder: Path
    seconds: float


def pretrain(
    recipe: str | Pretraining,
    manifest: str | Path,
    out: str | Path,
    overrides: Mapping[str, str] | None = None,
    resume: bool = False,
) -> PretrainingResult:
    """Train an encoder without labels and leave everything about it in one folder.

    Args:
        recipe: a name of `covidcx.training.recipes.pretraining_names()`, or the value itself.
        manifest: table of studies; only its images are used, and only those of the recipe's `splits`.
        out: the run's folder; gets `recipe.json`, `run.json`, `log.csv`, `tensorboard/`, `best.weights.h5` (the whole
            model after the last epoch), `encoder.weights.h5` (the backbone) and `state/`. Prepared images are cached
            beside it in `.prepared/`, or in the folder that the environment variable `COVIDCX_CACHE` names.
        overrides: settings to replace, as text.
        resume: go on with a run that was stopped; it ends as if it had not been.

    Returns:
        What the run ended with.

    Raises:
        RecipeError: the recipe or a setting is unknown, the queue is larger than the data, the folder holds another
            run, or training diverged.
        ManifestError: rows that would be used have problems, or there are none.
    """
    try:
        import keras  # noqa: F401 - told before any work is done
    except ImportError as error:
        raise MissingDependencyError("pretraining needs Keras; run: pip install 'covidcx[train]'") from error
    value = (recipes.get_pretraining(recipe) if isinstance(recipe, str) else recipe).override(overrides or {})
    folder, table = RunFolder(Path(out)), Manifest.read(manifest)
    rows = select_images(value.splits, value.leaks, table)
    identity = {"split_hash": split_hash(table.frame), "rows_hash": split_hash(rows.frame), "images": len(rows)}
    folder.check(value, identity, resume)
    done = finished(folder) if resume else None
    if done is not None:
        log.info("%s is finished; nothing to do", folder.path)
        return done

    from covidcx.models import save_weights
    from covidcx.models.contrast import check_queue
    from covidcx.models.encoders import encoder_of
    from covidcx.training.device import precision
    from covidcx.training.loop import run
    from covidcx.training.pretrain_feed import prepare_pretraining
    from covidcx.training.record import begin

    feed = prepare_pretraining(value, rows, folder.cache)
    if value.contrast is not None:
        check_queue(value.contrast.queue, len(feed.images))
    if value.batch > len(feed.images):
        raise RecipeError(f"batch={value.batch} is larger than the data, {len(feed.images)} images; lower it")
    command = command_line(value.name, Path(manifest), folder.path, overrides or {}, "pretrain")
    record = begin(folder, value, command, Path(manifest), identity, feed.failures)
    with precision(record["precision"]):
        model = build_pretraining(value, feed.steps)
    kept = network(model)
    log.info("%s: %d parameters, %d steps an epoch", value.backbone, kept.count_params(), feed.steps)
    progress = run(value, model, feed, folder, exported=kept)
    save_weights(encoder_of(kept), folder.path / ENCODER, dtype="float32")
    record |= {
        "status": "finished",
        "finished": now(),
        "seconds": round(progress.seconds, 1),
        "epochs": len(progress.rows),
        "scores": progress.rows[-1],
    }
    write_json(folder.record, record)
    return _result(folder)


def build_pretraining(recipe: Pretraining, steps: int) -> "keras.Model":
    """Build and compile a run's model.

    Args:
        recipe: the run.
        steps: steps of an epoch, for the schedule.

    Returns:
        Compiled Keras model with its optimiser built: `MomentumContrast` or the inpainting network.
    """
    from covidcx.models.contrast import MomentumContrast
    from covidcx.models.inpainting import OUTPUT, HoleError
    from covidcx.training.optimize import optimizer
    from covidcx.training.start import seeded, start_from

    with seeded(recipe.seed):
        networks = [build_network(recipe) for _ in range(1 if recipe.contrast is None else 2)]
    start_from(networks[0], recipe.initial_weights)
    if recipe.contrast is None:
        model = networks[0]
        model.compile(optimizer=optimizer(recipe, steps), loss={OUTPUT: HoleError(recipe.inpainting.context)})
    else:
        given = recipe.contrast
        model = MomentumContrast(*networks, given.queue, given.momentum, given.temperature, recipe.seed)
        model.compile(optimizer=optimizer(recipe, steps))
    model.optimizer.build(model.trainable_variables)
    return model


def build_network(recipe: Pretraining) -> "keras.Model":
    """Build the functional network whose weights a run keeps: encoder with projection, or encoder-decoder."""
    from covidcx.models.contrast import contrast_encoder
    from covidcx.models.inpainting import inpainting

    shape = (*recipe.preprocessing.size, len(recipe.preprocessing.channels))
    backbone = {"backbone": recipe.backbone, **recipe.backbone_kwargs}
    if recipe.contrast is None:
        return inpainting(shape, filters=recipe.inpainting.filters, **backbone)
    given = recipe.contrast
    return contrast_encoder(shape, dim=given.dim, mlp=given.mlp, splits=given.bn_splits, **backbone)


def network(model: "keras.Model") -> "keras.Model":
    """Return the functional network inside a run's model."""
    from covidcx.models.contrast import MomentumContrast

    return model.query if isinstance(model, MomentumContrast) else model


def finished(folder: RunFolder) -> PretrainingResult | None:
    """Return what a run ended with, or None where no finished one lies."""
    done = folder.record.is_file() and (folder.path / ENCODER).is_file()
    return _result(folder) if done and read_json(folder.record).get("status") == "finished" else None


def _result(folder: RunFolder) -> PretrainingResult:
    record, recipe = read_json(folder.record), Pretraining.from_dict(read_json(folder.recipe))
    return PretrainingResult(
        folder.path, recipe, record["data"]["images"], record["data"]["split_hash"], record["epochs"],
        record["scores"]["loss"], folder.path / ENCODER, record["seconds"],
    )  # fmt: skip
