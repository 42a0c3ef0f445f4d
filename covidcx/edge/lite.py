"""Run a bundle's TFLite network with LiteRT."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from covidcx.bundle import Bundle
from covidcx.errors import BundleError, MissingDependencyError

log = logging.getLogger(__name__)

MODEL_FILE = "model.tflite"
SIGNATURE = "serving_default"


class LiteModel:
    """One TFLite network with a `serving_default` signature. Not thread-safe: use one per thread."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network.

        Args:
            path: the `.tflite` file.
            threads: threads per inference; up to four of this machine's cores by default.

        Raises:
            MissingDependencyError: ai-edge-litert is not installed.
            BundleError: the file is no model this LiteRT version runs.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependencyError(
                f"the LiteRT runtime is not installed ({error}); install it with: pip install ai-edge-litert"
            ) from error
        threads = threads if threads is not None else min(4, os.cpu_count() or 1)
        try:
            with _native_log_to_python():
                self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
                self._run = self._interpreter.get_signature_runner(SIGNATURE)
                details = self._run.get_input_details()
                if tuple(details) != ("image",):
                    raise BundleError(f"{path} has the inputs {tuple(details)}, expected one named 'image'")
                self.input_shape = tuple(int(side) for side in details["image"]["shape"])
                # The first run builds the delegate; done here, a model that cannot run fails while loading.
                self.outputs = tuple(self._run(image=np.zeros(self.input_shape, np.float32)))
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{path} is no model that LiteRT can run ({error}); fetch the bundle again") from error
        self.path = path

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network: float32, 1 x H x W x C, 0..1 in; outputs by name out."""
        return dict(self._run(image=image))


def load_network(bundle: Bundle, output: str, threads: int | None = None) -> LiteModel:
    """Load a bundle's network and see that it fits the bundle.

    Args:
        bundle: a verified bundle.
        output: name of the output that is needed.
        threads: threads per inference.

    Returns:
        The network.

    Raises:
        BundleError: there is none, it takes other images than the bundle prepares, or it lacks the output.
    """
    model, spec = LiteModel(bundle.path(MODEL_FILE), threads), bundle.preprocessing
    expected = (1, *spec.size, len(spec.channels))
    if model.input_shape != expected:
        raise BundleError(f"{model.path} takes images of shape {model.input_shape}, its bundle prepares {expected}")
    if output not in model.outputs:
        raise BundleError(f"{model.path} has the outputs {model.outputs}, {output!r} is missing")
    return model


@contextlib.contextmanager
def _native_log_to_python() -> Iterator[None]:
    """Send what the native runtime writes to standard error (a greeting of its delegate) to the debug log."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no standard error, as in a windowed program
        yield
        return
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            capture.seek(0)
            for line in capture.read().decode(errors="replace").splitlines():
                log.debug("LiteRT: %s", line)
