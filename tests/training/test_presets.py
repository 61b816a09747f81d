"""Presets are recipes; a chain of generations is the one that ``generations`` makes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softprior.penalties import ConfidencePenalty
from softprior.priors import TeacherPrior
from softprior.training import Recipe, generations, presets

# The soft weight w and label weight 1 - w of the official code, and what is left of the label.
SMOOTHING = 0.15


@pytest.mark.parametrize("name", presets.found())
def test_every_preset_is_a_recipe_that_may_be_changed(name: str) -> None:
    recipe = presets.recipe(name, dataset="cifar100", seed=3)
    assert (recipe.dataset, recipe.seed) == ("cifar100", 3)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    fields = presets.get(name).fields
    assert presets.recipe(name, epochs=2).epochs == 2
    assert all(getattr(recipe, key) == fields[key] for key in ("model", "epochs", "batch_size"))


@pytest.mark.parametrize("name", presets.found())
def test_label_weight_and_strength_are_the_usual_mix(name: str) -> None:
    recipe = presets.recipe(name)
    strength = 0.0 if recipe.prior is None else recipe.prior.strength
    assert recipe.label_weight is None
    assert recipe.effective_label_weight + strength == pytest.approx(1)


def test_label_smoothing_and_beta_take_as_much_from_the_label() -> None:
    smoothing = presets.recipe("paper-resnet34-ls").prior
    beta = presets.recipe("paper-resnet34-beta").prior
    assert smoothing is not None
    assert smoothing.strength == SMOOTHING  # all of it goes to other classes
    assert beta is not None
    assert beta.strength / (beta.a + 1) == pytest.approx(SMOOTHING)  # type: ignore[attr-defined]


def test_the_teacher_of_self_distillation_is_the_cross_entropy_run() -> None:
    student = presets.recipe("paper-densenet100-sd", seed=4, epochs=2)
    assert student.teacher == presets.recipe("paper-densenet100", seed=4, epochs=2)
    other = presets.recipe("paper-densenet100", seed=4, initialisation=7)
    assert presets.recipe("paper-densenet100-sd", seed=4, teacher=other).teacher == other


@pytest.mark.parametrize("weight", [0.0, 0.6, None])
def test_a_chain_is_what_generations_makes(weight: float | None) -> None:
    prior = TeacherPrior(strength=0.7, temperature=2.0)
    first = Recipe(epochs=2, seed=1, initialisation=5)
    values = {**first.to_dict(), "prior": prior, "label_weight": weight, "teacher": None}
    chain = presets.chain(values, 4)
    assert chain == list(generations(first, prior, 4, label_weight=weight))
    assert presets.chain(values, 3) == chain[:3]  # so that a longer one extends it


def test_students_alone_have_what_goes_with_a_prior() -> None:
    values = {
        "prior": TeacherPrior(),
        "penalty": ConfidencePenalty(),
        "label_weight": 0.5,
        "match_smoothing": 0.15,
        "teacher_targets": "stored",
    }
    first, *students = presets.chain(values, 3)
    assert first == Recipe()
    for student in students:
        assert (student.match_smoothing, student.label_weight) == (0.15, 0.5)
        assert (student.penalty, student.teacher_targets) == (ConfidencePenalty(), "stored")
    assert students[1].teacher == students[0]
    assert students[0] == replace(students[1], teacher=first, initialisation=1)


def test_unknown_names_list_the_nearest_first() -> None:
    with pytest.raises(ValueError, match="unknown preset 'desc': did you mean 'desk'"):
        presets.get("desc")
    with pytest.raises(ValueError, match="generations must be at least 1, got 0"):
        presets.chain({}, 0)
