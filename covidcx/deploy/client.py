"""Ask a model server (TensorFlow Serving, KServe) for findings: DICOM or picture in, `Finding` out.

The file is read here, as everywhere in covidcx, and travels as a grey PNG without any of its header: no name, no
number and no date of the patient leaves this machine. REST needs nothing but the small install; gRPC needs
`pip install 'covidcx[serve]'`.
"""

import csv
import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from covidcx.deploy.transports import Rest, Transport, one_line
from covidcx.errors import ImageError, ServerUnreachableError, ServingError, UnsupportedImageError
from covidcx.finding import Finding
from covidcx.imaging.picture import MAX_UNSCALED_BITS
from covidcx.imaging.radiograph import Radiograph
from covidcx.imaging.read import read
from covidcx.imaging.resize import to_uint8
from covidcx.progress import track

log = logging.getLogger(__name__)


class Client:
    """A model server seen from a hospital's side.

    Example:
        >>> client = Client(Rest("http://localhost:8501"))  # doctest: +SKIP
        >>> client.predict_file("chest.dcm").label  # doctest: +SKIP
        'normal'
    """

    def __init__(
        self,
        transport: Transport | None = None,
        retries: int = 3,
        pause: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            transport: `Rest(...)` or `Grpc(...)`; REST on this machine by default.
            retries: how often a request is repeated where the server is out of reach or too busy.
            pause: seconds before the first repetition, doubled each time.
            sleep: waits that long.
        """
        self.transport = transport if transport is not None else Rest()
        self._retries, self._pause, self._sleep = retries, pause, sleep

    def predict(self, radiographs: Sequence[Radiograph], sources: Sequence[str] | None = None) -> list[Finding]:
        """Ask for several radiographs in one request.

        Args:
            radiographs: what to look at.
            sources: how the findings refer to them.

        Returns:
            A finding each, of status `ok` or `refused`.

        Raises:
            ServingError: the server cannot be reached after all repetitions, or answered with an error.
        """
        sources = list(sources) if sources is not None else ["radiograph"] * len(radiographs)
        start = time.perf_counter()
        answers = self._ask([encode(radiograph) for radiograph in radiographs])
        if len(answers) != len(radiographs):
            raise ServingError(
                f"{self.transport.where} gave {len(answers)} answers to {len(radiographs)} pictures; export the model "
                "again with: covidcx export"
            )
        seconds = round((time.perf_counter() - start) / max(len(answers), 1), 3)
        model = self.transport.model
        return [
            _finding(answer, source, radiograph.view, model, seconds)
            for answer, source, radiograph in zip(answers, sources, radiographs, strict=True)
        ]

    def predict_file(self, path: str | Path) -> Finding:
        """Ask for one file.

        Raises:
            ImageError: the file is damaged or no radiograph.
            ServingError: see `predict`.
        """
        return self.predict([read(path)], [Path(path).name])[0]

    def predict_files(self, paths: Sequence[str | Path], batch: int = 8) -> list[Finding]:
        """Ask for many files; a bad one is recorded with its reason and the rest goes on.

        Args:
            paths: DICOM files or pictures.
            batch: files per request.

        Returns:
            A finding each, in the order of the files, of status `ok`, `refused` or `error`.

        Raises:
            ServingError: see `predict`.
        """
        findings: dict[int, Finding] = {}
        waiting: list[tuple[int, Radiograph]] = []

        def send() -> None:
            answers = self.predict([image for _, image in waiting], [Path(paths[i]).name for i, _ in waiting])
            findings.update({i: answer for (i, _), answer in zip(waiting, answers, strict=True)})
            waiting.clear()

        for index, path in enumerate(track(paths, "asking the server")):
            try:
                waiting.append((index, read(path)))
            except ImageError as error:
                status = "refused" if isinstance(error, UnsupportedImageError) else "error"
                findings[index] = Finding(Path(path).name, status, reason=one_line(str(error)))
            if len(waiting) == batch:
                send()
        if waiting:
            send()
        return [findings[index] for index in range(len(paths))]

    def _ask(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        for attempt in range(self._retries + 1):
            try:
                return self.transport.predict(pictures)
            except ServerUnreachableError as error:
                if attempt == self._retries:
                    raise
                wait = self._pause * 2**attempt
                log.warning("%s; asking again in %.1f s", error, wait)
                self._sleep(wait)
        raise AssertionError("unreachable: the last attempt returns or raises")


def findings_table(sources: Sequence[str], findings: Sequence[Finding]) -> bytes:
    """Set findings out as a table.

    Args:
        sources: what each finding is of.
        findings: as many, from one server.

    Returns:
        CSV, UTF-8: source, status, label, `p_LABEL` for every label that occurs, reason, disclaimer.
    """
    labels = sorted({label for finding in findings for label in finding.probabilities})
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["source", "status", "label", *(f"p_{label}" for label in labels), "reason", "disclaimer"])
    for source, f in zip(sources, findings, strict=True):
        shown = [f"{f.probabilities[label]:.4f}" if label in f.probabilities else "" for label in labels]
        writer.writerow([source, f.status, f.label or "", *shown, f.reason, f.disclaimer])
    return table.getvalue().encode()


def encode(radiograph: Radiograph) -> bytes:
    """Turn a radiograph into the PNG that is sent.

    Args:
        radiograph: what to send.

    Returns:
        PNG bytes, of as many bits as lose nothing where 8 to 14 bits do, so that the server reads the very same pixels;
        else of 16 bits. A picture so dark that 16 bits would be taken for unscaled detector values (see
        `covidcx.imaging.picture`) goes in 8.
    """
    depths = (_exact(radiograph.pixels, bits) for bits in range(8, MAX_UNSCALED_BITS + 1))
    chosen = next((values for values in depths if values is not None), None)
    if chosen is None:
        chosen = np.round(radiograph.pixels.astype(np.float64) * (2**16 - 1)).astype(np.uint16)
        if int(chosen.max()) < 2**MAX_UNSCALED_BITS:
            chosen = to_uint8(radiograph.pixels)
    done, data = cv2.imencode(".png", chosen, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ServingError(f"a radiograph of {radiograph.shape} pixels cannot be encoded as PNG; please report it")
    return data.tobytes()


def _exact(pixels: np.ndarray, bits: int) -> np.ndarray | None:
    """Return the pixels as whole numbers of so many bits where a reader gets the same back, else None."""
    white = 2**bits - 1
    values = np.round(pixels * np.float32(white)).astype(np.uint8 if bits == 8 else np.uint16)
    if bits > 8 and int(values.max()).bit_length() != bits:
        return None
    return values if np.array_equal(values.astype(np.float32) / np.float32(white), pixels) else None


def _finding(answer: Mapping[str, Any], source: str, view: str | None, model: str, seconds: float) -> Finding:
    try:
        probabilities = {
            str(name): float(p) for name, p in zip(answer["classes"], answer["probabilities"], strict=True)
        }
        refused, score, area = bool(answer["refused"]), float(answer["refusal_score"]), float(answer["lung_area"])
        label = str(answer["label"])
    except (KeyError, TypeError, ValueError) as error:
        raise ServingError(
            f"model {model!r} answers without {error}; it has {', '.join(sorted(answer))}: export it again with "
            "covidcx export"
        ) from error
    common = {"source": source, "view": view, "bundle": model, "seconds": seconds, "lung_area": round(area, 4)}
    if refused:
        reason = (
            f"no upright frontal chest radiograph with clear lungs (refusal score {score:.2f}, lungs cover {area:.1%} "
            "of the image); check the projection and send it upright"
        )
        return Finding(status="refused", reason=reason, **common)
    return Finding(status="ok", label=label, probabilities=probabilities, **common)
