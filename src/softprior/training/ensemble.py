"""Several runs as one classifier: the generations of a chain above all."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from softprior.training.run import Part, Run, Selection


def ensemble(
    runs: Iterable[Run], part: Part = "test", epoch: Selection | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (n, K) of the ensemble of runs, and labels (n,); for every diagnostic.

        log p(c | x) = log (1/M) Σ_m softmax(f_m(x))_c

    Computed from the stored predictions in float64, never from log of a rounded mean.
    (That an ensemble of generations is stronger than its members: Born-Again Networks.)

    Raises:
        ValueError: no run, or runs whose ``part`` is not the same samples.
    """
    members = [run.predictions(part, epoch) for run in runs]
    if not members:
        raise ValueError("an ensemble wants at least one run, got none")
    labels = members[0][1]
    for logits, others in members:
        if not torch.equal(others, labels) or logits.shape != members[0][0].shape:
            raise ValueError(
                f"the runs' {part} samples differ: they need the same data set, subset and seed"
            )
    members_log_p = torch.stack([torch.log_softmax(logits.double(), 1) for logits, _ in members])
    return torch.logsumexp(members_log_p, 0) - math.log(len(members)), labels
