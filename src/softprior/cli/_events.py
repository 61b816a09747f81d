"""TensorBoard: scalars after each epoch."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from softprior.training.files import parse_json

SCALARS = (
    "loss",
    "smoothing",
    "learning_rate",
    "validation_accuracy",
    "validation_nll",
    "images_per_second",
)


def check() -> None:
    """Raise at once where TensorBoard is missing."""
    _writer()


class Events:
    """Writes into a folder; a resumed run writes the events before its checkpoint again.

    Args:
        folder: of this one run.
        history: the file of its history, complete up to the row that is written.
    """

    def __init__(self, folder: Path, history: Path) -> None:
        self.folder = folder
        self.history = history
        self.writer: Any = None
        self.failed = False
        self.hook = threading.excepthook

    def write(self, row: Mapping[str, float]) -> None:
        """A row of the history; where there is no room a warning, as training does without it."""
        if self.failed:
            return
        try:
            self._write(row)
        except OSError as error:
            self.failed = True
            why = error.strerror or error
            warnings.warn(f"{self.folder}: no more events are written: {why}", stacklevel=2)

    def _write(self, row: Mapping[str, float]) -> None:
        if self.writer is None:
            # A killed run may have written epochs after its last checkpoint, which come again, and
            # none of the epoch at whose end it was killed: all take the place of what is there.
            threading.excepthook = _quiet  # its thread's trouble comes to this one, too
            self.writer = _writer()(str(self.folder), purge_step=1)
            for line in self.history.read_text("utf-8").splitlines():
                earlier = parse_json(line, self.history)
                if earlier["epoch"] < row["epoch"]:
                    self._add(earlier, time.time() - row["seconds"] + earlier["seconds"])
        self._add(row, time.time())
        self.writer.flush()

    def _add(self, row: Mapping[str, float], walltime: float) -> None:
        for name in SCALARS:
            self.writer.add_scalar(name, row[name], int(row["epoch"]), walltime)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            with suppress(OSError):  # told when a row was written
                self.writer.close()
        threading.excepthook = self.hook


def _quiet(trouble: Any) -> None:
    """A full disk is told in a line, and not as the traceback of a thread."""
    if not isinstance(trouble.exc_value, OSError):
        threading.__excepthook__(trouble)


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "--tensorboard needs TensorBoard: pip install 'softprior[tensorboard]'"
        ) from error
    return SummaryWriter
