"""Verdicts: when they hold, how often they err, and what the evidence says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from softprior.evidence import Column, Difference, Measured
from softprior.evidence.claims import Direction, claim, claim_everywhere, decide, identity

SHARE = Column(name="Accuracy", percent=True, margin=0.005)
PLAIN = Column(name="Diversity", unit="nats")
T4 = float(stats.t.ppf(0.975, 4))


def between(low: float, high: float) -> Difference:
    """With this 95 % interval, of five seeds."""
    return Difference((low + high) / 2, 5, (high - low) / 2 / T4, 4)


def test_measured_is_mean_and_sample_deviation() -> None:
    assert Measured.of([1.0, 3.0]) == Measured(2.0, math.sqrt(2), 2)
    assert math.isnan(Measured.of([1.0]).std)
    ties = Measured.of([-math.inf, -1.0])  # confidence diversity of a run with ties
    assert ties.mean == -math.inf
    assert math.isnan(ties.std)


@pytest.mark.parametrize(
    ("differences", "direction", "expected"),
    [
        ([(0.01, 0.02), (0.01, 0.03)], "higher", "holds"),
        ([(0.01, 0.02), (-0.01, 0.03)], "higher", "cannot tell"),
        ([(0.01, 0.02), (-0.03, -0.01)], "higher", "does not hold"),
        ([(0.01, 0.02), (0.01, 0.03)], "lower", "does not hold"),
        ([(-0.02, -0.01)], "lower", "holds"),
        ([(-0.003, 0.003), (-0.001, 0.002)], "higher", "no difference"),
        ([(-0.003, 0.003), (-0.001, 0.02)], "higher", "cannot tell"),
        ([(0.0001, 0.003)], "higher", "holds"),  # small, and there all the same
        ([(math.nan, math.nan)], "higher", "cannot tell"),
    ],
)
def test_verdict(
    differences: list[tuple[float, float]], direction: Direction, expected: str
) -> None:
    named = {f"self-{i}": between(*bounds) for i, bounds in enumerate(differences)}
    found = claim("It is so.", named, direction, SHARE)
    assert found.verdict.outcome == expected
    assert ("self-0" in found.evidence) == (len(named) > 1)


def test_one_of_many_must_be_clear_at_the_level_of_all() -> None:
    """One on the other side by itself at 97 % refutes alone, and not as one of three."""
    odd = between(-0.02, -0.0001)
    assert decide({"a": odd}, "higher", PLAIN).outcome == "does not hold"
    three = {"a": odd, "b": between(0.01, 0.02), "c": between(0.01, 0.02)}
    assert decide(three, "higher", PLAIN).outcome == "cannot tell"


def test_evidence_shows_the_intervals_that_decide() -> None:
    gaps = {"Beta (EMA)": between(0.09, 0.11), "alone": Difference(0.5, 5)}
    assert claim("It is so.", gaps, "higher", PLAIN).evidence == (
        "Beta (EMA) +0.1 nats [+0.09, +0.11]; alone +0.5 nats (seeds: 5; found in four of five "
        "cases: 0.0134 nats and more)"
    )
    two = {"a": between(-0.03, -0.01), "b": between(-0.03, -0.01)}
    refuted = claim("So.", two, "higher", SHARE)
    wider = 100 * 0.01 / T4 * float(stats.t.ppf(1 - 0.025 / 2, 4))
    assert f"a −2 points [−{2 + wider:.3g}, −{2 - wider:.3g}]" in refuted.evidence
    assert "all hold at once with 95 % probability: 2" in refuted.evidence
    one = Difference.over_seeds([0.4], [0.5])
    assert claim("So.", {"a": one}, "higher", PLAIN).evidence == "−0.1 nats (seeds: 1)"
    with pytest.raises(ValueError, match=r"claim 'It is so\.' has no differences"):
        claim("It is so.", {}, "higher", PLAIN)


def test_what_cannot_be_told_says_what_would_be_enough() -> None:
    unsure = Difference(0.001, 5, 0.004, 4)
    verdict = decide({"a": unsure}, "higher", SHARE)
    seeds = unsure.seeds_for(0.005)
    assert verdict.more == f"about {seeds} seeds would find 0.5 points in four of five cases"
    few = Difference(0.001, 5, 0.004, 40, images_variance=0.0039**2)
    assert "on as few test images" in decide({"a": few}, "higher", SHARE).more
    assert decide({"a": unsure}, "higher", PLAIN).more == ""  # no margin was agreed on


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
    gaps = {
        "ours": {
            "10 %": between(0.09, 0.11),
            "20 %": between(second - 0.01, second + 0.01),
        }
    }
    found = claim_everywhere("So it is.", gaps, direction, SHARE, "amounts")
    assert (found.text, found.verdict.outcome) == ("So it is.", expected)
    assert summary in found.evidence
    flat = {f"ours, {place}": d for place, d in gaps["ours"].items()}
    assert found.verdict == claim("So it is.", flat, direction, SHARE).verdict


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 15])
@pytest.mark.parametrize("alike", [0.0, 0.9])  # how alike the methods of a seed are
def test_how_often_a_claim_about_four_methods_errs(n: int, alike: float) -> None:
    """Where nothing differs it is decided in at most 5 %; where one lacks it, it does not hold."""
    rng, trials = np.random.default_rng(n), 400
    decided = wrongly = 0
    for _ in range(trials):
        scores = alike * rng.standard_normal((1, n)) + (1 - alike) * rng.standard_normal((5, n))
        gaps = {str(i): Difference.over_seeds(scores[i], scores[0]) for i in range(1, 5)}
        decided += decide(gaps, "higher", PLAIN).outcome != "cannot tell"
        three = {k: Difference.over_seeds(scores[i] + 9, scores[0]) for i, k in enumerate("abc", 1)}
        outcome = decide({**three, "none": gaps["4"]}, "higher", PLAIN).outcome
        wrongly += outcome == "holds"
    assert stats.binom.sf(decided - 1, trials, 0.05) > 0.001
    assert stats.binom.sf(wrongly - 1, trials, 0.025) > 0.001


def test_an_identity_holds_or_does_not() -> None:
    assert identity("So.", True, "0").verdict.outcome == "holds"
    assert identity("So.", False, "1").verdict.outcome == "does not hold"


def test_an_unknown_difference_is_named_and_decides_nothing() -> None:
    """Such as a calibration error that so few samples do not show."""
    nan = [math.nan] * 3
    unknown = Difference.over_seeds(nan, [0.0] * 3)
    known = Difference.over_seeds([0.1, 0.12, 0.11], [0.0] * 3)
    column = Column(name="ECE", percent=True, margin=0.01)
    found = claim("So.", {"a": unknown, "b": known}, "higher", column)
    assert found.verdict.outcome == "cannot tell"
    assert found.evidence.startswith("a unknown; b +11 points")
    for of in ({"a": unknown, "b": known}, {"a": unknown}):
        found = claim_everywhere("So.", {"ours": of}, "higher", column, "conventions")
        assert found.verdict.outcome == "cannot tell"
        assert "unknown in 1" in found.evidence
        assert "nan" not in found.evidence
