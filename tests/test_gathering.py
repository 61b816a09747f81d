"""Beta smoothing of a batch shared by two processes is that of one process, number by number.

And what any prior or penalty that is found remembers is of the samples of both.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from softprior import (
    BetaPrior,
    LinearPosteriorLoss,
    PosteriorLoss,
    Prior,
    TeacherHead,
    gathering,
    penalties,
    priors,
)
from softprior.recent import Recent

WORLD, K, STEPS = 2, 4, 3
PRIORS = {
    "random": BetaPrior(),
    "quantile": BetaPrior(draw="quantile"),
    "reversed": BetaPrior(order="reversed"),
    "random order": BetaPrior(order="random"),
    "running": BetaPrior(among="running"),
    "running reversed": BetaPrior(order="reversed", among="running"),
    "running random order": BetaPrior(order="random", among="running"),
    "between": BetaPrior(order=-0.4),
    "running between": BetaPrior(order=0.6, among="running"),
    "local": BetaPrior(among="local"),
}
RANKED = ("own", "teacher", "confidence")
KINDS = ("indices", "ignored", "probabilities", "padded")
CASES = [*itertools.product(PRIORS, RANKED, (*KINDS, "head"))]
COMPONENTS: dict[str, Any] = {
    "running": PRIORS["running"],
    **{f"prior {name}": kind() for name, kind in priors.found().items()},
    **{f"penalty {name}": kind() for name, kind in penalties.found().items()},
}


def batch(kind: str, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """The whole batch, of an even size; "padded" is one of an odd size, and its padding."""
    generator = torch.Generator().manual_seed(step)
    rows = 6 + 2 * step
    logits, teacher = (2 * torch.randn(rows, K, generator=generator) for _ in range(2))
    labels = torch.randint(K, (rows,), generator=generator)
    if kind == "ignored":
        labels[[0, 2, 3]] = -100
    if kind == "padded":
        labels[-1] = -100
        logits[-1] = teacher[-1] = torch.nan
    if kind == "probabilities":
        labels = torch.softmax(torch.randn(rows, K, generator=generator), -1)
    return logits, labels, teacher


def run(case: tuple[str, str, str], rank: int = 0, world: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Losses and gradients of a few steps of process ``rank``."""
    name, ranked, kind = case
    criterion = PosteriorLoss(PRIORS[name], label_weight=0.4, reduction="none", seed=5)
    if criterion.states:  # a window smaller than what the steps show, and than the last
        criterion.states["prior"] = Recent(PRIORS[name].margins, window=9, near=5)
    results = []
    for step in range(STEPS):
        logits, labels, teacher = (t[rank::world].clone() for t in batch(kind, step))
        logits.requires_grad_()
        advice = {"own": None, "teacher": teacher, "confidence": teacher[:, 0]}[ranked]
        if kind == "head":  # whose hidden states are the logits
            shown = TeacherHead(teacher, torch.eye(K)) if ranked == "teacher" else advice
            losses = LinearPosteriorLoss(criterion, chunk=2)(logits, torch.eye(K), labels, shown)
        else:
            losses = criterion(logits, labels, advice)
        results.append((losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]))
    return results


def remembered(
    name: str, rank: int = 0, world: int = 1, *, by_hand: bool = False
) -> dict[str, Tensor]:
    """What process ``rank`` remembers after the end of an epoch and some steps of the next."""
    component = COMPONENTS[name]
    role = "prior" if isinstance(component, Prior) else "penalty"
    criterion = PosteriorLoss(**{role: component}, num_samples=100, num_classes=K)  # type: ignore[arg-type]
    criterion.auto_observe = not by_hand
    for epoch in (1, 2):
        for step, kind in enumerate(KINDS):
            whole = batch(kind, step)
            index = torch.arange(len(whole[0])) + 20 * step
            of, index = [t[rank::world] for t in whole], index[rank::world]
            more: dict[str, Any] = {"index": index, "epoch": epoch, "epochs": 2}
            criterion(*of, **more)
            if by_hand:
                criterion.observe(*of, **more)
        if epoch == 1:
            criterion.end_epoch()
    return dict(criterion.named_buffers())


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD
    )
    results: dict[Any, Any] = {case: run(case, rank, WORLD) for case in CASES}
    for name in COMPONENTS:
        for by_hand in (False, True):
            results[name, by_hand] = remembered(name, rank, WORLD, by_hand=by_hand)
    compiled = torch.compile(gathering.processes, backend="eager")
    results["processes"] = gathering.processes(), compiled()
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(once: Callable[..., pathlib.Path]) -> list[dict[Any, Any]]:
    """What each of the processes computed."""

    def compute(folder: pathlib.Path) -> None:
        torch.multiprocessing.spawn(process, (str(folder),), nprocs=WORLD)

    folder = once("gathering", compute)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
@pytest.mark.parametrize("name", PRIORS)
def test_two_processes_are_one(name: str, found: list[dict[Any, Any]]) -> None:
    """Losses and gradients; the gradient of the sum over the processes with them. Whoever ranks,
    whatever the labels are."""
    for case in CASES:
        if case[0] != name:
            continue
        equal = []
        for step, whole in enumerate(run(case)):
            for at, want in enumerate(whole):
                got = torch.zeros_like(want)
                for rank in range(WORLD):
                    got[rank::WORLD] = found[rank][case][step][at]
                equal.append(torch.equal(got, want))
        assert all(equal) is (name != "local"), case


@pytest.mark.parametrize("name", COMPONENTS)
def test_what_is_remembered_is_of_all_processes(name: str, found: list[dict[Any, Any]]) -> None:
    for by_hand in (False, True):
        want = remembered(name, by_hand=by_hand)
        for each in found:
            torch.testing.assert_close(each[name, by_hand], want, equal_nan=True)
        assert len(want) > 0 or name != "running"


@pytest.mark.parametrize("name", [name for name in PRIORS if name != "local"])
def test_padding_is_no_part_of_the_batch(name: str, found: list[dict[Any, Any]]) -> None:
    """An odd batch on two processes is the odd batch on one, without padding."""
    logits, labels, teacher = (t[:-1] for t in batch("padded", 0))
    for ranked in RANKED:
        advice = {"own": None, "teacher": teacher, "confidence": teacher[:, 0]}[ranked]
        criterion = PosteriorLoss(PRIORS[name], label_weight=0.4, reduction="none", seed=5)
        got = torch.stack([found[rank][name, ranked, "padded"][0][0] for rank in range(WORLD)], 1)
        assert torch.equal(got.flatten()[:-1], criterion(logits, labels, advice)), ranked


def test_nothing_is_gathered_by_one_process_or_compiled(found: list[dict[Any, Any]]) -> None:
    assert gathering.processes() == 1
    for each in found:
        assert each["processes"] == (WORLD, 1)
