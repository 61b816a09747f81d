"""Temperature scaling: one number that sets right how sure a model is on average."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from softprior.diagnostics._given import of_predictions
from softprior.diagnostics._rows import at_label, per_sample
from softprior.diagnostics.calibration import ece
from softprior.diagnostics.scores import nll

LOWEST, HIGHEST = 0.01, 100.0
FEWEST_ERRORS = 5  # fewer say little on how sure a model may be


def doubt(temperature: float, errors: int) -> str:
    """Why a fitted temperature says little; empty where nothing speaks against it.

    >>> doubt(0.01, 0), doubt(1.2, 80)
    ('the temperature is at its bound, 0.01', '')
    """
    if temperature in (LOWEST, HIGHEST):
        return f"the temperature is at its bound, {temperature:g}"
    if errors < FEWEST_ERRORS:
        return f"the temperature is fitted on {errors} error{'s' * (errors != 1)}"
    return ""


def doubt_of(values: Mapping[str, float]) -> str:
    """The same of what :func:`softprior.diagnostics.diagnose` has found."""
    if not {"temperature", "accuracy", "n"} <= values.keys():
        return ""
    return doubt(values["temperature"], round((1 - values["accuracy"]) * values["n"]))


@of_predictions
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T in [0.01, 100] that minimises the NLL of ``logits / T``.

    With β = 1/T the NLL is convex:

        NLL(β)  = (1/n) Σ_i [log Σ_c exp(β f_ic) - β f_{i,y_i}]
        NLL'(β) = (1/n) Σ_i [E_i f - f_{i,y_i}],   NLL''(β) = (1/n) Σ_i Var_i f,

    mean and variance under softmax(β f_i). The root of NLL' is found by Newton steps inside a
    bracket, with bisection of log β where a step leaves the bracket or gains too little: it
    cannot diverge nor become negative. About ten passes over the data.

    Where the optimum is outside the bounds the bound is returned: 0.01 when, for instance,
    every sample is classified correctly; 100 when predictions are no better than uniform at
    any T. Where T makes no difference (all logits of each sample equal), 1.

    Source: Guo et al. (2017); the search: ours.

    Args:
        logits: (n, K), or log-probabilities.
        labels: class indices (n,).

    >>> logits = torch.tensor([[4.0, 0.0]]).expand(4, 2)  # sure, and right 3 times of 4
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 6)  # 4 / log 3
    3.640957
    """

    def slope(beta: float) -> tuple[float, float]:
        def value(f: Tensor, y: Tensor) -> Tensor:
            d = f - at_label(f, y).unsqueeze(1)
            p = torch.softmax(beta * d, 1)
            mean = (p * d).sum(1)
            return torch.stack([mean, (p * (d - mean.unsqueeze(1)).square()).sum(1)], 1)

        first, second = per_sample(value, logits, labels).mean(0).tolist()
        return first, second

    low, high = 1 / HIGHEST, 1 / LOWEST
    at_low, _ = slope(low)
    if at_low == 0:
        return 1.0
    if at_low > 0:
        return HIGHEST
    if slope(high)[0] <= 0:
        return LOWEST

    beta, before = 1.0, math.inf
    while True:
        first, second = slope(beta)
        low, high = (low, beta) if first > 0 else (beta, high)
        newton = beta - first / second if second > 0 else math.nan
        if abs(newton - beta) <= 1e-9 * beta or high - low <= 1e-12 * high:
            return 1 / (newton if low <= newton <= high else beta)
        # A step that did not halve the slope is slow: the tails of the NLL are exponential.
        slow = abs(first) > 0.5 * before
        beta = newton if low < newton < high and not slow else math.sqrt(low * high)
        before = abs(first)


@of_predictions
def temperature_scaling(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``temperature``, and what NLL and ECE are with it: ``nll_scaled``, ``ece_scaled``.

    The temperature is fitted once, on the very samples that are scored: in-sample, one
    parameter. For held-out numbers fit on a validation set and pass the result on:
    ``nll(logits, labels, temperature=fit_temperature(validation_logits, validation_labels))``.

    >>> logits = torch.tensor([[4.0, 0.0]]).expand(4, 2)
    >>> scaled = temperature_scaling(logits, torch.tensor([0, 0, 0, 1]))
    >>> {name: round(value, 4) for name, value in scaled.items()}
    {'temperature': 3.641, 'nll_scaled': 0.5623, 'ece_scaled': 0.0}
    """
    temperature = fit_temperature(logits, labels)
    return {
        "temperature": temperature,
        "nll_scaled": nll(logits, labels, temperature=temperature),
        "ece_scaled": ece(logits, labels, temperature=temperature),
    }
