"""Label smoothing, self-distillation and Beta smoothing are one loss: cross-entropy plus
imaginary labels.

Nothing is loaded until a name is asked for. The names of the loss load torch; what trains needs the
extra ``softprior[study]`` and is not part of ``*``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softprior.batch import Batch
    from softprior.component import State
    from softprior.counts import Sparse, TwoLevel
    from softprior.criterion import PosteriorLoss
    from softprior.diagnostics import DEFAULT, diagnose
    from softprior.experiment import run_study as run_study
    from softprior.linear import LinearPosteriorLoss, TeacherHead, linear_posterior_loss
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
    from softprior.training import OwnData as OwnData
    from softprior.training import Recipe as Recipe
    from softprior.training import Store as Store
    from softprior.training import fit as fit
    from softprior.training import generations as generations

__version__ = "0.1.0"

__all__ = [
    "DEFAULT",
    "EMA",
    "Batch",
    "BetaPrior",
    "ConfidencePenalty",
    "EMATeacher",
    "FrozenTeacher",
    "LinearPosteriorLoss",
    "Memory",
    "MemoryTeacher",
    "Penalty",
    "PosteriorLoss",
    "Prior",
    "Sparse",
    "State",
    "Teacher",
    "TeacherHead",
    "TeacherPrior",
    "TeacherSpec",
    "TwoLevel",
    "UniformPrior",
    "beta_smoothing",
    "confidence_penalty",
    "diagnose",
    "label_smoothing",
    "linear_posterior_loss",
    "posterior_loss",
    "self_distillation",
    "soft_labels",
]

# Where each name is defined. A test compares this with the imports above.
_NAMES = {
    "batch": ("Batch",),
    "component": ("State",),
    "counts": ("Sparse", "TwoLevel"),
    "criterion": ("PosteriorLoss",),
    "diagnostics": ("DEFAULT", "diagnose"),
    "experiment": ("run_study",),
    "linear": ("LinearPosteriorLoss", "TeacherHead", "linear_posterior_loss"),
    "losses": ("beta_smoothing", "confidence_penalty", "label_smoothing", "self_distillation"),
    "penalties": ("ConfidencePenalty", "Penalty"),
    "posterior": ("posterior_loss", "soft_labels"),
    "priors": ("BetaPrior", "Prior", "TeacherPrior", "UniformPrior"),
    "teachers": (
        *("EMA", "EMATeacher", "FrozenTeacher", "Memory", "MemoryTeacher"),
        *("Teacher", "TeacherSpec"),
    ),
    "training": ("OwnData", "Recipe", "Store", "fit", "generations"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
# Modules that may be reached as attributes, such as softprior.diagnostics.ece.
_MODULES = (*_NAMES, "matching")

if not TYPE_CHECKING:  # a type checker sees the imports above, and no other name

    def __getattr__(name: str) -> Any:
        if name in _MODULE_OF:
            value = getattr(import_module(f"softprior.{_MODULE_OF[name]}"), name)
            globals()[name] = value
            return value
        if name in _MODULES:
            return import_module(f"softprior.{name}")
        raise AttributeError(f"module 'softprior' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_MODULES})
