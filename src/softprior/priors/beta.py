"""Beta prior: teacher-free Beta smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from softprior import checks, gathering
from softprior.batch import Batch
from softprior.counts import Counts, TwoLevel
from softprior.priors.base import Prior
from softprior.recent import Recent

Word: TypeAlias = Literal["intact", "random", "reversed"]
Order: TypeAlias = Word | float
ORDERS: dict[Word, float] = {"intact": 1.0, "random": 0.0, "reversed": -1.0}


@dataclass(frozen=True)
class BetaPrior(Prior):
    """Random true-class targets, assigned in order of confidence: Beta smoothing.

        b_1 ≤ … ≤ b_m drawn from Beta(a, 1); the r-th least confident sample gets b_r:
        counts_c = strength · b          on the label,
                   strength · (1 - b) / (K - 1)   elsewhere

    Confidence is the probability of the true class under the teacher; only its order is used.
    Without teacher logits the student's own are used, which costs nothing. Ranks are taken of
    the margin ``log p_y - log Σ_{j≠y} p_j``, which has the order of p_y but does not saturate.
    The average true-class target is ``1 - strength / (a + 1)`` at label weight 1 - strength.

    Under torch.distributed the batch is that of all processes together: N of them get the counts
    that one would get, if sample j of process r is its sample j · N + r, as ``index[r::N]``
    shards it. For this every process of the default group must ask at the same time, with
    equally many samples (pad with ignored ones, label < 0: at the end of the whole batch they
    leave the other samples' draws as they are), and with generators in the same state
    (:class:`softprior.PosteriorLoss` of the same seed).

    That b depends on the batch: in a batch of one, the most and the least confident sample of a
    data set draw alike. ``among="running"`` ranks among the batch and the last 1024 samples seen
    before it instead, whatever the batch size and however many batches a step accumulates:

        b_i = u_i^(1/a),    u_i: the place in (0, 1) of :class:`softprior.recent.Recent`

    Each is ranked by how its margin lay among those of its time, so that b follows Beta(a, 1) also
    while margins grow: within about 0.02 of its mean in each epoch, after the first few hundred
    samples.

    The window is kept by :class:`softprior.PosteriorLoss`: a prior has no state. It is one window
    for all processes, which ask together as above.

    Args:
        strength: pseudo-counts per sample, ≥ 0 (w of the usual mix).
        a: first shape parameter of Beta(a, 1), > 0; mean of b is a / (a + 1).
        draw: ``"random"``, or ``"quantile"``, no randomness: the mean of u^(1/a) over the r-th of
            m equal parts of [0, 1], whose mean over r is a / (a + 1) at every m:

                b_r = m · a/(a + 1) · ((r/m)^(1 + 1/a) - ((r - 1)/m)^(1 + 1/a))

            Without meaning for ``"running"``: of n draws the r-th is the quantile to within
            about 1/√n, and n is large.
        order: ``"intact"``; controls: ``"random"`` or ``"reversed"``; or what lies between these
            three, a number ρ in [-1, 1]: 1, 0 and -1 are these words. ρ is Spearman's rank
            correlation of draw and confidence, on average over batches of any size m: of the m
            draws in intact (ρ > 0) or reversed order k stay where they are and the m - k others
            are shuffled among themselves, where k is ``|ρ| (m - 1)``, rounded up or down by
            chance. Of ``"running"`` each place is kept with chance |ρ|, else it is a new draw.
        among: ``"global"`` ranks the batches of all processes together; ``"local"`` each
            process's own, with nothing sent (give each its own seed, or all draw the same);
            ``"running"`` among the samples seen last by all processes.
            Code that is being compiled sends nothing.

    Source: paper (own-logit ranks and the random order: ablations there, as we recall it); quantile
    draws, other orders, class probabilities as labels, many processes, running ranks: ours.

    >>> prior = BetaPrior(strength=1.0, a=1.0, draw="quantile")
    >>> logits = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    >>> prior(Batch(logits, torch.tensor([0, 0]))).on_label
    tensor([0.7500, 0.2500])
    """

    strength: float = 0.6
    a: float = 3.0
    draw: Literal["random", "quantile"] = "random"
    order: Order = "intact"
    among: Literal["global", "local", "running"] = "global"
    uses_teacher: ClassVar[bool] = True
    ranks_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.number("a", self.a, 0, open_low=True)
        checks.choice("draw", self.draw, ("random", "quantile"))
        if isinstance(self.order, str):
            checks.choice("order", self.order, ORDERS)
        else:
            words = "order (intact, random, reversed, or a rank correlation)"
            checks.number(words, self.order, -1, 1)
            number = float(self.order)
            known = [word for word, value in ORDERS.items() if value == number]
            object.__setattr__(self, "order", known[0] if known else number)
        checks.choice("among", self.among, ("global", "local", "running"))

    @classmethod
    def matching(
        cls,
        smoothing: float,
        *,
        strength: float = 0.6,
        draw: Literal["random", "quantile"] = "random",
        order: Order = "intact",
        among: Literal["global", "local", "running"] = "global",
    ) -> BetaPrior:
        """The prior whose average true-class target is ``1 - smoothing``: ``a = strength/ε - 1``.

        Holds at label weight ``1 - strength``; needs ``0 < smoothing < strength``.

        >>> BetaPrior.matching(0.15).a
        3.0
        """
        checks.number("strength", strength, 0, open_low=True)
        checks.number("smoothing", smoothing, 0, open_low=True)
        if not 0 < smoothing < strength:
            raise ValueError(
                f"smoothing must be in (0, strength) = (0, {strength:g}), got {smoothing!r}: a "
                "Beta prior cannot take more from the label than its strength"
            )
        # Rounded, so that 0.6 / 0.15 - 1 is 3 and not 3 + 4e-16.
        return cls(strength, round(strength / smoothing - 1, 12), draw, order, among)

    def method(self, teacher: str | None = None) -> tuple[str, ...]:
        """In brackets the control, or the window, or who ranks; the first of them that is there."""
        kinds = [] if self.order == "intact" else [self.order_words]
        if self.among == "running":
            kinds.append("running")
        if self.order != "random" and (teacher is not None or not kinds):  # random asks nobody
            kinds.append(teacher or "own logits")
        if self.among == "local":
            kinds.append("local ranks")
        if self.draw == "quantile" and self.among != "running":
            kinds.append("quantile draws")
        return (f"Beta ({kinds[0]})", *kinds[1:])

    @property
    def rank_correlation(self) -> float:
        """Of draw and confidence, on average."""
        return ORDERS[self.order] if isinstance(self.order, str) else self.order

    @property
    def order_words(self) -> str:
        """What tables call the order."""
        number = isinstance(self.order, float)
        return f"rank correlation {self.order:g}" if number else f"{self.order} order"

    @property
    def average_smoothing(self) -> float | None:
        return self.strength / (self.a + 1)

    @property
    def version(self) -> int:  # type: ignore[override]
        # 2: ranked among its time, before it was by the margins themselves; quantile draws whose
        # mean is that of Beta, before they were u^(1/a) in the middle of each part.
        return 2 if self.among == "running" or self.draw == "quantile" else 1

    def state(self, num_samples: int | None, num_classes: int | None) -> Recent | None:
        return Recent(margins_of=self.margins) if self.among == "running" else None

    def counts(self, batch: Batch) -> Counts:
        margins, valid = self.margins(batch), batch.valid
        shared = self.among != "local" and gathering.processes() > 1
        if shared:
            mask = torch.ones_like(margins) if valid is None else valid.to(margins.dtype)
            margins, mask = gathering.all_gather(torch.stack([margins, mask], 1)).unbind(1)
            valid = mask.bool()
        if self.among == "running":
            recent = batch.state(self)
            assert isinstance(recent, Recent)
            b = self._assign_by_quantile(margins, valid, batch, recent)
        else:
            b = self._assign_by_rank(margins, valid, batch)
        b = gathering.local_shard(b) if shared else b
        return TwoLevel(self.strength * b, self.strength / batch.others_left * (1 - b))

    def margins(self, batch: Batch) -> Tensor:
        """log p_y - log Σ_{j≠y} p_j (N,), or the teacher's own one number per sample."""
        if self.order == "random":  # nobody's confidence is asked for
            return batch.logits.new_zeros(len(batch), dtype=torch.float32)
        return batch.label_margin if batch.teacher_margin is None else batch.teacher_margin

    def _assign_by_rank(self, margins: Tensor, valid: Tensor | None, batch: Batch) -> Tensor:
        """b for each sample; ignored ones come first in the order and take a filler.

        The number of valid samples stays on its device: reading it would stall an accelerator.
        """
        rows, device = len(margins), margins.device
        m = rows if valid is None else valid.sum()
        if isinstance(self.order, float):
            # A row for each sample: those at the end leave the draws of the others as they are.
            first, drawn, keys = _uniform_rows(margins, batch)
        elif "random" in (self.draw, self.order):
            drawn = _uniform(margins, batch)
        ranked = drawn if self.order == "random" else margins
        order = ranked.argsort(stable=True, descending=self.rank_correlation < 0)
        if valid is not None:
            order = order[valid[order].byte().argsort(stable=True)]
        if isinstance(self.order, float):
            kept = (abs(self.rank_correlation) * (m - 1) + first).floor()
            keys = keys if valid is None else keys.masked_fill(~valid, 2.0)  # come last
            order = _shuffled(order, keys[order], m - kept)
        if self.draw == "quantile":
            place = torch.arange(rows, device=device) - (rows - m)
            b = self._quantiles(place.clamp(min=0).to(batch.dtype) + 1, m)
        else:
            u = (drawn if valid is None else drawn.masked_fill(~valid, 0.0)).sort().values
            b = u ** (1 / self.a)
        return torch.empty_like(b).scatter_(0, order, b)

    def _quantiles(self, r: Tensor, m: int | Tensor) -> Tensor:
        """b_r, written so that no two numbers near each other are subtracted."""
        power = 1 + 1 / self.a
        part = -r * torch.expm1(power * torch.log1p(-1 / r)) / power
        # At a huge a neighbours are equal but for rounding.
        return ((r / m) ** (1 / self.a) * part).clamp(max=1).sort().values

    def _assign_by_quantile(
        self, margins: Tensor, valid: Tensor | None, batch: Batch, recent: Recent
    ) -> Tensor:
        """b by the place among the samples seen last; ignored ones take a filler."""
        if self.order == "random":  # nobody's margin is known
            u = _uniform(margins, batch)
        else:
            u = recent.places(margins, valid).to(batch.dtype)
            u = 1 - u if self.rank_correlation < 0 else u
        if isinstance(self.order, float):
            _, new, chance = _uniform_rows(margins, batch)
            u = torch.where(chance < abs(self.rank_correlation), u, new)
        return u ** (1 / self.a)


def _shuffled(order: Tensor, keys: Tensor, some: Tensor) -> Tensor:
    """The entries at the ``some`` places with the smallest random keys, shuffled by these keys."""
    at = torch.arange(len(order), device=order.device)
    places = keys.argsort(stable=True)
    in_order = torch.where(at < some, places, len(order)).sort().values
    return order.scatter(0, torch.where(at < some, in_order, places), order[places])


def _uniform(like: Tensor, batch: Batch, *shape: int) -> Tensor:
    """Uniform draws (N,), in float64 whatever the logits: the same ones in every precision."""
    drawn = torch.rand(shape or (len(like),), generator=batch.generator, dtype=torch.float64)
    return drawn.to(like.device, batch.dtype)


def _uniform_rows(like: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """A uniform draw (), and two for each sample, (N,) each."""
    rows = _uniform(like, batch, len(like) + 1, 2)
    return rows[0, 0], rows[1:, 0], rows[1:, 1]
