"""A small language model trained without its logits: the same loss and gradients, less memory.

    python examples/language_model.py

The text is made here: sentences of a small grammar about 4,096 towns. The head is the embedding
of the words, so its weight has two gradients. Padding (label -100) does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from softprior import LinearPosteriorLoss, beta_smoothing

LONGEST, WIDTH, STEPS = 32, 64, 40
SYLLABLES = ["ba", "co", "du", "fe", "gi", "ha", "jo", "ku"]
SYLLABLES += ["le", "mi", "na", "po", "qui", "ro", "su", "ta"]
TOWNS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
GRAMMAR = (
    ("the", "a", "one"),
    ("old", "new", "small", "quiet"),
    ("road", "river", "train"),
    ("from",),
    TOWNS,
    ("goes", "leads", "runs"),
    ("to",),
    TOWNS,
    (".",),
)
WORDS = ["<pad>", *sorted({word for choices in GRAMMAR for word in choices})]
NUMBER = {word: i for i, word in enumerate(WORDS)}


def text(sentences: int) -> list[str]:
    """Sentences, in each of which the second town begins as the first one does."""
    words: list[str] = []
    for _ in range(sentences):
        *sentence, _ = (random.choice(choices) for choices in GRAMMAR)
        sentence[7] = sentence[4][:2] + sentence[7][2:]
        sentence[7] = sentence[7] if sentence[7] in NUMBER else sentence[4]
        words += [*sentence, "."]
    return words


def batch(rows: int) -> tuple[Tensor, Tensor]:
    """Words (rows, LONGEST) and the words that follow, -100 after the end of each text."""
    words = torch.zeros(rows, LONGEST, dtype=torch.int64)
    labels = torch.full((rows, LONGEST), -100)
    for row in range(rows):
        said = torch.tensor([NUMBER[word] for word in text(random.randint(1, 4))])[: LONGEST + 1]
        words[row, : len(said) - 1] = said[:-1]
        labels[row, : len(said) - 1] = said[1:]
    return words, labels


class Model(nn.Module):
    """A causal transformer of two layers, without a head: its states, (rows, LONGEST, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        nn.init.normal_(self.words.weight, std=WIDTH**-0.5)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LONGEST))

    def forward(self, words: Tensor) -> Tensor:
        states: Tensor = self.words(words) + self.places.weight
        return self.layers(states, mask=self.mask, is_causal=True)


def peak(run: Callable[[], object]) -> float:
    """MiB that torch holds at most during a call, beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most / 2**20


def main() -> None:
    torch.set_num_threads(1)
    random.seed(0)
    torch.manual_seed(0)
    model = Model()
    head = model.words.weight
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    criterion = beta_smoothing(0.1, draw="quantile")
    linear = LinearPosteriorLoss(criterion, chunk=64)  # rows at a time; left out, about 1,000

    def without_logits(states: Tensor, labels: Tensor) -> Tensor:
        return linear(states, head, labels)

    def plain(states: Tensor, labels: Tensor) -> Tensor:
        return criterion((states @ head.t()).flatten(0, 1), labels.flatten())

    furthest = 0.0
    for step in range(1, STEPS + 1):
        words, labels = batch(16)
        optimizer.zero_grad()
        loss = without_logits(model(words), labels)
        loss.backward()
        if step % 20 == 0 or step == 1:
            found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            optimizer.zero_grad()
            usual = plain(model(words), labels)
            usual.backward()
            wanted = [p.grad for p in model.parameters() if p.grad is not None]
            apart = [float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)]
            furthest = max(furthest, abs(loss.item() - usual.item()) / usual.item(), *apart)
            print(f"step {step:3}: loss {loss.item():.4f}, the plain way {usual.item():.4f}")
        optimizer.step()
    if furthest > 1e-6:
        raise SystemExit(f"not equal to the plain way: {furthest:.1e} apart")
    print(f"equal to the plain way: loss and gradients at most {furthest:.1e} apart")
    states = model(words).detach().requires_grad_()
    ways = (without_logits, plain)
    mine, whole = (peak(lambda way=way: way(states, labels).backward()) for way in ways)
    print(f"memory of the loss and its gradients: {mine:.1f} MiB, the plain way {whole:.1f} MiB")


if __name__ == "__main__":
    main()
