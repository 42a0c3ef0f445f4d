"""TF Serving's REST interface in one process, for notebooks, tests and trying things out; not for a hospital.

It answers `GET /v1/models/NAME` and `POST /v1/models/NAME[/versions/V]:predict` in the row format, from what
`covidcx export` wrote. It has no queue, no batching and no limits.
"""

import base64
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidcx.deploy.serving_config import model_names
from covidcx.errors import ServingError

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger(__name__)

_PREDICT = re.compile(r"^/v1/models/([^/:]+)(?:/versions/(\d+))?:predict$")
_STATUS = re.compile(r"^/v1/models/([^/:]+)(?:/versions/(\d+))?$")


class Models:
    """The newest version of every exported model in a folder.

    Args:
        folder: what `covidcx export --to saved-model` wrote to.

    Raises:
        ServingError: there is no model in it.
    """

    def __init__(self, folder: str | Path) -> None:
        import tensorflow as tf

        folder = Path(folder)
        names = model_names(folder)
        if not names:
            raise ServingError(
                f"no exported model in {str(folder)!r}; make one with: covidcx export covid-cxnet --to saved-model "
                f"--out {folder}"
            )
        self._loaded: dict[str, tuple[int, tf.Module]] = {}
        for name in names:
            version = max(int(path.name) for path in (folder / name).iterdir() if path.name.isdigit())
            self._loaded[name] = (version, tf.saved_model.load(str(folder / name / str(version))))

    def status(self, name: str, version: str | None) -> tuple[int, dict[str, Any]]:
        """Return the HTTP code and content for a model's state."""
        if not self._has(name, version):
            return 404, {"error": f"Could not find any versions of model {name}"}
        state = {"version": str(self._loaded[name][0]), "state": "AVAILABLE", "status": {"error_code": "OK"}}
        return 200, {"model_version_status": [state]}

    def predict(self, name: str, version: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return the HTTP code and content for a request in the row format."""
        import tensorflow as tf

        if not self._has(name, version):
            return 404, {"error": f"Servable not found for request: Latest({name})"}
        try:
            asked = json.loads(body)
            signature = self._loaded[name][1].signatures[asked.get("signature_name", "serving_default")]
            (column,) = signature.structured_input_signature[1]
            outputs = signature(**{column: _tensor([instance[column] for instance in asked["instances"]])})
        except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            return 400, {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        columns = {key: value.numpy() for key, value in outputs.items()}
        return 200, {
            "predictions": [
                {key: _plain(key, values[row]) for key, values in columns.items()}
                for row in range(len(asked["instances"]))
            ]
        }

    def _has(self, name: str, version: str | None) -> bool:
        return name in self._loaded and version in (None, str(self._loaded[name][0]))


@contextmanager
def local_server(models: str | Path, port: int = 0) -> Iterator[str]:
    """Serve a folder of exported models on this machine alone while the context lasts.

    Args:
        models: what `covidcx export --to saved-model` wrote to.
        port: 0 takes a free one.

    Yields:
        The address, such as `http://127.0.0.1:34567`.

    Raises:
        ServingError: there is no model in the folder, or the port is taken.
    """
    server = _server(Models(models), port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def run_local_server(models: str | Path, port: int) -> None:
    """Serve until interrupted.

    Raises:
        ServingError: see `local_server`.
    """
    with _server(Models(models), port) as server:
        server.serve_forever()


def _server(models: Models, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = _STATUS.match(self.path)
            self._send(*(models.status(*found.groups()) if found else (404, {"error": "Not found"})))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = _PREDICT.match(self.path)
            self._send(*(models.predict(*found.groups(), body) if found else (404, {"error": "Not found"})))

        def _send(self, code: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, text: str, *values: object) -> None:
            log.debug(text, *values)

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ServingError(f"port {port} cannot be used ({error.strerror}); name another with --port") from error


def _tensor(values: list[Any]) -> "tf.Tensor":
    import tensorflow as tf

    if isinstance(values[0], dict):
        return tf.constant([base64.b64decode(value["b64"]) for value in values])
    return tf.constant(values)


def _plain(key: str, value: Any) -> Any:
    """Turn one row of an output into JSON, as TF Serving does: names that end in `_bytes` as base64."""
    if key.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [one.decode() for one in value]
    return value.tolist()
