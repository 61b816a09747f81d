"""PosteriorLoss: prior, penalty and what they remember as one drop-in criterion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softprior import checks, gathering, kernel, priors
from softprior.batch import Batch
from softprior.component import State, follow, without_autocast
from softprior.counts import Counts, TwoLevel, check_counts, smoothing_of
from softprior.label_weight import resolved_label_weight
from softprior.labels import labels_and_mask
from softprior.layout import Layout, layout_of
from softprior.penalties import Penalty
from softprior.posterior import REDUCTIONS, Reduction
from softprior.priors import Prior
from softprior.weights import (
    check_class_weight,
    check_masked,
    class_mask_rows,
    sample_weights,
)


class PosteriorLoss(nn.Module):
    """Drop-in criterion: ``criterion(logits, labels)`` instead of ``nn.CrossEntropyLoss()``.

    At each call the prior is asked for pseudo-counts, and :func:`softprior.posterior_loss` of
    them, plus the penalty, is returned:

        loss_i = v · (-log z_{i,y_i}) - Σ_c counts_{i,c} · log z_{i,c} + penalty_i,   v: the weight

    A teacher is never part of the criterion: pass its logits. What a prior or a penalty must
    remember, the criterion keeps as ``states``, which are part of its ``state_dict()``. In training
    mode a call also lets them see its batch; after ``criterion.eval()`` nothing is remembered and
    no draw is used up: each call draws what the next call of training will draw.

    Args:
        prior: a :class:`softprior.Prior`, or a function from a :class:`softprior.Batch` to counts;
            None is plain cross-entropy.
        penalty: a :class:`softprior.Penalty`: what is added and is no Dirichlet prior.
        label_weight: weight of the real label, ≥ -1 (1: MAP objective; what a negative one means
            is said at :func:`softprior.posterior_loss`). None asks the prior for its usual mix,
            ``1 - strength`` for most; without a prior, and for a function, it is 1.
        reduction, ignore_index, class_weight, class_dim: as in :func:`softprior.posterior_loss`.
            The class weights are a buffer, and part of no ``state_dict()``.
        seed: seeds the criterion's own generator, from which random priors draw. Its state is
            part of ``state_dict()``, so a resumed run goes on with the same draws; a state of
            another criterion, which lacks it, leaves the generator as it is.
        num_samples: size of the training set; asked for by priors that remember each sample.
        num_classes: K; asked for by priors that remember each class.
        auto_observe: False where several calls make up one step (gradient accumulation): call
            :meth:`observe` once a step with all of its samples instead.
        measure_smoothing: keep after each call, as the attribute ``smoothing`` (B,), how much each
            sample's target takes from its class index, 0 where ignored: see :func:`.smoothing_of`.

    >>> from softprior import BetaPrior
    >>> criterion = PosteriorLoss(BetaPrior(strength=0.6, a=3))
    >>> logits = torch.randn(8, 10, requires_grad=True)
    >>> criterion(logits, torch.arange(8)).backward()
    """

    def __init__(
        self,
        prior: Prior | Callable[[Batch], Counts] | None = None,
        *,
        penalty: Penalty | None = None,
        label_weight: float | None = None,
        reduction: Reduction = "mean",
        ignore_index: int = -100,
        class_weight: Tensor | None = None,
        class_dim: int | None = None,
        seed: int = 0,
        num_samples: int | None = None,
        num_classes: int | None = None,
        auto_observe: bool = True,
        measure_smoothing: bool = False,
    ) -> None:
        super().__init__()
        checks.choice("reduction", reduction, REDUCTIONS)
        checks.class_number("ignore_index", ignore_index)
        if class_dim is not None:
            checks.whole("class_dim", class_dim, -64, 63)
        if class_weight is not None:
            checks.floating(class_weight, "class_weight")
            check_class_weight(class_weight, class_weight.numel(), class_weight.device)
        checks.whole("seed", seed, -(2**63), 2**64 - 1)
        checks.flag("auto_observe", auto_observe)
        checks.flag("measure_smoothing", measure_smoothing)
        for name, size, low in (("num_samples", num_samples, 1), ("num_classes", num_classes, 2)):
            if size is not None:
                checks.whole(name, size, low)
        if prior is not None and (isinstance(prior, type) or not callable(prior)):
            raise TypeError(
                f"prior must be a softprior Prior or None, got {prior!r}; "
                "for label smoothing by a number use softprior.label_smoothing(0.15)"
            )
        if not isinstance(penalty, (Penalty, type(None))):
            raise TypeError(f"penalty must be a softprior Penalty or None, got {penalty!r}")
        self.prior = prior
        self.penalty = penalty
        self.label_weight = resolved_label_weight(prior, label_weight)
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.class_weight: Tensor | None
        self.register_buffer("class_weight", class_weight, persistent=False)
        self.auto_observe = auto_observe
        self.measure_smoothing = measure_smoothing
        self.smoothing = torch.empty(0)
        self.signed = isinstance(prior, Prior) and prior.signed
        self.tested = prior is None or type(prior) in priors.found().values()
        # On the CPU whatever the device: the same draws everywhere, and B floats travel cheaply.
        self.generator = torch.Generator().manual_seed(int(seed))
        built = {
            role: state
            for role, component in (("prior", prior), ("penalty", penalty))
            if isinstance(component, (Prior, Penalty))
            and (state := component.state(num_samples, num_classes)) is not None
        }
        self.states: nn.ModuleDict | dict[str, nn.Module] = nn.ModuleDict(built) if built else {}

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        index: Tensor | None = None,
        epoch: int | Tensor | None = None,
        epochs: int | None = None,
        class_mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """The loss; ``index``, ``epoch`` and ``epochs`` are for priors that ask for them.

        ``class_mask`` and ``sample_weight`` are as in :func:`softprior.posterior_loss`.
        """
        layout = layout_of(logits, labels, self.class_dim)
        when = (epoch, epochs)
        rows, batch = self._rows(layout, logits, labels, teacher_logits, index, *when, class_mask)
        valid = batch.valid
        counts: Counts = TwoLevel(0.0, 0.0) if self.prior is None else self.prior(batch)
        # The package's own priors are tested for the values of their counts.
        values = not self.tested
        check_counts(rows, counts, values=values, signed=self.signed, valid=valid)
        if batch.class_mask is not None:
            check_masked(batch.class_mask, batch.labels, valid, counts if values else None)
        weight: Tensor | float | None = self.label_weight
        if weight is None:
            assert isinstance(self.prior, Prior)
            with torch.no_grad(), without_autocast(rows.device):
                weight = self.prior.label_weight_of(batch)
        if self.measure_smoothing:
            with torch.no_grad():
                self.smoothing = smoothing_of(counts, batch.labels, weight, batch.classes_left)
        if self.class_weight is not None:
            check_class_weight(self.class_weight, rows.shape[1], rows.device)
        if sample_weight is not None:
            sample_weight = sample_weights(sample_weight, layout, rows.device)
        loss = kernel.loss(
            *(rows, batch.labels, counts, weight),
            self.reduction if self.penalty is None else "none",
            valid=valid,
            signed=self.signed,
            class_weight=self.class_weight,
            sample_weight=sample_weight,
            class_mask=batch.class_mask,
        )
        if self.penalty is not None:
            loss = self._with_penalty(loss, self.penalty(rows, batch), batch, sample_weight)
        if self.training and self.auto_observe and self.states:
            self._observe(batch)
        return loss.reshape(layout.shape) if self.reduction == "none" else loss

    def observe(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        index: Tensor | None = None,
        epoch: int | Tensor | None = None,
        epochs: int | None = None,
        class_mask: Tensor | None = None,
    ) -> None:
        """Let what is remembered see the samples of a step, of all processes together.

        Under torch.distributed every process must call this with equally many samples.
        """
        if not self.states:
            return
        layout = layout_of(logits, labels, self.class_dim)
        when = (epoch, epochs)
        _, batch = self._rows(layout, logits, labels, teacher_logits, index, *when, class_mask)
        self._observe(batch)

    @torch.no_grad()
    def _observe(self, batch: Batch) -> None:
        if gathering.processes() > 1:
            mask = batch.class_mask  # one of all samples (K,) is the same in every process
            batch = self._of_rows(
                gathering.all_gather(batch.logits),
                gathering.all_gather(batch.labels),
                gathering.gathered(batch.teacher_logits),
                gathering.gathered(batch.index),
                batch.epoch,
                batch.epochs,
                mask if mask is None or mask.ndim == 1 else gathering.gathered(mask),
            )
        with without_autocast(batch.logits.device):
            for state in self.states.values():
                assert isinstance(state, State)
                state.observe(batch)

    def end_epoch(self) -> None:
        """Call it at the end of each epoch where a prior or a penalty remembers by epochs."""
        for state in self.states.values():
            assert isinstance(state, State)
            state.end_epoch()

    def _rows(
        self,
        layout: Layout,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        index: Tensor | None,
        epoch: int | Tensor | None,
        epochs: int | None,
        class_mask: Tensor | None,
    ) -> tuple[Tensor, Batch]:
        """The logits as rows of classes, which may be a copy, and the batch that they make."""
        rows = layout.rows(logits)
        checks.rows_of_classes(rows)
        labels, valid = labels_and_mask(rows, layout.labels(labels), self.ignore_index)
        if class_mask is not None:
            class_mask = class_mask_rows(class_mask, logits, layout)
        of_rows = (layout.of_teacher(teacher_logits), layout.of_index(index))
        batch = self._of_rows(rows, labels, *of_rows, epoch, epochs, class_mask)
        batch.valid = valid
        return rows, batch

    def _of_rows(
        self,
        logits: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        index: Tensor | None,
        epoch: int | Tensor | None,
        epochs: int | None,
        class_mask: Tensor | None,
    ) -> Batch:
        for state in self.states.values():
            follow(state, logits.device)
        # What is only looked at draws from a copy: to validate more often changes no training.
        generator = self.generator if self.training else self.generator.clone_state()
        return Batch(
            logits,
            labels,
            teacher_logits,
            index=index,
            epoch=epoch,
            epochs=epochs,
            generator=generator,
            states=[(getattr(self, role), state) for role, state in self.states.items()],
            class_mask=class_mask,
        )

    def _with_penalty(
        self, loss: Tensor, penalty: Tensor, batch: Batch, sample_weight: Tensor | None
    ) -> Tensor:
        """The losses of samples and their penalties, reduced: class weights are not of these."""
        if sample_weight is not None:
            penalty = penalty * sample_weight
        if self.reduction != "mean":
            total = loss + penalty
            return total if self.reduction == "none" else total.sum()
        what = (batch.logits, batch.labels, batch.valid)
        divisor = kernel.divisor_of(*what, None, sample_weight)
        if self.class_weight is None:
            return (loss + penalty).sum() / divisor
        of_loss = kernel.divisor_of(*what, self.class_weight, sample_weight)
        return loss.sum() / of_loss + penalty.sum() / divisor

    def get_extra_state(self) -> Tensor:
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        self.generator.set_state(state.cpu())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torch would call a checkpoint made with nn.CrossEntropyLoss incomplete.
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        parts = [str(self.prior)]
        parts += [] if self.penalty is None else [f"penalty={self.penalty}"]
        weight = "the prior's own" if self.label_weight is None else f"{self.label_weight:g}"
        return ", ".join([*parts, f"label_weight={weight}", f"reduction={self.reduction!r}"])
