"""How runs went: what was matched, what came of it, and whether training was memorised."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from softprior import diagnostics
from softprior.studies._kit import Cell, Column, Measured
from softprior.training import Run

COLUMNS = (
    Column(name="Temperature"),
    Column(name="Training accuracy", percent=True),
    Column(name="Confidence in the label", percent=True),
    Column(name="Best epoch", digits=1),
)
NOTES = (
    "Temperature: the one at which the teacher's votes take the amount from the label. Training "
    "accuracy and mean confidence in the label: training set, last epoch, not augmented. Mean ± "
    "standard deviation over seeds."
)


def went(runs: Sequence[Run]) -> tuple[Cell, ...]:
    """The cells of :data:`COLUMNS` for the runs of one method."""
    temperatures = [
        run.prior.teacher_temperature
        for run in runs
        if run.prior is not None and run.prior.needs_teacher
    ]
    train = [run.predictions("train", "last") for run in runs]
    return (
        Measured.of(temperatures) if temperatures else "–",
        Measured.of([diagnostics.accuracy(*pair) for pair in train]),
        Measured.of([on_label(*pair) for pair in train]),
        Measured.of([float(run.outcome["best_epoch"]) for run in runs]),
    )


def on_label(logits: Tensor, labels: Tensor) -> float:
    """Mean probability of the label, ``(1/n) Σ_i softmax(logits_i)_{labels_i}``."""
    return logits.double().softmax(1).gather(1, labels.unsqueeze(1)).mean().item()
