"""The shipped classifier as a SavedModel, written once per test run, and a TF Serving stand-in that answers from it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


def row_answers(model, instances: list[dict], signature: str) -> list[dict]:
    """Answer as TF Serving's REST interface does in its row format, `_bytes` as base64."""
    import tensorflow as tf

    pictures = [base64.b64decode(instance["image_bytes"]["b64"]) for instance in instances]
    outputs = {key: value.numpy() for key, value in model.signatures[signature](tf.constant(pictures)).items()}
    return [{key: _plain(key, value[row]) for key, value in outputs.items()} for row in range(len(pictures))]


def _plain(key: str, value):
    if key.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [one.decode() for one in value]
    return value.tolist()


@contextmanager
def rest_server(answer) -> Iterator[str]:
    """Serve POST requests by `answer(path, body) -> (code, dict)`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code, content = answer(self.path, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
