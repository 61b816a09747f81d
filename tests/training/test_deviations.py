"""What docs/deviations.md says of the official code and of ours: a check for each row of its table.

Numbers of the official code stand here once more, as they were read there, and not in the words of
our presets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softprior import (
    EMA,
    BetaPrior,
    ConfidencePenalty,
    EMATeacher,
    PosteriorLoss,
    TeacherPrior,
    UniformPrior,
    confidence_penalty,
    diagnostics,
    label_smoothing,
    matching,
    self_distillation,
)
from softprior.cli import fit as fit_command
from softprior.studies import Scale, found
from softprior.studies._shared import recipes as shared
from softprior.teachers import FrozenTeacher
from softprior.training import (
    OwnData,
    Recipe,
    Store,
    augment,
    fit,
    images,
    models,
    presets,
    schedule,
)
from softprior.training.images import hub, moments, stratified
from softprior.training.loop import load
from softprior.training.order import order
from softprior.training.runtime import Runtime
from softprior.training.state import TrainingState
from softprior.training.teaching import build_teacher, network

PAGE = Path(__file__).parents[2] / "docs" / "deviations.md"
NETWORKS = ("resnet34", "densenet100")
OFFICIAL = ("cifar10", "cifar100", "tiny-imagenet")
K = 7


class Row(NamedTuple):
    """A line of the table."""

    matter: str
    official: str
    ours: str
    presets: str


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [re.split(r" \| ", line.strip("| ")) for line in lines]
    assert all(len(of) == 4 for of in cells), [of for of in cells if len(of) != 4]
    return [Row(*of) for of in cells[1:]]  # the first are the headings


ROWS = {row.matter: row for row in rows()}
CHECKS: dict[str, Callable[..., None]] = {}


def check(matter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def keep(function: Callable[..., None]) -> Callable[..., None]:
        assert matter not in CHECKS
        CHECKS[matter] = function
        return function

    return keep


@pytest.fixture(autouse=True)
def _no_data_set_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_classes", lambda data, _: 10 if data == "digits" else 100)
    monkeypatch.setattr(images, "smallest_class", lambda *_: 500)


def test_every_row_has_a_check_and_every_check_a_row() -> None:
    assert len(ROWS) == len(rows())  # none twice
    assert list(ROWS) == list(CHECKS)
    assert len({function.__name__ for function in CHECKS.values()}) == len(CHECKS)


@pytest.mark.parametrize("matter", ROWS)
def test_row(matter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    function = CHECKS[matter]
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    function(*(given[name] for name in names))


SPAN = re.compile(r"`--([\w.]+) ([^`]+)`")
OF_OTHERS = {"dataset", "seeds"}  # not what a preset decides
METHODS = {"label smoothing": "-ls", "Beta": "-beta", "EMA": "-beta", "self-distillation": "-sd"}


@pytest.mark.parametrize("matter", [m for m, row in ROWS.items() if SPAN.search(row.presets)])
def test_the_options_of_a_row_are_those_of_its_presets(matter: str) -> None:
    """As the command line reads them; of several for one option, each has a preset or a data set
    of its own."""
    spans = [(o, v) for o, v in SPAN.findall(ROWS[matter].presets) if o not in OF_OTHERS]
    method = next((end for begin, end in METHODS.items() if matter.startswith(begin)), None)
    names = [n for n in presets.found() if n.startswith("paper")]
    datasets = [d for d in OFFICIAL if ("tiny" in d) is ("Tiny" in matter) or "views" not in matter]
    meant, used = {span: read(*span) for span in spans}, set()
    for option in dict.fromkeys(option for option, _ in spans):
        for name in (n for n in names if method is None or n.endswith(method)):
            for dataset in datasets:
                fields = presets.get(name).on(dataset)
                wanted = of(fields, option)
                agreeing = [s for s in spans if s[0] == option and meant[s] == wanted]
                assert len(agreeing) == 1, (option, name, dataset)
                used |= {*agreeing}
    assert used == {*spans}


def read(option: str, value: str) -> object:
    """An option of ``softprior fit`` with its value, as the command line understands it."""
    return of(vars(fit_command.options([f"--{option}", value])), option)


def of(values: dict[str, object], option: str) -> object:
    component, _, field = option.partition(".")
    found = values[component]
    if not field:
        return found
    assert isinstance(found, dict)
    return found[field]


def preset(suffix: str = "", network: str = "resnet34", dataset: str = "cifar100") -> Recipe:
    return presets.recipe(f"paper-{network}{suffix}", dataset=dataset)


def every_preset() -> list[Recipe]:
    names = [name for name in presets.found() if name.startswith("paper")]
    return [presets.recipe(name, dataset=dataset) for name in names for dataset in OFFICIAL]


@cache
def paper_scale(study: str, dataset: str = "cifar100", model: str | None = None) -> list[Recipe]:
    scale = Scale(name="paper", seeds=range(2), dataset=dataset, model=model, counts=(500,) * 100)
    return list(found()[study].recipes(scale))


def of_prior(study: str, prior: type) -> list[Recipe]:
    return [r for r in paper_scale(study) if isinstance(r.prior, prior)]


def test_studies_at_paper_scale_start_from_the_preset() -> None:
    """On each data set and network; but for precision, to which a scale has an option."""
    for model in NETWORKS:
        for dataset in OFFICIAL:
            first = paper_scale("smoothing", dataset, model)[0]
            assert first == replace(preset("", model, dataset), fingerprint=first.fingerprint)
    desk = shared.base(Scale(name="desk", seeds=range(1), dataset="cifar100"), 0)
    assert desk.normalisation == "training"
    assert desk.split_seed is None


def test_only_paper_scale_on_images_is_the_official_code_s() -> None:
    for scale in (
        Scale(name="paper", seeds=range(1)),
        Scale(name="desk", seeds=range(1), dataset="cifar100"),
        Scale(name="smoke", seeds=range(1), dataset="cifar100"),
    ):
        assert shared.average(scale) == EMA()
        of_scale = shared.methods(scale, shared.base(scale, 0))
        assert of_scale[4].match_smoothing == shared.SMOOTHING


# ---------------------------------------------------------------- networks and their start


def built(name: str) -> nn.Module:
    return models.build(name, (3, 32, 32), 100, seed=0)


@check("networks")
def networks() -> None:
    resnet, dense = built("resnet34"), built("densenet100")
    assert [len(resnet.get_submodule(f"stage{i}")) for i in (1, 2, 3, 4)] == [3, 4, 6, 3]
    stem = [type(m) for m in resnet.get_submodule("stem")]
    assert stem == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    first = resnet.get_submodule("stem.0")
    assert isinstance(first, nn.Conv2d)
    assert (first.kernel_size, first.stride, first.out_channels) == ((3, 3), (1, 1), 64)
    layers = [m for m in dense.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 100  # depth
    assert [len(dense.get_submodule(f"block{i}")) for i in (1, 2, 3)] == [16] * 3
    widths = [m.num_features for m in (dense.get_submodule("transition1.0"),)]
    halved = dense.get_submodule("transition1.2")
    assert isinstance(halved, nn.Conv2d)
    assert widths == [24 + 16 * 12] == [2 * halved.out_channels]  # growth 12, compression 0.5


@check("initialisation of the ResNet")
def of_resnet() -> None:
    for name in ("resnet18", "resnet34", "resnet50"):
        for module in built(name).modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                bound = 1 / math.sqrt(module.weight[0].numel())  # U(-1/√fan-in, 1/√fan-in)
                assert float(module.weight.detach().abs().max()) <= bound
                assert float(module.weight.detach().std()) == pytest.approx(
                    bound / math.sqrt(3), rel=0.1
                )
    assert models.version("resnet34") == 2


@check("initialisation of DenseNet")
def of_densenet() -> None:
    network = built("densenet100")
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2_000:
            k, outputs = module.kernel_size[0], module.out_channels
            assert float(module.weight.detach().std()) == pytest.approx(
                math.sqrt(2 / (k * k * outputs)), rel=0.1
            )
        elif isinstance(module, nn.Linear):
            assert not module.bias.any()
            assert float(module.weight.detach().abs().max()) <= 1 / math.sqrt(module.in_features)
    assert models.version("densenet100") == 2


# ---------------------------------------------------------------- steps


@check("optimizer")
def optimizer() -> None:
    for recipe in every_preset():
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        made = schedule.optimizer(recipe, model.parameters())
        assert type(made) is torch.optim.SGD
        (group,) = made.param_groups
        assert len(group["params"]) == 4  # every parameter, batch norm's, too
        assert (group["lr"], group["momentum"], group["nesterov"]) == (0.1, 0.9, False)
        assert (group["weight_decay"], group["dampening"]) == (1e-4, 0)
        assert recipe.warmup == 0
        assert recipe.clip_norm is None
        assert recipe.accumulate == 1


@check("batches")
def batches() -> None:
    assert {recipe.batch_size for recipe in every_preset()} == {128}
    assert Recipe().batch_size == 64
    runtime = Runtime(cpu=True)
    sizes = [len(batch) for batch in order(45_000, 128, 0, 1, runtime)]
    assert sizes == [128] * 351 + [72]
    assert [len(batch) for batch in order(257, 128, 0, 1, runtime)] == [128, 129]


@check("learning rate")
def learning_rate() -> None:
    for model, drops in {"resnet34": (50, 100), "densenet100": (100, 150)}.items():
        recipe = preset(network=model)
        rates = [schedule.rate(recipe, (e + 0.5) / recipe.epochs) for e in range(recipe.epochs)]
        wanted = [0.1 * 0.1 ** sum(e >= drop for drop in drops) for e in range(recipe.epochs)]
        assert rates == pytest.approx(wanted)
    assert Recipe().milestones == pytest.approx((1 / 3, 2 / 3))


@check("epochs")
def epochs() -> None:
    assert {recipe.epochs for recipe in every_preset() if recipe.model == "resnet34"} == {150}
    assert {recipe.epochs for recipe in every_preset() if recipe.model == "densenet100"} == {200}
    assert Recipe().epochs == 30


@check("precision")
def precision(monkeypatch: pytest.MonkeyPatch) -> None:
    from softprior.cli import _recipes, _run_study, study

    assert {recipe.precision for recipe in every_preset()} == {"fp32"}
    assert Recipe().precision == "fp32"
    for module in (_recipes, _run_study):
        monkeypatch.setattr(module, "fastest_precision", lambda *_: "bf16")
    words = ["--preset", "paper-resnet34"]
    assert _recipes.asked(fit_command.options(words))[0].precision == "fp32"
    assert _recipes.asked(fit_command.options(["--model", "resnet34"]))[0].precision == "bf16"

    def scale(*more: str) -> Scale:
        ((_, asked),) = _run_study._asked(study.options(["smoothing", *more])).values()
        return asked

    assert scale("--scale", "paper").precision == "fp32"
    assert scale("--scale", "paper", "--precision", "bf16").precision == "bf16"
    assert scale("--scale", "desk").precision == "bf16"


# ---------------------------------------------------------------- data


@check("size of the validation part")
def validation_size() -> None:
    assert {recipe.validation for recipe in every_preset()} == {0.1}
    for classes, each, held in ((100, 500, 5_000), (10, 5_000, 5_000), (200, 500, 10_000)):
        labels = torch.arange(classes).repeat(each)
        part = stratified(labels, Recipe().validation, torch.Generator())[0]
        assert len(part) == held
        assert len(labels[part].bincount().unique()) == 1


@check("seed of the validation part")
def validation_seed() -> None:
    assert {recipe.split_seed for recipe in every_preset()} == {0}
    assert {r.split for study in ("smoothing", "generations") for r in paper_scale(study)} == {0}
    assert len({r.seed for r in paper_scale("smoothing")}) == 2
    assert [Recipe(seed=seed).split for seed in (0, 5)] == [0, 5]


@check("test part")
def test_part() -> None:
    assert {name: hub.REPOSITORIES[name].test for name in OFFICIAL} == {
        "cifar10": "test",
        "cifar100": "test",
        "tiny-imagenet": "valid",
    }


@check("selected epoch")
def selection() -> None:
    assert {recipe.select for recipe in every_preset()} == {Recipe().select} == {"best"}
    model = nn.Linear(1, 1)
    state = TrainingState(
        *(preset(), model, None, PosteriorLoss(None), schedule.optimizer(preset(), [model.weight])),
        loss=torch.zeros(()),
        smoothing=torch.zeros(()),
    )
    for epoch, accuracy in enumerate([0.5, 0.7, 0.7, 0.6], 1):
        state.close_epoch({"epoch": epoch, "validation_accuracy": accuracy})
    assert state.best_epoch == 3


@check("views of CIFAR")
def cifar_views() -> None:
    for dataset in ("cifar10", "cifar100"):
        recipe = preset(dataset=dataset)
        assert (recipe.augment, recipe.view_size, recipe.resolution) == ("crop", None, None)
    assert augment.PADDING == 4
    pixels = torch.full((64, 6, 6, 1), 255, dtype=torch.uint8)
    views = augment.Views(pixels, "crop").epoch(torch.Generator())(torch.arange(64))
    assert {*views.unique().tolist()} == {0, 255}  # what is around the image is 0
    assert Recipe().augment == "none"


@check("views of Tiny-ImageNet")
def tiny_views() -> None:
    tiny = "tiny-imagenet"
    for recipe in (preset("-beta", dataset=tiny), paper_scale("smoothing", tiny)[2]):
        assert (recipe.augment, recipe.view_size, recipe.resolution) == ("resized", 32, None)
    assert (augment.SCALE, augment.RATIO) == ((0.08, 1.0), (3 / 4, 4 / 3))
    for path in ("some/tiny-imagenet", "mine"):
        assert presets.get("paper-resnet34").on(path)["augment"] == "crop"


def pictures(channels: int = 3, side: int = 64) -> Tensor:
    g = torch.Generator().manual_seed(1)
    coarse = torch.rand(20, channels, 5, 5, generator=g)
    image = F.interpolate(coarse, (side, side), mode="bilinear")
    return (255 * image).byte().permute(0, 2, 3, 1).contiguous()


@check("images after training")
def after_training() -> None:
    from PIL import Image

    pixels = pictures()
    ours = augment.Views(pixels, "none", (32, 32)).epoch(torch.Generator())(torch.arange(20))
    for image, view in zip(pixels, ours.permute(0, 2, 3, 1), strict=True):
        theirs = Image.fromarray(image.numpy()).resize((32, 32), Image.Resampling.BILINEAR)
        levels = np.asarray(theirs).astype(int) - view.numpy().astype(int)
        assert np.abs(levels).max() <= 2  # of 255


@check("normalisation")
def normalisation(tmp_path: Path) -> None:
    constants = {
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        "tiny-imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
    text = ROWS["normalisation"].official
    for dataset, (mean, std) in constants.items():
        name = preset(dataset=dataset).normalisation
        assert moments.CONSTANTS[name] == (mean, std)
        assert all(str(value) in text.replace("0.2010", "0.201") for value in (*mean, *std))
        found = moments.mean_and_std(pictures(), name)
        assert torch.allclose(torch.stack(found), 255 * torch.tensor([mean, std]))
    assert Recipe().normalisation == preset(dataset="mine").normalisation == "training"
    own = moments.mean_and_std(pictures(), "training")[0]
    assert torch.allclose(own, pictures().double().flatten(0, 2).mean(0).float())


@check("CUB-200-2011")
def birds() -> None:
    assert preset(dataset="cub200").augment == "resized"
    assert preset(dataset="cub200").view_size is None


# ---------------------------------------------------------------- losses


@check("cross-entropy")
def cross_entropy() -> None:
    assert preset().prior is None
    assert preset().penalty is None
    logits, labels = 30 * torch.randn(9, K), torch.arange(9) % K
    assert torch.allclose(PosteriorLoss(None)(logits, labels), F.cross_entropy(logits, labels))


@check("loss of soft targets")
def soft_loss() -> None:
    """A confident error costs what it costs, and its gradient is that of the target."""
    f = torch.tensor([[0.0, 60.0, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    losses = {
        "ls": label_smoothing(0.15, spread="others")(f, y),
        "sd": self_distillation()(f, y, torch.tensor([[40.0, 0.0, 0.0]])),
    }
    for loss in losses.values():
        (slope,) = torch.autograd.grad(loss, f)
        assert loss.item() > 18.4
        assert slope[0, 0] < -0.5


@check("label smoothing")
def smoothing() -> None:
    prior = preset("-ls").prior
    assert prior == UniformPrior(0.15, spread="others")
    assert {r.prior for r in of_prior("smoothing", UniformPrior)} == {prior}
    f, y = torch.randn(4, K), torch.tensor([0, 1, 2, 2])
    target = torch.full((4, K), 0.15 / (K - 1)).scatter_(1, y[:, None], 0.85)
    wanted = -(target * F.log_softmax(f, 1)).sum(1).mean()
    assert torch.allclose(PosteriorLoss(prior)(f, y), wanted)
    ours = PosteriorLoss(UniformPrior(0.15))(f, y)
    assert torch.allclose(ours, F.cross_entropy(f, y, label_smoothing=0.15))


@check("Beta smoothing: weight and a")
def beta_weight() -> None:
    assert preset("-beta").prior == BetaPrior() == BetaPrior(strength=0.6, a=3.0)
    assert preset("-beta").effective_label_weight == pytest.approx(0.4)
    assert {r.prior for r in of_prior("smoothing", BetaPrior)} == {BetaPrior()}


def beta_targets(prior: BetaPrior, ranks: Tensor, y: Tensor, seed: int) -> Tensor:
    """b of each sample of a batch that a teacher's logits rank."""
    f = torch.randn(len(y), K, requires_grad=True)
    criterion = PosteriorLoss(prior, label_weight=0.0, reduction="sum", seed=seed)
    (slope,) = torch.autograd.grad(criterion(f, y, ranks), f)
    target = torch.softmax(f, 1) - slope / prior.strength
    return target.gather(1, y[:, None]).squeeze(1).detach()


@check("Beta smoothing: draws")
def beta_draws() -> None:
    y, prior = torch.arange(64) % K, replace(BetaPrior(), strength=1.0)
    assert (prior.draw, prior.order, prior.among) == ("random", "intact", "global")
    drawn = []
    for seed in range(40):
        ranks = torch.randn(64, K)
        b = beta_targets(prior, ranks, y, seed)
        confidence = torch.softmax(ranks, 1).gather(1, y[:, None]).squeeze(1)
        assert torch.equal(b.argsort(), confidence.argsort())
        drawn.append(b)
    every = torch.cat(drawn).sort().values
    n = len(every)
    distance = (every**3 - torch.arange(1, n + 1) / n).abs().max()  # P(b ≤ x) = x³
    assert float(distance) < 1.63 / math.sqrt(n)  # Kolmogorov's at 1 %


@check("Beta smoothing: confidence")
def beta_confidence() -> None:
    """In the order of the probability; and where that is 1 for several, still in one."""
    y = torch.zeros(8, dtype=torch.int64)
    ranks = torch.zeros(8, K)
    ranks[:, 0] = torch.tensor([90.0, 60, 80, 70, 1, 2, 0, -1])
    b = beta_targets(replace(BetaPrior(), strength=1.0), ranks, y, 0)
    assert torch.equal(b.argsort(), ranks[:, 0].argsort())
    assert len(torch.softmax(ranks, 1)[:, 0].unique()) < 8


def averages(suffix: str | None) -> tuple[nn.Module, EMATeacher]:
    """A student, and the average of it: the preset's, or the default one."""
    recipe = Recipe(prior=BetaPrior(), model="convnet", teacher="ema" if suffix is None else None)
    if suffix is not None:
        recipe = replace(recipe, teacher=preset(suffix).teacher)
    data = load(recipe)
    student = network(recipe, data)
    teacher = build_teacher(recipe, student, data, None)[1]
    assert isinstance(teacher, EMATeacher)
    return student, teacher


@check("EMA: start")
def ema_start() -> None:
    (student, official), (other, ours) = averages("-beta"), averages(None)
    pairs = zip(student.parameters(), official.network.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)
    for one, two in zip(other.parameters(), ours.network.parameters(), strict=True):
        assert torch.equal(one, two)
    for study in ("smoothing", "amount", "instance", "dose", "noise", "calibration", "halves"):
        teachers = {r.teacher for r in of_prior(study, BetaPrior) if isinstance(r.teacher, EMA)}
        assert teachers == {EMA(0.999, start="random", mode="train")}, study


@check("EMA: mode")
def ema_mode() -> None:
    (student, official), (_, ours) = averages("-beta"), averages(None)
    student.train(), official.train(False)
    assert all(m.training for m in official.network.modules())
    assert not any(m.training for m in ours.network.modules())


@check("EMA: buffers of batch norm")
def ema_buffers() -> None:
    (student, official), (other, ours) = averages("-beta"), averages(None)
    inputs = 3 + torch.randn(16, 1, 8, 8)
    student(inputs), other(inputs)
    for model, teacher in ((student, official), (other, ours)):
        teacher.observe(model, torch.zeros(1, K), torch.zeros(1).long(), torch.zeros(1).long())
    mean = "network.1.running_mean"
    assert not official.state_dict()[mean].any()  # the student's statistics are not taken
    assert ours.state_dict()[mean].any()
    official(inputs)
    assert official.state_dict()[mean].any()


@check("EMA: decay")
def ema_decay() -> None:
    student, official = averages("-beta")
    value = next(official.network.parameters()).detach().clone().double()
    for t in range(1, 6):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(0.1)
        now = next(student.parameters()).detach().double()
        decay = min(1 - 1 / (t + 1), 0.999)
        value = decay * value + (1 - decay) * now
        official.observe(student, torch.zeros(1, K), torch.zeros(1).long(), torch.zeros(1).long())
        assert torch.allclose(next(official.network.parameters()).double(), value, atol=1e-6)
    assert official.decay == EMA().decay == 0.999


@check("EMA: update")
def ema_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the weights after the step; and the student is what is tested."""
    seen: list[Tensor] = []
    observe = EMATeacher.observe

    def watching(self: EMATeacher, model: nn.Module, *rest: Tensor) -> None:
        seen.append(next(model.parameters()).detach().clone())
        observe(self, model, *rest)

    monkeypatch.setattr(EMATeacher, "observe", watching)
    recipe = Recipe(prior=BetaPrior(), teacher=preset("-beta").teacher, epochs=1, batch_size=4096)
    run = fit(recipe, tmp_path, cpu=True)
    (only,) = seen  # one step
    assert torch.equal(only, run.weights("last")["1.weight"])


# ---------------------------------------------------------------- self-distillation


@check("self-distillation: weight and temperature")
def distillation() -> None:
    prior = preset("-sd").prior
    assert prior == TeacherPrior() == TeacherPrior(strength=0.4, temperature=4.0)
    assert preset("-sd").student_temperature == 1
    assert preset("-sd").match_smoothing is None
    f, g, y = torch.randn(9, K), 5 * torch.randn(9, K), torch.arange(9) % K
    soft = -(torch.softmax(g / 4, 1) * F.log_softmax(f, 1)).sum(1).mean()
    wanted = 0.6 * F.cross_entropy(f, y) + 0.4 * soft
    assert torch.allclose(PosteriorLoss(prior)(f, y, g), wanted)


@check("self-distillation: teacher")
def distillation_teacher(tmp_path: Path) -> None:
    student = preset("-sd")
    assert isinstance(student.teacher, Recipe)
    assert student.teacher == preset()
    assert student.generation == 1
    assert student.initialisation != student.teacher.initialisation
    assert student.teacher_targets == "live"
    # Its weights are those of the selected epoch.
    first = Recipe(epochs=3, model="convnet", validation=0.3)
    run = fit(first, Store(tmp_path), cpu=True)
    taught = replace(first, prior=student.prior, teacher=first)
    data = load(taught)
    teacher = build_teacher(taught, network(taught, data), data, run)[1]
    assert isinstance(teacher, FrozenTeacher)
    assert not any(module.training for module in teacher.modules())
    for key, value in run.weights("best").items():
        assert torch.equal(teacher.state_dict()[f"network.{key}"], value)


@check("confidence penalty")
def penalty() -> None:
    assert ConfidencePenalty().weight == 0.1
    f, y = torch.randn(5, K), torch.arange(5)
    log_p = F.log_softmax(f, 1)
    entropy = -(log_p.exp() * log_p).sum(1).mean()
    assert torch.allclose(confidence_penalty(0.3)(f, y), F.cross_entropy(f, y) - 0.3 * entropy)
    assert {r.penalty for r in paper_scale("smoothing")} == {None}
    digits = found()["smoothing"].recipes(Scale(name="paper", seeds=range(1)))
    penalties = {r.penalty for r in digits if r.penalty is not None}
    assert penalties == {ConfidencePenalty(matching.penalty_weight(0.15, 10))}


# ---------------------------------------------------------------- measures and studies


@check("ECE")
def calibration() -> None:
    """20 bins, the upper end of each in it."""
    labels = (torch.rand(400) < 0.6).long()
    confidence = torch.randint(10, 21, (400,)) / 20  # on the ends of bins
    confidence[0] = 0.5
    logits = torch.stack([1 - confidence, confidence], 1).double().clamp(min=1e-300).log()
    p = torch.softmax(logits, 1)
    top, predicted = p.max(1)
    right, total = (predicted == labels).double(), 0.0
    for low in range(20):
        inside = (top > low / 20 + 1e-9) & (top <= (low + 1) / 20 + 1e-9)
        if inside.any():
            gap = (top[inside].mean() - right[inside].mean()).abs()
            total += float(gap * inside.double().mean())
    assert diagnostics.ece(logits, labels) == pytest.approx(total, abs=1e-6)


@check("NLL")
def nll() -> None:
    f, y = torch.tensor([[0.0, 200.0]]), torch.tensor([0])
    assert diagnostics.nll(f, y) == pytest.approx(200)
    assert torch.softmax(f, 1)[0, 0] == 0  # whose logarithm would be -∞


@check("repeats")
def repeats() -> None:
    assert {study.SEEDS["paper"] for study in found().values()} >= {5}
    scale = Scale(name="paper", seeds=range(5), dataset="cifar100", counts=(500,) * 100)
    assert {r.seed for r in found()["smoothing"].recipes(scale)} == set(range(5))


@check("studies: self-distillation in the main table")
def main_table() -> None:
    for study in ("smoothing", "calibration", "halves"):
        students = of_prior(study, TeacherPrior)
        assert students
        for student in students:
            assert student.prior == preset("-sd").prior
            assert student.match_smoothing is None
            assert isinstance(student.teacher, Recipe)
            assert student.teacher.prior is None
            assert student.teacher.initialisation != student.initialisation


@check("studies: matched smoothing")
def matched() -> None:
    for study in ("amount", "instance", "dose"):
        students = of_prior(study, TeacherPrior)
        assert {r.prior.strength for r in students if r.prior is not None} == {0.6}, study
        assert all(r.match_smoothing is not None for r in students), study
    weights = of_prior("weights", TeacherPrior)
    assert all(r.match_smoothing is not None for r in weights)
    assert 0.6 in {r.prior.strength for r in weights if r.prior is not None}
    noise = of_prior("noise", TeacherPrior)
    fixed = [r.prior for r in noise if r.prior is not None and r.match_smoothing is None]
    assert {(p.strength, p.teacher_temperature) for p in fixed} == {
        *((w, 1.0) for w in (0.6, 1.0, 1.2)),
    }
    assert {r.match_smoothing for r in noise} == {None, 0.4}


@check("studies: chains of generations")
def chains() -> None:
    for study in ("generations", "temperature"):
        students = of_prior(study, TeacherPrior)
        assert students
        assert {r.effective_label_weight for r in students} == {0.0}
    chain = of_prior("generations", TeacherPrior)
    assert {r.prior for r in chain} == {TeacherPrior(strength=1.0, temperature=1.0)}


def test_a_preset_takes_what_a_data_set_adds_from_the_file_or_the_words(tmp_path: Path) -> None:
    """The data set may be named anywhere; what is given beside it wins."""
    (tmp_path / "c.yaml").write_text("preset: paper-resnet34-beta\ndataset: tiny-imagenet\n")
    config = ["--config", str(tmp_path / "c.yaml")]
    words = ["--dataset", "tiny-imagenet", "--preset", "paper-resnet34-beta"]
    for given in (config, words):
        values = fit_command.options(given)
        assert (values.augment, values.view_size, values.normalisation) == (
            *("resized", 32, "imagenet"),
        )
        assert fit_command.options([*given, "--view_size", "48"]).view_size == 48
    for given in ([*config, "--dataset", "mine"], [*words[2:], "--dataset", "mine"]):
        mine = fit_command.options(given)
        assert (mine.augment, mine.view_size, mine.normalisation) == ("crop", None, "training")


@pytest.mark.parametrize("dataset", [*OFFICIAL, "digits", "some/tiny-imagenet"])
@pytest.mark.parametrize("name", [name for name in presets.found() if name != "desk"])
def test_a_data_set_without_a_name_of_its_own_is_told(name: str, dataset: str) -> None:
    """And what is done instead, whoever decided it."""
    for changes in ({}, {"view_size": 24, "augment": "resized", "normalisation": "cifar10"}):
        recipe = presets.recipe(name, dataset=dataset, **changes)
        line = presets.get(name).unnamed(recipe)
        if dataset in OFFICIAL:
            assert line is None
            continue
        size = "view_size 24" if changes else "the image's size"
        said = f"augment {recipe.augment}, {size}, normalisation {recipe.normalisation}"
        assert str(line).endswith(f"{Path(dataset).name} is none of them: {said}")


def test_a_preset_trains_on_any_images(tmp_path: Path) -> None:
    data = OwnData.of((pictures(side=8).numpy(), np.arange(20) % 2))
    recipe = presets.recipe("paper-resnet34-beta", dataset=data, model="convnet", epochs=1)
    run = fit(recipe, tmp_path, cpu=True)
    assert run.recipe.normalisation == "training"
    assert run.recipe.split_seed == 0
