"""The label's log-odds: confidence on a scale where it does not saturate."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 1 << 17  # entries: a few of these fit into the cache


def label_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-odds of the label, ``s = log p_y - log Σ_{j≠y} p_j = f_y - logsumexp_{j≠y} f_j`` (B,).

    ``p_y = sigmoid(s)``: the order is that of the true-class probability, but where float32
    rounds 37 % of the probabilities of a well-trained network to 1, margins still differ.
    For class probabilities q as labels: ``log Σ q_c p_c - log Σ (1 - q_c) p_c`` (ours).
    Labels < 0 (ignored) give an arbitrary value. In nats; float32 for half precision.
    """
    rows = max(1, _BLOCK // logits.shape[1])
    if logits.device.type == "cpu" and len(logits) > rows:
        # In blocks that stay in the cache: no (B, K) temporary.
        blocks = zip(torch.split(logits, rows), torch.split(labels, rows), strict=True)
        return torch.cat([label_margin(f, y) for f, y in blocks])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if labels.is_floating_point():
        log_p = torch.log_softmax(logits, -1)
        q = labels.to(log_p.dtype)
        return _log_sum_exp(log_p + q.log()) - _log_sum_exp(log_p + (1 - q).clamp(min=0).log())
    at = labels.clamp(min=0).unsqueeze(1)
    others = logits.scatter(1, at, -torch.inf)
    # The largest is taken off first, so that no constant in the logits costs precision.
    return logits.gather(1, at).squeeze(1) - others.amax(-1) + _log_top(others)


def _log_sum_exp(x: Tensor) -> Tensor:
    """logsumexp over classes as max x - log max softmax(x): half the price of torch.logsumexp."""
    return x.amax(-1) - _log_top(x)


def _log_top(x: Tensor) -> Tensor:
    """log max softmax(x) = max x - logsumexp x; 0 for a row of -inf, whose softmax is NaN."""
    return torch.softmax(x, -1).amax(-1).nan_to_num(nan=1.0).log()
