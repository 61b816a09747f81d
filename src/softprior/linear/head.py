"""Heads: where hidden states become logits, a few rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from softprior import checks
from softprior.component import without_autocast


def sums_dtype(hidden: Tensor) -> torch.dtype:
    """That of logits, sums and losses: float32 for half precision."""
    return torch.promote_types(hidden.dtype, torch.float32)


def products_dtype(hidden: Tensor) -> torch.dtype:
    """That of matrix products: autocast's where it is on, which leaves float64 as it is."""
    if _autocast(hidden.device) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(hidden.device.type)
    return hidden.dtype


def _autocast(device: torch.device) -> bool:
    known = torch.amp.is_autocast_available(device.type)
    return known and torch.is_autocast_enabled(device.type)


def head_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: float,
    softcap: float | None,
    out: Tensor,
) -> Tensor:
    """``softcap(scale · (hidden @ weightᵀ + bias))`` into ``out`` (n, K), in the dtype of ``out``.

    ``hidden`` and ``weight`` are of one dtype, that of the product.
    """
    if weight.dtype == out.dtype:
        # With beta = 0 what stands in the first argument is not looked at.
        first, beta = (out, 0.0) if bias is None else (bias.to(out.dtype), scale)
        torch.addmm(first, hidden, weight.t(), beta=beta, alpha=scale, out=out)
    else:
        out.copy_(hidden @ weight.t())
        if bias is not None:
            out.add_(bias)
        if scale != 1:
            out.mul_(scale)
    return out if softcap is None else out.div_(softcap).tanh_().mul_(softcap)


@dataclass(frozen=True, eq=False)
class TeacherHead:
    """A teacher whose logits ``softcap(scale · (hidden @ weightᵀ + bias))`` are never whole.

    As counts, it gives all K classes what :class:`softprior.TeacherPrior` gives them:

        counts_c = strength · ω · softmax(logits / temperature)_c

    Nothing of it gets a gradient.

    Args:
        hidden: the teacher's, (…, D'), with the leading shape of the labels.
        weight: (K, D'), of the same dtype (under autocast, of any).
        bias: (K,), or None.
        strength: pseudo-counts per sample, ≥ 0.
        temperature: T > 0.
        weighting: ω is 1 for ``"none"``, and for ``"map"`` that of the amortized MAP view.
        scale: a factor of the logits, > 0.
        softcap: c of ``c · tanh(logits / c)``, or None.

    >>> teacher = TeacherHead(torch.zeros(1, 3), torch.ones(2, 3), strength=0.4)
    >>> teacher.counts(slice(0, 1))
    tensor([[0.2000, 0.2000]])
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    strength: float = 1.0
    temperature: float = 1.0
    weighting: Literal["none", "map"] = "none"
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        checks.number("strength", self.strength, 0)
        checks.number("temperature", self.temperature, 0, open_low=True)
        checks.choice("weighting", self.weighting, ("none", "map"))
        check_head(self.hidden, self.weight, self.bias, self.scale, self.softcap)

    @torch.no_grad()
    def logits(self, rows: slice | Tensor, product: torch.dtype | None = None) -> Tensor:
        """Logits of some of the flat samples, (n, K); float32 for half precision.

        ``product`` is the dtype of the matrix product, where it is not that of now.
        """
        hidden = self.hidden.detach().reshape(-1, self.weight.shape[1])[rows]
        out = hidden.new_empty(len(hidden), len(self.weight), dtype=sums_dtype(hidden))
        product = product or products_dtype(hidden)
        hidden, weight = hidden.to(product), self.weight.detach().to(product)
        bias = None if self.bias is None else self.bias.detach()
        with without_autocast(hidden.device):
            return head_logits(hidden, weight, bias, self.scale, self.softcap, out)

    def counts(self, rows: slice | Tensor, product: torch.dtype | None = None) -> Tensor:
        """Pseudo-counts of some of the flat samples, (n, K); ``product`` as in ``logits``."""
        logits = self.logits(rows, product)
        if self.weighting == "map":
            p = torch.log_softmax(logits, -1).div_(self.temperature).exp_()
        else:
            p = torch.softmax(logits.div_(self.temperature), -1)
        return p.mul_(self.strength)


def check_head(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, softcap: float | None
) -> None:
    """Raise unless these make logits of K ≥ 2 classes."""
    for name, given in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if name == "bias" and given is None:
            continue
        checks.floating(given, name)
        assert given is not None
        if hasattr(given, "full_tensor"):
            raise TypeError(f"{name} is a DTensor: pass one whole tensor, {name}.full_tensor()")
        checks.on_device(given, name)
        if given.device != hidden.device:
            raise ValueError(f"{name} is on {given.device} and hidden on {hidden.device}")
    if hidden.ndim == 0 or hidden.numel() == 0:
        raise ValueError(
            f"hidden must have shape (..., D) and not be empty, got {tuple(hidden.shape)}"
        )
    if weight.ndim != 2 or weight.shape[1] != hidden.shape[-1] or len(weight) < 2:
        raise ValueError(
            f"weight must have shape (K, D) with K ≥ 2 and D = {hidden.shape[-1]}, that of hidden "
            f"{tuple(hidden.shape)}, got {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias must have shape ({len(weight)},), one entry for each row of weight, got "
            f"{tuple(bias.shape)}"
        )
    # Autocast brings all to one dtype, float64 aside.
    cast = _autocast(hidden.device)
    for name, given in (("weight", weight), ("bias", bias)):
        if given is None or given.dtype == hidden.dtype:
            continue
        if not cast or torch.float64 in (given.dtype, hidden.dtype):
            raise TypeError(
                f"{name} must have the dtype of hidden, {hidden.dtype}, got {given.dtype}: use "
                f"{name}.to({hidden.dtype}), or torch.autocast"
            )
    checks.number("scale", scale, 0, open_low=True)
    if softcap is not None:
        checks.number("softcap", softcap, 0, open_low=True)
