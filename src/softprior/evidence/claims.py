"""Claims: statements that a study tests, their verdicts, and the evidence in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from softprior.evidence import statistics
from softprior.evidence.tables import Column, Difference

SIGNIFICANCE = 0.05  # the chance of a wrong verdict on a claim where no method differs

Outcome: TypeAlias = Literal["holds", "does not hold", "cannot tell"]
SYMBOLS: dict[Outcome, str] = {"holds": "✓", "does not hold": "✗", "cannot tell": "?"}
Direction: TypeAlias = Literal["higher", "lower"]
Differences: TypeAlias = Mapping[str, Difference]


@dataclass(frozen=True)
class Verdict:
    """Whether the evidence supports a claim."""

    outcome: Outcome

    @property
    def symbol(self) -> str:
        """One character for it."""
        return SYMBOLS[self.outcome]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that a study tests, its verdict, and the evidence in a sentence.

    Attributes:
        text: the statement.
        verdict: whether the evidence supports it.
        evidence: the numbers, with the tests that decided.
        brief: the numbers without the tests, for the answers to the paper's questions.
        answers: the paper's questions ("RQ1" to "RQ5") that it helps to answer.
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


def adjusted(differences: Differences) -> dict[str, float]:
    """Holm's adjusted p-values of the paired t tests: one claim's, or one column's, family."""
    p_values = statistics.holm([d.p_t for d in differences.values()])
    return dict(zip(differences, p_values, strict=True))


def clear(differences: Differences) -> list[str]:
    """The differences that are clearly not zero: by their intervals, and after correction."""
    p_values = adjusted(differences)
    return [
        name for name, d in differences.items() if d.excludes_zero and p_values[name] < SIGNIFICANCE
    ]


def decide(differences: Differences, direction: Direction) -> Verdict:
    """The verdict on a claim that all differences go in one direction.

    It holds where every difference is on the claimed side and its adjusted p-value below 0.05;
    it does not hold where one is as clearly on the other side; otherwise it is "cannot tell",
    always so where the intervals include zero. Where no method differs, the chance of anything
    but "cannot tell" is at most 0.05 in a claim, however many methods it compares.

    The paired t test decides, not the sign-flip test beside it: with five seeds that one has no
    p-value below 0.0625, and could never tell anything. Where the two disagree, few seeds or a
    few odd ones among them carry the verdict.
    """
    sign = 1 if direction == "higher" else -1
    found = [sign * differences[name].mean for name in clear(differences)]
    if any(mean < 0 for mean in found):
        return Verdict("does not hold")
    return Verdict("holds" if len(found) == len(differences) else "cannot tell")


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
    p_values = adjusted(differences)

    def measured(name: str, d: Difference) -> str:
        bounds = f" [{_shown(d.low, column)}, {_shown(d.high, column)}]"
        interval = "" if math.isnan(d.low) else bounds
        start = f"{name} " if len(differences) > 1 else ""
        return f"{start}{_shown(d.mean, column)}{_unit(column)}{interval}"

    def tested(name: str, d: Difference) -> str:
        if math.isnan(d.low):
            return measured(name, d)
        effect = f"{d.effect:+.2g}".replace("-", "−").replace("inf", "∞")
        tests = [f"d_z {effect}", f"p {_p(p_values[name])}"]
        if not math.isnan(d.p):
            tests.append(f"sign-flip p {_p(d.p)}")
        return f"{measured(name, d)} ({', '.join(tests)})"

    note = f"seeds: {_seeds(differences)}"
    if any(not math.isnan(p) for p in p_values.values()):
        note += f"; p: paired t test{_corrected(len(differences))}"
    evidence = "; ".join(tested(name, d) for name, d in differences.items())
    return Claim(
        text=text,
        verdict=decide(differences, direction),
        evidence=f"{evidence} ({note})",
        brief="; ".join(measured(name, d) for name, d in differences.items()),
        answers=answers,
    )


def claim_everywhere(
    text: str,
    differences: Mapping[str, Differences],
    direction: Direction,
    column: Column,
    places: str,
    answers: tuple[str, ...] = (),
) -> Claim:
    """A claim that the differences of every method go in one direction under every condition.

    Decided as any claim, with Holm's correction for all comparisons together. The evidence is
    summarised per method.

    Args:
        text: the statement.
        differences: by method, and then by condition.
        direction, column, answers: as in :func:`claim`.
        places: what the conditions are called, such as "amounts".
    """
    flat = {f"{name}, {place}": d for name, of in differences.items() for place, d in of.items()}
    sure = set(clear(flat))
    parts = []
    for name, of in differences.items():
        means = [d.mean for d in of.values()]
        certain = [d.mean for place, d in of.items() if f"{name}, {place}" in sure]
        parts.append(
            f"{name} {_shown(min(means), column)} to {_shown(max(means), column)}{_unit(column)} "
            f"({len(of)} {places}: clearly higher in {sum(m > 0 for m in certain)}, clearly lower "
            f"in {sum(m < 0 for m in certain)})"
        )
    evidence = "; ".join(parts)
    tests = f"seeds: {_seeds(flat)}; paired t tests{_corrected(len(flat))}"
    return Claim(
        text=text,
        verdict=decide(flat, direction),
        evidence=f"{evidence} ({tests})",
        brief=evidence,
        answers=answers,
    )


def _seeds(differences: Differences) -> int:
    return next(iter(differences.values())).n


def _shown(value: float, column: Column) -> str:
    return f"{value * column.factor:+.3g}".replace("-", "−")


def _unit(column: Column) -> str:
    return f" {column.gap_unit}" if column.gap_unit else ""


def _corrected(comparisons: int) -> str:
    return f", Holm-corrected for {comparisons} comparisons" if comparisons > 1 else ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
