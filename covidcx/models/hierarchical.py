"""Hierarchical COVID-CXNet (Haghanifar et al. 2020, section 5.3, Table 5): two trained stages as one model.

The first stage tells normal from pneumonia with p, the second COVID-19 from other pneumonia with q. Joined, the three
classes have the probabilities 1 - p, p (1 - q) and p q.
"""

import keras
import numpy as np
from keras import layers, ops

from covidcx.errors import RecipeError, WeightsError
from covidcx.models.covid_cxnet import STAGE_FEATURES, STRIDE, gated_heatmap, heatmap_layer, last_map, pooled
from covidcx.models.restore import by_path
from covidcx.models.stage_names import STAGES

# How each stage's logit speaks for normal, CAP and COVID-19.
_SAYS = np.array([[-1.0, 1.0, 1.0], [0.0, -1.0, 1.0]], np.float32)


@keras.saving.register_keras_serializable("covidcx")
def two_stage(scores):
    """Turn class scores into the probabilities of two decisions in a row.

    Args:
        scores: N x 3: -z1, z1 - z2 and z1 + z2 of the two stages' logits.

    Returns:
        N x 3: 1 - p, p (1 - q), p q with p and q the sigmoids of z1 and z2.
    """
    first = -scores[..., :1]
    second = (scores[..., 2:] - scores[..., 1:2]) / 2.0
    pneumonia = ops.sigmoid(first)
    parts = [ops.sigmoid(-first), pneumonia * ops.sigmoid(-second), pneumonia * ops.sigmoid(second)]
    return ops.concatenate(parts, axis=-1)


def covid_cxnet_hierarchical(
    input_shape: tuple[int, int, int] = (320, 320, 3),
    classes: int = 3,
    hidden: int = 10,
    dropout: float = 0.2,
    normalization: str | None = None,
    lung_pooling: bool = False,
    activation: str = "relu",
    backbone: str = "densenet121",
    output_stride: int = STRIDE,
) -> keras.Model:
    """Build the joined model; its stages are COVID-CXNets of one output each, trained one by one (`fill_stages`).

    The last feature maps of both stages stand side by side in the layer `stage_features`. Grad-CAM there explains a
    class by every decision that leads to it: normal by the first, CAP and COVID-19 by the sum of both logits' maps. The
    output is a function of the scores -z1, z1 - z2, z1 + z2, which Grad-CAM takes as it takes a softmax's logits.

    Args:
        input_shape: see `covidcx.models.covid_cxnet.covid_cxnet`, as are all but `classes`.
        classes: must be 3.
        hidden: see there.
        dropout: see there.
        normalization: see there.
        lung_pooling: see there.
        activation: see there.
        backbone: see there.
        output_stride: see there.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"probabilities": N x 3}`; 14,095,530 parameters with
        DenseNet-121.

    Raises:
        RecipeError: another number of classes, or a setting that COVID-CXNet does not have.
    """
    if classes != 3:
        raise RecipeError(f"two stages tell three classes apart, received {classes}; set labels to three")
    image = layers.Input(tuple(input_shape), name="image")
    maps = [last_map(image, normalization, backbone, output_stride, f"{stage}_") for stage in STAGES]
    features = layers.Concatenate(name=STAGE_FEATURES)(maps)
    both = pooled(image, features, output_stride, lung_pooling)
    width, logits = maps[0].shape[-1], []
    for number, stage in enumerate(STAGES):
        x = both[:, number * width : (number + 1) * width]
        x = layers.Dense(hidden, activation=activation, name=f"{stage}_fc")(x)
        x = layers.Dropout(dropout, name=f"{stage}_dropout")(x)
        logits.append(layers.Dense(1, dtype="float32", name=f"{stage}_probabilities")(x))
    first, second = logits
    scores = layers.Concatenate(dtype="float32", name="scores")([-first, first - second, first + second])
    probabilities = layers.Activation(two_stage, dtype="float32", name="probabilities")(scores)
    return keras.Model(image, {"probabilities": probabilities}, name="covid_cxnet_hierarchical")


def fill_stages(model: keras.Model, stages: dict[str, keras.Model]) -> None:
    """Fill a joined model from its trained stages.

    Args:
        model: from `covid_cxnet_hierarchical`.
        stages: a two-class `covid_cxnet` for each of `STAGES`, built with the same arguments.

    Raises:
        WeightsError: a stage is missing, or its variables are not those of the joined model.
    """
    if set(stages) != set(STAGES):
        raise WeightsError(f"the stages are {', '.join(STAGES)}, received {', '.join(stages) or 'none'}")
    wanted = by_path(model)
    given = {f"{name}_{path}": variable for name, stage in stages.items() for path, variable in by_path(stage).items()}
    odd = sorted(set(wanted) ^ set(given))
    odd += [key for key in wanted if key in given and tuple(wanted[key].shape) != tuple(given[key].shape)]
    if odd:
        raise WeightsError(
            f"the stages do not fit model {model.name!r}: {len(odd)} variables differ ({', '.join(odd[:3])}); "
            "build all three with the same arguments"
        )
    for key, variable in wanted.items():
        variable.assign(given[key].value)


def with_heatmap(model: keras.Model) -> keras.Model:
    """Add the Grad-CAM map of every class score as a second output, computed in the graph without gradients.

    Args:
        model: from `covid_cxnet_hierarchical`; its dense weights are copied at this moment.

    Returns:
        Inference model with outputs `{"probabilities": N x 3, "heatmap": N x h x w x 3}`, see
        `covidcx.models.covid_cxnet.with_heatmap`.
    """
    hidden = [model.get_layer(f"{stage}_fc") for stage in STAGES]
    heads = [ops.convert_to_numpy(model.get_layer(f"{stage}_probabilities").kernel) for stage in STAGES]
    kernels = [ops.convert_to_numpy(layer.kernel) for layer in hidden]
    width, nodes = kernels[0].shape
    first = np.zeros((2 * width, 2 * nodes), np.float32)
    first[:width, :nodes], first[width:, nodes:] = kernels
    second = np.concatenate([head * says for head, says in zip(heads, _SAYS, strict=True)])
    name = heatmap_layer(model)
    return gated_heatmap(
        model, model.get_layer(name).output, layers.Concatenate(name="stage_fc")([layer.output for layer in hidden]),
        hidden[0].activation.__name__, first, second,
    )  # fmt: skip
