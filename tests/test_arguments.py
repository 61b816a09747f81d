"""Malformed calls: what came is refused by a TypeError or ValueError that names the argument.

Every public function and constructor of the core has one right call in ``CALLS``; a malformed one
has one argument of another kind, layout, dtype, shape or size. ``make test`` tries some of them,
the slow suite 2,000.
"""

from __future__ import annotations

import fractions
import inspect
import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from torch import Tensor, nn

import softprior
from softprior import (
    DEFAULT,
    Batch,
    BetaPrior,
    LinearPosteriorLoss,
    MemoryTeacher,
    PosteriorLoss,
    Sparse,
    TeacherHead,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    diagnostics,
    matching,
    penalties,
    priors,
    teachers,
)
from softprior.predictions import read_predictions
from softprior.teachers.previous_epoch import PreviousLogitsTeacher, PreviousNetworkTeacher

B, K, N = 6, 4, 9
nan, inf = float("nan"), float("inf")


def logits() -> Tensor:
    return torch.linspace(-2, 3, B * K).reshape(B, K) + 2 * torch.eye(K)[labels()]


def labels() -> Tensor:
    return torch.arange(B) % K


def index() -> Tensor:
    return torch.arange(B) + 1


class Call(NamedTuple):
    """A right call: of what, and all its arguments by name."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def scored(name: str) -> Call:
    """Of a diagnostic, with all its options."""
    function = getattr(diagnostics, name)
    options = {
        "bins": 5,
        "temperature": 1.5,
        "k": 2,
        "points": 3,
        "level": 0.9,
        "diagnostics": [*DEFAULT],
    }
    takes = inspect.signature(function).parameters
    chosen = {key: value for key, value in options.items() if key in takes}
    return Call(function, {"logits": logits(), "labels": labels(), **chosen})


def with_fields(kind: Callable[..., Any]) -> Call:
    """Of a component, with each of its hyper-parameters."""
    made = kind()
    return Call(kind, {name: getattr(made, name) for name in inspect.signature(kind).parameters})


SMOOTHED = {"reduction": "mean", "ignore_index": -100}
WHEN = {"index": index(), "epoch": 1, "epochs": 3}
HEAD = {
    "hidden": torch.linspace(-2, 3, 3 * B).reshape(B, 3),
    "weight": torch.eye(K)[:, :3] + 1,
    "labels": labels(),
    "bias": torch.ones(K),
}
OBSERVED = {
    "model": nn.Linear(2, K),
    "logits": logits(),
    "labels": labels(),
    "index": index(),
}
CALLS: dict[str, Call] = {
    "posterior_loss": Call(
        softprior.posterior_loss,
        {
            "logits": logits(),
            "labels": labels(),
            "counts": torch.ones(B, K),
            "label_weight": 0.5,
            "reduction": "mean",
            "ignore_index": -100,
            "signed": False,
        },
    ),
    "posterior_loss of probabilities": Call(
        softprior.posterior_loss,
        {"logits": logits(), "labels": logits().softmax(1), "counts": TwoLevel(0.1, 0.1)},
    ),
    "linear_posterior_loss": Call(
        softprior.linear_posterior_loss,
        {
            **HEAD,
            "counts": TwoLevel(torch.ones(B), 0.1),
            "label_weight": 0.5,
            "softcap": 3.0,
            "scale": 0.5,
            "chunk": 2,
            "class_weight": torch.ones(K),
            **SMOOTHED,
        },
    ),
    "TeacherHead": Call(
        TeacherHead,
        {
            **{name: HEAD[name] for name in ("hidden", "weight", "bias")},
            "strength": 0.5,
            "temperature": 2.0,
            "weighting": "map",
            "scale": 0.5,
            "softcap": 3.0,
        },
    ),
    "LinearPosteriorLoss": Call(
        LinearPosteriorLoss,
        {"criterion": PosteriorLoss(), "softcap": 3.0, "scale": 0.5, "chunk": 2},
    ),
    **{
        f"a linear criterion, {type(prior).__name__}": Call(
            LinearPosteriorLoss(PosteriorLoss(prior)), {**HEAD, "teacher": teacher, **WHEN}
        )
        for prior, teacher in (
            (BetaPrior(), torch.ones(B)),
            (TeacherPrior(), TeacherHead(HEAD["hidden"], HEAD["weight"])),
        )
    },
    "soft_labels": Call(
        softprior.soft_labels,
        {"labels": labels(), "counts": TwoLevel(0.1, 0.1), "label_weight": 0.5, "num_classes": K},
    ),
    "PosteriorLoss": Call(
        PosteriorLoss,
        {
            "prior": UniformPrior(),
            "penalty": penalties.found()["maxsup"](),
            "label_weight": 0.5,
            "seed": 3,
            "num_samples": N,
            "num_classes": K,
            "auto_observe": True,
            **SMOOTHED,
        },
    ),
    **{
        name: Call(
            PosteriorLoss(prior, num_classes=K),
            {"logits": logits(), "labels": labels(), "teacher_logits": logits(), **WHEN},
        )
        for name, prior in (
            ("a criterion", TeacherPrior()),
            ("a random criterion", BetaPrior()),
            ("a running criterion", BetaPrior(among="running")),
            ("PS-KD", priors.found()["pskd"]()),
            ("online", priors.found()["online"]()),
        )
    },
    "a criterion that observes": Call(
        PosteriorLoss(BetaPrior(among="running")).observe,
        {"logits": logits(), "labels": labels(), "teacher_logits": logits(), **WHEN},
    ),
    "label_smoothing": Call(
        softprior.label_smoothing, {"smoothing": 0.2, "spread": "all", **SMOOTHED}
    ),
    "self_distillation": Call(
        softprior.self_distillation,
        {"temperature": 2.0, "weight": 0.3, "weighting": "map", **SMOOTHED},
    ),
    "beta_smoothing": Call(
        softprior.beta_smoothing,
        {
            "smoothing": 0.1,
            "weight": 0.5,
            "draw": "random",
            "among": "global",
            "seed": 1,
            **SMOOTHED,
        },
    ),
    "confidence_penalty": Call(softprior.confidence_penalty, {"weight": 0.1, **SMOOTHED}),
    "Batch": Call(
        Batch, {"logits": logits(), "labels": labels(), "teacher_logits": logits(), **WHEN}
    ),
    "TwoLevel": Call(
        TwoLevel(0.1, 0.2).dense, {"labels": labels(), "num_classes": K, "dtype": torch.float32}
    ),
    "Sparse": Call(
        Sparse(labels()[:, None], torch.ones(B, 1), 0.1).dense,
        {"num_classes": K, "dtype": torch.float32},
    ),
    **{
        f"{family.__name__} {name}": with_fields(kind)
        for family in (priors, penalties, teachers)
        for name, kind in family.found().items()  # type: ignore[attr-defined]
    },
    "BetaPrior.matching": Call(
        BetaPrior.matching,
        {"smoothing": 0.1, "strength": 0.5, "draw": "random", "order": "intact", "among": "local"},
    ),
    "a prior": Call(UniformPrior(), {"batch": Batch(logits(), labels())}),
    "a penalty": Call(
        penalties.found()["maxsup"](), {"logits": logits(), "batch": Batch(logits(), labels())}
    ),
    "EMATeacher": Call(
        teachers.EMATeacher,
        {
            "network": nn.Linear(2, K),
            "decay": 0.9,
            "warmup": True,
            "buffers": "copy",
            "training": False,
        },
    ),
    "FrozenTeacher": Call(teachers.FrozenTeacher, {"network": nn.Linear(2, K)}),
    "PreviousNetworkTeacher": Call(PreviousNetworkTeacher, {"network": nn.Linear(2, K)}),
    "StoredTeacher": Call(teachers.StoredTeacher, {"logits": logits()}),
    "MemoryTeacher": Call(MemoryTeacher, {"size": N, "num_classes": K}),
    "PreviousLogitsTeacher": Call(
        PreviousLogitsTeacher,
        {"size": N, "num_classes": K, "dtype": torch.float16, "device": "cpu"},
    ),
    "a memory": Call(MemoryTeacher(N, K), {"inputs": None, "index": index()}),
    "a memory of margins": Call(MemoryTeacher(N).observe, OBSERVED),
    "a memory that observes": Call(MemoryTeacher(N, K).observe, OBSERVED),
    "previous logits that observe": Call(PreviousLogitsTeacher(N, K).observe, OBSERVED),
    "an EMA that observes": Call(teachers.EMATeacher(nn.Linear(2, K)).observe, OBSERVED),
    **{
        f"diagnostics.{name}": scored(name)
        for name in diagnostics.__all__
        if inspect.isfunction(getattr(diagnostics, name))
    },
    "matching.uniform_smoothing": Call(
        matching.uniform_smoothing, {"smoothing": 0.1, "num_classes": K}
    ),
    "matching.true_class_smoothing": Call(
        matching.true_class_smoothing, {"label_smoothing": 0.1, "num_classes": K}
    ),
    "matching.penalty_weight": Call(matching.penalty_weight, {"smoothing": 0.1, "num_classes": K}),
    "matching.teacher_smoothing": Call(
        matching.teacher_smoothing,
        {"teacher_logits": logits(), "labels": labels(), "temperature": 2.0, "weight": 0.4},
    ),
    "matching.teacher_temperature": Call(
        matching.teacher_temperature,
        {"teacher_logits": logits(), "labels": labels(), "smoothing": 0.15, "weight": 0.4},
    ),
    "read_predictions": Call(read_predictions, {"path": "there-is-none.npz"}),
}
# Arguments that are not looked at: of a memory, whose student is asked for nothing.
UNUSED = {("a memory", "inputs")} | {
    (name, "model") for name in CALLS if "memory" in name or name == "previous logits that observe"
}
UNUSED |= {("an EMA that observes", name) for name in ("logits", "labels", "index")}
UNUSED |= {("a criterion", "index"), ("a random criterion", "index")}
NUMBERS: tuple[Any, ...] = (
    *(True, "0.1", nan, inf, -inf, None, [0.1], 1j, 10**400, b"1", object(), {}, int),
    *(fractions.Fraction(1, 3), numpy.bool_(True), numpy.float32(nan), torch.tensor(0.5), -7.5),
)
INTEGERS: tuple[Any, ...] = (
    *(True, "3", 2.5, 3.0, nan, None, [3], 1j, 10**400, -(10**400), object(), numpy.float32(3)),
    *(numpy.bool_(True), torch.tensor(3), numpy.array([1, 2]), b"1"),
)
FLAGS: tuple[Any, ...] = (1, 0, "yes", None, [], nan, torch.tensor(True), numpy.array([1, 2]))
CHOICES: tuple[Any, ...] = (
    *("meen", 3, None, b"mean", ["mean"], True, nan, torch.tensor([1, 2]), numpy.array([1, 2])),
)
OBJECTS: tuple[Any, ...] = (True, "x", 3, 0.5, [], nan, nn.Linear, object(), torch.ones(2))


def tensors(right: Tensor) -> Iterator[Any]:
    """Of other kinds, layouts, dtypes and shapes."""
    yield from (None, 3, 0.5, "x", [], right.tolist(), right.numpy(), object(), numpy.float32(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield right.to_sparse()
        yield (right if right.ndim == 2 else right[:, None]).to_sparse_csr()
        yield torch.nested.nested_tensor([*right]) if right.ndim == 2 else right.to_sparse()
        yield torch.nested.nested_tensor([right, right])
        yield torch.nested.nested_tensor([right, right[:2]], layout=torch.jagged)
        yield torch.quantize_per_tensor(right.float(), 0.1, 0, torch.qint8)
        yield right.float().to_mkldnn()
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.bool):
        yield right.to(dtype)
    yield right.long() if right.is_floating_point() else right.float()
    yield from (right[:0], right[None], right[..., None], right.sum(), right[:-1], right * nan)
    yield from (right.to("meta"), right - 50, right + 50)


def malformed(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        yield from tensors(value)
    elif isinstance(value, bool):
        yield from FLAGS
    elif isinstance(value, str):
        yield from CHOICES
    elif isinstance(value, int):
        yield from INTEGERS
    elif isinstance(value, float):
        yield from NUMBERS
    else:
        yield from OBJECTS
        yield from ((), (0.1, 0.1), [3], TwoLevel("a", None), Sparse(None, 0.1, 0.1))


def known() -> list[tuple[str, str, Any]]:
    """All malformed calls: the name of the call, the argument, the value."""
    return [
        (name, argument, value)
        for name, call in CALLS.items()
        for argument, right in call.arguments.items()
        for value in malformed(right)
    ]


def certainly_wrong(right: Any, value: Any) -> bool:
    """Whether no reading of it makes sense, so that it must not be taken."""
    if isinstance(right, Tensor):
        if value is None:  # of what may be left out
            return False
        dense = isinstance(value, Tensor) and not value.is_nested
        return (
            not dense
            or value.layout != torch.strided
            or value.dtype not in (*(torch.float32, torch.int64),)
        )
    if isinstance(right, (bool, str)):
        return value is not None
    tensor = isinstance(value, Tensor)  # the epoch may be one
    return isinstance(right, (int, float)) and value is not None and not tensor


def attempt(name: str, argument: str, value: Any) -> str | None:
    """What is wrong with how a malformed call ended, or None."""
    function, arguments = CALLS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**{**arguments, argument: value})
    except (TypeError, ValueError) as error:
        message = str(error)
        name_of = {"teacher_logits": "(teacher_)?logits", "diagnostics": "diagnostics?"}
        if not re.search(rf"\b{name_of.get(argument, argument)}\b", message):
            return f"does not name {argument}: {type(error).__name__}: {message}"
        return None if "\n" not in message else f"more than one line: {message}"
    except FileNotFoundError:
        return None  # text is a path
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if name.startswith("diagnostics.") and isinstance(value, (list, numpy.ndarray)):
        return None  # arrays are taken, and what can be made one
    if (name, argument) in UNUSED or not certainly_wrong(arguments[argument], value):
        return None
    return "is taken"


def faults(calls: list[tuple[str, str, Any]]) -> list[str]:
    return [
        f"{name}({argument}={value!r:.80}): {fault}"
        for name, argument, value in calls
        if (fault := attempt(name, argument, value)) is not None
    ]


def test_the_right_calls_are_right() -> None:
    for name, (function, arguments) in CALLS.items():
        if name != "read_predictions":
            function(**arguments)


def test_every_public_function_and_constructor_is_called() -> None:
    abstract = {softprior.Prior, softprior.Penalty, softprior.Teacher, softprior.TeacherSpec}
    public = {getattr(softprior, name) for name in softprior.__all__ if name != "DEFAULT"}
    public -= abstract | {softprior.State}
    public |= {
        f
        for _, f in inspect.getmembers(matching, inspect.isfunction)
        if f.__module__ == matching.__name__ and not f.__name__.startswith("_")
    }
    called = {call.function for call in CALLS.values() if not isinstance(call.function, nn.Module)}
    called |= {f.__self__.__class__ for f in called if hasattr(f, "__self__")}
    assert public - called == set()


def test_malformed_calls() -> None:
    assert faults(random.Random(0).sample(known(), 400)) == []


@pytest.mark.slow
def test_two_thousand_malformed_calls() -> None:
    assert len(known()) >= 2000
    assert faults(random.Random(1).sample(known(), 2000)) == []
