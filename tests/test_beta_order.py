"""The order in which Beta smoothing hands out its draws: a dial from reversed to intact."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import scipy.stats
import torch
from torch import Tensor

from softprior import Batch, BetaPrior, records

RHO = [-0.5, 0.3, 0.85]
TIMES = 100


def handed_out(prior: BetaPrior, margins: Tensor, seed: int, labels: Any = 0) -> Tensor:
    """What the label gets, for samples of these margins."""
    logits = torch.stack([margins, torch.zeros_like(margins)], 1)
    labels = torch.zeros(len(margins), dtype=torch.long) if isinstance(labels, int) else labels
    state = prior.state(None, None)
    return prior(
        Batch(
            logits,
            labels,
            generator=torch.Generator().manual_seed(seed),
            states=[] if state is None else [(prior, state)],
        )
    ).on_label


def correlation(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([a, b]).argsort(1).argsort(1)
    return float(torch.corrcoef(ranks.double())[0, 1])


def as_a_mean(values: list[float], wanted: float) -> bool:
    error = numpy.std(values) / len(values) ** 0.5
    return abs(float(numpy.mean(values)) - wanted) < 4 * error + 1e-12


@pytest.mark.parametrize("rho", RHO)
@pytest.mark.parametrize("m", [2, 3, 7, 32])
def test_mean_rank_correlation(rho: float, m: int) -> None:
    """That of the order, in batches of every size; with ignored samples, too."""
    margins = torch.randn(m, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    prior = BetaPrior(draw="quantile", order=rho)
    found = [correlation(handed_out(prior, margins, s), margins) for s in range(TIMES)]
    assert as_a_mean(found, rho)
    more = torch.cat([margins, torch.full((3,), 9.0, dtype=torch.float64)])
    labels = torch.zeros(m + 3, dtype=torch.long)
    labels[m:] = -1
    turn = torch.arange(m + 3).roll(2)
    found = []
    for s in range(TIMES):
        b = torch.empty_like(more)
        b[turn] = handed_out(BetaPrior(order=rho), more[turn], s, labels[turn])
        found.append(correlation(b[:m], margins))
    assert as_a_mean(found, rho)


@pytest.mark.parametrize("rho", RHO)
def test_the_draws_are_those_of_the_ends(rho: float) -> None:
    """Only their order is another: of quantile draws exactly, of random ones in distribution."""
    margins = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends, between = (BetaPrior(1.0, draw="quantile", order=order) for order in ("intact", rho))
    b = handed_out(between, margins, 1)
    assert torch.equal(b.sort().values, handed_out(ends, margins, 1).sort().values)
    many = torch.cat([handed_out(BetaPrior(1.0, order=rho), margins, s) for s in range(50)])
    assert scipy.stats.kstest(many.numpy(), scipy.stats.beta(3, 1).cdf).pvalue > 0.001


@pytest.mark.parametrize("rho", RHO)
def test_running_ranks_in_between(rho: float) -> None:
    """The rank correlation with the place in the window, over many samples; draws of Beta."""
    margins = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = handed_out(BetaPrior(1.0, order=rho, among="running"), margins, 2)
    assert correlation(b, margins) == pytest.approx(rho, abs=0.03)
    assert scipy.stats.kstest(b.numpy(), scipy.stats.beta(3, 1).cdf).pvalue > 0.001


@pytest.mark.parametrize("among", ["global", "local", "running"])
@pytest.mark.parametrize("draw", ["random", "quantile"])
def test_the_ends_and_the_middle_are_the_words(draw: Any, among: Any) -> None:
    margins = torch.randn(9, generator=torch.Generator().manual_seed(0))
    for word, number in (("intact", 1), ("random", 0), ("reversed", -1), ("reversed", -1.0)):
        named = BetaPrior(draw=draw, order=word, among=among)  # type: ignore[arg-type]
        numbered = BetaPrior(draw=draw, order=number, among=among)
        assert numbered == named
        assert numbered.order == word
        assert records.canonical("prior", numbered) == records.canonical("prior", named)
        assert torch.equal(handed_out(numbered, margins, 3), handed_out(named, margins, 3))


PINNED = {
    "intact": "0x1.9525fab555defp-2 0x1.8e815c4f1b586p-3 0x1.17c63643dfd93p-1 "
    "0x1.19ec7fd08cd85p-1 0x1.579d0c6300b59p-2",
    "random": "0x1.8e815c4f1b586p-3 0x1.9525fab555defp-2 0x1.19ec7fd08cd85p-1 "
    "0x1.579d0c6300b59p-2 0x1.17c63643dfd93p-1",
    "reversed": "0x1.9525fab555defp-2 0x1.19ec7fd08cd85p-1 0x1.579d0c6300b59p-2 "
    "0x1.8e815c4f1b586p-3 0x1.17c63643dfd93p-1",
}


@pytest.mark.parametrize("order", PINNED)
def test_draws_of_the_words_never_change(order: Any) -> None:
    """Of runs that people have stored: what decides their digest, and their draws."""
    record = records.canonical("prior", BetaPrior(order=order))
    assert record == {"name": "beta"} | ({} if order == "intact" else {"order": order})
    logits = torch.linspace(-2, 2, 20, dtype=torch.float64).sin().reshape(5, 4)
    labels = torch.tensor([0, 1, 2, 3, 0])
    generator = torch.Generator().manual_seed(3)
    b = BetaPrior(order=order)(Batch(logits, labels, generator=generator)).on_label
    wanted = [float.fromhex(text) for text in PINNED[order].split()]
    assert b.tolist() == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("order", [1.5, -1.01, float("nan"), True, None, "half", "0.5"])
def test_other_orders_are_refused(order: Any) -> None:
    with pytest.raises(ValueError, match=r"order"):
        BetaPrior(order=order)
