"""What is given to a diagnostic: tensors or arrays; logits, or probabilities where that is said."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_ROUNDING = 1e-3  # how far from 1 the sum of probabilities may be: what few decimals leave


class Array(Protocol):
    """An array of NumPy, or what becomes one."""

    def __array__(self) -> Any: ...


Given: TypeAlias = Tensor | Array


class OfPredictions(Protocol[R_co]):
    """A function of logits (n, K), or of probabilities with ``probs=True``, and labels (n,)."""

    def __call__(
        self,
        logits: Given | None = None,
        labels: Given | None = None,
        *args: Any,
        probs: bool | Given = False,
        **options: Any,
    ) -> R_co: ...


def of_predictions(function: Callable[..., R]) -> OfPredictions[R]:
    """The function, which then takes arrays too, and probabilities: ``f(p, labels, probs=True)``,
    or ``f(probs=p, labels=labels)``."""

    @wraps(function)
    def taking(
        logits: Any = None, labels: Any = None, *args: Any, probs: Any = False, **options: Any
    ) -> R:
        if not isinstance(probs, bool):
            if logits is not None:
                raise TypeError("logits and probs are both given: pass one of them")
            logits, probs = probs, True
        logits, labels = _tensor("logits", logits), _tensor("labels", labels)
        if probs:
            logits = _log(logits)
        else:
            _warn_of_probabilities(logits)
        return function(logits, labels, *args, **options)

    signature = inspect.signature(function)
    said = inspect.Parameter("probs", inspect.Parameter.KEYWORD_ONLY, default=False)
    taking.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), said]
    )
    return cast("OfPredictions[R]", taking)


def _tensor(name: str, given: Any) -> Any:
    """Arrays as tensors; what is neither is left for the check that names it."""
    if isinstance(given, Tensor) or not hasattr(given, "__array__"):
        return given
    array = given.__array__()
    try:
        # A copy in the machine's byte order, whose strides torch can do with.
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))
    except TypeError:
        raise TypeError(f"{name} must hold numbers, got an array of {array.dtype}") from None


def _log(p: Any) -> Any:
    """Log-probabilities in float64; log 0 is that of the smallest normal number."""
    if not isinstance(p, Tensor) or not p.is_floating_point():
        what = p.dtype if isinstance(p, Tensor) else type(p).__name__
        raise TypeError(f"probabilities must be floating point numbers (n, K), got {what}")
    p = p.detach().cpu().double() if p.device.type == "mps" else p.detach().double()
    if not bool(((p >= 0) & p.isfinite()).all()):
        raise ValueError("probs=True, and not all of them are ≥ 0 and finite: are these logits?")
    off = (p.sum(-1) - 1).abs()
    if p.numel() and float(off.max()) > 10 * _ROUNDING:
        raise ValueError(
            f"probs=True, and a row sums to {float(p.sum(-1).flatten()[off.argmax()]):.6g}, not to "
            "1: are these logits?"
        )
    return p.clamp(min=sys.float_info.min).log()


def _warn_of_probabilities(logits: Any) -> None:
    """Say so where all that is given as logits looks like probabilities."""
    if not isinstance(logits, Tensor) or logits.ndim < 2 or not logits.is_floating_point():
        return
    if logits.layout != torch.strided or logits.is_quantized or logits.is_nested:
        return  # refused by name where it is asked for
    if logits.device.type == "meta" or logits.numel() == 0 or logits.element_size() < 2:
        return
    for rows in (logits[:1], logits):  # one row shows that they are logits
        sums = rows.detach().float().sum(-1)
        if not bool((rows >= 0).all()) or not bool(((sums - 1).abs() <= _ROUNDING).all()):
            return
    warnings.warn(
        "every row of logits is ≥ 0 and sums to 1: if these are probabilities, say so (probs=True; "
        "in a file by their name), or the softmax is taken twice",
        stacklevel=2,
    )
