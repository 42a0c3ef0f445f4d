"""Momentum contrast: MoCo (He et al. 2020), MoCo-v2 (Chen et al. 2020), MoCo-CXR (Sowrirajan et al. 2021).

One model class trains under every Keras backend: what changes beside the gradient (key encoder, queue, its pointer) is
a non-trainable variable, changed inside `compute_loss`, which Keras runs statelessly where the backend needs it.
"""

import keras
import numpy as np
from keras import layers, ops

from covidcx.errors import RecipeError
from covidcx.models.densenet import GROWTH
from covidcx.models.densenet_names import BLOCKS
from covidcx.models.encoders import features

EMBEDDING = "embedding"


def contrast_encoder(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    backbone: str = "densenet121",
    dim: int = 128,
    mlp: bool = False,
    splits: int = 1,
    blocks: tuple[int, ...] = BLOCKS,
    growth: int = GROWTH,
) -> keras.Model:
    """Build an encoder with a projection head.

    Args:
        input_shape: height, width and channels.
        backbone: a key of `covidcx.models.encoders.LAST`.
        dim: length of the embedding.
        mlp: a hidden layer as wide as the features before the projection (MoCo-v2).
        splits: parts of a training batch with batch statistics of their own, see `SplitBatchNormalization`.
        blocks: DenseNet's dense layers per block.
        growth: DenseNet's growth rate.

    Returns:
        Model from float32 N x H x W x C in 0..1 to `{"embedding": N x dim}` of length 1.
    """
    image = layers.Input(tuple(input_shape), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(features(backbone, image, blocks, growth))
    if mlp:
        x = layers.Dense(x.shape[-1], activation="relu", name="projection_hidden")(x)
    x = layers.Dense(dim, name="projection", dtype="float32")(x)
    x = layers.UnitNormalization(name=EMBEDDING, dtype="float32")(x)
    model = keras.Model(image, {EMBEDDING: x}, name="contrast_encoder")
    return model if splits == 1 else _split(model, splits)


@keras.saving.register_keras_serializable("covidcx")
class SplitBatchNormalization(layers.BatchNormalization):
    """Batch normalisation whose training statistics come from consecutive parts of the batch, as on several GPUs.

    With the keys in another order than the queries, a query and its key share no statistics, by which a network could
    otherwise recognise the pair without looking at the images ("shuffling BN", He et al. 2020, section 3.3).
    At inference it is ordinary batch normalisation, with the same weights.

    Args:
        splits: number of parts; must divide the batch.
    """

    def __init__(self, splits: int = 2, **kwargs) -> None:
        super().__init__(**kwargs)
        self.splits = splits

    def call(self, inputs, training=None, mask=None):
        """Return the normalised input, of its shape."""
        if not training or self.splits == 1:
            return super().call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, "float32")
        parts = ops.reshape(x, (self.splits, -1, *x.shape[1:]))
        mean, variance = ops.moments(parts, axes=list(range(1, len(parts.shape) - 1)), keepdims=True)
        channels = self.moving_mean.shape
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            now = ops.mean(ops.reshape(now, (self.splits, *channels)), axis=0)
            moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        parts = (parts - mean) * (ops.rsqrt(variance + self.epsilon) * self.gamma) + self.beta
        return ops.cast(ops.reshape(parts, ops.shape(x)), self.compute_dtype)

    def get_config(self):
        """Return the arguments for serialisation."""
        return {**super().get_config(), "splits": self.splits}


def _split(model: keras.Model, splits: int) -> keras.Model:
    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            return SplitBatchNormalization.from_config({**config, "splits": splits})
        return layer.__class__.from_config(config)

    return keras.models.clone_model(model, clone_function=clone)


def info_nce(queries, keys, negatives, temperature: float):
    """Compute the contrastive loss, SIIM multi-class eq. 2.

    Args:
        queries: float, N x D, of length 1.
        keys: float, N x D, of length 1: the positive key of each query.
        negatives: float, K x D, of length 1.
        temperature: divides the cosines.

    Returns:
        Loss of each query, N: -log of the positive's share among exp(cosine / temperature) of all K + 1 keys; and
        bool, N: whether the positive is the most similar of them.
    """
    positive = ops.sum(queries * keys, axis=-1, keepdims=True)
    logits = ops.concatenate([positive, ops.matmul(queries, ops.transpose(negatives))], axis=1) / temperature
    return ops.logsumexp(logits, axis=1) - logits[:, 0], ops.argmax(logits, axis=1) == 0


class MomentumContrast(keras.Model):
    """The query encoder learns to tell its image's other view from a queue of keys of other images.

    `fit` takes query views N x H x W x C as input and as targets `{"key": views N x H x W x C, "order": N}`, where
    `order` permutes the batch for the key encoder. The model itself returns the query encoder's output.

    Args:
        query: from `contrast_encoder`; the one that is trained and kept.
        key: another of the same shape; becomes a copy of `query` and then follows it.
        queue: number of keys of earlier batches.
        momentum: share of the key encoder's weights that a step keeps.
        temperature: of the loss.
        seed: of the queue's first, random content.
    """

    def __init__(
        self,
        query: keras.Model,
        key: keras.Model,
        queue: int = 512,
        momentum: float = 0.999,
        temperature: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(name="momentum_contrast")
        self.query, self.key = query, key
        self.momentum, self.temperature = momentum, temperature
        self.pairs = list(zip(query.trainable_variables, key.trainable_variables, strict=True))
        for here, there in zip(key.variables, query.variables, strict=True):
            # By way of NumPy: under JAX a plain assignment would let both variables share one buffer.
            here.assign(np.array(ops.convert_to_numpy(there.value)))
            # The layers stay trainable: frozen, batch normalisation would no longer use the batch's statistics.
            here.trainable = False
        dim = query.output[EMBEDDING].shape[-1]
        start = np.random.default_rng(seed).normal(size=(queue, dim)).astype(np.float32)
        start /= np.linalg.norm(start, axis=1, keepdims=True)
        self.queue = self.add_weight(shape=(queue, dim), initializer="zeros", trainable=False, name="queue")
        self.queue.assign(start)
        self.pointer = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="pointer")
        self.accuracy = keras.metrics.Mean(name="contrast_accuracy")
        self.built = True

    def call(self, images, training=False):
        """Return the query encoder's output."""
        return self.query(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the batch's mean loss; in training, first move the key encoder and then turn the queue."""
        if training:
            self.follow()
        order = ops.cast(y["order"], "int32")
        keys = self.key(ops.take(y["key"], order, axis=0), training=training)[EMBEDDING]
        keys = ops.stop_gradient(ops.take(keys, ops.argsort(order), axis=0))
        negatives = ops.stop_gradient(ops.convert_to_tensor(self.queue))
        losses, first = info_nce(y_pred[EMBEDDING], keys, negatives, self.temperature)
        if training:
            self.enqueue(keys)
            self.accuracy.update_state(ops.cast(first, "float32"))
        return ops.mean(losses)

    def follow(self) -> None:
        """Move every weight of the key encoder: momentum x itself + (1 - momentum) x the query encoder's."""
        for query, key in self.pairs:
            key.assign(self.momentum * key + (1.0 - self.momentum) * ops.stop_gradient(ops.convert_to_tensor(query)))

    def enqueue(self, keys) -> None:
        """Put keys (N x D) over the oldest of the queue; it wraps at its end."""
        size, count = self.queue.shape[0], keys.shape[0] or ops.shape(keys)[0]
        places = (self.pointer + ops.arange(count, dtype="int32")) % size
        self.queue.assign(ops.scatter_update(self.queue, ops.expand_dims(places, 1), keys))
        self.pointer.assign((self.pointer + count) % size)


def check_queue(queue: int, images: int) -> None:
    """Refuse a queue that would hold keys of the query's own image.

    Args:
        queue: number of keys.
        images: number of training images.

    Raises:
        RecipeError: the queue is larger than the data.
    """
    if not 1 <= queue <= images:
        raise RecipeError(
            f"a queue of {queue} keys does not suit {images} images: it must hold at least one key and at most one per "
            f"image, or an image is its own negative; set contrast.queue={max(1, images // 2)}"
        )
