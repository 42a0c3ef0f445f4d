"""`covidcx serve`: start TensorFlow Serving on exported models, by its binary or by Docker, or say how."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covidcx.deploy.serving_config import (
    BATCHING_FILE,
    IMAGE,
    INSIDE,
    MODELS_FILE,
    model_names,
    server_arguments,
    write_serving_files,
)
from covidcx.deploy.transports import GRPC_PORT, REST_PORT
from covidcx.errors import ServingError

BINARY = "tensorflow_model_server"


@dataclass(frozen=True)
class Command:
    """How the server is started.

    Attributes:
        words: the command line.
        by: `binary` or `docker`.
    """

    words: tuple[str, ...]
    by: str


def command(
    models: str | Path,
    rest_port: int = REST_PORT,
    grpc_port: int = GRPC_PORT,
    find: Callable[[str], str | None] = shutil.which,
) -> Command:
    """Build the command that starts TensorFlow Serving, and write the files it reads beside the models.

    Args:
        models: folder that `covidcx export --to saved-model` wrote to.
        rest_port: port of the REST interface.
        grpc_port: port of the gRPC interface.
        find: looks a program up.

    Returns:
        The command, with the binary where it is installed, else with Docker.

    Raises:
        ServingError: there is no model in the folder, or neither program is installed; it says how to get one.
    """
    folder = Path(models).resolve()
    names = model_names(folder)
    if not names:
        raise ServingError(
            f"no exported model in {str(models)!r}; make one with: covidcx export covid-cxnet --to saved-model "
            f"--out {models}"
        )
    if binary := find(BINARY):
        write_serving_files(folder, base=str(folder))
        return Command((binary, *server_arguments(str(folder), rest_port, grpc_port)), "binary")
    write_serving_files(folder)
    docker = find("docker")
    words = (
        docker or "docker", "run", "--rm", "--read-only",
        "-p", f"127.0.0.1:{rest_port}:{REST_PORT}", "-p", f"127.0.0.1:{grpc_port}:{GRPC_PORT}",
        "-v", f"{folder}:{INSIDE}:ro", IMAGE, *server_arguments(INSIDE, REST_PORT, GRPC_PORT),
    )  # fmt: skip
    if docker:
        return Command(words, "docker")
    raise ServingError(
        f"neither {BINARY} nor docker is installed here, so {', '.join(names)} cannot be served; the models and "
        f"{MODELS_FILE}, {BATCHING_FILE}, docker-compose.yml and kubernetes.yaml lie ready in {str(models)!r}: on a "
        f"machine with Docker run there: {' '.join(words)}"
    )


def serve(models: str | Path, rest_port: int = REST_PORT, grpc_port: int = GRPC_PORT) -> int:
    """Run TensorFlow Serving until it ends.

    Returns:
        The server's exit code.

    Raises:
        ServingError: see `command`.
    """
    return subprocess.run(command(models, rest_port, grpc_port).words, check=False).returncode
