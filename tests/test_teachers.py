"""The laws of ``Teacher``'s docstring, over every teacher found in ``teachers/``; then each one."""

from __future__ import annotations

import copy
import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from properties import one_test_of_each
from softprior import (
    EMATeacher,
    FrozenTeacher,
    MemoryTeacher,
    Teacher,
    TeacherSpec,
    records,
    teachers,
)
from softprior.margin import label_margin
from softprior.teachers import Setting, StoredTeacher
from softprior.teachers.base import unwrapped

N, D, K = 12, 4, 3
Maker: TypeAlias = Callable[[nn.Module], Teacher]
# More hyper-parameters of those that have a name here; what is found has its defaults in any case.
GRID: dict[str, list[dict[str, Any]]] = {
    "ema": [{"decay": 0.5}, {"start": "random"}, {"mode": "train"}],
    "previous_epoch": [{"keep": "network"}, {"dtype": "bfloat16"}, {"device": "cpu"}],
}


def setting(network: nn.Module, ranks_only: bool = False) -> Setting:
    return Setting(N, K, ranks_only, another_network=another)


def another() -> nn.Module:
    """Always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return student()


def from_spec(spec: TeacherSpec, ranks_only: bool) -> Maker:
    return lambda network: spec.build(network, setting(network, ranks_only))


def stored(network: nn.Module) -> Teacher:
    return StoredTeacher(torch.randn(N, K, generator=torch.Generator().manual_seed(0)))


# What each file makes; a law is one test of each file.
SPECS: dict[str, dict[str, TeacherSpec]] = {
    name: {str(spec): spec for spec in [kind(), *(kind(**more) for more in GRID.get(name, []))]}
    for name, kind in teachers.found().items()
}
every_spec = one_test_of_each(SPECS, "spec")
MAKERS: dict[str, dict[str, Maker]] = {
    file: {
        f"{name}{', ranks only' if ranks_only else ''}": from_spec(spec, ranks_only)
        for name, spec in specs.items()
        for ranks_only in (False, True)
    }
    for file, specs in SPECS.items()
}
BY_HAND: dict[str, Maker] = {
    "frozen": FrozenTeacher,
    "stored": stored,
    "ema": lambda network: EMATeacher(network, 0.5, warmup=False, buffers="copy"),
}
every_teacher = one_test_of_each({**MAKERS, "by hand": BY_HAND}, "made")
close = torch.testing.assert_close


def student() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, K))


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(6, D), torch.randint(K, (6,)), torch.randperm(N)[:6]


def step(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """One step of plain gradient descent; the logits it was made from."""
    network.train()
    logits: Tensor = network(inputs)
    network.zero_grad()
    nn.functional.cross_entropy(logits, labels).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad
    return logits


def snapshot(module: nn.Module) -> dict[str, Any]:
    return {k: copy.deepcopy(v) for k, v in module.state_dict().items()}


@every_teacher
def test_modes_change_nothing(made: Maker) -> None:
    teacher = made(student())
    modes = [m.training for m in teacher.modules()]
    holder = nn.ModuleList([teacher])
    for switch in (
        teacher.train,
        teacher.eval,
        holder.train,
        holder.eval,
        lambda: holder.train(True),
    ):
        switch()
        assert [m.training for m in teacher.modules()] == modes
    assert teacher.train() is teacher


@every_teacher
def test_no_gradient(made: Maker) -> None:
    network = student()
    teacher = made(network)
    inputs, labels, index = batch()
    logits = step(network, inputs, labels)
    teacher.observe(network, logits, labels, index)
    teacher.end_epoch(network)
    said = teacher(inputs.requires_grad_(), index, labels)
    assert said.shape in ((6, K), (6,))
    assert not said.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in network.parameters())


@every_teacher
def test_student_is_left_alone(made: Maker) -> None:
    """Weights, buffers, gradients and mode; and training goes as it would without a teacher."""
    network = student()
    alone = copy.deepcopy(network)
    teacher = made(network)
    for _ in range(3):
        inputs, labels, index = batch()
        teacher(inputs, index, labels)
        logits = step(network, inputs, labels)
        before, grads = snapshot(network), [p.grad.clone() for p in network.parameters()]
        teacher.observe(network, logits, labels, index)
        teacher(inputs, index, labels)
        teacher.end_epoch(network)
        assert network.training
        assert snapshot(network).keys() == before.keys()
        close(snapshot(network), before, rtol=0, atol=0)
        close([p.grad for p in network.parameters()], grads, rtol=0, atol=0)
        step(alone, inputs, labels)
    close(snapshot(network), snapshot(alone), rtol=0, atol=0)


@every_teacher
def test_nothing_is_shared_with_the_student(made: Maker) -> None:
    network = student()
    teacher = made(network)
    theirs = {t.untyped_storage().data_ptr() for t in network.state_dict().values()}
    for tensor in (*teacher.parameters(), *teacher.buffers()):
        assert tensor.untyped_storage().data_ptr() not in theirs


@every_teacher
def test_state_dict_round_trip(made: Maker, tmp_path: pathlib.Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    network = student()
    teacher, other, third = (made(student()) for _ in range(3))
    for part in range(4):
        inputs, labels, index = batch()
        teacher.observe(network, step(network, inputs, labels), labels, index)
        if part % 2 == 0:  # and it is saved in the middle of an epoch
            teacher.end_epoch(network)
    other.load_state_dict(teacher.state_dict())
    tensors = {k: v.contiguous() for k, v in teacher.state_dict().items()}
    safetensors.save_file(tensors, tmp_path / "teacher.safetensors")
    third.load_state_dict(safetensors.load_file(tmp_path / "teacher.safetensors"))
    close(other(inputs, index, labels), teacher(inputs, index, labels), rtol=0, atol=0)
    third(inputs, index, labels)  # in train mode asking moves the running statistics: ask all alike
    for _ in range(2):
        inputs, labels, index = batch()
        logits = step(network, inputs, labels)
        for each in (teacher, other, third):
            each.observe(network, logits, labels, index)
        for each in (other, third):
            close(each(inputs, index, labels), teacher(inputs, index, labels), rtol=0, atol=0)
            each.observe(network, logits, labels, index)
        teacher.observe(network, logits, labels, index)
        for each in (teacher, other, third):
            each.end_epoch(network)


@every_teacher
def test_compiled_student(made: Maker) -> None:
    network = student()
    compiled = torch.compile(network, backend="eager")
    teacher, plain = made(compiled), made(network)
    inputs, labels, index = batch()
    logits = step(network, inputs, labels)
    for model, each in ((compiled, teacher), (network, plain)):
        each.observe(model, logits, labels, index)
        each.end_epoch(model)
    assert teacher.state_dict().keys() == plain.state_dict().keys()
    close(teacher(inputs, index, labels), plain(inputs, index, labels), rtol=0, atol=0)


@every_spec
def test_a_spec_is_a_value(spec: TeacherSpec) -> None:
    """It constructs with defaults; equals and hashes as its fields do; a recipe can store it."""
    assert isinstance(type(spec)(), TeacherSpec)
    fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec)}
    assert type(spec)(**fields) == spec
    assert hash(type(spec)(**fields)) == hash(spec)
    assert type(spec).__name__ in repr(spec)
    assert spec.label
    for name in [*fields, "another"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, name, None)
    stored = json.loads(json.dumps(records.to_record("teacher", spec)))
    assert records.from_record("teacher", stored, {}) == spec


@pytest.mark.parametrize("ranks_only", [False, True])
@every_spec
def test_what_a_spec_builds(spec: TeacherSpec, ranks_only: bool) -> None:
    """Twice the same, each on its own; one number per sample only where ranks are enough."""
    network = student()
    one, other = (from_spec(spec, ranks_only)(network) for _ in range(2))
    assert isinstance(one, Teacher)
    assert any(True for _ in one.parameters()) is spec.has_network
    inputs, labels, index = batch()
    said, again = (each(inputs, index, labels) for each in (one, other))
    close(said, again, rtol=0, atol=0)
    before = snapshot(other)
    one.observe(network, step(network, inputs, labels), labels, index)
    one.end_epoch(network)
    close(snapshot(other), before, rtol=0, atol=0)
    assert one(inputs, index, labels).shape == said.shape
    assert said.shape == (6, K) or (ranks_only and said.shape == (6,))
    assert said.isfinite().all()


DROPPED = '''
"""The student as it is when an epoch ends, and how often it ended."""

from dataclasses import dataclass

import torch

from softprior.teachers.base import Teacher, TeacherSpec, frozen_copy, unwrapped


class MirrorTeacher(Teacher):
    def __init__(self, student):
        super().__init__()
        self.network = frozen_copy(student)
        self.register_buffer("epochs", torch.zeros(()), persistent=True)

    @torch.no_grad()
    def forward(self, inputs, index=None, labels=None):
        return self.network(inputs) * self.epochs

    def end_epoch(self, model):
        self.epochs += 1
        self.network.load_state_dict(unwrapped(model).state_dict())


@dataclass(frozen=True)
class Mirror(TeacherSpec):
    """Asks a network."""

    times: int = 1
    has_network = True

    def build(self, student, setting):
        return MirrorTeacher(student)
'''
# What is broken in a copy of it; the law that finds it.
BROKEN = {
    "thief": ("frozen_copy(student)", "unwrapped(student)", "test_nothing_is_shared"),
    "learning": ("    @torch.no_grad()\n", "", "test_no_gradient"),
    "averse": ("self.network(inputs) *", "self.network(inputs)[:, :1] *", "test_what_a_spec"),
    "meddling": ("self.epochs += 1", "model.eval()", "test_student_is_left_alone"),
    "forgetful": ("persistent=True", "persistent=False", "test_state_dict_round_trip"),
    "wrapped": ("unwrapped(model)", "model", "test_compiled_student"),
    "modest": ("has_network = True", "has_network = False", "test_what_a_spec_builds"),
    "unstored": ("times: int = 1", "times: complex = 1j", "test_a_spec_is_a_value"),
}


@pytest.mark.slow
def test_files_dropped_into_teachers_are_tested(
    run_with_dropped: Callable[..., tuple[str, set[str]]],
) -> None:
    """A lawful one passes; each broken copy of it does not."""
    sources, chosen = {"mirror": DROPPED}, ["mirror"]
    for name, (old, new, law) in BROKEN.items():
        assert old in DROPPED
        sources[name] = DROPPED.replace(old, new).replace("Mirror", name.title())
        chosen.append(f"({name} and {law})")
    report, failed = run_with_dropped(
        pathlib.Path(__file__), "teachers", sources, " or ".join(chosen)
    )
    assert not any("mirror" in test for test in failed), report
    for name, (*_, law) in BROKEN.items():
        assert any(name in test and test.startswith(law) for test in failed), (name, report)


def test_the_base_class_answers_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Teacher()(torch.zeros(1, D))
    assert Teacher().end_epoch(nn.Identity()) is None
    assert (
        Teacher().observe(nn.Identity(), torch.zeros(1, K), torch.zeros(1), torch.zeros(1)) is None
    )


# ---------------------------------------------------------------- EMA


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.999])
@pytest.mark.parametrize("warmup", [True, False])
def test_ema_by_hand(decay: float, warmup: bool) -> None:
    network = student()
    teacher = EMATeacher(network, decay, warmup=warmup)
    averaged = [p.double().clone() for p in network.parameters()]
    for t in range(1, 8):
        inputs, labels, index = batch()
        logits = step(network, inputs, labels)
        teacher.observe(network, logits, labels, index)
        d = min(1 - 1 / (t + 1), decay) if warmup else decay
        averaged = [
            d * a + (1 - d) * p for a, p in zip(averaged, network.parameters(), strict=True)
        ]
        assert teacher.updates == t
    close([p.double() for p in teacher.network.parameters()], averaged, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["average", "copy", "own"])
@pytest.mark.parametrize("training", [False, True])
def test_ema_buffers(rule: Any, training: bool) -> None:
    network = student()
    teacher = EMATeacher(network, 0.9, buffers=rule, training=training, warmup=False)
    own = copy.deepcopy(network).train(training)
    norm, taught = network[1], teacher.network[1]
    assert isinstance(norm, nn.BatchNorm1d)
    for _ in range(3):
        inputs, labels, index = batch()
        mean = taught.running_mean.clone()
        logits = step(network, inputs, labels)
        teacher.observe(network, logits, labels, index)
        want = {
            "average": 0.9 * mean + 0.1 * norm.running_mean,
            "copy": norm.running_mean,
            "own": own[1].running_mean,
        }[rule]
        close(taught.running_mean, want)
        steps = own[1] if rule == "own" else norm
        assert taught.num_batches_tracked == steps.num_batches_tracked
        for to, of in zip(own.parameters(), teacher.network.parameters(), strict=True):
            to.data.copy_(of)  # so that both normalise the same activations
        with torch.no_grad():
            own(inputs)
        before = taught.running_mean.clone()
        teacher(inputs)
        assert torch.equal(before, taught.running_mean) is not training


def test_ema_from_other_weights() -> None:
    start, network = student(), student()
    teacher = EMATeacher(start, decay=0.5)
    teacher.observe(network, torch.zeros(1, K), torch.zeros(1).long(), torch.zeros(1).long())
    for ema, a, b in zip(
        teacher.network.parameters(), start.parameters(), network.parameters(), strict=True
    ):
        close(ema.data, (a.data + b.data) / 2)


def test_ema_of_another_architecture() -> None:
    teacher = EMATeacher(student())
    wider, shorter, longer = (student() for _ in range(3))
    wider[3] = nn.Linear(5, K + 1)
    del shorter[3]
    longer.append(nn.PReLU())
    unlike = "architecture is not that of the EMA network: "
    for other, message in (
        (nn.Linear(D, K), r"weight \(3, 4\) against 0.weight \(5, 4\)"),
        (wider, r"3.weight \(4, 5\) against 3.weight \(3, 5\)"),
        (shorter, r"nothing against 3.weight \(3, 5\)"),
        (longer, r"4.weight \(1,\) against nothing"),
    ):
        with pytest.raises(ValueError, match=unlike + message):
            teacher.observe(other, *[torch.zeros(1)] * 3)
    assert teacher.updates == 0


@pytest.mark.parametrize("kind", [FrozenTeacher, EMATeacher])
@pytest.mark.parametrize("network", [None, nn.Linear, "resnet", torch.relu])
def test_what_is_not_a_network(kind: Any, network: Any) -> None:
    with pytest.raises(TypeError, match=r"network must be a torch\.nn\.Module, got"):
        kind(network)


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan"), "0.9"])
def test_ema_decay(decay: Any) -> None:
    with pytest.raises(ValueError, match="decay must be a number in"):
        EMATeacher(student(), decay)


def test_ema_that_never_moves() -> None:
    with pytest.raises(ValueError, match="the average would never move"):
        EMATeacher(student(), 1)
    with pytest.raises(ValueError, match="unknown buffers 'avrage': did you mean 'average'"):
        EMATeacher(student(), buffers="avrage")  # type: ignore[arg-type]


# ---------------------------------------------------------------- frozen, memory, wrappers


def test_frozen_keeps_its_own_copy_in_eval_mode() -> None:
    network = student().train()
    teacher = FrozenTeacher(network)
    inputs, labels, _ = batch()
    said = teacher.train()(inputs)
    close(said, copy.deepcopy(network).eval()(inputs))
    step(network, inputs, labels)
    close(teacher(inputs), said, rtol=0, atol=0)


@pytest.mark.parametrize("num_classes", [K, None])
def test_memory(num_classes: int | None) -> None:
    teacher = MemoryTeacher(N, num_classes)
    said: dict[int, Tensor] = {}
    for _ in range(4):
        _, labels, index = batch()
        logits = torch.randn(6, K, requires_grad=True)
        teacher.observe(nn.Identity(), logits, labels, index)
        heard = logits.detach() if num_classes else label_margin(logits.detach(), labels)
        said.update(zip(index.tolist(), heard, strict=True))
    unseen = torch.zeros(K) if num_classes else torch.tensor(0.0)
    want = torch.stack([said.get(i, unseen) for i in range(N)])
    got = teacher(None, torch.arange(N))
    close(got, want)
    got.zero_()  # what was handed out is the reader's own
    close(teacher(None, torch.arange(N)), want)


def test_memory_of_mixed_labels_and_half_precision() -> None:
    teacher = MemoryTeacher(N)
    logits, labels = torch.randn(6, K).bfloat16(), torch.softmax(torch.randn(6, K), -1)
    teacher.observe(nn.Identity(), logits, labels, torch.arange(6))
    close(teacher(None, torch.arange(6)), label_margin(logits, labels))


@pytest.mark.parametrize("num_classes", [K, None])
@pytest.mark.parametrize("ignored", [[0], [1, 3], [0, 1, 2, 3, 4, 5]])
def test_memory_of_ignored_samples(num_classes: int | None, ignored: list[int]) -> None:
    """They leave it as it is, whatever they say; also where they repeat a kept sample."""
    teacher, want = MemoryTeacher(N, num_classes), MemoryTeacher(N, num_classes)
    first = torch.randn(N, K), torch.randint(K, (N,)), torch.arange(N)
    kept = [i for i in range(6) if i not in ignored]
    for memory in (teacher, want):
        memory.observe(nn.Identity(), *first)
    logits, labels, index = torch.randn(6, K), torch.randint(K, (6,)), torch.randperm(N)[:6]
    if kept:
        want.observe(nn.Identity(), logits[kept], labels[kept], index[kept])
        index[ignored[0]] = index[kept[-1]]
    labels[ignored], logits[ignored] = -100, torch.nan
    teacher.observe(nn.Identity(), logits, labels, index)
    close(teacher.memory, want.memory, rtol=0, atol=0)


@pytest.mark.parametrize("num_classes", [K, None])
def test_memory_of_what_is_wrong(num_classes: int | None) -> None:
    teacher = MemoryTeacher(N, num_classes)
    labels, index = torch.tensor([0, 1]), torch.tensor([0, 1])
    logits = torch.zeros(2, K)
    logits[1, 2] = torch.nan
    with pytest.raises(ValueError, match="1 entries that are not finite, the first in row 1"):
        teacher.observe(nn.Identity(), logits, labels, index)
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2 \(K = 3\), got 3"):
        teacher.observe(nn.Identity(), torch.zeros(2, K), labels + 2, index)
    with pytest.raises(ValueError, match=r"index must have shape \(2,\), got \(1,\)"):
        teacher.observe(nn.Identity(), torch.zeros(2, K), labels, index[:1])
    if num_classes:
        with pytest.raises(ValueError, match=r"num_classes=3\) cannot remember .*shape \(2, 5\)"):
            teacher.observe(nn.Identity(), torch.zeros(2, 5), labels, index)
    assert not teacher.memory.any()


@pytest.mark.parametrize("wrong", [-1, N])
def test_memory_index_out_of_range(wrong: int) -> None:
    teacher = MemoryTeacher(N)
    with pytest.raises(ValueError, match=rf"index must be in 0\.\.{N - 1}, found"):
        teacher(None, torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match=rf"index must be in 0\.\.{N - 1}, found"):
        teacher.observe(
            nn.Identity(), torch.randn(2, K), torch.tensor([0, 1]), torch.tensor([0, wrong])
        )
    with pytest.raises(ValueError, match="needs the samples' index"):
        teacher(torch.zeros(1, D))
    with pytest.raises(ValueError, match="needs the samples' index"):
        teacher.observe(nn.Identity(), torch.randn(2, K), torch.tensor([0, 1]), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "num_classes"), [(0, None), (-1, 3), (4, 1)])
def test_memory_sizes(size: int, num_classes: int | None) -> None:
    with pytest.raises(ValueError, match=r"(size|num_classes) must be an integer ≥ [12], got"):
        MemoryTeacher(size, num_classes)


def test_unwrapped() -> None:
    network = student()
    assert unwrapped(network) is network
    assert unwrapped(torch.compile(network, backend="eager")) is network


def test_a_teacher_is_never_part_of_a_criterion() -> None:
    from softprior import beta_smoothing

    assert not list(beta_smoothing().parameters())
    assert not list(beta_smoothing().children())
