"""A program that trains on two virtual devices: `mirrored_run.py MANIFEST OUT EPOCHS [--resume]`."""

import dataclasses
import sys

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

import tiny_runs  # noqa: E402 - devices are made before anything else uses TensorFlow

from covidcx.training import device, train  # noqa: E402

if __name__ == "__main__":
    manifest, out, epochs, *more = sys.argv[1:]
    device.gpus = lambda: ["cpu:0", "cpu:1"]
    with device.replicas():
        print("replicas", tf.distribute.get_strategy().num_replicas_in_sync)  # noqa: T201
    recipe = dataclasses.replace(tiny_runs.recipe("classify"), mixed_precision="float32", epochs=int(epochs))
    done = train(recipe, manifest, out, resume=bool(more))
    print("epochs", done.epochs)  # noqa: T201
