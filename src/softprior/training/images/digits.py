"""scikit-learn's handwritten digits: 1,797 real images of 8 × 8; half of them is the test set."""

from __future__ import annotations

import torch

from softprior.training.images.source import Part, Source, source
from softprior.training.images.splits import generator, stratified

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1


def read() -> Source:
    """Values 0..16. There is no official split, so a stratified half is always the test set."""
    from sklearn.datasets import load_digits  # a second: only for whoever wants digits

    bunch = load_digits()
    pixels = bunch.images.astype("uint8")
    everything = Part(
        torch.from_numpy(bunch.target).long(),
        lambda rows: (pixels[row] for row in rows),
        lambda row: f"digits, row {row}",
    )
    test, train = stratified(everything.labels, 0.5, generator("digits", "test"))
    return source(everything.only(train), everything.only(test), None, "scikit-learn", [])
