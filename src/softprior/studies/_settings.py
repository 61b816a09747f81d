"""The runs that the studies share: what two of them ask for is trained once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

from softprior.matching import penalty_weight
from softprior.priors import BetaPrior, TeacherPrior, UniformPrior
from softprior.studies._kit import Scale
from softprior.training import Recipe, images, presets

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
            "model": model,
            "augment": _CROPPED.get(scale.dataset, "crop"),
            "precision": scale.precision,
            "seed": seed,
        }
        return Recipe.from_dict(fields)
    smoke = scale.name == "smoke"
    return Recipe(
        dataset=scale.dataset,
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
        label_weight=1.0,
        confidence_penalty=0.0,
        teacher=None,
        match_smoothing=None,
        votes="live",
        student_temperature=1.0,
        initialisation=recipe.initialisation + 1,
    )


def smoothed(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """Label smoothing: ``1 - ε`` on the label, ``ε / (K - 1)`` on every other class."""
    prior = UniformPrior(smoothing, spread="others")
    return replace(recipe, prior=prior, label_weight=1 - smoothing)


def beta(
    recipe: Recipe, ranked_by: Literal["ema", "memory"] | None, smoothing: float = SMOOTHING
) -> Recipe:
    """Beta smoothing, ranked by "ema", "memory", or the student's own logits (None)."""
    prior = BetaPrior.matching(smoothing, strength=WEIGHT)
    return replace(recipe, prior=prior, label_weight=1 - WEIGHT, teacher=ranked_by)


def distilled(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """Self-distillation at the temperature at which the teacher smooths as much."""
    return replace(
        recipe,
        prior=TeacherPrior(strength=WEIGHT),
        label_weight=1 - WEIGHT,
        teacher=teacher(recipe),
        match_smoothing=smoothing,
    )


def penalised(recipe: Recipe, smoothing: float = SMOOTHING) -> Recipe:
    """The confidence penalty whose optimum on one sample leaves the label ``1 - ε``."""
    classes = _classes(recipe.dataset, recipe.subset)
    return replace(recipe, confidence_penalty=penalty_weight(smoothing, classes))


@cache
def _classes(dataset: str, subset: str | None) -> int:
    asked = None if subset is None else images.parse(subset).classes
    return len(images.classes(dataset, subset)) if asked is None else asked


def methods(recipe: Recipe, smoothing: float = SMOOTHING) -> list[Recipe]:
    """Cross-entropy and five ways to take the same amount from the label."""
    return [
        recipe,
        smoothed(recipe, smoothing),
        beta(recipe, "ema", smoothing),
        beta(recipe, "memory", smoothing),
        distilled(recipe, smoothing),
        penalised(recipe, smoothing),
    ]


def amount(recipe: Recipe) -> float:
    """The smoothing ε that a recipe of this file asks for; 0 for cross-entropy."""
    prior = recipe.prior
    if isinstance(prior, UniformPrior):
        return prior.strength
    if isinstance(prior, BetaPrior):
        return prior.strength / (prior.a + 1)
    return recipe.match_smoothing or 0.0
