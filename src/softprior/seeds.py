"""Which seeds a study has, and how they are written: so many from 0 on, or by number."""

from __future__ import annotations

from collections.abc import Iterable

WANTED = "a number of seeds, such as 5, or seeds by number, such as 100-114 or 3,7,20-24"


def parse(text: str) -> tuple[int, ...]:
    """Seeds from how they are written: a number of them, or their numbers.

    >>> parse("3"), parse("100-102"), parse("7,20-21"), parse("7-7")
    ((0, 1, 2), (100, 101, 102), (7, 20, 21), (7,))

    Raises:
        ValueError: it is neither, there is none, or one is named twice.
    """
    if text.strip().isdecimal():
        seeds = tuple(range(int(text)))
    else:
        seeds = tuple(seed for part in text.split(",") for seed in _range(part, text))
    if not seeds:
        raise ValueError(f"wanted at least 1 seed, got {text:.60}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{text:.60} names a seed twice")
    return seeds


def _range(part: str, text: str) -> range:
    first, dash, last = (word.strip() for word in part.partition("-"))
    if first.isdecimal() and (last if dash else first).isdecimal():
        seeds = range(int(first), int(last if dash else first) + 1)
        if seeds:
            return seeds
    raise ValueError(f"wanted {WANTED}, got {text:.60}")


def text(seeds: Iterable[int]) -> str:
    """As :func:`parse` reads them, as short as can be.

    >>> text(range(5)), text([100, 101, 102]), text([7, 20, 21]), text([7])
    ('5', '100-102', '7,20-21', '7-7')
    """
    seeds = tuple(seeds)
    if seeds == tuple(range(len(seeds))):
        return str(len(seeds))
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][-1] + 1 == seed:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    if len(seeds) == 1:  # a number by itself is a number of seeds
        return f"{seeds[0]}-{seeds[0]}"
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
