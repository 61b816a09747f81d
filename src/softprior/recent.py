"""The margins of the last samples, among which a batch of any size can be ranked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softprior import devices
from softprior.batch import Batch
from softprior.component import State

WINDOW = 1024
NEAR = 256
_LARGEST = 1e30  # of a margin, so that differences are finite


class Recent(State):
    """Places samples among the last W that were seen before them, whatever the batch size.

    Margins drift: in the first epochs each batch is more confident than the one before, and would
    be placed at the top. So what is ranked is how confident a sample is among its contemporaries,

        z_i = (s_i - median) / (upper quartile - lower quartile)

    of the batch's margins and the L seen before it. Then

        u_i = (#{j : z_j < z_i} + #{j : z_j ≤ z_i}) / (2 n)        in (0, 1)

    over the n scores z_j that were seen last, the batch's among them: n grows up to W, or up to the
    size of the batch where that is larger. u is the mid-rank over n, so equal margins of a batch
    get equal places. Places are uniform on average as long as the level and the spread of the
    margins change little within L samples, and the shape of their distribution within W.

    The state is two buffers, ``margins`` (L,) and ``scores`` (W,): oldest first, NaN where nothing
    was seen yet. To place a batch changes nothing; :meth:`observe` remembers it. Nothing is read
    back from an accelerator. As with batch norm, the transforms of torch.func want a criterion in
    evaluation mode: they forbid to write into a buffer.

    Args:
        margins_of: from a batch to the margins (N,) to remember of it.
        window: W, how many scores are kept.
        near: L, how many margins are kept.

    Source: ours.

    >>> recent = Recent(lambda batch: batch.label_margin)
    >>> recent.remember(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    >>> recent.places(torch.tensor([-9.0, 9.0]))
    tensor([0.0833, 0.9167])
    """

    margins: Tensor
    scores: Tensor

    def __init__(
        self, margins_of: Callable[[Batch], Tensor], window: int = WINDOW, near: int = NEAR
    ) -> None:
        super().__init__()
        self.margins_of = margins_of
        self.register_buffer("margins", torch.full((near,), torch.nan, dtype=torch.float32))
        self.register_buffer("scores", torch.full((window,), torch.nan, dtype=torch.float32))

    def observe(self, batch: Batch) -> None:
        self.remember(self.margins_of(batch), batch.valid)

    def remember(self, margins: Tensor, valid: Tensor | None = None) -> None:
        """Samples that the mask ``valid`` (N,) leaves out, and margins of NaN, are not kept."""
        margins = self._known(margins, valid)
        scores = self._scores(margins)
        for kept, new in ((self.margins, margins), (self.scores, scores)):
            kept.copy_(_line_up(kept, new)[-len(kept) :])

    def places(self, margins: Tensor, valid: Tensor | None = None) -> Tensor:
        """Places u (N,) of a batch, in the dtype of its margins.

        Samples that the mask ``valid`` (N,) leaves out, and those whose margin is NaN, get 1/2.
        """
        new = self._scores(self._known(margins, valid))
        seen = _line_up(self.scores, new)
        known = ~seen.isnan()
        age = torch.arange(len(seen), device=seen.device).flip(0)
        size = (~new.isnan()).sum().clamp(min=len(self.scores))
        inside = age < torch.minimum(known.sum(), size)
        n = inside.sum()
        # inf, as NaN has no place in the order; a score of inf itself is cut off at n.
        line = seen.masked_fill(~inside, torch.inf).sort().values
        below = torch.searchsorted(line, new)
        up_to = torch.searchsorted(line, new, right=True).clamp(max=n)
        places = (below + up_to).to(margins.dtype) / (2 * n.clamp(min=1))
        return places.masked_fill(new.isnan(), 0.5)

    def _known(self, margins: Tensor, valid: Tensor | None) -> Tensor:
        """The margins, NaN where they do not count."""
        margins = margins.to(self.margins.dtype).clamp(-_LARGEST, _LARGEST).contiguous()
        return margins if valid is None else margins.masked_fill(~valid, torch.nan)

    def _scores(self, margins: Tensor) -> Tensor:
        """How a batch's margins lie among those of their time."""
        near = torch.cat([self.margins, margins]).sort().values  # NaN comes last
        last = ((~near.isnan()).sum() - 1).clamp(min=0)
        quarters = torch.arange(1, 4, device=near.device) * last // 4
        low, middle, high = near.index_select(0, quarters).unbind()
        spread = high - low
        return (margins - middle) / torch.where(spread > 0, spread, 1.0)

    def extra_repr(self) -> str:
        return f"window={len(self.scores)}, near={len(self.margins)}"


def _line_up(kept: Tensor, new: Tensor) -> Tensor:
    """All that is known, at the end and in the order of arrival; NaN before it."""
    seen = torch.cat([kept, new])
    if devices.values_visible(new) and not bool(new.isnan().any()):
        return seen  # what is remembered is in this order already
    return seen[(~seen.isnan()).byte().argsort(stable=True)]
