"""Weights from elsewhere: found in whatever they are wrapped, or refused with what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from softprior import EMATeacher, MemoryTeacher, PosteriorLoss
from softprior.priors.online import OnlinePrior
from softprior.training import Pretrained, models

SHAPE, K = (1, 8, 8), 10
Weights = dict[str, Tensor]


def network(name: str = "mlp", classes: int = K, seed: int = 3) -> nn.Module:
    return models.build(name, SHAPE, classes, seed=seed)


def loaded(content: Any, tmp_path: Path, model: str = "mlp", classes: int = K) -> Weights:
    file = tmp_path / "w.pt"
    file.unlink(missing_ok=True)
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    return Pretrained.of(file, model).network(SHAPE, classes).state_dict()


def same(found: Weights, wanted: Weights) -> bool:
    assert found.keys() == wanted.keys()
    return all(torch.equal(found[name], wanted[name]) for name in wanted)


PREFIXES = (
    *("module", "model", "_orig_mod", "ema", "network", "net", "student", "backbone", "model.net"),
    *("_fsdp_wrapped_module", "teacher", "ema_model", "averaged_model", "0"),
)
NESTS = ("state_dict", "model_state_dict", "model", "ema", "net", "module", "state_dict_ema", "x")
BESIDE = {
    "epoch": 3,
    "args": {"lr": 0.1, "names": ["a", "b"]},
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 1}]},
    "lr_schedulers": [{"last_epoch": 3}],
    "rng_state": torch.ones(3),
    "n_averaged": torch.tensor(4),
    "loops": {"fit_loop": {"state_dict": {}}},
}


@given(
    model=st.sampled_from(["mlp", "convnet", "resnet8"]),
    wrappers=st.lists(st.sampled_from([*PREFIXES, *(f"{nest}>" for nest in NESTS)]), max_size=4),
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
    inside=st.sampled_from(["", "_orig_mod", "_checkpoint_wrapped_module"]),
)
def test_the_network_is_found_in_any_wrapping(
    tmp_path_factory: pytest.TempPathFactory,
    model: str,
    wrappers: list[str],
    beside: set[str],
    inside: str,
) -> None:
    weights = network(model).state_dict()
    content: dict[str, Any] = {
        f"{name.rpartition('.')[0]}.{inside}.{name.rpartition('.')[2]}" if inside else name: value
        for name, value in weights.items()
    }
    for wrapper in wrappers:
        if wrapper.endswith(">"):
            content = {wrapper[:-1]: content}
        else:
            content = {f"{wrapper}.{name}": value for name, value in content.items()}
    content |= {name: BESIDE[name] for name in beside if name not in content}
    assert same(loaded(content, tmp_path_factory.mktemp("w"), model), weights)


class Lightning(nn.Module):
    """What a LightningModule with our criterion and teacher in it has for a state."""

    def __init__(self, compiled: bool) -> None:
        super().__init__()
        self.net = network()
        self.criterion = PosteriorLoss(OnlinePrior(), num_samples=5, num_classes=K)
        self.teacher = EMATeacher(network(seed=4))
        self.memory_teacher = MemoryTeacher(5)
        if compiled:
            self.net = torch.compile(self.net)  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_network_is_found_beside_our_criterion_and_teacher(
    compiled: bool, tmp_path: Path
) -> None:
    content = {
        "state_dict": Lightning(compiled).state_dict(),
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.3)}},
        "pytorch-lightning_version": "2.5.0",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
    }
    with pytest.warns(UserWarning, match=r"taken from 'state_dict\.net'; left out: .*teacher"):
        found = loaded(content, tmp_path)
    assert same(found, network().state_dict())


def test_a_module_that_is_the_network_and_holds_a_teacher(tmp_path: Path) -> None:
    module = network()
    module.teacher = EMATeacher(network(seed=4))
    module.loss_fn = PosteriorLoss(OnlinePrior(), num_samples=5, num_classes=K)
    with pytest.warns(UserWarning, match="left out: 'teacher"):
        found = loaded(module.state_dict(), tmp_path)
    assert same(found, network().state_dict())


WRAPPED: dict[str, Callable[[nn.Module], Mapping[str, Tensor]]] = {
    "EMATeacher": lambda net: EMATeacher(net).state_dict(),
    "AveragedModel": lambda net: AveragedModel(net).state_dict(),
    "DataParallel": lambda net: nn.DataParallel(net).state_dict(),
    "half precision": lambda net: net.half().state_dict(),
    "OrderedDict": lambda net: OrderedDict(net.state_dict()),
    "parameters": lambda net: dict(net.named_parameters()) | dict(net.named_buffers()),
    "compiled": lambda net: torch.compile(nn.DataParallel(net)).state_dict(),
    "compiled, averaged": lambda net: AveragedModel(torch.compile(net)).state_dict(),
}
COMPILED = [  # loading the compiler takes seconds
    pytest.param(how, marks=[pytest.mark.slow] * how.startswith("compiled")) for how in WRAPPED
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize("how", COMPILED)
def test_wrappers_of_torch_and_ours(how: str, tmp_path: Path) -> None:
    content = WRAPPED[how](network("resnet8"))
    wanted = network("resnet8")
    if how == "half precision":
        wanted = wanted.half().float()
    assert same(loaded(content, tmp_path, "resnet8"), wanted.state_dict())


def test_old_checkpoints_do_not_count_batches(tmp_path: Path) -> None:
    weights = network("resnet8").state_dict()
    content = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert len(content) < len(weights)
    assert same(loaded(content, tmp_path, "resnet8"), weights)


def test_of_a_network_and_its_average_the_network_is_taken(tmp_path: Path) -> None:
    one, other = network().state_dict(), network(seed=4).state_dict()
    for average in ("ema", "model_ema", "state_dict_ema", "teacher", "swa_model"):
        with pytest.warns(UserWarning, match=f"taken from 'model'; left out: '{average}"):
            assert same(loaded({average: other, "model": one}, tmp_path), one)


def test_two_networks_are_not_chosen_from(tmp_path: Path) -> None:
    one, other = network().state_dict(), network(seed=4).state_dict()
    with pytest.raises(ValueError, match=r"holds network 'mlp' more than once, as 'a\.', 'b\.'"):
        loaded({"a": one, "b": other}, tmp_path)
    with pytest.warns(UserWarning, match="left out"):  # equal ones are one
        assert same(loaded({"a": one, "b": dict(one)}, tmp_path), one)


def refused(content: Any, tmp_path: Path, **more: Any) -> str:
    with pytest.raises(ValueError, match=r".") as told:
        loaded(content, tmp_path, **more)
    text = str(told.value)
    assert text.isprintable(), ascii(text)
    assert "w.pt" in text
    assert len(text) < 600
    return text


class Whatever:
    """Somebody's class."""


def torchscript() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (network(), "Sequential"),
        ({"model": network(), "epoch": 3}, "Sequential"),
        (nn.DataParallel(network()), "DataParallel"),
        ({**network().state_dict(), "args": Namespace(lr=0.1)}, "Namespace"),
        ({"state_dict": network().state_dict(), "config": Whatever()}, "Whatever"),
        ({"state_dict": network().state_dict(), "best": np.float64(0.5)}, "numpy"),
        (pickle.dumps(Whatever()), "not a whole file"),
        (torchscript(), "TorchScript"),
    ],
)
def test_whole_objects_are_refused_in_our_words(content: Any, names: str, tmp_path: Path) -> None:
    text = refused(content, tmp_path)
    assert "state_dict()" in text
    assert names in text
    for theirs in ("weights_only", "two options", "trust the source", "allowlist"):
        assert theirs not in text


@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x05", b"\x08\0\0\0\0\0\0\0"]),
    rest=st.binary(max_size=60),
)
def test_what_is_no_file_of_weights_is_refused(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    tmp_path = tmp_path_factory.mktemp("w")
    refused(start + rest, tmp_path)
    (tmp_path / "w.pt").rename(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w\.safetensors"):
        Pretrained.of(tmp_path / "w.safetensors", "mlp").network(SHAPE, K)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(share: float, tmp_path: Path) -> None:
    for write, name in ((torch.save, "w.pt"), (safetensors.torch.save_file, "w.safetensors")):
        file = tmp_path / name
        write(network().state_dict(), file)
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
        with pytest.raises(ValueError, match=r"not a whole file as torch\.save or safetensors"):
            Pretrained.of(file, "mlp").network(SHAPE, K)


def test_what_is_no_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pt")
    with pytest.raises(ValueError, match="a pipe or device, wanted a file"):
        Pretrained.of(tmp_path / "w.pt", "mlp")
    with pytest.raises(ValueError, match="a pipe or device, wanted a file"):
        Pretrained.of("/dev/zero", "mlp")
    with pytest.raises(ValueError, match="a folder, wanted a file"):
        Pretrained.of(tmp_path, "mlp")


@pytest.mark.parametrize("content", [3, [1, 2], "text", {}, {"a": 1}, torch.ones(3), None])
def test_what_holds_no_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    assert "holds no state_dict: wanted tensors by name" in refused(content, tmp_path)


def test_where_names_do_not_fit_both_sides_are_shown(tmp_path: Path) -> None:
    weights = network().state_dict()
    first, *others = weights
    text = refused({f"net.fc_{k}": v for k, v in weights.items()}, tmp_path)
    for name in (first, f"net.fc_{first}"):
        assert repr(name) in text
    renamed = {name: weights[name] for name in others} | {"layer.weight": weights[first]}
    text = refused({f"module.{name}": value for name, value in renamed.items()}, tmp_path)
    assert f"has no {first!r}, which network 'mlp' needs" in text
    assert "it has 'layer.weight', which network 'mlp' has not" in text
    deeper = network("resnet20").state_dict()
    assert "and" in (text := refused(network("resnet8").state_dict(), tmp_path, model="resnet20"))
    assert "more, which network 'resnet20' needs" in text
    text = refused(deeper, tmp_path, model="resnet8")
    assert "which network 'resnet8' has not" in text
    hostile = {"a\nb\x1b[31m" + "x" * 500: torch.ones(1)}
    assert r"a\nb\x1b[31m" in refused({**weights, **hostile}, tmp_path)
    assert "needs" in refused(MemoryTeacher(5).state_dict(), tmp_path)


@pytest.mark.parametrize("model", ["mlp", "convnet", "resnet8"])
@pytest.mark.parametrize("classes", [2, 9, 100])
def test_another_number_of_classes_is_told_as_such(
    model: str, classes: int, tmp_path: Path
) -> None:
    text = refused({"model": network(model, classes).state_dict()}, tmp_path, model=model)
    assert f"was trained for {classes} classes, and the data has {K}" in text
    assert f"has shape ({classes}, " in text
    assert f"wants ({K}, " in text


def test_another_shape_names_the_parameter_and_both_shapes(tmp_path: Path) -> None:
    weights = models.build("mlp", (3, 8, 8), K, seed=0).state_dict()
    first = next(iter(weights))
    shapes = [tuple(weights[first].shape), tuple(network().state_dict()[first].shape)]
    text = refused(weights, tmp_path)
    assert f"{first!r} has shape {shapes[0]}" in text
    assert f"wants {shapes[1]}" in text
    assert "was trained for" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t / 0 * 0, "is not finite"),
        (lambda t: t.double().mul(1e300).mul(1e300), "is not finite"),
        (lambda t: (t * 100).to(torch.int8), "holds torch.int8 numbers, wanted torch.float32"),
        (lambda t: t.to(torch.complex64), "holds torch.complex64 numbers"),
        (lambda t: t.to_sparse(), "is not stored as plain numbers"),
        (lambda t: t.to("meta"), "is not stored as plain numbers"),
    ],
)
def test_numbers_that_are_none_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    weights = network().state_dict()
    first = next(iter(weights))
    assert message in refused({**weights, first: change(weights[first])}, tmp_path)
