"""Label smoothing, self-distillation and Beta smoothing are one loss: cross-entropy plus
imaginary labels."""

from typing import Any

from softprior.counts import TwoLevel
from softprior.diagnostics import DEFAULT, diagnose
from softprior.losses import (
    ConfidencePenalty,
    beta_smoothing,
    label_smoothing,
    self_distillation,
)
from softprior.posterior import PosteriorLoss, posterior_loss, soft_labels
from softprior.priors import BetaPrior, Prior, TeacherPrior, UniformPrior
from softprior.teachers import EMATeacher, FrozenTeacher, MemoryTeacher, Teacher

__version__ = "0.1.0"

# What trains needs the extra softprior[study]: loaded when asked for, and not part of `*`.
_TRAINING = ("Recipe", "Store", "fit", "generations")

__all__ = [
    "DEFAULT",
    "BetaPrior",
    "ConfidencePenalty",
    "EMATeacher",
    "FrozenTeacher",
    "MemoryTeacher",
    "PosteriorLoss",
    "Prior",
    "Teacher",
    "TeacherPrior",
    "TwoLevel",
    "UniformPrior",
    "beta_smoothing",
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
    raise AttributeError(f"module 'softprior' has no attribute {name!r}")
