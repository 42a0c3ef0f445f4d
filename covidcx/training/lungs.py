"""Lung masks for a run: from a bundle, from another run's folder, or from the manifest."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.data.cache import masks_from
from covidcx.data.manifest import Manifest
from covidcx.errors import RecipeError
from covidcx.imaging.preprocessing import Preprocessing
from covidcx.imaging.roi import ROI_ENHANCEMENTS, SEGMENTER_SIZE, enhancement_of_channel, segment_lungs
from covidcx.training.recipe import Recipe
from covidcx.training.run_folder import RunFolder, read_json

if TYPE_CHECKING:
    import pandas as pd

    from covidcx.imaging.radiograph import Radiograph

log = logging.getLogger(__name__)

LungMask = Callable[["pd.Series", "Radiograph"], np.ndarray]

FROM_MANIFEST = "manifest"


def enhancement_of(preprocessing: Preprocessing) -> str:
    """Return which of `covidcx.imaging.roi.ROI_ENHANCEMENTS` a segmenter's preprocessing is.

    Raises:
        RecipeError: it is none of them.
    """
    enhance = enhancement_of_channel(preprocessing.channels[0])
    expected = Preprocessing(size=preprocessing.size, channels=preprocessing.channels)
    if len(preprocessing.channels) != 1 or enhance not in ROI_ENHANCEMENTS or preprocessing != expected:
        raise RecipeError(
            f"a lung segmenter's preprocessing is one channel of original, ahe or clahe and nothing else, "
            f"received {preprocessing}"
        )
    return enhance


def lung_masks(recipe: Recipe, manifest: Manifest) -> tuple[LungMask | None, str]:
    """Return what finds the lungs of a manifest row.

    Args:
        recipe: its `segmenter` is a bundle's name or folder, a finished run's folder, or `manifest`.
        manifest: the table, for its own masks.

    Returns:
        The function and a text that names it in caches and records; `(None, "")` where the recipe needs no lungs.

    Raises:
        RecipeError: the segmenter is not there, is none, or saw another enhancement than the ROI feeds it.
        BundleError: the bundle is unknown or altered.
    """
    roi = recipe.preprocessing.roi
    if roi is None and recipe.missing_lungs == "silent":
        return None, ""
    if recipe.segmenter == FROM_MANIFEST:
        if roi is None:
            raise RecipeError("missing_lungs=segmenter needs a segmenter, received segmenter=manifest; name a bundle")
        if manifest.frame["lung_mask"].isna().all():
            raise RecipeError(f"segmenter=manifest, but the column 'lung_mask' of {manifest.path} is empty")
        return masks_from(manifest), FROM_MANIFEST
    spec, weights, preprocessing = _find(recipe.segmenter)
    enhance = enhancement_of(preprocessing)
    if preprocessing.size != (SEGMENTER_SIZE, SEGMENTER_SIZE):
        raise RecipeError(
            f"segmenter {recipe.segmenter!r} works at {preprocessing.size}, lungs are found at "
            f"{SEGMENTER_SIZE} x {SEGMENTER_SIZE}; train it with preprocessing.size={SEGMENTER_SIZE},{SEGMENTER_SIZE}"
        )
    if roi is not None and enhance != roi.enhance:
        raise RecipeError(
            f"segmenter {recipe.segmenter!r} was trained on enhancement {enhance!r}, the ROI feeds it {roi.enhance!r}; "
            f"set preprocessing.roi.enhance={enhance}"
        )
    from covidcx.models import restore

    model = restore(spec, weights)

    def segmenter(image: np.ndarray) -> np.ndarray:
        return model.predict_on_batch(image)["lung"]

    def lung_mask(row: "pd.Series", radiograph: "Radiograph") -> np.ndarray:
        return segment_lungs(radiograph.pixels, segmenter, enhance)

    checksum = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    log.info("lungs by segmenter %s (weights %s)", recipe.segmenter, checksum)
    return lung_mask, f"{spec['name']}-{checksum}"


def _find(name: str) -> tuple[dict[str, Any], Path, Preprocessing]:
    folder = RunFolder(Path(name))
    if folder.recipe.is_file() and not (folder.path / "bundle.json").is_file():
        recipe = Recipe.from_dict(read_json(folder.recipe))
        if recipe.task != "segment" or not folder.weights.is_file():
            raise RecipeError(f"{name} holds no finished run of a lung segmenter; train lung-unet there first")
        return recipe.model_spec(), folder.weights, recipe.preprocessing
    from covidcx.bundle import Bundle

    bundle = Bundle.open(name)
    if bundle.task != "segment":
        raise RecipeError(f"bundle {name!r} is no segmenter, its task is {bundle.task!r}; set segmenter=lung-unet")
    return bundle.model, bundle.path("weights.h5"), bundle.preprocessing
