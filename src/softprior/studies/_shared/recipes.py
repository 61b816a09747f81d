"""The runs that the studies share: what two of them ask for is trained once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from softprior.matching import penalty_weight
from softprior.penalties import ConfidencePenalty
from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
from softprior.teachers import EMA, Memory, TeacherSpec
from softprior.training import Recipe, images, presets


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a study is run: smoke (seconds), desk (a laptop), paper (the paper's recipe).

    Attributes:
        seeds: by number.
        dataset: a name or a path; None is digits.
        fingerprint: what was in the data: without the data its runs are still found.
        counts: training images of each class; None where nobody has looked, and as many are there
            as the scale takes.
        model: a network by name; None is the scale's.
        precision: of networks on a data set: digits always train in fp32. The paper's code does.
        subset: of the data, instead of the scale's; "all" is everything.
        epochs: instead of the scale's, and so on.
    """

    name: Literal["smoke", "desk", "paper"]
    seeds: Sequence[int]
    dataset: str | None = None
    model: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    fingerprint: str | None = None
    counts: tuple[int, ...] | None = None
    subset: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None

    @property
    def options(self) -> dict[str, str | int | float]:
        """What was asked for instead of the scale's own, by the name of the option."""
        values = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def part(self) -> str | None:
        """The subset of a data set: so many classes and images of each as there are."""
        if self.subset is not None:
            return None if self.subset == "all" else self.subset
        if self.dataset is None or self.name not in SUBSETS:
            return None
        classes, per_class = SUBSETS[self.name]
        if self.counts is not None:
            classes = min(classes, len(self.counts))
            there = images.drawn(len(self.counts), classes, images.Subset().seed).tolist()
            per_class = min(per_class, *(self.counts[c] for c in there))
        return images.Subset(classes, per_class).text

    @property
    def classes(self) -> int:
        """How many classes the data has, as far as is known; of many at least as many."""
        asked = images.parse(self.part).classes if self.part else None
        return asked or (MOST_CLASSES if self.counts is None else len(self.counts))


SUBSETS = {"smoke": (4, 10), "desk": (100, 100)}  # classes, and training images of each
MOST_CLASSES = 20
OPTIONS = ("subset", "epochs", "batch_size", "learning_rate")
SMOOTHING = 0.15  # taken from the label on average (paper and official code)
# Soft weight of Beta smoothing in the official code, and ours of self-distillation, which has 0.4
# there: where both take as much from the label, neither has more soft weight than the other.
WEIGHT = 0.6
DISTILLATION = presets.recipe("paper-resnet34-sd").prior  # the official code's


def base(scale: Scale, seed: int) -> Recipe:
    """Cross-entropy, as all of a seed's runs start from it.

    Without a data set an MLP on digits. With one at desk scale up to 100 of its classes, 100 images
    of each (as many as the smallest of them has, where it has fewer), and a network small enough
    for a laptop that learns its training set by heart: else cross-entropy would not be
    overconfident, and there would be nothing to smooth. There the last epoch counts: 1,000 images
    choose the best one too much by chance, and an early one may win. At paper scale the official
    code's recipe: ResNet-34 unless another network is asked for, DenseNet-BC-100 by its own
    schedule. What the scale has options for is as they say.
    """
    recipe = _usual(scale, seed)
    asked = {name: getattr(scale, name) for name in OPTIONS if name != "subset"}
    changes: dict[str, Any] = {name: v for name, v in asked.items() if v is not None}
    return replace(recipe, subset=scale.part, **changes)


def _usual(scale: Scale, seed: int) -> Recipe:
    """The scale's own recipe, on all of the data."""
    if scale.dataset is None:
        epochs = {"smoke": 8, "desk": 30, "paper": 150}[scale.name]
        return Recipe(model=scale.model or "mlp", validation=0.25, epochs=epochs, seed=seed)
    if scale.name == "paper":
        model = scale.model or "resnet34"
        preset = presets.NETWORKS.get(f"paper-{model}", presets.NETWORKS["paper-resnet34"])
        fields = {
            **preset.on(scale.dataset),
            "dataset": scale.dataset,
            "fingerprint": scale.fingerprint,
            "model": model,
            "precision": scale.precision,
            "seed": seed,
        }
        return Recipe.from_dict(fields)
    smoke = scale.name == "smoke"
    return Recipe(
        dataset=scale.dataset,
        fingerprint=scale.fingerprint,
        model=scale.model or "resnet8-wide",
        augment="flip",
        epochs=20 if smoke else 30,
        batch_size=8 if smoke else 32,
        learning_rate=0.05 if smoke else 0.1,
        select="last",
        schedule="cosine",
        weight_decay=5e-4,
        precision=scale.precision,
        seed=seed,
    )


def teacher(recipe: Recipe) -> Recipe:
    """The generation before: the same without a prior, from another initialisation."""
    return replace(
        recipe,
        prior=None,
        penalty=None,
        label_weight=None,
        teacher=None,
        match_smoothing=None,
        teacher_targets="live",
        student_temperature=1.0,
        initialisation=recipe.initialisation + 1,
    )


def smoothed(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """Label smoothing: ``1 - ε`` on the label, ``ε / (K - 1)`` on every other class."""
    return replace(recipe, prior=UniformPrior(smoothing, spread="others"))


def beta(recipe: Recipe, ranked_by: TeacherSpec | None, smoothing: float = SMOOTHING) -> Recipe:
    """Beta smoothing, ranked by a teacher, or by the student's own logits (None)."""
    return replace(recipe, prior=BetaPrior.matching(smoothing, strength=WEIGHT), teacher=ranked_by)


def average(scale: Scale) -> TeacherSpec:
    """The average of the student that ranks Beta smoothing; the official code's at paper scale."""
    if not as_in_the_paper(scale):
        return EMA()
    ranks = presets.recipe("paper-resnet34-beta").teacher
    assert isinstance(ranks, TeacherSpec)
    return ranks


def as_in_the_paper(scale: Scale) -> bool:
    """Whether the official code decides what is not asked for: digits are not in the paper."""
    return scale.name == "paper" and scale.dataset is not None


def distilled(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """Self-distillation at the temperature at which the teacher smooths as much."""
    return replace(
        recipe,
        prior=TeacherPrior(strength=WEIGHT),
        teacher=teacher(recipe),
        match_smoothing=smoothing,
    )


def penalised(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """The confidence penalty whose optimum on one sample leaves the label ``1 - ε``."""
    classes = _classes(str(recipe.dataset), recipe.subset)
    return replace(recipe, penalty=ConfidencePenalty(penalty_weight(smoothing, classes)))


@cache
def _classes(dataset: str, subset: str | None) -> int:
    asked = None if subset is None else images.parse(subset).classes
    return len(images.classes(dataset, subset)) if asked is None else asked


def methods(scale: Scale, recipe: Recipe, smoothing: float | None = None) -> list[Recipe]:
    """Cross-entropy and the ways to take the same amount from the label.

    Those of the paper's main table, Beta smoothing with two rankings; on digits, where a run costs
    nothing, the confidence penalty too. Without an amount it is that of the main table. At paper
    scale self-distillation is then the official code's, which has a fixed weight and temperature:
    how much it takes from the label, its teacher says.
    """
    amount = SMOOTHING if smoothing is None else smoothing
    fixed = smoothing is None and as_in_the_paper(scale)
    found = [
        recipe,
        smoothed(recipe, amount),
        beta(recipe, average(scale), amount),
        beta(recipe, Memory(), amount),
        replace(recipe, prior=DISTILLATION, teacher=teacher(recipe))
        if fixed
        else distilled(recipe, amount),
    ]
    return found if recipe.dataset != "digits" else [*found, penalised(recipe, amount)]


def reachable(scale: Scale, smoothings: Sequence[float]) -> tuple[float, ...]:
    """Those that self-distillation can take from the label: less than w (1 - 1/K)."""
    most = WEIGHT * (1 - 1 / scale.classes)
    return tuple(smoothing for smoothing in smoothings if smoothing < 0.99 * most)


def amount(recipe: Recipe) -> float:
    """The smoothing ε that a recipe of this file asks for; 0 for cross-entropy."""
    by_prior = None if recipe.prior is None else recipe.prior.average_smoothing
    return by_prior or recipe.match_smoothing or 0.0
