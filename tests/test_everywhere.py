"""The loss wherever a classifier is trained: layouts, class and sample weights, masked classes.

Against torch where torch defines the result, and else against the same loss of fewer classes.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softprior import (
    BetaPrior,
    PosteriorLoss,
    Sparse,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    beta_smoothing,
    confidence_penalty,
    kernel,
    label_smoothing,
    penalties,
    posterior_loss,
    priors,
    self_distillation,
)

REDUCTIONS = ("mean", "sum", "none")
IGNORED = -100


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), of, create_graph=True)[0]


@pytest.fixture(scope="module", autouse=True)
def both_ways() -> Iterator[None]:
    """Few logits go another way than many: here the one of many, but where the test asks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "FEW", 0)
        yield


@st.composite
def batches(draw: Any) -> dict[str, Any]:
    """Logits in torch's layout, labels of either kind, and what torch may be given."""
    classes = draw(st.integers(2, 6))
    more = draw(st.lists(st.integers(1, 3), max_size=3))
    alone = not more and draw(st.booleans())
    shape = (classes,) if alone else (draw(st.integers(1, 4)), classes, *more)
    dtype = draw(st.sampled_from((torch.float64, torch.float32)))
    torch.manual_seed(draw(st.integers(0, 2**20)))
    logits = 3 * torch.randn(shape, dtype=dtype)
    dim = 0 if alone else 1
    if draw(st.booleans()):
        labels = torch.rand(shape, dtype=dtype) + 0.01
        labels = labels / labels.sum(dim, keepdim=True)
    else:
        labels = torch.randint(classes, shape[:dim] + shape[dim + 1 :])
        ignored = draw(st.booleans()) and not alone
        labels = labels.where(torch.rand(labels.shape) < 0.7, IGNORED) if ignored else labels
    return {
        "logits": logits,
        "labels": labels,
        "class_weight": torch.rand(classes, dtype=dtype) if draw(st.booleans()) else None,
        "smoothing": draw(st.sampled_from((0.0, 0.1, 1.0))),
        "reduction": draw(st.sampled_from(REDUCTIONS)),
        "class_dim": draw(st.sampled_from((None, "last", "first"))),
    }


@given(batches())
def test_every_call_that_torch_knows(batch: dict[str, Any]) -> None:
    """posterior_loss and label_smoothing, value and gradient, wherever the classes lie."""
    logits, labels, weight = (batch[name] for name in ("logits", "labels", "class_weight"))
    smoothing, reduction = batch["smoothing"], batch["reduction"]
    theirs = logits.clone().requires_grad_()
    wanted = F.cross_entropy(
        theirs, labels, weight, label_smoothing=smoothing, reduction=reduction
    ).nan_to_num()  # all ignored: ours is 0
    slope = gradient(wanted, theirs).nan_to_num()
    dim = None if batch["class_dim"] is None else {"last": -1, "first": 0}[batch["class_dim"]]
    usual = min(1, logits.ndim - 1)
    at = usual if dim is None else dim
    moved = logits.movedim(usual, at)
    asked = labels.movedim(usual, at) if labels.is_floating_point() else labels
    each = smoothing / logits.shape[usual]
    criterion = label_smoothing(smoothing, reduction=reduction, class_weight=weight, class_dim=dim)

    def functional(f: Tensor, y: Tensor) -> Tensor:
        return posterior_loss(
            *(f, y, TwoLevel(each, each)),
            label_weight=1 - smoothing,
            class_weight=weight,
            class_dim=dim,
            reduction=reduction,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what could be in two layouts
        for loss in (functional, criterion):
            for contiguous in (False, True):
                ours = (moved.contiguous() if contiguous else moved).clone().requires_grad_()
                got = loss(ours, asked)
                assert got.shape == wanted.shape
                close(got, wanted)
                close(gradient(got, ours).movedim(at, usual), slope)
                (plain,) = torch.autograd.grad(loss(ours, asked).sum(), ours)
                close(plain.movedim(at, usual), slope)


@given(batches(), st.sampled_from(("two-level", "numbers", "sparse", "dense")), st.booleans())
def test_few_logits_go_another_way_to_the_same(
    batch: dict[str, Any], form: str, weighted: bool
) -> None:
    logits, labels = batch["logits"], batch["labels"]
    dim = min(1, logits.ndim - 1)
    shape = logits.shape[:dim] + logits.shape[dim + 1 :]
    on = torch.rand(shape, dtype=logits.dtype)
    few = torch.rand(*shape, logits.shape[dim]).argsort(-1)[..., :2]
    counts: Any = {
        "two-level": TwoLevel(on, on / 3),
        "numbers": TwoLevel(0.3, 0.1),
        "sparse": Sparse(few, torch.rand_like(few, dtype=logits.dtype), on / 4),
        "dense": torch.rand_like(logits),
    }[form]

    def loss(few_logits: int) -> tuple[Tensor, Tensor]:
        f = logits.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "FEW", few_logits)
            got = posterior_loss(
                *(f, labels, counts),
                label_weight=0.4,
                class_weight=batch["class_weight"],
                sample_weight=on if weighted else None,
                class_dim=dim,
                reduction=batch["reduction"],
            )
        return got, torch.autograd.grad(got.sum(), f)[0]

    for ours, theirs in zip(loss(1 << 20), loss(0), strict=True):
        close(ours, theirs)


def every_component() -> list[Any]:
    """Priors and penalties with their defaults, and the variants that take other ways."""
    found: list[Any] = [prior() for prior in priors.found().values()]  # type: ignore[call-arg]
    found += [UniformPrior(0.2, "others"), BetaPrior(draw="quantile"), BetaPrior(among="local")]
    found += [TeacherPrior(top=2), TeacherPrior(weighting="map"), None]
    found += [penalty() for penalty in penalties.found().values()]  # type: ignore[call-arg]
    return found


def criterion_of(component: Any, classes: int, **options: Any) -> PosteriorLoss:
    if isinstance(component, penalties.Penalty):
        return PosteriorLoss(penalty=component, **options)
    if component is not None and not component.decides_label_weight:
        options["label_weight"] = 0.7
    return PosteriorLoss(component, num_samples=50, num_classes=classes, **options)


@given(
    st.sampled_from(range(len(every_component()))),
    st.integers(2, 4),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from(REDUCTIONS),
    st.integers(0, 2**20),
)
def test_a_masked_class_is_no_class(
    which: int, left: int, gone: int, soft: bool, weighted: bool, reduction: Any, seed: int
) -> None:
    """Of every prior and penalty: as if logits, teacher and labels had never had the class."""
    torch.manual_seed(seed)
    component = every_component()[which]
    n, classes = 5, left + gone
    keep = torch.randperm(classes)[:left].sort().values
    mask = torch.ones(classes, dtype=torch.bool).index_fill(0, keep, False)
    logits, teacher = (2 * torch.randn(n, classes, dtype=torch.float64) for _ in range(2))
    few = torch.randint(left, (n,))
    few[0] = IGNORED
    labels = torch.where(few < 0, few, keep[few.clamp(min=0)])
    if soft:
        few = torch.rand(n, left, dtype=torch.float64).softmax(1)
        labels = torch.zeros_like(logits).index_copy(1, keep, few)
    weight = torch.rand(classes, dtype=torch.float64) if weighted else None
    sample_weight = torch.rand(n, dtype=torch.float64) if weighted else None
    when: dict[str, Any] = {"index": torch.arange(n), "epoch": 2, "epochs": 3}
    when["sample_weight"] = sample_weight

    def losses(mask_: Tensor, junk: float) -> tuple[Tensor, Tensor]:
        f = logits.masked_fill(mask, junk).requires_grad_()
        t = teacher.masked_fill(mask, junk)
        criterion = criterion_of(
            component, classes, reduction=reduction, class_weight=weight
        ).eval()
        loss = criterion(f, labels, t, class_mask=mask_, **when)
        return loss, gradient(loss, f)

    f = logits[:, keep].clone().requires_grad_()
    fewer = criterion_of(
        *(component, left),
        reduction=reduction,
        class_weight=None if weight is None else weight[keep],
    ).eval()
    if getattr(component, "top", None) is not None and left - 1 <= component.top:
        return  # of so few classes it takes all
    wanted = fewer(f, few, teacher[:, keep], **when)
    slope = torch.zeros_like(logits).index_copy(1, keep, gradient(wanted, f))
    for mask_, junk in itertools.product((mask, mask.expand(n, -1)), (-torch.inf, 7.0)):
        loss, got = losses(mask_, junk)
        close(loss, wanted)
        close(got, slope)


@given(st.sampled_from(range(5)), st.booleans(), st.integers(0, 2**20))
def test_each_sample_has_its_own_masked_classes(which: int, weighted: bool, seed: int) -> None:
    """Of priors that look at one sample at a time: as that sample alone, without those classes."""
    torch.manual_seed(seed)
    alone = [UniformPrior(), UniformPrior(0.3, "others"), TeacherPrior(), None]
    component = [*alone, TeacherPrior(weighting="map")][which]
    n, classes = 6, 5
    logits, teacher = (2 * torch.randn(n, classes, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(classes, (n,))
    mask = torch.rand(n, classes) < 0.5
    mask[torch.arange(n), labels] = False
    mask[torch.arange(n), (labels + 1) % classes] = False
    weight = torch.rand(classes, dtype=torch.float64) if weighted else None
    options: dict[str, Any] = {"reduction": "none"}
    f = logits.masked_fill(mask, -torch.inf).requires_grad_()
    loss = criterion_of(component, classes, class_weight=weight, **options)(
        f, labels, teacher, class_mask=mask
    )
    slope = gradient(loss, f)
    for i in range(n):
        keep = (~mask[i]).nonzero().squeeze(1)
        one = logits[i, keep].clone().requires_grad_()
        wanted = criterion_of(
            component, len(keep), class_weight=None if weight is None else weight[keep], **options
        )(one[None], (keep == labels[i]).nonzero()[0], teacher[i, keep][None])
        close(loss[i], wanted[0])
        close(slope[i, keep], gradient(wanted, one))
        assert not slope[i, mask[i]].any()


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.booleans(), st.integers(0, 2**20))
def test_a_sample_that_weighs_twice_is_two(times: list[int], weighted: bool, seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(4, 3, dtype=torch.float64)
    labels, often = torch.randint(3, (4,)), torch.tensor(times)
    weight = torch.rand(3, dtype=torch.float64) if weighted else None
    for options in ({"prior": UniformPrior(0.2)}, {"penalty": penalties.ConfidencePenalty(0.3)}):
        for reduction in ("mean", "sum"):
            criterion = PosteriorLoss(**options, class_weight=weight, reduction=reduction)  # type: ignore[arg-type]
            got = criterion(logits, labels, sample_weight=often.double())
            if often.sum():
                repeated = criterion(
                    logits.repeat_interleave(often, 0), labels.repeat_interleave(often)
                )
                close(got, repeated)
            else:
                assert got == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("form", ["two-level", "sparse", "dense"])
def test_gradcheck_with_weights_and_masks(form: str, reduction: Any) -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, IGNORED, 2])
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, 4] = mask[1, 3] = mask[2] = True
    on = torch.rand(4, dtype=torch.float64)
    counts: Any = {
        "two-level": TwoLevel(on, on / 3),
        "sparse": Sparse(torch.tensor([[0, 1]] * 4), torch.rand(4, 2).double(), on / 4),
        "dense": torch.rand(4, 5, dtype=torch.float64).masked_fill(mask, 0),
    }[form]

    def loss(f: Tensor) -> Tensor:
        return posterior_loss(
            *(f, labels, counts),
            label_weight=0.4,
            class_weight=torch.arange(1.0, 6.0, dtype=torch.float64),
            sample_weight=torch.tensor([1.0, 0.5, 2.0, 3.0], dtype=torch.float64),
            class_mask=mask,
            reduction=reduction,
        )

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)
    close(torch.func.grad(lambda f: loss(f).sum())(logits.detach()), gradient(loss(logits), logits))


def test_class_weights_build_no_second_matrix() -> None:
    """For two-level and sparse counts nothing of the logits' size but the gradient."""
    from torch.utils._python_dispatch import TorchDispatchMode

    logits = torch.randn(64, 2048, requires_grad=True)
    labels = torch.randint(2048, (64,))

    class Largest(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.made: set[int] = set()

        def __torch_dispatch__(
            self, op: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = op(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.numel() == logits.numel():
                self.made.add(out.untyped_storage().data_ptr())
            return out

    few = Sparse(torch.arange(5).expand(64, 5), torch.rand(64, 5), 1e-4)
    for counts in (TwoLevel(0.0, 1e-4), few):
        for weight in (None, torch.rand(2048)):
            with Largest() as largest:
                posterior_loss(logits, labels, counts, class_weight=weight).backward()
            made = largest.made - {logits.untyped_storage().data_ptr()}
            # the softmax that becomes the gradient, and the blocks of f' (all of it here)
            assert len(made) <= 3, (type(counts), weight is None)


FORMS: dict[str, Callable[..., PosteriorLoss]] = {
    "label_smoothing": label_smoothing,
    "self_distillation": self_distillation,
    "beta_smoothing": beta_smoothing,
    "confidence_penalty": confidence_penalty,
}


@pytest.mark.parametrize("name", FORMS)
def test_named_losses_in_a_sequence_are_those_of_its_tokens(name: str) -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 2, 7, 4).unbind()
    labels = torch.randint(4, (2, 7))
    labels[0, 3] = IGNORED
    weight = torch.rand(4)
    made = {"class_weight": weight, "reduction": "none"}
    rows = FORMS[name](**made)(logits.reshape(-1, 4), labels.reshape(-1), teacher.reshape(-1, 4))
    got = FORMS[name](**made, class_dim=-1)(logits, labels, teacher)
    assert got.shape == labels.shape
    torch.testing.assert_close(got.reshape(-1), rows)
    got = FORMS[name](**made)(logits.movedim(-1, 1), labels, teacher.movedim(-1, 1))
    torch.testing.assert_close(got.reshape(-1), rows)


@pytest.mark.parametrize("name", ["self_distillation", "beta_smoothing", "confidence_penalty"])
@pytest.mark.parametrize("weight", [torch.ones(4), [1.0, 2.0]])
def test_class_weights_under_torch_s_name(name: str, weight: Any) -> None:
    with pytest.raises(TypeError, match=r"^weight is how much .*class_weight="):
        FORMS[name](weight=weight)


def test_two_layouts_that_fit_are_told() -> None:
    logits, labels = torch.randn(2, 3, 3), torch.zeros(2, 3, dtype=torch.long)
    with pytest.warns(UserWarning, match=r"dimension 1 or in the last one.*class_dim=-1"):
        posterior_loss(logits, labels, TwoLevel(0.1, 0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, last = (
            posterior_loss(logits, labels, TwoLevel(0.1, 0.1), class_dim=dim) for dim in (1, -1)
        )
        posterior_loss(logits[0], labels[0], TwoLevel(0.1, 0.1))
    assert first != last


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weight": torch.ones(3)}, ValueError, r"class_weight must have shape \(4,\)"),
        ({"class_weight": -torch.ones(4)}, ValueError, "class_weight must be finite and ≥ 0"),
        ({"class_weight": torch.ones(4).long()}, TypeError, "class_weight must be floating"),
        ({"class_weight": [1.0] * 4}, TypeError, "class_weight must be a torch.Tensor"),
        ({"sample_weight": torch.ones(3)}, ValueError, "sample_weight must have the shape of the"),
        ({"sample_weight": torch.full((2,), torch.nan)}, ValueError, "sample_weight must be fin"),
        ({"class_mask": torch.ones(4)}, TypeError, "class_mask must be bool, True where a class"),
        ({"class_mask": torch.ones(5).bool()}, ValueError, r"class_mask must have shape \(4,\) or"),
        ({"class_mask": torch.ones(4).bool()}, ValueError, "labels are on a masked class"),
        ({"class_mask": torch.eye(4)[1].bool()}, ValueError, "masked class .class_mask.: sample 1"),
        ({"class_dim": 2}, ValueError, r"class_dim must be an integer in -2..1"),
    ],
)
def test_what_is_wrong_with_weights_and_masks(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    logits, labels = torch.randn(2, 4), torch.tensor([0, 1])
    with pytest.raises(error, match=message):
        posterior_loss(logits, labels, TwoLevel(0.1, 0.1), **options)
    made = {k: v for k, v in options.items() if k in ("class_weight", "class_dim")}
    with pytest.raises(error, match=message):
        label_smoothing(**made)(
            logits, labels, **{k: v for k, v in options.items() if k not in made}
        )


@pytest.mark.parametrize(
    ("logits", "labels", "class_dim", "message"),
    [
        ((8, 16, 5), (8, 16), None, r"16 classes in dimension 1.*\(8, 5\).*pass class_dim=-1"),
        ((8, 5, 16), (8, 16), -1, r"16 classes in dimension 2.*\(8, 5\).*pass class_dim=1"),
        ((8, 5, 16), (8, 17), None, r"got \(8, 17\); torch has the classes in dimension 1"),
    ],
)
def test_labels_that_go_with_another_layout(
    logits: tuple[int, ...], labels: tuple[int, ...], class_dim: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        label_smoothing(class_dim=class_dim)(
            torch.zeros(logits), torch.zeros(labels, dtype=torch.long)
        )


def test_counts_of_one_s_own_on_a_masked_class() -> None:
    mask = torch.tensor([False, False, True])
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    for counts in (torch.ones(2, 3), Sparse(torch.tensor([[0, 2]] * 2), torch.ones(2, 2), 0.0)):
        with pytest.raises(ValueError, match="counts are on a masked class"):
            posterior_loss(logits, labels, counts, class_mask=mask)
        with pytest.raises(ValueError, match="counts are on a masked class"):
            PosteriorLoss(lambda _, c=counts: c)(logits, labels, class_mask=mask)  # type: ignore[misc]


@pytest.mark.parametrize("with_mask", [False, True])
def test_compiles_in_one_graph(with_mask: bool) -> None:
    logits = torch.randn(2, 4, 3)
    labels = torch.tensor([[0, 1, IGNORED], [1, 0, 1]])
    mask = torch.tensor([False, False, False, True]) if with_mask else None
    criterion = label_smoothing(0.2, class_weight=torch.rand(4))

    def loss(f: Tensor) -> Tensor:
        return criterion(f, labels, class_mask=mask)

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    close(compiled(ours), loss(theirs))
    close(gradient(compiled(ours), ours), gradient(loss(theirs), theirs))


def test_accumulation_is_exact_by_sums_and_one_divisor() -> None:
    """Parts of a batch with unequal numbers of kept tokens, and class weights."""
    torch.manual_seed(0)
    logits = torch.randn(4, 6, 5, dtype=torch.float64)
    labels = torch.randint(5, (4, 6))
    labels[0, 1:] = labels[3, :4] = IGNORED
    weight = torch.rand(5, dtype=torch.float64)
    whole, summed = (
        label_smoothing(0.1, class_weight=weight, class_dim=-1, reduction=reduction)  # type: ignore[arg-type]
        for reduction in ("mean", "sum")
    )
    f = logits.clone().requires_grad_()
    wanted = gradient(whole(f, labels), f)
    divisor = weight[labels[labels >= 0]].sum()
    parts = logits.clone().requires_grad_()
    for part, y in zip(parts.split([1, 3]), labels.split([1, 3]), strict=True):
        (summed(part, y) / divisor).backward()
    close(parts.grad, wanted)  # type: ignore[arg-type]
