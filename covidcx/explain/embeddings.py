"""Images as points: what a layer makes of them, and a map of these points in two dimensions (t-SNE)."""

from typing import TYPE_CHECKING

import numpy as np

from covidcx.errors import ExplainError, did_you_mean

if TYPE_CHECKING:
    import keras


def embeddings(model: "keras.Model", images: np.ndarray, layer: str | None = None, batch_size: int = 16) -> np.ndarray:
    """Return a layer's answer to each image as a vector; a feature map is averaged over its positions.

    Args:
        model: functional model with one input.
        images: N x H x W x C, float32 in 0..1 as the model takes them, or uint8 0..255, which is scaled batch by batch.
        layer: name of a layer with a vector or a feature map; the last feature map before the classes by default.
        batch_size: images per prediction.

    Returns:
        float32, N x D.

    Raises:
        ExplainError: the layer is unknown, or gives neither N x D nor N x h x w x D.
    """
    tensor = _tensor(model, layer)
    import keras

    if len(tensor.shape) == 4:
        tensor = keras.layers.GlobalAveragePooling2D(name="embedding")(tensor)
    elif len(tensor.shape) != 2:
        raise ExplainError(f"layer {layer!r} gives {tensor.shape}; choose one that gives N x D or N x h x w x D")
    network = keras.Model(model.input, tensor)
    found = []
    for start in range(0, len(images), batch_size):
        part = np.asarray(images[start : start + batch_size])
        scaled = part.astype(np.float32) / np.float32(255) if part.dtype == np.uint8 else part.astype(np.float32)
        found.append(network.predict_on_batch(scaled))
    return np.concatenate(found).astype(np.float32) if found else np.zeros((0, tensor.shape[-1]), np.float32)


def tsne(points: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Place points on a plane so that near ones stay near (van der Maaten and Hinton 2008).

    How far apart distant groups lie means little.

    Args:
        points: float, N x D, N at least 4.
        seed: the same seed gives the same map.
        perplexity: number of neighbours that count; lowered to (N - 1) / 3 for few points.

    Returns:
        float32, N x 2.

    Raises:
        ExplainError: there are fewer than 4 points, or a value is not finite.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = np.asarray(points, np.float64)
    if points.ndim != 2 or len(points) < 4:
        raise ExplainError(f"a t-SNE map needs 4 points or more as N x D, received shape {points.shape}")
    if not np.isfinite(points).all():
        raise ExplainError("the points hold NaN or infinite values; check the model's weights")
    # As the authors do: at most 50 dimensions, so that noise in many dimensions does not decide who is near.
    width = min(50, len(points) - 1, points.shape[1])
    reduced = PCA(width, random_state=seed).fit_transform(points) if width < points.shape[1] else points
    near = min(perplexity, (len(points) - 1) / 3)
    return TSNE(2, perplexity=near, init="pca", random_state=seed).fit_transform(reduced).astype(np.float32)


def separation(points: np.ndarray, labels: np.ndarray) -> float:
    """Say how well groups stand apart: the mean silhouette (Rousseeuw 1987), 1 apart, 0 mixed, below 0 wrongly grouped.

    Args:
        points: float, N x D.
        labels: N names.

    Returns:
        -1..1; NaN where fewer than two groups, or as many groups as points, are there.
    """
    from sklearn.metrics import silhouette_score

    groups = len(np.unique(labels))
    return float(silhouette_score(points, labels)) if 2 <= groups < len(points) else float("nan")


def _tensor(model: "keras.Model", layer: str | None):
    from covidcx.explain.gradcam import find_layer

    if layer is None:
        return find_layer(model).output
    named = {entry.name: entry for entry in model.layers}
    if layer not in named:
        raise ExplainError(f"model {model.name!r} has no layer {layer!r}.{did_you_mean(layer, named)}")
    return named[layer].output
