"""Label smoothing, self-distillation and Beta smoothing are one loss: cross-entropy plus
imaginary labels."""

from typing import Any

from softprior.batch import Batch
from softprior.component import State
from softprior.counts import Sparse, TwoLevel
from softprior.criterion import PosteriorLoss
from softprior.diagnostics import DEFAULT, diagnose
from softprior.losses import (
    beta_smoothing,
    confidence_penalty,
    label_smoothing,
    self_distillation,
)
from softprior.penalties import ConfidencePenalty, Penalty
from softprior.posterior import posterior_loss, soft_labels
from softprior.priors import BetaPrior, Prior, TeacherPrior, UniformPrior
from softprior.teachers import (
    EMA,
    EMATeacher,
    FrozenTeacher,
    Memory,
    MemoryTeacher,
    Teacher,
    TeacherSpec,
)

__version__ = "0.1.0"

# What trains needs the extra softprior[study]: loaded when asked for, and not part of `*`;
# so is `run_study`.
_TRAINING = ("OwnData", "Recipe", "Store", "fit", "generations")

__all__ = [
    "DEFAULT",
    "EMA",
    "Batch",
    "BetaPrior",
    "ConfidencePenalty",
    "EMATeacher",
    "FrozenTeacher",
    "Memory",
    "MemoryTeacher",
    "Penalty",
    "PosteriorLoss",
    "Prior",
    "Sparse",
    "State",
    "Teacher",
    "TeacherPrior",
    "TeacherSpec",
    "TwoLevel",
    "UniformPrior",
    "beta_smoothing",
    "confidence_penalty",
    "diagnose",
    "label_smoothing",
    "posterior_loss",
    "self_distillation",
    "soft_labels",
]


def __getattr__(name: str) -> Any:
    if name in _TRAINING:
        from softprior import training

        return getattr(training, name)
    if name == "run_study":
        from softprior.experiment import run_study

        return run_study
    raise AttributeError(f"module 'softprior' has no attribute {name!r}")
