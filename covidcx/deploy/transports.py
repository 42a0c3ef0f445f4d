"""The ways to a model server: TensorFlow Serving's REST interface, which KServe shares, and its gRPC interface."""

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from covidcx.errors import MissingDependencyError, ServerUnreachableError, ServingError

REST_PORT, GRPC_PORT = 8501, 8500
SIGNATURE, INPUT = "serving_default", "image_bytes"
_WORTH_RETRYING = (429, 502, 503, 504)


class Transport(Protocol):
    """How one batch of pictures reaches the server."""

    where: str

    def predict(self, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        """Return the outputs by name, a dictionary per picture."""


@dataclass(frozen=True)
class Rest:
    """TensorFlow Serving's REST interface, which KServe's V1 protocol shares.

    Attributes:
        url: scheme, host and port, such as `http://localhost:8501`.
        model: the model's name.
        version: a version, or None for the newest.
        timeout: seconds per request.
        headers: sent along, such as an authorisation.
    """

    url: str = f"http://localhost:{REST_PORT}"
    model: str = "covid-cxnet"
    version: int | None = None
    timeout: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The address of the model."""
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.url.rstrip('/')}/v1/models/{self.model}{version}"

    def predict(self, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        """Return the outputs by name, a dictionary per picture.

        Raises:
            ServingError: no connection, no answer in time, or an answer that is none.
        """
        instances = [{INPUT: {"b64": base64.b64encode(picture).decode()}} for picture in pictures]
        body = json.dumps({"signature_name": SIGNATURE, "instances": instances}).encode()
        request = urllib.request.Request(
            f"{self.where}:predict", body, {"Content-Type": "application/json", **self.headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise _refused(self.where, error.code, error.read()) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ServerUnreachableError(
                f"no answer from {self.where} within {self.timeout:g} s ({reason}); is the server up? "
                "`covidcx serve` starts one"
            ) from error
        try:
            predictions = json.loads(content)["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServingError(
                f"{self.where} answered with something else than predictions: {content[:80]!r}; "
                "is this a TensorFlow Serving address?"
            ) from error
        return predictions


@dataclass(frozen=True)
class Grpc:
    """TensorFlow Serving's gRPC interface.

    Attributes:
        target: host and port, such as `localhost:8500`.
        model: the model's name.
        version: a version, or None for the newest.
        timeout: seconds per request.
    """

    target: str = f"localhost:{GRPC_PORT}"
    model: str = "covid-cxnet"
    version: int | None = None
    timeout: float = 30.0

    @property
    def where(self) -> str:
        """The address of the model."""
        return f"grpc://{self.target}/{self.model}"

    def predict(self, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        """Return the outputs by name, a dictionary per picture.

        Raises:
            ServingError: no connection, no answer in time, or the server's own error.
            MissingDependencyError: the messages are not installed.
        """
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise MissingDependencyError(
                f"gRPC needs the package {error.name!r}; run: pip install 'covidcx[serve]', or use REST"
            ) from error
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, SIGNATURE
        if self.version is not None:
            request.model_spec.version.value = self.version
        request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(list(pictures), tf.string, [len(pictures)]))
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.target, options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                answer = stub.Predict(request, timeout=self.timeout)
            except grpc.RpcError as error:
                kind = (
                    ServerUnreachableError
                    if error.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
                    else ServingError
                )
                raise kind(
                    f"{self.where} answered {error.code().name}: {one_line(error.details())}; is the server up, and "
                    "does it serve this model?"
                ) from error
        values = {name: tf.make_ndarray(tensor).tolist() for name, tensor in answer.outputs.items()}
        return [{name: _text(column[row]) for name, column in values.items()} for row in range(len(pictures))]


def _refused(where: str, code: int, body: bytes) -> ServingError:
    try:
        said = json.loads(body)
        said = said.get("error", said) if isinstance(said, dict) else said
    except ValueError:
        said = body.decode(errors="replace")
    kind = ServerUnreachableError if code in _WORTH_RETRYING else ServingError
    hint = (
        "is this model served there? its name and version are part of the address"
        if code == 404
        else ("see the server's log")
    )
    return kind(f"{where} answered HTTP {code}: {one_line(str(said)) or 'nothing'}; {hint}")


def one_line(text: str, length: int = 200) -> str:
    """Return a text in one line of at most `length` characters."""
    return " ".join(text.split())[:length]


def _text(value: Any) -> Any:
    """Turn the bytes of string tensors into text, in lists too."""
    if isinstance(value, list):
        return [_text(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value
