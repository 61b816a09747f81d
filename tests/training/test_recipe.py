"""Recipes: values with a name of their own, checked before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from softprior import BetaPrior, TeacherPrior, UniformPrior
from softprior.training import Recipe, generations

FIRST = Recipe(epochs=2)
VOTES = TeacherPrior(strength=1.0, temperature=1.0)
EXAMPLES = [
    FIRST,
    replace(FIRST, prior=UniformPrior(0.1), label_weight=0.9),
    replace(FIRST, prior=BetaPrior.matching(0.15), label_weight=0.4, teacher="ema"),
    replace(FIRST, prior=BetaPrior(draw="quantile"), teacher="memory"),
    replace(FIRST, prior=BetaPrior(order="reversed")),
    replace(FIRST, prior=TeacherPrior(), label_weight=0.6, teacher=FIRST, match_smoothing=0.15),
    replace(FIRST, confidence_penalty=0.1),
    list(generations(FIRST, VOTES, 4))[-1],
]


@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda r: r.digest)
def test_json_round_trip_keeps_the_recipe_and_its_digest(recipe: Recipe) -> None:
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert hash(again) == hash(recipe)


def test_every_field_changes_the_digest() -> None:
    other = {
        "dataset": "elsewhere",
        "subset": "classes=3",
        "resolution": 16,
        "augment": "crop",
        "label_noise": 0.1,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "precision": "bf16",
        "model": "convnet",
        "prior": UniformPrior(),
        "label_weight": 0.5,
        "confidence_penalty": 0.1,
        "teacher": None,
        "match_smoothing": None,
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 0.05,
        "momentum": 0.8,
        "weight_decay": 0.0,
        "milestones": (0.5,),
        "validation": 0.2,
        "seed": 1,
        "initialisation": 1,
        "accumulate": 2,
        "compile": True,
        "student_temperature": 2.0,
        "select": "last",
    }
    # only beside another field, or True unless asked for
    beside = {"noise_kind", "ema_decay", "ema_start", "ema_mode", "votes", "channels_last"}
    assert set(other) | beside == {f.name for f in dataclasses.fields(Recipe)}
    changed = [replace(FIRST, **{name: value}) for name, value in other.items() if value]
    noisy = replace(FIRST, label_noise=0.2)
    changed += [noisy, replace(noisy, noise_kind="pair")]
    taught = replace(FIRST, prior=BetaPrior())
    averaged = replace(taught, teacher="ema")
    changed += [replace(averaged, ema_decay=0.9), replace(averaged, ema_mode="train")]
    changed += [replace(averaged, ema_start="random"), replace(FIRST, channels_last=False)]
    changed += [replace(EXAMPLES[5], votes="stored"), replace(EXAMPLES[5], votes="permuted")]
    changed += [taught, replace(taught, teacher="ema"), replace(taught, teacher="memory")]
    changed += [EXAMPLES[5], replace(EXAMPLES[5], match_smoothing=None)]
    digests = {recipe.digest for recipe in [FIRST, *changed]}
    assert len(digests) == 1 + len(changed)


def test_digest_is_stable_across_versions() -> None:
    """Runs on disk are found by it: if this changes, FORMAT must go up and CHANGELOG say so."""
    assert Recipe().digest == Recipe.from_dict({}).digest
    assert len(FIRST.digest) == 16


def test_generations_share_the_split_and_differ_in_initialisation() -> None:
    chain = list(generations(FIRST, VOTES, 5))
    assert [r.generation for r in chain] == [0, 1, 2, 3, 4]
    assert [r.initialisation for r in chain] == [0, 1, 2, 3, 4]
    assert {r.seed for r in chain} == {0}
    assert all(r.label_weight == 0 and r.prior == VOTES for r in chain[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"epochs must be an integer ≥ 1, got 0"),
        ({"batch_size": 1.5}, r"batch_size must be an integer ≥ 1, got 1.5"),
        ({"seed": -1}, r"seed must be an integer ≥ 0, got -1"),
        ({"learning_rate": 0}, r"learning_rate must be a number in \(0"),
        ({"momentum": 1.5}, r"momentum must be a number in \[0, 1\]"),
        ({"label_weight": -1.1}, r"label_weight must be a number"),
        ({"label_weight": -0.1}, r"nothing is left to learn from"),
        ({"accumulate": 0}, r"accumulate must be an integer ≥ 1, got 0"),
        ({"accumulate": 65}, r"accumulate must be at most batch_size = 64, got 65"),
        ({"student_temperature": 0.0}, r"student_temperature must be a number in \(0"),
        ({"votes": "stord"}, r"unknown kind of votes 'stord': did you mean 'stored'"),
        ({"votes": "stored"}, r"votes 'stored' are a frozen teacher's"),
        ({"ema_mode": "train"}, r"ema_mode goes with teacher 'ema'"),
        ({"ema_start": "random"}, r"ema_start goes with teacher 'ema'"),
        ({"label_weight": float("nan")}, r"label_weight must be a number"),
        ({"validation": 0.0}, r"validation must be a number in \(0"),
        ({"milestones": (0.5, 0.2)}, r"milestones must ascend"),
        ({"milestones": (2.0,)}, r"milestones \(fractions of training\) must be a number"),
        ({"label_weight": 0.0}, r"nothing is left to learn from"),
        ({"teacher": "ema"}, r"a teacher needs a prior"),
        ({"prior": BetaPrior(), "teacher": "emma"}, r"unknown teacher 'emma': did you mean 'ema'"),
        ({"prior": TeacherPrior()}, r"prior TeacherPrior\(.*\) needs a teacher"),
        ({"prior": UniformPrior(), "teacher": "ema"}, r"prior 'uniform' asks no teacher"),
        ({"ema_decay": 0.9}, r"ema_decay goes with teacher 'ema'"),
        ({"noise_kind": "pair"}, r"noise_kind goes with label_noise"),
        ({"prior": UniformPrior(), "confidence_penalty": 0.1}, r"leave prior out"),
        ({"prior": BetaPrior(), "match_smoothing": 0.1}, r"BetaPrior.matching"),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, seed=1)},
            r"teacher has seed 1 and student 0: they must share it",
        ),
    ],
)
def test_a_recipe_that_cannot_be_run_says_why(change: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        replace(FIRST, **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epohs": 3}, r"unknown field of a recipe 'epohs': did you mean 'epochs'\?"),
        ({"prior": {"name": "betta"}}, r"unknown prior 'betta': did you mean 'beta'\?"),
        ({"prior": {"name": "beta", "b": 1}}, r"unknown field of prior 'beta' 'b'"),
        ({"prior": {"name": "beta", "a": -1}}, r"a must be a number in \(0"),
    ],
)
def test_unknown_names_list_the_known_ones(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values)
