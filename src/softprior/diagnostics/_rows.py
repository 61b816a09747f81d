"""How every diagnostic reads its data: checked, in float64, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.labels import class_labels

ENTRIES = 2**17  # of a chunk: 1 MiB in float64 stays in a cache, 2 to 3 times faster than 32 MiB


def checked(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels as int64 (n,), after looking at both: hard labels and finite logits (n, K)."""
    checks.logits_matrix(logits)
    checks.on_device(logits, "logits")
    labels = class_labels(logits, labels)
    if labels.is_floating_point():
        raise TypeError(
            "labels must be class indices (diagnostics are scored on hard labels), got class "
            f"probabilities of shape {tuple(labels.shape)}; use labels.argmax(1)"
        )
    checks.finite_logits(logits)
    return labels


def per_sample(
    value: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """``value(logits / temperature, labels)``, one row per sample (n, ...), chunk by chunk.

    ``value`` sees float64 logits (b, K) and class indices (b,). Each row of its result must
    depend on its own sample only, so that chunking changes nothing.
    """
    labels = checked(logits, labels)
    checks.number("temperature", temperature, 0, open_low=True)
    step = max(1, ENTRIES // logits.shape[1])
    results = []
    with torch.no_grad():
        for start in range(0, len(logits), step):
            f, y = logits[start : start + step], labels[start : start + step]
            f = devices.float64_of(f)
            results.append(value(f / temperature, y.to(f.device)))
    return torch.cat(results)


def at_label(values: Tensor, labels: Tensor) -> Tensor:
    """The entry of each row at the label, (b, K) → (b,)."""
    return values.gather(1, labels.unsqueeze(1)).squeeze(1)
