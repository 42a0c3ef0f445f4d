"""Serve an exported SavedModel over KServe's V1 protocol; runs in KServe's own environment, without covidcx.

    .venv-kserve/bin/python tests/deploy/kserve_server.py MODEL_FOLDER NAME PORT TENSORFLOW_SITE_PACKAGES

TensorFlow is taken from the project's environment, appended so that KServe's own packages come first.
"""

import base64
import sys

folder, name, port, site_packages = sys.argv[1:]
sys.path.append(site_packages)
# KServe reads the command line when it is imported.
sys.argv[1:] = [f"--http_port={port}", "--enable_grpc=false"]

from kserve import Model, ModelServer  # noqa: E402


class SavedModel(Model):
    """What TF Serving's REST interface does with a SavedModel, in its row format."""

    def load(self) -> bool:
        import tensorflow as tf

        self._tensor, self._model = tf.constant, tf.saved_model.load(folder)
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        pictures = [base64.b64decode(instance["image_bytes"]["b64"]) for instance in payload["instances"]]
        signature = self._model.signatures[payload.get("signature_name", "serving_default")]
        outputs = {key: value.numpy() for key, value in signature(self._tensor(pictures)).items()}
        return {
            "predictions": [
                {key: _plain(key, value[row]) for key, value in outputs.items()} for row in range(len(pictures))
            ]
        }


def _plain(key, value):
    if key.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, bytes):
        return value.decode()
    if value.dtype == object:
        return [one.decode() for one in value]
    return value.tolist()


model = SavedModel(name)
model.load()
ModelServer(workers=1).start([model])
