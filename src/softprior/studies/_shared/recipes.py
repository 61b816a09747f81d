"""The runs that the studies share: what two of them ask for is trained once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from softprior.matching import penalty_weight
from softprior.penalties import ConfidencePenalty
from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
from softprior.teachers import EMA, Memory, TeacherSpec
from softprior.training import Recipe, images, presets


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a study is run: smoke (seconds), desk (a laptop), paper (the paper's recipe).

    Attributes:
        dataset: a name or a path; None is digits.
        fingerprint: what was in the data: without the data its runs are still found.
        model: a network by name; None is the scale's.
        precision: of networks on a data set: digits always train in fp32.
    """

    name: Literal["smoke", "desk", "paper"]
    seeds: int
    dataset: str | None = None
    model: str | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    fingerprint: str | None = None


SMOOTHING = 0.15  # taken from the label on average (paper and official code)
# Not cut out of a padded image but, at any size, out of the image itself.
_CROPPED = {"tiny-imagenet": "resized", "cub200": "resized"}
WEIGHT = 0.6  # soft weight of Beta smoothing and self-distillation (official code)


def base(scale: Scale, seed: int) -> Recipe:
    """Cross-entropy, as all of a seed's runs start from it.

    Without a data set an MLP on digits. With one at desk scale 20 of its classes and a network
    small enough for a laptop that learns its training set by heart: else cross-entropy would not
    be overconfident, and there would be nothing to smooth. There the last epoch counts: 200
    images choose the best one too much by chance, and an early one may win. At paper scale the
    official code's recipe: ResNet-34 unless another network is asked for, DenseNet-BC-100 by its
    own schedule.
    """
    if scale.dataset is None:
        epochs = {"smoke": 8, "desk": 30, "paper": 150}[scale.name]
        return Recipe(model=scale.model or "mlp", validation=0.25, epochs=epochs, seed=seed)
    if scale.name == "paper":
        model = scale.model or "resnet34"
        preset = presets.NETWORKS.get(f"paper-{model}", presets.NETWORKS["paper-resnet34"])
        fields = {
            **preset.fields,
            "dataset": scale.dataset,
            "fingerprint": scale.fingerprint,
            "model": model,
            "augment": _CROPPED.get(scale.dataset, "crop"),
            "precision": scale.precision,
            "seed": seed,
        }
        return Recipe.from_dict(fields)
    smoke = scale.name == "smoke"
    return Recipe(
        dataset=scale.dataset,
        fingerprint=scale.fingerprint,
        subset="classes=4,per_class=10" if smoke else "classes=20,per_class=100",
        model=scale.model or "resnet8-wide",
        augment="flip",
        epochs=20 if smoke else 22,
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


def methods(recipe: Recipe, smoothing: float = SMOOTHING) -> list[Recipe]:
    """Cross-entropy and five ways to take the same amount from the label."""
    return [
        recipe,
        smoothed(recipe, smoothing),
        beta(recipe, EMA(), smoothing),
        beta(recipe, Memory(), smoothing),
        distilled(recipe, smoothing),
        penalised(recipe, smoothing),
    ]


def amount(recipe: Recipe) -> float:
    """The smoothing ε that a recipe of this file asks for; 0 for cross-entropy."""
    by_prior = None if recipe.prior is None else recipe.prior.average_smoothing
    return by_prior or recipe.match_smoothing or 0.0
