"""Networks: sizes as in the literature, and the laws that every network keeps."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from softprior.training import models

NAMES = tuple(models.found())
LARGE = {"resnet18", "resnet34", "resnet50"}
# Where time goes into drawing weights: those that are only deeper than another are slow tests.
DEEPER = {"resnet34", "resnet32"}
EACH = [pytest.param(n, marks=[pytest.mark.slow] * (n in DEEPER)) for n in NAMES]


def build(name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> nn.Module:
    return models.build(name, shape, classes, seed=0)


def small(name: str) -> tuple[int, int, int]:
    """An image on which a step of the network takes no time."""
    return (3, 8, 8) if name in LARGE else (3, 16, 16)


# Torchvision's for 1,000 classes and 224 pixels, to the parameter; for 32 pixels those of the
# implementations that are passed from paper to paper; ResNet-20 and -32 as in table 6 of He et
# al. (0.27 M, 0.46 M), DenseNet-BC as in table 2 of Huang et al. (0.8 M).
@pytest.mark.parametrize(
    ("name", "size", "classes", "parameters"),
    [
        ("resnet18", 224, 1000, 11_689_512),
        ("resnet34", 224, 1000, 21_797_672),
        ("resnet50", 224, 1000, 25_557_032),
        ("resnet18", 32, 100, 11_220_132),
        ("resnet34", 32, 100, 21_328_292),
        ("resnet34", 64, 100, 21_328_292),
        ("resnet50", 32, 100, 23_705_252),
        ("densenet100", 32, 10, 769_162),
        ("densenet100", 32, 100, 800_032),
        ("resnet8", 32, 10, 75_290),
        ("resnet20", 32, 10, 269_722),
        ("resnet32", 32, 10, 464_154),
        ("resnet8-wide", 32, 10, 298_026),
    ],
)
def test_parameters_as_in_the_literature(
    name: str, size: int, classes: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = models.found()[name]((3, size, size), classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_option_b_has_the_parameters_that_the_docstring_says() -> None:
    shortcuts = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)  # 1×1 convolutions with batch norm
    assert shortcuts == 2_752
    assert 75_290 + shortcuts == 78_042


# Above 64 pixels the stem takes both sides to a quarter, of which something must be left.
SIZES = st.tuples(*[st.integers(8, 64)] * 2) | st.tuples(*[st.integers(16, 240)] * 2)


@pytest.mark.parametrize("name", NAMES)
@given(
    channels=st.sampled_from((1, 3)),
    size=SIZES,
    classes=st.integers(2, 1000),
)
@example(channels=1, size=(28, 28), classes=7)
@example(channels=3, size=(224, 224), classes=7)
@example(channels=1, size=(8, 8), classes=7)
@settings(max_examples=max(1, settings().max_examples // 3))
def test_shape_of_the_logits(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    shape = (channels, *size)
    with torch.device("meta"):
        network = models.found()[name](shape, classes)
        assert network(torch.empty(2, *shape)).shape == (2, classes)


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("resnet34", 64, 64),
        ("resnet34", 65, 17),
        ("densenet100", 224, 56),
        ("resnet8-wide", 32, 8),
    ],
)
def test_the_stem_goes_by_the_size(name: str, size: int, side: int) -> None:
    with torch.device("meta"):
        network = models.found()[name]((3, size, size), 10)
        stem = network.get_submodule("stem")
        assert stem(torch.empty(1, 3, size, size)).shape[-1] == side


@pytest.mark.parametrize("name", EACH)
def test_a_step_reaches_every_parameter(name: str) -> None:
    for classes in (2, 200):
        network = build(name, small(name), classes).to(memory_format=torch.channels_last)
        inputs = torch.randn(4, *small(name)).contiguous(memory_format=torch.channels_last)
        logits = network(inputs)
        assert logits.shape == (4, classes)
        F.cross_entropy(logits, torch.arange(4) % classes).backward()
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.any()


@pytest.mark.parametrize("name", EACH)
def test_seed_state_dict_and_order_in_memory(name: str) -> None:
    """Weights follow from the seed alone; a state_dict is the whole network; channels last
    changes nothing."""
    before = torch.get_rng_state()
    first, second = build(name, small(name)), build(name, small(name))
    assert torch.equal(torch.get_rng_state(), before)
    other = models.build(name, small(name), 10, seed=1)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert any(
        not torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True)
    )
    inputs = torch.randn(4, *small(name))
    with torch.no_grad():
        first(inputs)  # batch norm has seen something
        other.load_state_dict(first.state_dict())
        expected = first.eval()(inputs)
        assert torch.equal(other.eval()(inputs), expected)
        for network in (second.eval(), other):  # as built, and with what batch norm has seen
            plain = network(inputs)
            last = network.to(memory_format=torch.channels_last)
            actual = last(inputs.contiguous(memory_format=torch.channels_last))
            torch.testing.assert_close(actual, plain, rtol=1e-3, atol=1e-3)


HE = ("resnet8", "resnet20", "resnet32", "resnet8-wide", "densenet100")


@pytest.mark.parametrize("name", HE)
def test_convolutions_begin_as_he_says(name: str) -> None:
    for module in build(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2_000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.detach().std()) == pytest.approx(
                (2 / fan_out) ** 0.5, rel=0.1
            )
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def initial(name: str, size: int, again: Callable[[nn.Module], object]) -> list[list[Tensor]]:
    """The initial weights of a network; and those that it has once ``again`` drew it anew, from
    the numbers that its constructor drew from."""
    shape = (3, size, size)
    network = models.build(name, shape, 10, seed=5)
    found = [[p.detach().clone() for p in network.parameters()]]
    torch.manual_seed(5)
    again(network)
    return [*found, [p.detach() for p in network.parameters()]]


def drawn_by_torch(network: nn.Module) -> None:
    """Every layer anew, in the order in which the layers were made: that of their names."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            module.reset_parameters()


@pytest.mark.parametrize("name", sorted({*NAMES} - {*HE}))
@pytest.mark.parametrize("size", [32, 72])  # the stem for small images, and that for large ones
def test_the_other_networks_begin_as_torch_s_layers_do(name: str, size: int) -> None:
    """To the bit, and so do the paper's ResNets, as in its code."""
    ours, torch_s = initial(name, size, drawn_by_torch)
    for one, other in zip(ours, torch_s, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", HE)
def test_the_small_resnets_and_densenet_begin_as_they_did(name: str) -> None:
    """To the bit: torch's layers, and then their convolutions anew; DenseNet's last bias is 0."""

    def again(network: nn.Module) -> None:
        drawn_by_torch(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if name == "densenet100":
            nn.init.zeros_(list(network.parameters())[-1])

    ours, theirs = initial(name, 32, again)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_what_begins_otherwise_than_it_did_has_another_version() -> None:
    assert {
        name: models.version(name) for name in NAMES if models.version(name) != 1
    } == dict.fromkeys((*LARGE, "densenet100"), 2)


def test_the_shortcut_without_parameters() -> None:
    from softprior.training.models.cifar_resnet import Padding

    x = torch.randn(2, 4, 6, 6)
    y = Padding(4, 8, 2)(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert not y[:, 4:].any()


def test_an_unknown_name_lists_the_nearest_first() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'resnet43': did you mean 'resnet34'\?"):
        models.check("resnet43")
    with pytest.raises(ValueError, match="timm:NAME"):
        build("vgg")
    for name in NAMES:
        models.check(name)


class FakeTimm(ModuleType):
    """What is used of timm."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.__spec__ = importlib.machinery.ModuleSpec("timm", None)
        self.models = SimpleNamespace(get_pretrained_cfg_value=lambda name, key: "vit" in name)
        self.calls: list[tuple[str, dict[str, object]]] = []

    def list_models(self) -> list[str]:
        return ["resnet26", "resnet50", "vit_tiny_patch16_224"]

    def create_model(self, name: str, **options: object) -> nn.Module:
        self.calls.append((name, options))
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(int(str(options["num_classes"]))))


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> FakeTimm:
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)
    return fake


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_networks_of_timm(timm: FakeTimm) -> None:
    inputs: Tensor = torch.randn(2, 3, 16, 16)
    for name in ("resnet26", "vit_tiny_patch16_224"):
        models.check(f"timm:{name}")
        assert build(f"timm:{name}", (3, 16, 16), 7)(inputs).shape == (2, 7)
    common = {"pretrained": False, "num_classes": 7, "in_chans": 3}
    assert timm.calls == [
        ("resnet26", common),
        ("vit_tiny_patch16_224", {**common, "img_size": (16, 16)}),
    ]


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["timm:resnet27", "timm:resnet26.a1_in1k", "timm:"])
def test_unknown_networks_of_timm(name: str) -> None:
    nearest = "'timm:resnet26'" if "2" in name else "none"
    with pytest.raises(ValueError, match=f"unknown network '{name}': nearest are {nearest}"):
        models.check(name)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    models.check("timm:resnet50")  # a run made elsewhere stays readable
    with pytest.raises(ModuleNotFoundError, match="pip install timm"):
        build("timm:resnet50")
    assert not any(name.startswith("timm") for name in models.found())


SIDES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 40, 72, 130])


@pytest.mark.parametrize("name", EACH)
@given(height=SIDES, width=SIDES)
@example(height=8, width=72)
@example(height=1, width=1)
@example(height=2, width=130)
def test_images_of_any_shape_go_through_or_are_told_too_small(
    name: str, height: int, width: int
) -> None:
    """Never in the words of torch, and none of 16 pixels or more is refused."""
    if name in LARGE and (max(height, width) > 40 or min(height, width) not in (1, 7, 16)):
        return  # they take seconds, and are built as the first of them is
    try:
        network = build(name, (3, height, width))
    except ValueError as error:
        message = f"images of {height} × {width} pixels are too small for network {name}"
        assert str(error).startswith(message)  # noqa: PT017 - both ways are right
        assert min(height, width) < 16
    else:
        with torch.no_grad():
            assert network(torch.zeros(2, 3, height, width)).shape == (2, 10)
