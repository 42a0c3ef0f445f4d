"""What TensorFlow Serving needs beside a model: its list of models, batching, a compose file, a Kubernetes manifest."""

from dataclasses import dataclass
from pathlib import Path

from covidcx.atomic import write_atomic
from covidcx.deploy.transports import GRPC_PORT, REST_PORT

IMAGE = "tensorflow/serving:2.19.1"
"""The TensorFlow Serving image that the files name; no such image could be run where covidcx is developed."""
MODELS_FILE, BATCHING_FILE = "models.config", "batching.config"
COMPOSE_FILE, KUBERNETES_FILE = "docker-compose.yml", "kubernetes.yaml"
INSIDE = "/models"


@dataclass(frozen=True)
class Batching:
    """How TF Serving gathers single requests (`tensorflow_serving/servables/tensorflow/session_bundle_config.proto`).

    `benchmarks/serving.py` measured on two cores that batches of 4 to 16 are 1.2 to 1.3 times as fast as their pictures
    one by one. Nothing waits for that; requests that have queued up anyway share a batch. On a GPU measure again.

    Attributes:
        max_batch_size: pictures in a batch at most.
        timeout_micros: how long the first picture of a batch waits for others.
        max_enqueued_batches: batches waiting at most; beyond that requests are refused with 503, and clients repeat.
        threads: batches computed at once.
    """

    max_batch_size: int = 4
    timeout_micros: int = 0
    max_enqueued_batches: int = 64
    threads: int = 2

    def text(self) -> str:
        """Return the protocol buffer's text form."""
        return (
            f"max_batch_size {{ value: {self.max_batch_size} }}\n"
            f"batch_timeout_micros {{ value: {self.timeout_micros} }}\n"
            f"max_enqueued_batches {{ value: {self.max_enqueued_batches} }}\n"
            f"num_batch_threads {{ value: {self.threads} }}\n"
        )


def write_serving_files(models: Path, batching: Batching | None = None, base: str = INSIDE) -> list[Path]:
    """Write the files that start TF Serving on a folder of exported models.

    Args:
        models: the folder that `export_saved_model` wrote to; every model in it is listed.
        batching: how requests are gathered.
        base: the folder as the server sees it; inside a container by default.

    Returns:
        The files written.
    """
    names = model_names(models)
    contents = {
        MODELS_FILE: _models(names, base),
        BATCHING_FILE: (batching or Batching()).text(),
        COMPOSE_FILE: _compose(),
        KUBERNETES_FILE: _kubernetes(names),
    }
    for name, text in contents.items():
        write_atomic(models / name, text.encode())
    return [models / name for name in contents]


def model_names(models: Path) -> list[str]:
    """Return the names of the models in a folder: subfolders with at least one numbered version in them."""
    return sorted(
        folder.name
        for folder in (models.iterdir() if models.is_dir() else ())
        if folder.is_dir() and any((version / "saved_model.pb").is_file() for version in folder.glob("[0-9]*"))
    )


def server_arguments(folder: str, rest_port: int, grpc_port: int) -> list[str]:
    """Return the arguments of `tensorflow_model_server` for a folder of models, as the server sees that folder."""
    return [
        f"--rest_api_port={rest_port}",
        f"--port={grpc_port}",
        f"--model_config_file={folder}/{MODELS_FILE}",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/{BATCHING_FILE}",
    ]


def _models(names: list[str], folder: str) -> str:
    entries = "".join(
        f'  config {{ name: "{name}" base_path: "{folder}/{name}" model_platform: "tensorflow" }}\n' for name in names
    )
    return f"model_config_list {{\n{entries}}}\n"


def _compose() -> str:
    arguments = "\n".join(f"      - {argument}" for argument in server_arguments(INSIDE, REST_PORT, GRPC_PORT))
    return f"""\
# docker compose up -d     (in this folder; needs Docker)
# Decision support for research. Not a medical device; not for diagnostic use.
services:
  covidcx:
    image: {IMAGE}
    command:
{arguments}
    ports:
      # On this machine alone: TF Serving knows no passwords. Put a proxy with TLS and a login in front of it.
      - "127.0.0.1:{REST_PORT}:{REST_PORT}"
      - "127.0.0.1:{GRPC_PORT}:{GRPC_PORT}"
    volumes:
      - .:{INSIDE}:ro
    read_only: true
    restart: unless-stopped
"""


def _kubernetes(names: list[str]) -> str:
    arguments = "\n".join(f"            - {argument}" for argument in server_arguments(INSIDE, REST_PORT, GRPC_PORT))
    ready = f"/v1/models/{names[0]}" if names else "/v1/models/covid-cxnet"
    return f"""\
# kubectl apply -f kubernetes.yaml     (the volume claim covidcx-models holds a copy of this folder)
# Decision support for research. Not a medical device; not for diagnostic use.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: covidcx
spec:
  replicas: 1
  selector:
    matchLabels: {{app: covidcx}}
  template:
    metadata:
      labels: {{app: covidcx}}
    spec:
      containers:
        - name: serving
          image: {IMAGE}
          args:
{arguments}
          ports:
            - {{name: rest, containerPort: {REST_PORT}}}
            - {{name: grpc, containerPort: {GRPC_PORT}}}
          readinessProbe:
            httpGet: {{path: {ready}, port: rest}}
            periodSeconds: 5
          resources:
            requests: {{cpu: "2", memory: 2Gi}}
            limits: {{memory: 4Gi}}
          volumeMounts:
            - {{name: models, mountPath: {INSIDE}, readOnly: true}}
      volumes:
        - name: models
          persistentVolumeClaim: {{claimName: covidcx-models, readOnly: true}}
---
apiVersion: v1
kind: Service
metadata:
  name: covidcx
spec:
  selector: {{app: covidcx}}
  ports:
    - {{name: rest, port: {REST_PORT}}}
    - {{name: grpc, port: {GRPC_PORT}}}
"""
