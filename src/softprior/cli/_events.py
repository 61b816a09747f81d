"""TensorBoard: scalars after each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCALARS = ("loss", "learning_rate", "validation_accuracy", "validation_nll", "images_per_second")


def check() -> None:
    """Raise at once where TensorBoard is missing."""
    _writer()


class Events:
    """Writes into a folder; a resumed run overwrites the events after its checkpoint.

    Args:
        folder: of this one run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: Any = None

    def write(self, row: Mapping[str, float]) -> None:
        """A row of the history."""
        epoch = int(row["epoch"])
        if self.writer is None:
            # Epochs that a killed run has written after its last checkpoint come again.
            self.writer = _writer()(str(self.folder), purge_step=epoch)
        for name in SCALARS:
            self.writer.add_scalar(name, row[name], epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            "--tensorboard needs TensorBoard: pip install 'softprior[tensorboard]'"
        ) from error
    return SummaryWriter
