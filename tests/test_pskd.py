"""PS-KD against its formula, with a memory of logits and with the previous epoch's network."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from softprior import PosteriorLoss, Prior, UniformPrior
from softprior.priors.pskd import PSKDPrior
from softprior.teachers import Setting
from softprior.teachers.previous_epoch import PreviousEpoch, PreviousLogitsTeacher

N, D, K, EPOCHS = 12, 5, 4, 5


def setting(network: nn.Module) -> Setting:
    return Setting(N, K, ranks_only=False, another_network=lambda: copy.deepcopy(network))


@pytest.mark.parametrize("keep", ["logits", "network"])
@pytest.mark.parametrize("strength", [0.8, 0.3])
def test_formula_over_epochs(keep: Any, strength: float) -> None:
    """(1 - w_t) y + w_t p of the previous epoch, w_t = strength · t / epochs and 0 at first.

    The images are the same in every epoch and the network learns at its end, so that a memory
    and the previous network say the same.
    """
    torch.manual_seed(0)
    network = nn.Linear(D, K).double()
    inputs, labels = torch.randn(N, D, dtype=torch.float64), torch.randint(K, (N,))
    teacher = PreviousEpoch(keep).build(network, setting(network))
    criterion = PosteriorLoss(PSKDPrior(strength))
    previous = torch.zeros(N, K, dtype=torch.float64)
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(N)
        w = 0.0 if epoch == 1 else strength * epoch / EPOCHS
        p = torch.softmax(previous, 1)
        for index in order.split(4):
            logits = network(inputs[index])
            total = torch.zeros((), dtype=torch.float64)
            for f, i in zip(logits, index.tolist(), strict=True):
                log_z = f - f.exp().sum().log()
                for c in range(K):
                    target = (1 - w) * (c == labels[i]) + w * p[i, c]
                    total = total - target * log_z[c]
            teacher_logits = teacher(inputs[index], index, labels[index])
            loss = criterion(logits, labels[index], teacher_logits, epoch=epoch, epochs=EPOCHS)
            torch.testing.assert_close(loss, total / 4, rtol=1e-6, atol=1e-6)
            teacher.observe(network, logits.detach(), labels[index], index)
        previous = network(inputs).detach()
        teacher.end_epoch(network)
        with torch.no_grad():
            network.weight += 0.3 * torch.randn_like(network.weight)
    assert not torch.equal(previous, torch.zeros_like(previous))


def test_an_explicit_label_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="decides the weight of the label itself"):
        PosteriorLoss(PSKDPrior(), label_weight=0.5)


def test_the_time_must_be_known() -> None:
    logits, labels = torch.randn(3, K), torch.tensor([0, 1, 2])
    with pytest.raises(ValueError, match=r"epoch=epoch, epochs=epochs\), with epochs counted"):
        PosteriorLoss(PSKDPrior())(logits, labels, logits)


@pytest.mark.parametrize("prior", [PSKDPrior(), UniformPrior()])
def test_the_last_epoch_has_the_whole_strength(prior: Prior) -> None:
    logits, labels = torch.randn(3, K), torch.tensor([0, 1, 2])
    criterion = PosteriorLoss(prior, reduction="none")
    last = criterion(logits, labels, logits, epoch=9, epochs=9)
    if prior.decides_label_weight:
        log_z = torch.log_softmax(logits, 1)
        target = 0.8 * log_z.exp() + 0.2 * nn.functional.one_hot(labels, K)
        torch.testing.assert_close(last, -(target * log_z).sum(1))
    else:
        assert torch.equal(last, criterion(logits, labels))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_memory_in_another_dtype(dtype: Any) -> None:
    network = nn.Linear(D, K)
    teacher = PreviousEpoch(dtype=dtype).build(network, setting(network))
    assert isinstance(teacher, PreviousLogitsTeacher)
    logits, index = torch.randn(N, K), torch.randperm(N)
    teacher.observe(network, logits, torch.zeros(N).long(), index)
    assert not teacher(None, index).any()  # it teaches after the end of the epoch
    teacher.end_epoch(network)
    found = teacher(None, index)
    assert found.dtype == torch.float32
    assert str(teacher.previous.dtype) == f"torch.{dtype}"
    torch.testing.assert_close(found, logits.to(teacher.previous.dtype).float())


def test_a_pinned_memory_stays_where_it_is() -> None:
    teacher = PreviousLogitsTeacher(N, K, device="cpu").to("meta")
    assert teacher.previous.device.type == "cpu"
    assert PreviousLogitsTeacher(N, K).to("meta").previous.device.type == "meta"


def test_a_large_memory_is_told_of_before_it_is_made() -> None:
    """ImageNet: 2 × 1,281,167 × 1,000 numbers; on the device meta nothing is allocated."""
    with pytest.warns(UserWarning, match=r"take 10\.2 GB \(2 × 1,281,167 × 1,000 torch\.float32\)"):
        PreviousLogitsTeacher(1_281_167, 1000, device="meta")
    with pytest.warns(UserWarning, match=r"take 5\.1 GB"):
        PreviousLogitsTeacher(1_281_167, 1000, device="meta", dtype=torch.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PreviousLogitsTeacher(50_000, 100, device="meta")
