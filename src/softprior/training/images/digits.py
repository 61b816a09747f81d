"""scikit-learn's handwritten digits: 1,797 real images of 8 × 8; half of them is the test set."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from softprior.training.images.source import Part, Source, source
from softprior.training.images.splits import generator, stratified

# Raised whenever equal data give other pixels or another order: the fingerprint then changes, too.
VERSION = 1


def read() -> Source:
    """Values 0..16. There is no official split, so a stratified half is always the test set."""
    table = _table()
    pixels = table[:, :-1].reshape(-1, 8, 8)
    everything = Part(
        torch.from_numpy(table[:, -1]).long(),
        lambda rows: (pixels[row] for row in rows),
        lambda row: f"digits, row {row}",
    )
    test, train = stratified(everything.labels, 0.5, generator("digits", "test"))
    return source(everything.only(train), everything.only(test), None, "scikit-learn", [])


@cache
def _table() -> Any:
    """A row of 64 pixels and the class for each image: a uint8 array.

    From scikit-learn's file, where it lies as it always did: to import scikit-learn takes longer
    than to train on it.
    """
    import numpy as np

    package = find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",").astype(np.uint8)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.uint8)
