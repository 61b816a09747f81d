"""Every network × method × kind of data set takes three steps, each through the real ``fit``.

``make test`` takes every network, every kind and every method once: what differs from ``USUAL`` in
one of the three. ``make test-slow`` takes the rest of the grid.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from members import uncovered
from on_disk import cifar, encoded, tiny_imagenet, write_images, write_parquet
from on_hub import stand_in
from PIL import Image
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from softprior import BetaPrior, TeacherPrior, UniformPrior
from softprior.training import Recipe, Store, fit, loop, models, resolve
from softprior.training.images import hub

NETWORKS = [*models.found()]
if importlib.util.find_spec("timm") is not None:
    NETWORKS.append("timm:resnet10t")

PLAIN = Recipe(
    # Three classes of five images, of which one each is for validation: three batches of four.
    subset="classes=3,per_class=5",
    validation=0.2,
    batch_size=4,
    epochs=1,
    resolution=8,
    learning_rate=0.01,
    momentum=0.0,
    weight_decay=0.0,  # a weight changes by its gradient alone
)


def beta(recipe: Recipe, **rest: Any) -> Recipe:
    return replace(recipe, prior=BetaPrior(**rest))


def taught(recipe: Recipe, by: Any) -> Recipe:
    return replace(recipe, prior=TeacherPrior(), teacher=by)


METHODS: dict[str, Callable[[Recipe], Recipe]] = {
    "cross-entropy": lambda r: r,
    "label smoothing": lambda r: replace(r, prior=UniformPrior(0.15)),
    "confidence penalty": lambda r: replace(r, penalty="confidence"),
    "beta, own": beta,
    "beta, running": lambda r: beta(r, among="running"),
    "beta, ema": lambda r: replace(beta(r), teacher="ema"),
    "beta, memory": lambda r: replace(beta(r), teacher="memory"),
    "teacher, frozen": lambda r: taught(r, r),
    "teacher, ema": lambda r: taught(r, "ema"),
    "teacher, memory": lambda r: taught(r, "memory"),
}
# What is found by its file and has no name above: with every network on one kind of data.
FOUND = uncovered(PLAIN, {name: make(PLAIN) for name, make in METHODS.items()})


def photographs(folder: Path) -> Path:
    """As CUB-200-2011 on the Hub: JPEG of many sizes in a column ``image``, with class names."""
    rng = np.random.default_rng(0)
    names = [f"{c + 1:03d}.Bird" for c in range(3)]
    for part, n in (("train", 15), ("test", 3)):
        images = [
            encoded(Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)), "JPEG")
            for h, w in rng.integers(120, 200, (n, 2))
        ]
        file = folder / "data" / f"{part}-00000-of-00001.parquet"
        write_parquet(file, images, [k % 3 for k in range(n)], names=names)
    return folder


def folders(root: Path) -> Path:
    for c, name in enumerate(("ash", "birch", "cedar")):
        write_images(root / "train" / name, range(5 * c, 5 * c + 5))
        write_images(root / "test" / name, [90 + c])
    return root


KINDS: dict[str, tuple[Callable[[Path], Path | str], dict[str, Any]]] = {
    "digits": (lambda folder: "digits", {}),
    "Parquet like CIFAR": (lambda f: cifar(f, 24, 6, classes=3), {"augment": "crop"}),
    "Parquet like CUB": (photographs, {"augment": "resized"}),
    "image folder": (folders, {"augment": "flip"}),
    "Tiny-ImageNet": (tiny_imagenet, {"augment": "flip"}),
    "Hub": (lambda folder: "cifar100", {"augment": "crop"}),
}


def pairs(network: str, kind: str, method: str) -> bool:
    """Every pair of two of them is in one that is kept, and all that differ in one from the
    usual."""
    at = list(NETWORKS).index(network) + list(METHODS).index(method)
    usual = sum(map(str.__ne__, (network, kind, method), USUAL)) <= 1
    return usual or list(KINDS)[at % len(KINDS)] == kind


USUAL = ("convnet", "Parquet like CIFAR", "beta, ema")
GRID = [
    pytest.param(
        *case,
        marks=[pytest.mark.slow] if sum(map(str.__ne__, case, USUAL)) > 1 else [],
        id="-".join(case),
    )
    for case in itertools.product(NETWORKS, KINDS, METHODS)
    if pairs(*case)
]
assert USUAL in {param.values for param in GRID}
for one, other in itertools.combinations((0, 1, 2), 2):
    choices = (NETWORKS, KINDS, METHODS)
    kept = {(param.values[one], param.values[other]) for param in GRID}
    assert kept == set(itertools.product(choices[one], choices[other]))


class Kept(Store):
    """The weights of finished runs, in memory: what a frozen teacher is made of."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.finished: dict[Recipe, dict[str, Tensor]] = {}

    def get(self, recipe: Recipe) -> Any:
        if recipe not in self.finished:
            return None
        return SimpleNamespace(weights=lambda: self.finished[recipe])

    def write_history(self, recipe: Recipe, history: list[dict[str, float]]) -> None:
        pass


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Name or path of a kind's data, written when first asked for."""
    return functools.cache(lambda kind: str(KINDS[kind][0](tmp_path_factory.mktemp("data"))))


@pytest.fixture(scope="module", autouse=True)
def thrift() -> Iterator[None]:
    """Data is decoded once, initial weights are drawn once, and no run is written to the disk."""
    module = loop
    build, load = models.build, module.load
    decoded: dict[str, Any] = {}

    @functools.lru_cache(maxsize=2)  # a large network's weights are 100 MB
    def drawn(*args: Any) -> nn.Module:
        return build(*args)

    def load_once(recipe: Recipe, *rest: Any) -> Any:
        if recipe.dataset not in decoded:
            decoded[recipe.dataset] = load(recipe, *rest)
        return decoded[recipe.dataset]

    def keep(recipe: Recipe, state: Any, store: Kept, data: Any) -> None:
        store.finished[recipe] = state.best

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build", lambda *args: copy.deepcopy(drawn(*args)))
        patch.setattr(module, "load", load_once)
        patch.setattr(module, "_finish", keep)
        patch.setattr(
            module, "MIN_CHECKPOINT_AGE", math.inf
        )  # a slow machine would write a checkpoint
        patch.setitem(sys.modules, "datasets", stand_in())
        patch.setattr(hub, "reachable", lambda: True)
        # It rearranges a large network's weights at every call: half the time for tiny images.
        patch.setattr(torch.backends.mkldnn, "enabled", False)
        yield


@pytest.fixture(scope="module")
def stores() -> Callable[[str, str], Kept]:
    """One store for each network and kind of data, and no more than one at a time."""
    return functools.lru_cache(maxsize=1)(lambda network, kind: Kept())


def some(weights: Tensor) -> Tensor:
    """The first filters: enough to see whether there was a step."""
    return weights.detach()[:8]


@pytest.mark.parametrize(("network", "kind", "method"), GRID)
def test_three_steps(
    network: str,
    kind: str,
    method: str,
    where: Callable[[str], str],
    stores: Callable[[str, str], Kept],
) -> None:
    plain = replace(PLAIN, model=network, dataset=where(kind), **KINDS[kind][1])
    three_steps(METHODS[method](plain), stores(network, kind))


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize(
    "network",
    [USUAL[0], *(pytest.param(n, marks=pytest.mark.slow) for n in ("mlp", "resnet8"))],
)
def test_three_steps_of_what_is_found(
    network: str, name: str, stores: Callable[[str, str], Kept]
) -> None:
    three_steps(replace(FOUND[name], model=network), stores(network, "digits"))


def three_steps(recipe: Recipe, store: Kept) -> None:
    recipe = resolve(recipe)
    if isinstance(recipe.teacher, Recipe):
        fit(recipe.teacher, store, cpu=True)
    before: list[Tensor] = []
    after: list[list[Tensor]] = []

    def start(optimizer: Any, *_: object) -> None:
        if not before:
            before.extend(some(p).clone() for p in optimizer.param_groups[0]["params"])

    def stepped(optimizer: Any, *_: object) -> None:
        after.append(optimizer.param_groups[0]["params"])

    store.finished.pop(recipe, None)
    rows: list[dict[str, float]] = []
    hooks = register_optimizer_step_pre_hook(start), register_optimizer_step_post_hook(stepped)
    try:
        fit(recipe, store, rows.append, cpu=True)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(after) == 3
    (row,) = rows
    assert np.isfinite(row["loss"])
    assert row["loss"] != 0
    for old, new in zip(before, map(some, after[-1]), strict=True):
        assert new.isfinite().all()
        if new.ndim > 1:  # a vector may be a bias before batch norm, which has no gradient
            assert not torch.equal(old, new)
