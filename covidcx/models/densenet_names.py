"""DenseNet-121's layers by their Keras names: what every importer fills and every transfer copies."""

BLOCKS = (6, 12, 24, 16)
"""Dense layers in each of the four dense blocks."""

HEAD = "head"
"""Name under which importers hand over the classifier behind the pooled features."""

_CONVOLUTION = ("kernel",)
_NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")


def backbone_layers() -> dict[str, tuple[str, ...]]:
    """Return the variables of each weighted layer of `keras.applications.DenseNet121` without its top, in order.

    Returns:
        `{"conv1_conv": ("kernel",), "conv1_bn": ("gamma", ...), ...}`, 241 layers, 604 variables.

    Example:
        >>> len(backbone_layers())
        241
    """
    layers = {"conv1_conv": _CONVOLUTION, "conv1_bn": _NORMALISATION}
    for block, count in enumerate(BLOCKS, 2):
        for layer in range(1, count + 1):
            name = f"conv{block}_block{layer}"
            layers[f"{name}_0_bn"] = _NORMALISATION
            layers[f"{name}_1_conv"] = _CONVOLUTION
            layers[f"{name}_1_bn"] = _NORMALISATION
            layers[f"{name}_2_conv"] = _CONVOLUTION
        if block <= len(BLOCKS):
            layers[f"pool{block}_bn"] = _NORMALISATION
            layers[f"pool{block}_conv"] = _CONVOLUTION
    layers["bn"] = _NORMALISATION
    return layers


def backbone_paths() -> tuple[str, ...]:
    """Return the Keras paths of all backbone variables (`conv1_conv/kernel`), in order."""
    return tuple(f"{layer}/{kind}" for layer, kinds in backbone_layers().items() for kind in kinds)
