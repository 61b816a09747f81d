"""How the images of a test set bear on a score: a number for each block of them.

For a score θ of n images, and θ_(-g) without the n_g images of block g, the number of block g is

    θ + (n / n_g - 1) · (θ - θ_(-g))

Of a mean it is the mean of the block; in general their mean is about θ, and their spread says how
much other images would change it. Source: Tukey's pseudo-values of the jackknife, by blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softprior.evidence.differences import Array

BLOCKS = 50
Indices = NDArray[np.int64]


def block_of(images: int) -> Indices:
    """Which block each of the images is in: by a fixed shuffle, all blocks about equally large."""
    return np.random.RandomState(0).permutation(images) % min(BLOCKS, images)


def of_mean(each: Array) -> Array:
    """Of a score that is the mean of a number for each image (n,)."""
    return of_gaps(np.zeros(len(each), np.int64), each, signed=True)


def of_gaps(cells: Indices, gaps: Array, *, signed: bool = False) -> Array:
    """Of a score ``(1/n) Σ_c |Σ_{i in c} gap_i|``, a calibration error with cells as its bins.

    Args:
        cells: which cell each image is in (n,).
        gaps: a number for each image (n,).
        signed: without the absolute values: the mean of the gaps.
    """
    images, width = len(gaps), int(cells.max()) + 1
    block, count = block_of(images), min(BLOCKS, images)
    sizes = np.bincount(block, minlength=count)
    sums = np.bincount(block * width + cells, gaps, count * width).reshape(count, width)
    whole = sums.sum(0)
    without = whole - sums
    if not signed:
        whole, without = np.abs(whole), np.abs(without)
    return _pseudo(float(whole.sum() / images), without.sum(1) / (images - sizes), sizes)


def of_function(score: Callable[[Indices], float], images: int) -> Array:
    """Of any score: a function of the rows of the images that are kept."""
    block, rows = block_of(images), np.arange(images)
    sizes = np.bincount(block)
    without = [score(rows[block != g]) for g in range(len(sizes))]
    return _pseudo(score(rows), np.asarray(without), sizes)


def _pseudo(whole: float, without: Array, sizes: Indices) -> Array:
    return np.asarray(whole + (sizes.sum() / sizes - 1) * (whole - without))
