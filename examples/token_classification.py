"""A class for every token: logits (B, T, K) with the classes last, padding, and masked classes.

    python examples/token_classification.py

The class dimension is named, never guessed. A token of a known kind can have few of the classes:
class_mask keeps the others out of the softmax, and out of what label smoothing spreads over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import softprior

PADDING, TAGS, WORDS, MARKS = -100, 4, 20, 16


def sentences(n: int, seed: int, length: int = 12) -> tuple[Tensor, Tensor]:
    """Words (n, T) and tags (n, T): the word modulo 4, or the tag before it after word 0.

    Words from 16 on are marks, and have tag 0.
    """
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(WORDS, (n, length), generator=draw)
    tags = words % TAGS
    tags[:, 1:] = torch.where(words[:, :-1] == 0, tags[:, :-1], tags[:, 1:])
    tags[words >= MARKS] = 0
    ends = torch.randint(length // 2, length + 1, (n, 1), generator=draw)
    return words, tags.masked_fill(torch.arange(length) >= ends, PADDING)


class Tagger(nn.Module):
    """Words (B, T) to logits (B, T, K)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 32)
        self.read = nn.GRU(32, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, TAGS)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.read(self.embed(words))[0])


def main() -> None:
    """Train for a few seconds; print the share of right tags."""
    torch.manual_seed(0)
    net = Tagger()
    criterion = softprior.label_smoothing(0.1, class_dim=-1, ignore_index=PADDING)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    never = torch.zeros(WORDS, TAGS, dtype=torch.bool)
    never[MARKS:, 1:] = True  # a mark has no other tag than 0
    for step in range(80):
        words, tags = sentences(32, seed=step)
        loss = criterion(net(words), tags, class_mask=never[words])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    words, tags = sentences(500, seed=10_000)
    logits = net(words).masked_fill(never[words], -torch.inf)
    right = (logits.argmax(-1) == tags)[tags != PADDING].float().mean()
    print(f"right: {right:.1%} of the tokens")


if __name__ == "__main__":
    main()
