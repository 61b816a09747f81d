"""Differences, verdicts, and the evidence in a sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from softprior.evidence import Column, Difference, Measured
from softprior.evidence.claims import Direction, claim, claim_everywhere, identity

SHARE, PLAIN = Column(name="Accuracy", percent=True), Column(name="NLL")


def test_difference_is_the_paired_t_interval() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    ours, theirs = [1.0, 2.5, 3.0, 4.5], [0.5, 2.0, 3.5, 3.0]
    difference = Difference.paired(ours, theirs)
    interval = scipy_stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert difference.mean == 0.5
    assert (difference.low, difference.high) == pytest.approx(tuple(interval))
    assert not difference.excludes_zero
    assert difference.p_t == pytest.approx(scipy_stats.ttest_rel(ours, theirs).pvalue)
    assert difference.p == 0.5  # of ±.5 ±.5 ±.5 ±1.5, 8 of 16 are as far from 0 as 2
    assert difference.effect == pytest.approx(0.5 / math.sqrt(2 / 3))
    alone = Difference.paired([1.0], [0.5])
    assert alone.n == 1
    assert math.isnan(alone.low)
    assert not alone.excludes_zero


def test_measured_is_mean_and_sample_deviation() -> None:
    assert Measured.of([1.0, 3.0]) == Measured(2.0, math.sqrt(2), 2)
    assert math.isnan(Measured.of([1.0]).std)
    ties = Measured.of([-math.inf, -1.0])  # confidence diversity of a run with ties
    assert ties.mean == -math.inf
    assert math.isnan(ties.std)


@pytest.mark.parametrize(
    ("differences", "direction", "expected"),
    [
        ([(1, 2), (1, 3)], "higher", "holds"),
        ([(1, 2), (-1, 3)], "higher", "cannot tell"),
        ([(1, 2), (-3, -1)], "higher", "does not hold"),
        ([(1, 2), (1, 3)], "lower", "does not hold"),
        ([(-2, -1)], "lower", "holds"),
        ([(math.nan, math.nan)], "higher", "cannot tell"),
    ],
)
def test_verdict(
    differences: list[tuple[float, float]], direction: Direction, expected: str
) -> None:
    named = {
        f"self-{i}": Difference((low + high) / 2, low, high, 5)
        for i, (low, high) in enumerate(differences)
    }
    found = claim("It is so.", named, direction, PLAIN)
    assert found.verdict.outcome == expected
    # A single difference stands behind the statement without a name.
    assert ("self-0" in found.evidence) == (len(named) > 1)


def test_evidence_says_what_decided() -> None:
    gaps = {
        "Beta (EMA)": Difference.paired([0.9, 0.92, 0.93], [0.8, 0.81, 0.82]),
        "alone": Difference(0.5, math.nan, math.nan, 3),
    }
    assert claim("It is so.", gaps, "higher", SHARE).evidence == (
        "Beta (EMA) +10.7 points [+9.23, +12.1] (d_z +18, p = 0.002, sign-flip p = 0.25); "
        "alone +50 points (seeds: 3; p: paired t test, Holm-corrected for 2 comparisons)"
    )
    one = Difference.paired([0.4], [0.5])
    assert claim("It is so.", {"a": one}, "higher", PLAIN).evidence == "−0.1 (seeds: 1)"
    in_nats = replace(PLAIN, unit="nats")
    assert claim("It is so.", {"a": one}, "higher", in_nats).evidence == "−0.1 nats (seeds: 1)"
    with pytest.raises(ValueError, match=r"claim 'It is so\.' has no differences"):
        claim("It is so.", {}, "higher", PLAIN)


@pytest.mark.parametrize(
    ("second", "direction", "expected", "summary"),
    [
        (+0.1, "higher", "holds", "(2 amounts: clearly higher in 2, clearly lower in 0)"),
        (+0.1, "lower", "does not hold", "(2 amounts: clearly higher in 2, clearly lower in 0)"),
        (-0.1, "higher", "does not hold", "(2 amounts: clearly higher in 1, clearly lower in 1)"),
        (0.0, "higher", "cannot tell", "(2 amounts: clearly higher in 1, clearly lower in 0)"),
    ],
)
def test_everywhere_wants_every_place(
    second: float, direction: Direction, expected: str, summary: str
) -> None:
    noise = [0.001, -0.002, 0.001, 0.002, -0.002]
    gaps = {
        "ours": {
            "10 %": Difference.paired([0.1 + e for e in noise], [0.0] * 5),
            "20 %": Difference.paired([second + e for e in noise], [0.0] * 5),
        }
    }
    found = claim_everywhere("So it is.", gaps, direction, SHARE, "amounts")
    assert (found.text, found.verdict.outcome) == ("So it is.", expected)
    assert summary in found.evidence
    assert found.evidence.endswith("(seeds: 5; paired t tests, Holm-corrected for 2 comparisons)")
    one = {"ours": {"10 %": Difference.paired([0.6], [0.5])}}
    alone = claim_everywhere("So it is.", one, direction, SHARE, "amounts")
    assert alone.verdict.outcome == "cannot tell"


def test_everywhere_decides_as_one_family() -> None:
    """The verdict is that of all comparisons in one claim."""
    gaps = {
        name: {place: Difference.paired([a, a + 0.1, a + 0.2], [0.0, 0.11, 0.19]) for place in "xy"}
        for name, a in (("a", 0.1), ("b", 0.02))
    }
    flat = {f"{name}, {place}": d for name, of in gaps.items() for place, d in of.items()}
    everywhere = claim_everywhere("So.", gaps, "higher", PLAIN, "places")
    assert everywhere.verdict == claim("So.", flat, "higher", PLAIN).verdict


def test_an_identity_holds_or_does_not() -> None:
    assert identity("So.", True, "0").verdict.outcome == "holds"
    assert identity("So.", False, "1").verdict.outcome == "does not hold"
