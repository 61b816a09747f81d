"""The one loss: cross-entropy plus imaginary labels.

Amortized MAP (Zhang & Sabuncu 2020): with ``y | z ~ Categorical(z)`` and the
prior ``z | x ~ Dirichlet(1 + counts)``, the negative log-posterior of a sample is, up to a
constant,

    loss = label_weight · (-log z_y) - Σ_c counts_c · log z_c,      z = softmax(logits)
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from softprior import checks, kernel
from softprior.counts import Counts, TwoLevel, check_counts, label_probabilities
from softprior.recent import Recent

Reduction = kernel.Reduction
REDUCTIONS = ("none", "mean", "sum")


class MakesCounts(Protocol):
    """Anything that answers "how many imaginary labels of each class?", a Prior above all."""

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Counts: ...


def posterior_loss(
    logits: Tensor,
    labels: Tensor,
    counts: Counts,
    *,
    label_weight: float = 1.0,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
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
        logits: (B, K), any floating dtype. Half precision is accumulated in float32.
        labels: class indices (B,) or class probabilities (B, K), as in
            :class:`torch.nn.CrossEntropyLoss`.
        counts: pseudo-counts ≥ 0: dense (B, K), or two-level (:class:`softprior.TwoLevel`).
        label_weight: weight of the real label, ≥ -1; 0 leaves the imaginary labels alone.
        reduction: ``"none"`` gives one loss per sample (B,), 0 where ignored; ``"sum"`` adds
            them; ``"mean"`` divides the sum by the number of samples that are not ignored
            (by 1 when all are: the loss is then 0, not NaN), never by a sum of weights. For
            exact gradient accumulation over unequal batches use ``"sum"`` and divide once.
        ignore_index: samples with this class index neither count nor get a gradient, whatever
            their logits.

    Returns:
        Scalar, or (B,) with ``reduction="none"``; float32 for half-precision logits, else
        the dtype of the logits.

    Raises:
        TypeError, ValueError: on wrong shapes, dtypes, devices or, on the CPU, values.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
    >>> loss = posterior_loss(logits, torch.tensor([0]), TwoLevel(0.1, 0.1), label_weight=0.7)
    >>> torch.isclose(loss, nn.functional.cross_entropy(logits, torch.tensor([0]),
    ...                                                 label_smoothing=0.3)).item()
    True
    """
    checks.logits_matrix(logits)
    checks.choice("reduction", reduction, REDUCTIONS)
    checks.number("label_weight", label_weight, -1)
    labels = checks.class_labels(logits, labels, ignore_index)
    check_counts(logits, counts)
    return kernel.loss(logits, labels, counts, label_weight, reduction)


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
        counts: dense (B, K) or two-level.
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
    dtype = torch.get_default_dtype()
    for given in (labels, *(counts if isinstance(counts, TwoLevel) else (counts,))):
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
        raise ValueError("num_classes is needed: neither labels nor two-level counts show K")
    like = labels.new_empty((*labels.shape[:1], num_classes), dtype=dtype)
    checks.logits_matrix(like, "the soft label")
    labels = checks.class_labels(like, labels)
    check_counts(like, counts)
    dense = counts if isinstance(counts, Tensor) else counts.dense(labels, num_classes, dtype)
    target = label_weight * label_probabilities(labels, num_classes, dtype) + dense
    total = target.sum(-1, keepdim=True)
    return torch.where(total > 0, target / total, torch.nan)


class PosteriorLoss(nn.Module):
    """Drop-in criterion: ``criterion(logits, labels)`` instead of ``nn.CrossEntropyLoss()``.

    At each call the prior is asked for pseudo-counts, and :func:`posterior_loss` of them is
    returned. A teacher is never part of the criterion: pass its logits.

    Args:
        prior: a :class:`softprior.Prior`; None is plain cross-entropy.
        label_weight: weight of the real label (1: MAP objective; ``1 - strength``: the mix),
            ≥ -1; what a negative one means is said at :func:`posterior_loss`.
        reduction, ignore_index: as in :func:`posterior_loss`.
        seed: seeds the criterion's own generator, from which random priors draw. Its state is
            part of ``state_dict()``, so a resumed run goes on with the same draws; a state of
            another criterion, which lacks it, leaves the generator as it is.

    For a prior that ranks among the samples seen last (``BetaPrior(among="running")``) the
    criterion keeps their margins, ``recent``, as part of ``state_dict()``. It remembers in training
    mode only: after ``criterion.eval()`` it places a batch among them and forgets it.

    >>> from softprior import BetaPrior
    >>> criterion = PosteriorLoss(BetaPrior(strength=0.6, a=3), label_weight=0.4)
    >>> logits = torch.randn(8, 10, requires_grad=True)
    >>> criterion(logits, torch.arange(8)).backward()
    """

    def __init__(
        self,
        prior: MakesCounts | None,
        *,
        label_weight: float = 1.0,
        reduction: Reduction = "mean",
        ignore_index: int = -100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        checks.choice("reduction", reduction, REDUCTIONS)
        checks.number("label_weight", label_weight, -1)
        if prior is not None and (isinstance(prior, type) or not callable(prior)):
            raise TypeError(
                f"prior must be a softprior Prior or None, got {prior!r}; "
                "for label smoothing by a number use softprior.label_smoothing(0.15)"
            )
        self.prior = prior
        self.label_weight = label_weight
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        # On the CPU whatever the device: the same draws everywhere, and B floats travel cheaply.
        self.generator = torch.Generator().manual_seed(seed)
        self.recent = Recent() if getattr(prior, "needs_recent", False) else None

    def forward(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None
    ) -> Tensor:
        checks.logits_matrix(logits)
        labels = checks.class_labels(logits, labels, self.ignore_index)
        counts: Counts = TwoLevel(0.0, 0.0)
        if self.prior is not None:
            window: dict[str, Any] = {} if self.recent is None else {"recent": self.recent}
            counts = self.prior(logits, labels, teacher_logits, generator=self.generator, **window)
            check_counts(logits, counts, values=False)
        return kernel.loss(logits, labels, counts, self.label_weight, self.reduction)

    def get_extra_state(self) -> Tensor:
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        self.generator.set_state(state.cpu())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torch would call a checkpoint made with nn.CrossEntropyLoss incomplete.
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"{self.prior}, label_weight={self.label_weight:g}, reduction={self.reduction!r}"
