"""LIME (Ribeiro et al. 2016) on superpixels, the second explanation that COVID-CXNet shows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from covidcx.errors import ExplainError, MissingDependencyError

_BATCH = 16
# Grey levels lie in 0..1: a compactness of this size weighs them about like distances on a chest radiograph.
_COMPACTNESS = 0.1


def lime_map(
    predict: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    label: int,
    superpixels: int = 60,
    samples: int = 500,
    seed: int = 0,
) -> np.ndarray:
    """Fit LIME's linear model of one class over superpixels that are blanked to their mean.

    Args:
        predict: maps float32 N x H x W x C to probabilities N x K.
        image: float32, H x W x C, as the model takes it.
        label: index of the class.
        superpixels: about how many SLIC regions the image is cut into.
        samples: images with random regions blanked; more give a steadier map.
        seed: of the random regions; the same seed gives the same map.

    Returns:
        float32, H x W: each superpixel's weight, positive where it speaks for the class, negative against.

    Raises:
        MissingDependencyError: lime is not installed.
        ExplainError: the image cannot be cut into regions, or a setting is out of range.
    """
    try:
        from lime.lime_image import LimeImageExplainer
        from skimage.segmentation import slic
    except ImportError as error:
        raise MissingDependencyError("LIME is not installed; run: pip install 'covidcx[train]'") from error
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 3:
        raise ExplainError(f"LIME explains one H x W x C image, received shape {image.shape}")
    if superpixels < 2 or samples < 2:
        raise ExplainError(f"LIME needs at least 2 superpixels and 2 samples, received {superpixels} and {samples}")
    rough = slic(
        image, n_segments=superpixels, compactness=_COMPACTNESS, sigma=1, start_label=0, channel_axis=-1,
        convert2lab=False,
    )  # fmt: skip
    count = int(rough.max()) + 1
    regions = np.unique(rough, return_inverse=True)[1].reshape(rough.shape)
    if regions.max() < 1:
        raise ExplainError(f"the image cannot be cut into regions ({count} found); is it blank?")
    classes = np.asarray(predict(image[None])).shape[-1]
    if not 0 <= label < classes:
        raise ExplainError(f"label index {label} is out of range: there are {classes} classes, 0 to {classes - 1}")

    class QuietExplainer(LimeImageExplainer):
        """LIME with its sampling done on whole batches: it draws no progress bar and copies no image per region."""

        def data_labels(
            self, image: np.ndarray, fudged_image: np.ndarray, segments: np.ndarray,
            classifier_fn: Callable[[np.ndarray], np.ndarray], num_samples: int, batch_size: int = _BATCH, **_: Any,
        ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
            shown = self.random_state.randint(0, 2, (num_samples, int(segments.max()) + 1))
            shown[0] = 1
            answers = []
            for start in range(0, num_samples, batch_size):
                kept = shown[start : start + batch_size][:, segments].astype(bool)[..., None]
                answers.append(np.asarray(classifier_fn(np.where(kept, image, fudged_image).astype(np.float32))))
            return shown, np.concatenate(answers)

    blanked = np.stack([_region_means(image[..., channel], regions) for channel in range(image.shape[-1])], axis=-1)
    explainer = QuietExplainer(random_state=seed)
    # lime's own mean colours take three channels for granted; the blanked image is handed over through hide_color.
    explanation = explainer.explain_instance(
        image, predict, labels=(label,), top_labels=None, hide_color=blanked, num_samples=samples,
        batch_size=_BATCH, segmentation_fn=lambda _: regions, random_seed=seed,
    )  # fmt: skip
    weights = np.zeros(int(regions.max()) + 1, np.float32)
    for region, weight in explanation.local_exp[label]:
        weights[region] = weight
    return weights[regions]


def _region_means(channel: np.ndarray, regions: np.ndarray) -> np.ndarray:
    flat = regions.ravel()
    means = np.bincount(flat, weights=channel.ravel().astype(np.float64)) / np.bincount(flat)
    return means[regions].astype(np.float32)
