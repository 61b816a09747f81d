"""The margins of the last few thousand samples, among which a batch of any size can be ranked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

WINDOW = 4096


class Recent(nn.Module):
    """Places samples among the last W that were seen, whatever the batch size.

        u_i = (#{j : s_j < s_i} + #{j : s_j ≤ s_i}) / (2 n)        in (0, 1)

    over the n margins s_j seen last, the batch itself among them: n grows up to W, or up to the
    size of the batch where that is larger. u is the mid-rank over n, so equal margins get equal
    places and the places of a full window are uniform on average.

    The state is one buffer ``margins`` (W,): oldest first, NaN where nothing was seen yet. In
    training mode a call remembers the batch; in evaluation mode it only places it. Nothing is
    read back from an accelerator, and the buffer follows the margins to theirs. A
    ``state_dict`` without the buffer leaves it as it is. As with batch norm, the transforms of
    torch.func want evaluation mode: they forbid to write into a buffer.

    Args:
        window: W, how many margins are kept.

    Source: ours.

    >>> recent = Recent(window=3)
    >>> recent(torch.tensor([5.0, 1.0]))
    tensor([0.7500, 0.2500])
    >>> recent(torch.tensor([3.0, 3.0]))  # among 1, 3, 3: the 5 was seen first
    tensor([0.6667, 0.6667])
    """

    margins: Tensor

    def __init__(self, window: int = WINDOW) -> None:
        super().__init__()
        self.register_buffer("margins", torch.full((window,), torch.nan, dtype=torch.float32))

    def forward(self, margins: Tensor, kept: Tensor | None = None) -> Tensor:
        """Places u (B,) of a batch, in the dtype of its margins.

        Samples that the mask ``kept`` (B,) leaves out, and those whose margin is NaN, get 1/2
        and are not remembered.
        """
        if self.margins.device != margins.device:
            self.margins = self.margins.to(margins.device)
        window = len(self.margins)
        new = margins.to(self.margins.dtype).contiguous()
        if kept is not None:
            new = new.masked_fill(~kept, torch.nan)
        seen = torch.cat([self.margins, new])
        known = ~seen.isnan()
        # What is known moves to the end and stays in the order of arrival.
        seen = seen[known.byte().argsort(stable=True)]
        if self.training:
            self.margins.copy_(seen[-window:])
        age = torch.arange(len(seen), device=seen.device).flip(0)
        inside = age < torch.minimum(known.sum(), known[window:].sum().clamp(min=window))
        n = inside.sum()
        # inf, as NaN has no place in the order; a margin of inf itself is cut off at n.
        line = seen.masked_fill(~inside, torch.inf).sort().values
        below = torch.searchsorted(line, new)
        up_to = torch.searchsorted(line, new, right=True).clamp(max=n)
        places = (below + up_to).to(margins.dtype) / (2 * n.clamp(min=1))
        return places.masked_fill(new.isnan(), 0.5)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torch would call the checkpoint of a criterion that has no window incomplete.
        state_dict.setdefault(prefix + "margins", self.margins)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"window={len(self.margins)}"
