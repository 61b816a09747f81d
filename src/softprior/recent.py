"""The margins of the last few thousand samples, among which a batch of any size can be ranked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softprior import devices
from softprior.batch import Batch
from softprior.component import State

WINDOW = 4096


class Recent(State):
    """Places samples among the last W that were seen before them, whatever the batch size.

        u_i = (#{j : s_j < s_i} + #{j : s_j ≤ s_i}) / (2 n)        in (0, 1)

    over the n margins s_j seen last, the batch itself among them: n grows up to W, or up to the
    size of the batch where that is larger. u is the mid-rank over n, so equal margins get equal
    places and the places of a full window are uniform on average.

    The state is one buffer ``margins`` (W,): oldest first, NaN where nothing was seen yet. To place
    a batch changes nothing; :meth:`observe` remembers it. Nothing is read back from an
    accelerator. As with batch norm, the transforms of torch.func want a criterion in evaluation
    mode: they forbid to write into a buffer.

    Args:
        margins_of: from a batch to the margins (N,) to remember of it.
        window: W, how many margins are kept.

    Source: ours.

    >>> recent = Recent(lambda batch: batch.label_margin, window=3)
    >>> recent.remember(torch.tensor([5.0, 1.0]))
    >>> recent.places(torch.tensor([3.0, 3.0]))  # among 1, 3, 3: the 5 was seen first
    tensor([0.6667, 0.6667])
    """

    margins: Tensor

    def __init__(self, margins_of: Callable[[Batch], Tensor], window: int = WINDOW) -> None:
        super().__init__()
        self.margins_of = margins_of
        self.register_buffer("margins", torch.full((window,), torch.nan, dtype=torch.float32))

    def observe(self, batch: Batch) -> None:
        self.remember(self.margins_of(batch), batch.valid)

    def remember(self, margins: Tensor, valid: Tensor | None = None) -> None:
        """Samples that the mask ``valid`` (N,) leaves out, and margins of NaN, are not kept."""
        seen, _ = self._line_up(margins, valid)
        self.margins.copy_(seen[-len(self.margins) :])

    def places(self, margins: Tensor, valid: Tensor | None = None) -> Tensor:
        """Places u (N,) of a batch, in the dtype of its margins.

        Samples that the mask ``valid`` (N,) leaves out, and those whose margin is NaN, get 1/2.
        """
        window = len(self.margins)
        seen, new = self._line_up(margins, valid)
        known = ~seen.isnan()
        age = torch.arange(len(seen), device=seen.device).flip(0)
        size = (~new.isnan()).sum().clamp(min=window)
        inside = age < torch.minimum(known.sum(), size)
        n = inside.sum()
        # inf, as NaN has no place in the order; a margin of inf itself is cut off at n.
        line = seen.masked_fill(~inside, torch.inf).sort().values
        below = torch.searchsorted(line, new)
        up_to = torch.searchsorted(line, new, right=True).clamp(max=n)
        places = (below + up_to).to(margins.dtype) / (2 * n.clamp(min=1))
        return places.masked_fill(new.isnan(), 0.5)

    def _line_up(self, margins: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """All that is known, at the end and in the order of arrival; and the batch, NaN where it
        does not count."""
        new = margins.to(self.margins.dtype).contiguous()
        if valid is not None:
            new = new.masked_fill(~valid, torch.nan)
        seen = torch.cat([self.margins, new])
        if devices.values_visible(new) and not bool(new.isnan().any()):
            return seen, new  # what is remembered is in this order already
        return seen[(~seen.isnan()).byte().argsort(stable=True)], new

    def extra_repr(self) -> str:
        return f"window={len(self.margins)}"
