"""The study of dose and response: its two dials."""

from __future__ import annotations

import pytest

from softprior.evidence import Column, Comparison, Result
from softprior.priors import BetaPrior
from softprior.studies import Scale, dose


def test_five_orders_and_the_words_for_their_ends() -> None:
    runs = [
        r
        for r in dose.recipes(Scale(name="smoke", seeds=range(1)))
        if isinstance(r.prior, BetaPrior)
    ]
    assert [r.prior.order for r in runs if isinstance(r.prior, BetaPrior)] == [
        *("reversed", -0.5, "random", 0.5, "intact")
    ]
    methods = [dose.variant(r) for r in runs]
    assert [m["order"] for m in methods] == [-1, -0.5, 0, 0.5, 1]
    assert [m.label for m in methods] == [
        "Beta, reversed order",
        "Beta, rank correlation -0.5",
        "Beta, random order",
        "Beta, rank correlation 0.5",
        "Beta, intact order",
    ]
    assert len({r.digest for r in runs}) == 5


@pytest.mark.parametrize("rise", [-0.3, 0.2])
def test_the_claim_of_the_orders_is_a_slope_over_all_five(rise: float) -> None:
    """NLL that rises by so much from one end of the dial to its middle."""
    variants = list(
        dict.fromkeys(
            dose.variant(r)
            for r in dose.recipes(Scale(name="smoke", seeds=range(1)))
            if r.prior is not None
        )
    )

    def nll(order: float, seed: int) -> Result:
        value = 1 + rise * order + 0.01 * seed * (order + 1)
        return Result(dict.fromkeys(("accuracy", "scaled_nll", "ece"), value))

    results = {m: {s: nll(m.facts.get("order", 0.0), s) for s in range(5)} for m in variants}
    columns = {s: Column(name=s, margin=0.02) for s in ("accuracy", "scaled_nll", "ece")}
    *_, claim = dose._claims(Comparison(results, columns))
    assert claim.verdict.outcome == ("holds" if rise < 0 else "does not hold")
    assert f"{rise + 0.02:+.3g}".replace("-", "−") in claim.evidence.replace("-", "−")
