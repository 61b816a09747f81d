"""The one loss: cross-entropy plus imaginary labels.

Amortized MAP (Zhang & Sabuncu 2020): with ``y | z ~ Categorical(z)`` and the
prior ``z | x ~ Dirichlet(1 + counts)``, the negative log-posterior of a sample is, up to a
constant,

    loss = label_weight · (-log z_y) - Σ_c counts_c · log z_c,      z = softmax(logits)
"""

from __future__ import annotations

import torch
from torch import Tensor

from softprior import checks, kernel
from softprior.counts import (
    Counts,
    Sparse,
    TwoLevel,
    check_counts,
    dense_counts,
    label_probabilities,
)
from softprior.labels import class_labels, labels_and_mask
from softprior.layout import layout_of
from softprior.weights import check_class_weight, check_masked, class_mask_rows, sample_weights

Reduction = kernel.Reduction
REDUCTIONS = ("none", "mean", "sum")


def posterior_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Counts,
    *,
    label_weight: float = 1.0,
    class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    class_mask: Tensor | None = None,
    class_dim: int | None = None,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    signed: bool = False,
) -> Tensor:
    """Cross-entropy plus imaginary labels (paper, amortized MAP view), in nats.

        loss_i = label_weight · (-log z_{i,y_i}) - Σ_c counts_{i,c} · log z_{i,c}

    With ``label_weight=1`` it is the MAP objective; with ``label_weight + Σ counts = 1`` the
    usual mix ``(1 - w)·CE(y, z) + w·CE(π, z)`` on the usual loss scale.

    A negative label weight is a soft weight w above 1, the best one under much label noise (Das &
    Sanghavi, ICML 2023). The formula is linear in it and stays right, but the posterior reading
    ends, and where ``label_weight + counts_y < 0`` the loss has no lower bound: it falls
    for ever as z_y → 0.

    Args:
        logits: (B, K), (B, K, d1, …) or (K,), any floating dtype. Half precision is accumulated
            in float32.
        labels: class indices (B,), (B, d1, …) or (), or class probabilities of the logits' shape,
            as in :class:`torch.nn.CrossEntropyLoss`.
        counts: pseudo-counts ≥ 0: dense, of the logits' shape; two-level
            (:class:`softprior.TwoLevel`), numbers or tensors of the labels' shape; or on a few
            classes (:class:`softprior.Sparse`), of the labels' shape and the few classes last.
        label_weight: weight of the real label, ≥ -1; 0 leaves the imaginary labels alone.
        class_weight: w (K,), ≥ 0: ``loss_i = -Σ_c w_c · (label_weight · y_{i,c} + counts_{i,c}) ·
            log z_{i,c}``, as in torch.
        sample_weight: of the labels' shape, ≥ 0: multiplies each loss.
        class_mask: bool, (K,) or of the logits' shape, True where a class is masked: it is no
            class of the sample, and its logit may be anything, -inf too.
        class_dim: the dimension of the classes in logits; by default torch's, 1. Pass -1 for
            sequences (B, T, K).
        reduction: ``"none"`` gives one loss per sample (B,), 0 where ignored; ``"sum"`` adds
            them; ``"mean"`` divides the sum by the number of samples that are not ignored
            (by 1 when all are: the loss is then 0, not NaN), never by a sum of counts; with
            weights by Σ sample_weight_i · w_{y_i} (labels that are probabilities: without w, as in
            torch). For exact gradient accumulation over unequal batches use ``"sum"`` and divide
            once.
        ignore_index: samples with this class index neither count nor get a gradient, whatever
            their logits.
        signed: allow counts below 0, as of methods that push away from a class. The posterior
            reading then ends; the formula, and its gradient, do not.

    Returns:
        Scalar, or the labels' shape with ``reduction="none"``; float32 for half-precision logits,
        else the dtype of the logits.

    Raises:
        TypeError, ValueError: on wrong shapes, dtypes, devices or, on the CPU, values.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> loss = posterior_loss(logits, torch.tensor([0]), TwoLevel(0.1, 0.1), label_weight=0.7)
    >>> torch.isclose(loss, torch.nn.functional.cross_entropy(logits, torch.tensor([0]),
    ...                                                 label_smoothing=0.3)).item()
    True
    """
    checks.choice("reduction", reduction, REDUCTIONS)
    checks.number("label_weight", label_weight, -1)
    checks.class_number("ignore_index", ignore_index)
    checks.flag("signed", signed)
    layout = layout_of(logits, labels, class_dim)
    rows = layout.rows(logits)
    checks.rows_of_classes(rows)
    labels, valid = labels_and_mask(rows, layout.labels(labels), ignore_index)
    counts = layout.counts(counts)
    check_counts(rows, counts, signed=signed)
    if class_weight is not None:
        check_class_weight(class_weight, rows.shape[1], rows.device)
    if sample_weight is not None:
        sample_weight = sample_weights(sample_weight, layout, rows.device)
    if class_mask is not None:
        class_mask = class_mask_rows(class_mask, logits, layout)
        check_masked(class_mask, labels, valid, counts)
    loss = kernel.loss(
        *(rows, labels, counts, label_weight, reduction),
        valid=valid,
        signed=signed,
        class_weight=class_weight,
        sample_weight=sample_weight,
        class_mask=class_mask,
    )
    return loss.reshape(layout.shape) if reduction == "none" else loss


def soft_labels(
    labels: Tensor,
    counts: Counts,
    *,
    label_weight: float = 1.0,
    num_classes: int | None = None,
) -> Tensor:
    """The mode of the posterior, which is what the loss pulls the network towards.

        target_i = (label_weight · onehot(y_i) + counts_i) / (label_weight + Σ_c counts_{i,c})

    ``posterior_loss`` is smallest where ``softmax(logits) = target`` (paper, amortized MAP view).
    With a negative label weight the target on the label can be negative: the rows sum to 1, but
    are no probabilities, and the loss has no minimum.

    Args:
        labels: class indices (B,) or class probabilities (B, K).
        counts: dense (B, K), two-level or sparse.
        label_weight: weight of the real label, ≥ -1.
        num_classes: K; needed only where neither labels nor counts show it.

    Returns:
        (B, K), rows sum to 1; NaN where ``label_weight + Σ counts`` of a row is not above 0.
        In the default dtype, or a wider one that labels or counts come in.

    >>> soft_labels(torch.tensor([1]), TwoLevel(0.1, 0.1), label_weight=0.8, num_classes=2)
    tensor([[0.1000, 0.9000]])
    """
    checks.number("label_weight", label_weight, -1)
    checks.tensor(labels, "labels")
    checks.on_device(labels, "labels")
    if labels.dtype not in (*checks.FLOATS, *checks.INTEGERS):
        raise TypeError(f"labels must be integers or probabilities, got {labels.dtype}")
    if not (labels.ndim == 1 + labels.is_floating_point() and len(labels)):
        raise ValueError(
            "labels must be class indices (B,) or class probabilities (B, K), got shape "
            f"{tuple(labels.shape)} of {labels.dtype}"
        )
    if num_classes is not None:
        checks.whole("num_classes", num_classes, 1)
    dtype = torch.get_default_dtype()
    for given in (labels, *(counts if isinstance(counts, (TwoLevel, Sparse)) else (counts,))):
        if isinstance(given, Tensor) and given.is_floating_point():
            dtype = torch.promote_types(dtype, given.dtype)
    for name, given in (("labels", labels), ("counts", counts)):
        if isinstance(given, Tensor) and given.is_floating_point() and given.ndim == 2:
            if num_classes not in (None, given.shape[1]):
                raise ValueError(
                    f"{name} of shape {tuple(given.shape)} have K = {given.shape[1]} classes, "
                    f"wanted {num_classes}"
                )
            num_classes = given.shape[1]
    if num_classes is None:
        raise ValueError("num_classes is needed: neither labels nor counts show K")
    like = labels.new_empty((*labels.shape[:1], num_classes), dtype=dtype)
    checks.logits_matrix(like, "the soft label")
    labels = class_labels(like, labels)
    check_counts(like, counts)
    dense = dense_counts(counts, labels, num_classes, dtype)
    target = label_weight * label_probabilities(labels, num_classes, dtype) + dense
    total = target.sum(-1, keepdim=True)
    return torch.where(total > 0, target / total, torch.nan)
