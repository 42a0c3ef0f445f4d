"""What is shown and logged while a run goes on."""

import logging
import shutil
from pathlib import Path
from typing import Any

import keras

log = logging.getLogger(__name__)


class EpochBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, for a loop that calls `fit` once per epoch.

    Args:
        epochs: epochs of the whole run, shown as `Epoch 3/20`.
    """

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._total = epochs

    def set_params(self, params: dict[str, Any]) -> None:
        """Take steps from `fit`, epochs from the run."""
        super().set_params({**params, "verbose": 1, "epochs": self._total})


class TensorBoardLog:
    """Scalars for TensorBoard, written without TensorFlow so that they exist under every backend.

    Event files cannot be cut back, so a resumed run writes those of its finished epochs anew: no epoch comes twice.

    Args:
        folder: `tensorboard/` of the run; emptied.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = None
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            log.warning("tensorboard is not installed: no event files; pip install tensorboard")
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._writer = EventFileWriter(str(folder))

    def add(self, row: dict[str, float], wall_time: float) -> None:
        """Write one epoch.

        Args:
            row: columns of the log, `epoch` among them.
            wall_time: seconds since 1970 at the epoch's end.
        """
        if self._writer is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in row.items() if tag != "epoch"]
        self._writer.add_event(Event(wall_time=wall_time, step=int(row["epoch"]), summary=Summary(value=values)))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
