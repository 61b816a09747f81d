"""Data sets in memory, split by construction, in an order that depends on the seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from softprior import checks


class Split(NamedTuple):
    """Normalised inputs (n, C, H, W), float32, and class indices (n,)."""

    inputs: Tensor
    labels: Tensor


class Data(NamedTuple):
    """A data set in three parts that share no sample."""

    train: Split
    validation: Split
    test: Split
    num_classes: int


def generator(*key: str | int) -> torch.Generator:
    """A generator that is a pure function of its key: streams never run into one another."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def load(dataset: str, seed: int, validation: float) -> Data:
    """Load a data set by name and hold out validation samples, drawn from the seed."""
    checks.choice("dataset", dataset, DATASETS)
    train, test, num_classes = DATASETS[dataset]()
    held, kept = stratified(train.labels, validation, generator("validation", seed))
    mean, std = train.inputs[kept].mean(), train.inputs[kept].std()

    def normalised(inputs: Tensor, labels: Tensor) -> Split:
        return Split((inputs - mean) / std, labels)

    return Data(
        train=normalised(train.inputs[kept], train.labels[kept]),
        validation=normalised(train.inputs[held], train.labels[held]),
        test=normalised(*test),
        num_classes=num_classes,
    )


def digits() -> tuple[Split, Split, int]:
    """scikit-learn's handwritten digits: 1,797 real images of 8 × 8; half of them is the test set.

    There is no official split, so a stratified half, the same for every seed, is set aside.
    """
    from sklearn.datasets import load_digits  # a second: only for whoever wants digits

    bunch = load_digits()
    inputs = torch.from_numpy(bunch.images).float().unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()
    test, train = stratified(labels, 0.5, generator("digits", "test"))
    return Split(inputs[train], labels[train]), Split(inputs[test], labels[test]), 10


DATASETS = {"digits": digits}


def stratified(labels: Tensor, fraction: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of a random ``fraction`` of every class (at least one sample), and of the rest."""
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(int(labels.max()) + 1):
        members = (labels == c).nonzero().squeeze(1)
        size = max(1, round(fraction * len(members)))
        taken[members[torch.randperm(len(members), generator=g)[:size]]] = True
    return taken.nonzero().squeeze(1), (~taken).nonzero().squeeze(1)


def batches(split: Split, batch_size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, ...]]:
    """(inputs, labels, index) of one epoch; the order is a function of (seed, epoch) alone."""
    order = torch.randperm(len(split.labels), generator=generator("order", seed, epoch))
    chunks = list(torch.split(order, batch_size))
    if len(chunks) > 1 and len(chunks[-1]) == 1:  # batch norm cannot train on one sample
        chunks[-2:] = [torch.cat(chunks[-2:])]
    for index in chunks:
        yield split.inputs[index], split.labels[index], index
