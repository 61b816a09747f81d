"""Diagnostics: pure functions of logits and labels.

A diagnostic is any function ``(logits, labels) -> number``; one that gets several numbers at
once returns them by name, ``(logits, labels) -> dict``. Fractions, not percent; nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from softprior.checks import shown
from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import checked
from softprior.diagnostics.calibration import (
    Reliability,
    calibration_gaps,
    ece,
    ece_classwise,
    ece_equal_mass,
    ece_with_bins,
    reliability,
    rms_calibration_debiased,
)
from softprior.diagnostics.diversity import confidence_diversity, saturated_share, tied_share
from softprior.diagnostics.intervals import EceInterval, ece_interval
from softprior.diagnostics.scores import accuracy, brier, nll
from softprior.diagnostics.selective import RiskCoverage, aurc, excess_aurc, risk_coverage
from softprior.diagnostics.temperature import fit_temperature, temperature_scaling
from softprior.diagnostics.uncertainty import confidence_variance, predictive_uncertainty

__all__ = [
    "DEFAULT",
    "Diagnostic",
    "EceInterval",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "aurc",
    "brier",
    "calibration_gaps",
    "confidence_diversity",
    "confidence_variance",
    "diagnose",
    "ece",
    "ece_classwise",
    "ece_equal_mass",
    "ece_interval",
    "ece_with_bins",
    "excess_aurc",
    "fit_temperature",
    "nll",
    "predictive_uncertainty",
    "reliability",
    "risk_coverage",
    "rms_calibration_debiased",
    "saturated_share",
    "temperature_scaling",
    "tied_share",
]

# Any: a float, an int, a tensor of one entry, or a mapping of names to such.
Diagnostic = Callable[[Tensor, Tensor], Any]

DEFAULT: tuple[Diagnostic, ...] = (
    accuracy,
    nll,
    brier,
    ece_with_bins,
    aurc,
    predictive_uncertainty,
    confidence_diversity,
    confidence_variance,
    tied_share,
    temperature_scaling,
)


@of_predictions
def diagnose(
    logits: Tensor, labels: Tensor, diagnostics: Sequence[Diagnostic] = DEFAULT
) -> dict[str, float]:
    """All diagnostics of a set of predictions by name, after ``n`` and ``classes``.

    By default: accuracy, nll, brier, ece and ece_bins, aurc, predictive_uncertainty,
    confidence_diversity, confidence_variance, tied_share, and temperature, nll_scaled and
    ece_scaled. The temperature is fitted on these very samples: in-sample, one parameter.
    Fractions, not percent; entropies and NLL in nats. confidence_diversity is ``-inf`` where
    more than three samples share a confidence, NaN for three samples or fewer.

    ``log_softmax`` leaves log-probabilities unchanged, so wherever logits are wanted
    log-probabilities serve too; probabilities never do. Nothing is guessed from values: for
    probabilities write ``diagnose(p, labels, probs=True)``. Logits that look like probabilities
    are named in a warning. All this holds of every diagnostic here.

    Args:
        logits: (n, K), a tensor or a NumPy array of any floating dtype; computed in float64, a
            few rows at a time.
        labels: class indices (n,).
        diagnostics: functions ``(logits, labels) -> number``, named by ``__name__``, or
            ``-> dict`` of several numbers.

    >>> import torch
    >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    >>> diagnose(logits, labels, [accuracy])
    {'n': 2, 'classes': 2, 'accuracy': 0.5}

    >>> def mean_logit(logits, labels):
    ...     return logits.mean()
    >>> list(diagnose(logits, labels, [*DEFAULT, mean_logit]))[-2:]
    ['ece_scaled', 'mean_logit']
    """
    labels = checked(logits, labels)
    if callable(diagnostics):
        raise TypeError("diagnostics must be a sequence of functions, got one: put it in a list")
    if not isinstance(diagnostics, Iterable):
        raise TypeError(f"diagnostics must be a list of functions, got {shown(diagnostics)}")
    wrong: list[Any] = [d for d in diagnostics if not callable(d)]
    if wrong:
        known = isinstance(wrong[0], str) and wrong[0] in __all__
        hint = f": use softprior.diagnostics.{wrong[0]}" if known else ""
        raise TypeError(
            f"a diagnostic is a function (logits, labels) -> number, got {shown(wrong[0])}{hint}"
        )
    n, classes = logits.shape
    result: dict[str, float] = {"n": n, "classes": classes}
    for diagnostic in diagnostics:
        # functools.partial(ece, bins=15) goes by the name of ece.
        function = getattr(diagnostic, "func", diagnostic)
        name = getattr(function, "__name__", type(function).__name__)
        value = diagnostic(logits, labels)
        for key, entry in (value if isinstance(value, Mapping) else {name: value}).items():
            if key in result:
                raise ValueError(f"two diagnostics give {key!r}: rename one of the functions")
            result[key] = _number(key, entry)
    return result


def _number(name: str, value: Any) -> float:
    if isinstance(value, int):
        return int(value)  # a bool too
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"diagnostic {name!r} must return one number, or a dict of numbers by name, got "
            f"{type(value).__name__}"
        ) from None
