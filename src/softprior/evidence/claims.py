"""Claims: statements that a study tests, their verdicts, and the evidence in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from softprior.evidence.differences import LEVEL, MOST_SEEDS, Difference
from softprior.evidence.tables import Column

Outcome: TypeAlias = Literal["holds", "does not hold", "no difference", "cannot tell"]
SYMBOLS: dict[Outcome, str] = {
    "holds": "✓",
    "does not hold": "✗",
    "no difference": "=",
    "cannot tell": "?",
}
Direction: TypeAlias = Literal["higher", "lower"]
Differences: TypeAlias = Mapping[str, Difference]


@dataclass(frozen=True)
class Verdict:
    """Whether the evidence supports a claim.

    Attributes:
        outcome: in words.
        more: what would be enough, where we cannot tell.
    """

    outcome: Outcome
    more: str = ""

    @property
    def symbol(self) -> str:
        """One character for it."""
        return SYMBOLS[self.outcome]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that a study tests, its verdict, and the evidence in a sentence.

    Attributes:
        text: the statement.
        verdict: what its evidence comes to.
        evidence: numbers, with the tests that decided.
        brief: the numbers alone, for where there is little room.
        answers: that of the paper's questions ("RQ1" to "RQ5") which it answers: one claim of a
            study for each, decided on before the runs; all others look closer at the same runs.
    """

    text: str
    verdict: Verdict
    evidence: str
    brief: str = ""
    answers: tuple[str, ...] = ()


def identity(text: str, holds: bool, evidence: str, answers: tuple[str, ...] = ()) -> Claim:
    """A claim that is no matter of chance: an identity, or a number against its tolerance."""
    return Claim(
        text=text,
        verdict=Verdict("holds" if holds else "does not hold"),
        evidence=evidence,
        answers=answers,
    )


def simultaneous(differences: Differences) -> float:
    """The level of intervals that all hold at once with 95 % probability (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, len(differences))


def decide(differences: Differences, direction: Direction, column: Column) -> Verdict:
    """The verdict on a claim that all differences go in one direction.

    * **holds**: every 95 % interval is on the claimed side. All must be, so none is corrected
      for the number of them (an intersection-union test).
    * **does not hold**: one is on the other side, by an interval at the level at which all of
      them hold at once (Bonferroni, the first step of Holm's test).
    * **no difference**: all are shown to be within the column's margin (two one-sided tests at
      5 %; an intersection-union test again).
    * **cannot tell**: otherwise, with the number of seeds at which a difference as large as the
      margin would be found in four of five cases.

    Where the claim is false in truth it is found to hold in at most 2.5 % of cases, where it is
    true it is found not to hold in at most 2.5 %, and a difference as large as the margin is
    called none in at most 5 %.
    """
    sign = 1 if direction == "higher" else -1
    if all(sign * d.sign() > 0 for d in differences.values()):
        return Verdict("holds")
    if any(sign * d.sign(simultaneous(differences)) < 0 for d in differences.values()):
        return Verdict("does not hold")
    if column.margin is None:
        return Verdict("cannot tell")
    if all(d.within(column.margin) for d in differences.values()):
        return Verdict("no difference")
    return Verdict("cannot tell", _enough(differences, column))


def _enough(differences: Differences, column: Column) -> str:
    """How many seeds would find a difference of the margin in each of the comparisons."""
    margin = column.margin or math.nan
    size = column.shown(margin, signed=False)
    wanted = size + (column.gap_unit.removesuffix("s") if size == "1" else column.gap_unit)
    known = [d for d in differences.values() if not math.isnan(d.low)]
    if not known:
        return ""
    seeds = [d.seeds_for(margin) for d in known]
    if any(n is None for n in seeds):
        return f"no number of seeds up to {MOST_SEEDS:,} would find {wanted} on as few test images"
    return f"about {max(n for n in seeds if n)} seeds would find {wanted} in four of five cases"


def claim(
    text: str,
    differences: Differences,
    direction: Direction,
    column: Column,
    answers: tuple[str, ...] = (),
) -> Claim:
    """A claim that all differences go in one direction, decided by :func:`decide`.

    Args:
        text: the statement.
        differences: by the name that the evidence gives each. A single one needs no name: its
            numbers stand alone behind the statement.
        direction: "higher" where each is claimed to be above zero.
        column: of the score: points for percent, else its own unit.
        answers: as in :class:`Claim`.
    """
    if not differences:
        raise ValueError(f"claim {text!r} has no differences to decide it, wanted at least one")
    verdict = decide(differences, direction, column)
    level = simultaneous(differences) if verdict.outcome == "does not hold" else LEVEL
    names = differences if len(differences) > 1 else [""]  # one stands behind the statement
    brief = "; ".join(
        measured(name, d, column, level)
        for name, d in zip(names, differences.values(), strict=True)
    )
    return Claim(
        text=text,
        verdict=verdict,
        evidence=f"{brief} ({_basis(differences, column, verdict, level)})",
        brief=brief,
        answers=answers,
    )


def level(text: str, difference: Difference, margin: float, column: Column) -> Claim:
    """A claim that a change is too small to matter: that a curve is level.

    It holds where the change is shown to be within the margin (two one-sided tests at 5 %); it
    does not hold where its 95 % interval is outside the margin.
    """
    low, high = difference.bounds()
    verdict = Verdict("cannot tell")
    if difference.within(margin):
        verdict = Verdict("holds")
    elif low > margin or high < -margin:
        verdict = Verdict("does not hold")
    brief = measured("", difference, column)
    return Claim(
        text=text, verdict=verdict, evidence=f"{brief} (seeds: {difference.n})", brief=brief
    )


def measured(name: str, d: Difference, column: Column, level: float = LEVEL) -> str:
    """A difference with its interval, in a sentence.

    >>> measured("Beta", Difference(0.011, 5, 0.002, 4.0), Column(name="Accuracy", percent=True))
    'Beta +1.1 points [+0.545, +1.66]'
    """
    if math.isnan(d.mean):
        return f"{name} unknown".strip()
    low, high = d.bounds(level)
    interval = "" if math.isnan(low) else f" [{column.shown(low)}, {column.shown(high)}]"
    return f"{name} {column.shown(d.mean)}{column.gap_unit}{interval}".strip()


def claim_everywhere(
    text: str,
    differences: Mapping[str, Differences],
    direction: Direction,
    column: Column,
    places: str,
    answers: tuple[str, ...] = (),
) -> Claim:
    """A claim that the differences of every method go in one direction under every condition.

    Decided as any claim, over all comparisons together. The evidence is summarised per method.

    Args:
        text: the statement.
        differences: by method, and then by condition.
        direction, column, answers: as in :func:`claim`.
        places: what the conditions are called, such as "amounts".
    """
    flat = {f"{name}, {place}": d for name, of in differences.items() for place, d in of.items()}
    verdict = decide(flat, direction, column)
    level = LEVEL if verdict.outcome == "holds" else simultaneous(flat)
    parts = []
    for name, of in differences.items():
        means = [d.mean for d in of.values() if not math.isnan(d.mean)]
        signs = [d.sign(level) for d in of.values()]
        unknown = f", unknown in {len(of) - len(means)}" if len(means) < len(of) else ""
        between = (
            f" {column.shown(min(means))} to {column.shown(max(means))}{column.gap_unit}"
            if means
            else ""
        )
        parts.append(
            f"{name}{between} ({len(of)} {places}: clearly higher in {signs.count(1)}, clearly "
            f"lower in {signs.count(-1)}{unknown})"
        )
    evidence = "; ".join(parts)
    return Claim(
        text=text,
        verdict=verdict,
        evidence=f"{evidence} ({_basis(flat, column, verdict, level)})",
        brief=evidence,
        answers=answers,
    )


def _basis(differences: Differences, column: Column, verdict: Verdict, level: float) -> str:
    """What the evidence rests on: how many seeds, which intervals, and how fine they are."""
    known = [d for d in differences.values() if not math.isnan(d.low)]
    notes = [f"seeds: {next(iter(differences.values())).n}"]
    if known and level != LEVEL:
        notes.append(f"intervals that all hold at once with 95 % probability: {len(differences)}")
    if known and verdict.outcome in ("no difference", "cannot tell"):
        least = max(d.detectable for d in known)
        notes.append(
            f"found in four of five cases: {column.shown(least, signed=False)}{column.gap_unit} "
            "and more"
        )
    return "; ".join([*notes, *filter(None, [verdict.more])])
