"""Recipes: values with a name of their own, checked before anything is trained."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from members import members
from on_disk import cifar
from torch import nn

from softprior import (
    EMA,
    Batch,
    BetaPrior,
    ConfidencePenalty,
    Memory,
    Penalty,
    Prior,
    TeacherPrior,
    TwoLevel,
    UniformPrior,
    own,
    priors,
    records,
)
from softprior.studies import method
from softprior.teachers import ema
from softprior.training import OwnData, Recipe, fit, generations, models, resolve
from softprior.training.recipe import OldFormatError

FIRST = Recipe(epochs=2)
VOTES = TeacherPrior(strength=1.0, temperature=1.0)
TAUGHT = replace(FIRST, prior=TeacherPrior(), teacher=FIRST, match_smoothing=0.15)
EXAMPLES = [
    FIRST,
    replace(FIRST, prior=UniformPrior(0.1)),
    replace(FIRST, prior=BetaPrior.matching(0.15), label_weight=0.5, teacher="ema"),
    replace(FIRST, prior=BetaPrior(draw="quantile"), teacher="memory"),
    replace(FIRST, prior=BetaPrior(order="reversed")),
    replace(FIRST, prior=BetaPrior(order=-0.25)),
    TAUGHT,
    replace(FIRST, penalty=ConfidencePenalty(0.2)),
    replace(FIRST, prior="beta", penalty="confidence"),
    list(generations(FIRST, VOTES, 4))[-1],
    *members(FIRST).values(),
]


@pytest.mark.parametrize("recipe", EXAMPLES, ids=lambda r: method(r))
def test_json_round_trip_keeps_the_recipe_and_its_digest(recipe: Recipe) -> None:
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert hash(again) == hash(recipe)


def test_every_field_changes_the_digest() -> None:
    other = {
        "dataset": "cifar10",
        "subset": "classes=3",
        "resolution": 16,
        "augment": "crop",
        "view_size": 16,
        "normalisation": "imagenet",
        "split_seed": 1,
        "label_noise": 0.1,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "precision": "bf16",
        "model": "convnet",
        "prior": UniformPrior(),
        "label_weight": 0.5,
        "penalty": ConfidencePenalty(),
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
    beside = {
        "noise_kind",
        "teacher_targets",
        "target_diversity",
        "channels_last",
        "fingerprint",
    }
    assert set(other) | beside == {f.name for f in dataclasses.fields(Recipe)}
    changed = [replace(FIRST, **{name: value}) for name, value in other.items() if value]
    noisy = replace(FIRST, label_noise=0.2)
    changed += [noisy, replace(noisy, noise_kind="pair")]
    taught = replace(FIRST, prior=BetaPrior())
    averaged = replace(taught, teacher="ema")
    changed += [replace(averaged, teacher=EMA(0.9)), replace(averaged, teacher=EMA(mode="train"))]
    changed += [replace(averaged, teacher=EMA(start="random"))]
    changed += [replace(FIRST, channels_last=False), replace(FIRST, fingerprint="other data")]
    changed += [replace(TAUGHT, teacher_targets=t) for t in ("stored", "permuted")]
    changed += [taught, replace(taught, teacher="ema"), replace(taught, teacher="memory")]
    changed += [TAUGHT, replace(TAUGHT, match_smoothing=None)]
    digests = {recipe.digest for recipe in [FIRST, *changed]}
    assert len(digests) == 1 + len(changed)


def test_digest_is_stable_across_versions() -> None:
    """Runs on disk are found by it: if this changes, FORMAT must go up and CHANGELOG say so."""
    assert Recipe().digest == Recipe.from_dict({}).digest
    assert len(FIRST.digest) == 16


SMALL = Recipe(
    dataset="cifar100",
    model="resnet8-wide",
    subset="classes=20,per_class=100",
    augment="flip",
    epochs=22,
    batch_size=32,
    learning_rate=0.1,
    select="last",
    schedule="cosine",
    weight_decay=5e-4,
    seed=3,
)
# What runs of the small networks are called on disk: a field that is added later, and a change of
# the large networks, leaves all of these.
CALLED = {
    "4cede21ac1926129": Recipe(),
    "6524da022826456c": Recipe(model="convnet", augment="crop", seed=2),
    "17ee0ea2e12fd862": Recipe(dataset="cifar10", model="resnet8"),
    "e9c5833ba35bfc0a": Recipe(dataset="cifar10", model="resnet20"),
    "2dd9027e5e72ce79": Recipe(dataset="cifar10", model="resnet32"),
    "71af92f59f3d3900": SMALL,
    "71355762e19cfcaf": replace(SMALL, resolution=32, augment="resized"),
    "2a155228caaf47f1": replace(SMALL, prior=UniformPrior(0.15, spread="others")),
    "141fa9e084230128": replace(SMALL, prior=BetaPrior.matching(0.15), teacher="ema"),
    "4b628fecddce76fc": replace(
        SMALL,
        prior=TeacherPrior(strength=0.6),
        teacher=replace(SMALL, initialisation=1),
        match_smoothing=0.15,
    ),
}


@pytest.mark.parametrize("digest", CALLED)
def test_runs_of_small_networks_keep_their_names(digest: str) -> None:
    recipe = CALLED[digest]
    assert recipe.digest == digest
    # Whether a field at its default was written or not.
    assert Recipe.from_dict(recipe.to_dict()).digest == digest


@pytest.mark.parametrize("field", dataclasses.fields(Recipe), ids=lambda field: field.name)
def test_a_field_at_its_default_is_in_no_digest(field: dataclasses.Field[Any]) -> None:
    for recipe in EXAMPLES:
        values = {**recipe.to_dict(), field.name: getattr(recipe, field.name)}
        without = {name: value for name, value in values.items() if name != field.name}
        if getattr(recipe, field.name) == field.default:
            assert Recipe.from_dict(without).digest == recipe.digest
            assert field.name == "dataset" or f'"{field.name}"' not in recipe._identity


def test_the_split_is_the_seed_s_unless_it_has_its_own() -> None:
    assert [r.split for r in (FIRST, replace(FIRST, seed=4), replace(FIRST, split_seed=3))] == [
        *(0, 4, 3),
    ]
    assert replace(FIRST, seed=4, split_seed=4) == replace(FIRST, seed=4)  # the same run
    of_three = replace(FIRST, split_seed=3, seed=1)
    student = replace(of_three, prior=TeacherPrior(), teacher=replace(of_three, seed=2))
    assert student.generation == 1  # another seed, and the same split


def test_generations_share_the_split_and_differ_in_initialisation() -> None:
    chain = list(generations(FIRST, VOTES, 5))
    assert [r.generation for r in chain] == [0, 1, 2, 3, 4]
    assert [r.initialisation for r in chain] == [0, 1, 2, 3, 4]
    assert {r.seed for r in chain} == {0}
    assert all(r.effective_label_weight == 0 and r.prior == VOTES for r in chain[1:])


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
        (
            {"teacher_targets": "stord"},
            r"unknown kind of teacher_targets 'stord': did you mean 'stored'",
        ),
        ({"teacher_targets": "stored"}, r"teacher_targets 'stored' are a frozen teacher's"),
        ({"prior": "betta"}, r"unknown prior 'betta': did you mean 'beta'"),
        ({"penalty": BetaPrior()}, r"penalty must be a Penalty or None, got BetaPrior"),
        ({"prior": Memory()}, r"prior must be a Prior or None, got Memory"),
        ({"prior": UniformPrior(1.5)}, r"the usual mix of .* leaves -0.5 to the label: pass"),
        ({"model": nn.Linear(2, 2)}, r"model is a network, Linear; pass what makes one"),
        ({"model": BetaPrior}, r"model is BetaPrior, which is a prior, penalty or teacher; wanted"),
        ({"dataset": ([1], [2])}, r"dataset must be .* got tuple: .* write dataset=OwnData.of\(\("),
        ({"label_weight": float("nan")}, r"label_weight must be a number"),
        ({"validation": 0.0}, r"validation must be a number in \(0"),
        ({"milestones": (0.5, 0.2)}, r"milestones must ascend"),
        ({"milestones": (2.0,)}, r"milestones \(fractions of training\) must be a number"),
        ({"label_weight": 0.0}, r"nothing is left to learn from"),
        ({"teacher": "ema"}, r"a teacher needs a prior"),
        ({"prior": BetaPrior(), "teacher": "emma"}, r"unknown teacher 'emma': did you mean 'ema'"),
        ({"prior": TeacherPrior()}, r"prior TeacherPrior\(.*\) needs a teacher"),
        ({"prior": UniformPrior(), "teacher": "ema"}, r"prior UniformPrior\(.*\) asks no teacher"),
        ({"noise_kind": "pair"}, r"noise_kind goes with label_noise"),
        ({"prior": BetaPrior(), "match_smoothing": 0.1}, r"BetaPrior.matching"),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, seed=1)},
            r"teacher has seed 1 and student 0: they must share it",
        ),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, split_seed=2)},
            r"teacher has seed 2 and student 0: they must share it",
        ),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, split_seed=2), "split_seed": 1},
            r"teacher has split_seed 2 and student 1: they must share it",
        ),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, view_size=8)},
            r"teacher has view_size 8 and student None: .* sees the student's inputs",
        ),
        (
            {"prior": TeacherPrior(), "teacher": replace(FIRST, normalisation="cifar10")},
            r"teacher has normalisation 'cifar10' and student 'training': they must share it",
        ),
        ({"view_size": 3}, r"view_size must be an integer ≥ 4, got 3"),
        ({"view_size": 8.5}, r"view_size must be an integer ≥ 4, got 8.5"),
        ({"resolution": "32"}, r"resolution must be an integer ≥ 4, got '32'"),
        ({"split_seed": -1}, r"split_seed must be an integer ≥ 0, got -1"),
        ({"split_seed": True}, r"split_seed must be an integer ≥ 0, got True"),
        ({"normalisation": "imagnet"}, r"unknown normalisation .*: did you mean 'imagenet'"),
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
        ({"teacher": {"name": "emma"}, "prior": "beta"}, r"unknown teacher 'emma'"),
        ({"penalty": {"name": "confidence", "w": 1}}, r"unknown field of penalty 'confidence' 'w'"),
        ({"prior": {"strength": 1}}, r"prior needs its name beside strength: such as"),
        ({"prior": {}}, r"prior needs its name beside nothing: such as"),
        ({"prior": {"name": "mine:Mine", "strength": 1}}, r"prior mine:Mine is somebody's own"),
        ({"penalty": "mine:Mine"}, r"penalty mine:Mine is somebody's own and was not imported: pa"),
        ({"model": {"name": "mine:net"}}, r"network \{'name': 'mine:net'\} is neither a name nor"),
        ({"model": {"source": "0"}}, r"network \{'source': '0'\} is neither a name nor"),
    ],
)
def test_unknown_names_list_the_known_ones(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values)


class Plain(Prior):
    """Somebody's own, who has forgotten to make it a dataclass."""

    def __init__(self, strength: float = 0.1, power: float = 2.0) -> None:
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "power", power)

    def counts(self, batch: Batch) -> TwoLevel:
        return TwoLevel(0.0, 0.0)


@dataclass(frozen=True)
class Holding(Prior):
    """Holds what it is given."""

    strength: float = 0.1
    held: object = None

    def counts(self, batch: Batch) -> TwoLevel:
        return TwoLevel(0.0, 0.0)


@dataclass(frozen=True)
class Named(Penalty):
    """Has a field that a record has already."""

    weight: float = 0.1
    source: str = "here"

    def losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return logits.sum(1)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (
            Plain(),
            r"prior Plain takes power, which would be no part of the recipe: write @dataclas",
        ),
        (Named(), r"penalty Named has a field 'source', and its record another"),
        (Holding(held=[1, 2]), r"prior Holding: held is \[1, 2\]; a recipe holds numbers, text"),
        (Holding(held=torch.ones(2)), r"prior Holding: held is tensor\(.*; a recipe holds numbers"),
        (Holding(held=abs), r"held is <built-in function abs>; a recipe holds numbers"),
        (Holding(held=(1, {"a": 2})), r"held is \{'a': 2\}; a recipe holds numbers"),
        (Holding(held=float("inf")), r"held must be finite, got inf; None may stand for"),
        (Holding(held=(0.5, float("nan"))), r"held must be finite, got nan"),
    ],
)
def test_what_a_record_cannot_hold_is_refused(component: Any, message: str) -> None:
    role = "penalty" if isinstance(component, Penalty) else "prior"
    with pytest.raises((ValueError, TypeError), match=message):
        Recipe(**{role: component})


@pytest.mark.parametrize("held", [None, True, 3, 0.5, "text", (), (1, 2.5, ("a", None))])
def test_what_a_record_holds_comes_back(held: object) -> None:
    recipe = Recipe(prior=Holding(held=held))
    objects = {records.to_record("prior", Holding())["name"]: Holding}
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())), objects)
    assert again == recipe
    assert again.prior == recipe.prior
    assert repr(again.prior) == repr(recipe.prior)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda x: x.flatten(1)[:, :13], r"logits of shape \(B, 10\), .* gave \(2, 13\)"),
        (lambda x: (x.flatten(1)[:, :10], x), r"logits of shape \(B, 10\), .* gave tuple"),
        (lambda x: x.sum((1, 2, 3)), r"logits of shape \(B, 10\), .* gave \(2,\)"),
        (
            lambda x: x @ torch.ones(3, 3),
            r"failed at a batch of two images, \(2, 1, 8, 8\): Runtim",
        ),
    ],
)
def test_a_network_that_makes_no_logits_is_refused(outputs: Any, message: str) -> None:
    class Network(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return outputs(x)

    network = models.OwnNetwork("mine:Network", "0", lambda shape, classes: Network())
    with pytest.raises(ValueError, match=message):
        models.build(network, (1, 8, 8), 10, seed=0)


# ---------------------------------------------------------------- when two recipes are one


SPELLINGS: list[Callable[[], list[Recipe]]] = [
    lambda: [
        replace(FIRST, prior="beta", teacher=spelling) for spelling in ("ema", EMA(), EMA(0.999))
    ],
    lambda: [
        Recipe.from_dict({"prior": "beta", "teacher": teacher})
        for teacher in ("ema", {"name": "ema"}, {"name": "ema", "decay": 0.999})
    ],
    lambda: [
        replace(FIRST, prior=TeacherPrior(0.8), teacher=FIRST, label_weight=weight)
        for weight in (None, 0.2, 1 - 0.8)
    ],
    lambda: [Recipe(label_weight=weight) for weight in (None, 1, 1.0)],
    lambda: [Recipe(learning_rate=1), Recipe(learning_rate=1.0)],
    lambda: [Recipe(prior=BetaPrior(a=a)) for a in (5, 5.0)],
    lambda: [Recipe(prior=BetaPrior(order=order)) for order in ("intact", 1, 1.0)],
    lambda: [Recipe(prior=BetaPrior(order=order)) for order in ("random", 0, 0.0, -0.0)],
    lambda: [Recipe(prior=BetaPrior(order=order)) for order in ("reversed", -1, -1.0)],
    lambda: [Recipe(subset=s) for s in ("classes=3,per_class=5", "seed=0, per_class=5, classes=3")],
    lambda: [Recipe(), Recipe(fingerprint="digits"), resolve(Recipe())],
]


@pytest.mark.parametrize("spellings", SPELLINGS)
def test_spellings_of_one_recipe(spellings: Callable[[], list[Recipe]]) -> None:
    recipes = spellings()
    assert len({recipe.digest for recipe in recipes}) == 1
    assert len(set(recipes)) == 1
    assert recipes[0] == recipes[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class LaterRecipe(Recipe):
    """With a field that a later version has added."""

    gain: float = 1.0


def test_a_field_added_later_changes_no_digest() -> None:
    for recipe in EXAMPLES:
        values = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
        assert LaterRecipe(**values).digest == recipe.digest
        assert LaterRecipe(**values, gain=2.0).digest != recipe.digest


@pytest.mark.parametrize("role", records.BASES)
def test_a_hyper_parameter_added_later_changes_no_digest(
    role: records.Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(member: type) -> type:
        fields = [("gain", float, dataclasses.field(default=1.0))]
        return dataclasses.make_dataclass(member.__name__, fields, bases=(member,), frozen=True)

    known = dict(records.found(role))
    grown = {name: later(member) for name, member in known.items()}
    for name in known:
        record, more = records.canonical(role, known[name]()), ("gain", 2)
        with monkeypatch.context() as patch:
            patch.setattr(records, "found", lambda _: grown)
            assert records.canonical(role, grown[name]()) == record
            assert more in records.canonical(role, grown[name](gain=2)).items()


@pytest.mark.parametrize("recipe", members(FIRST).values(), ids=method)
def test_a_raised_version_is_another_run(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before, stored = recipe.digest, recipe.to_dict()
    for role in records.BASES:
        component = getattr(recipe, role)
        if component is None:
            continue
        with monkeypatch.context() as patch:
            patch.setattr(type(component), "version", 2)
            assert replace(recipe).digest != before
            # The run of before can be shown under its own name; it is not the new one.
            old = Recipe.from_dict(stored)
            assert old.digest == before
            assert getattr(old, role).label
    assert replace(recipe).digest == before


def test_a_network_family_with_another_version_is_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Recipe().digest
    monkeypatch.setattr(models.mlp, "VERSION", 2, raising=False)
    assert Recipe().digest != before
    assert Recipe(model="convnet").digest == replace(FIRST, model="convnet", epochs=30).digest


# ---------------------------------------------------------------- data


def test_what_is_in_a_path_decides(tmp_path: Path) -> None:
    path = cifar(tmp_path / "set", 12, 6, classes=3)
    copy = shutil.copytree(path, tmp_path / "elsewhere" / "copy")
    recipe = Recipe(dataset=str(path))
    with pytest.raises(ValueError, match=r"was not looked at yet: use softprior.training.resolve"):
        _ = recipe.digest
    assert recipe != Recipe(dataset=str(copy))
    found = {resolve(Recipe(dataset=p)).digest for p in (str(path), f"{path}/", str(copy))}
    assert len(found) == 1
    resolved = resolve(recipe)
    assert resolve(resolved) == resolved
    other = cifar(tmp_path / "other", 15, 6, classes=3)
    with pytest.raises(ValueError, match=r"has changed since this recipe was written"):
        resolve(replace(resolved, dataset=str(other)))
    student = replace(recipe, prior=TeacherPrior(), teacher=replace(recipe, dataset=str(copy)))
    assert resolve(student).teacher == resolved
    with pytest.raises(ValueError, match=r"teacher has dataset .* they must share it"):
        resolve(replace(student, teacher=replace(recipe, dataset=str(other))))


def test_a_finished_teacher_need_not_have_its_data(tmp_path: Path) -> None:
    path = cifar(tmp_path / "set", 12, 6, classes=3)
    teacher = replace(resolve(Recipe(dataset=str(path))), dataset="/no/longer/there")
    student = resolve(Recipe(dataset=str(path), prior=TeacherPrior(), teacher=teacher))
    assert student.teacher == teacher
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        resolve(teacher)


# ---------------------------------------------------------------- one's own

SOURCE = """
from dataclasses import dataclass
from torch import nn
from softprior import Prior, TwoLevel

@dataclass(frozen=True)
class Mine(Prior):
    strength: float = 0.2

    def counts(self, batch):
        return TwoLevel(0.0, self.strength / (batch.num_classes - 1))

def network(shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""


def written(folder: Path, name: str, source: str = SOURCE) -> Recipe:
    """A recipe with a prior and a network of a file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(source)
    recipe = Recipe(prior=own.load(f"{file}:Mine")(), model=own.load(f"{file}:network"), epochs=1)
    recipe.digest  # noqa: B018  # now: another file may take the module's place
    del sys.modules[name]
    return recipe


def test_changed_source_is_another_recipe_and_another_folder_is_not(tmp_path: Path) -> None:
    first = written(tmp_path / "a", "mine_one")
    assert written(tmp_path / "b" / "c", "mine_one") == first
    assert written(tmp_path / "d", "mine_one", SOURCE + "\n# changed\n") != first
    assert written(tmp_path / "a", "mine_two") != first


def test_a_stored_recipe_of_ones_own_is_a_plain_record(tmp_path: Path) -> None:
    recipe = written(tmp_path, "mine_stored")
    stored = json.loads(json.dumps(recipe.to_dict()))
    shown = Recipe.from_dict(stored)
    assert "mine_stored" not in sys.modules
    assert shown == recipe
    assert shown.digest == recipe.digest
    assert shown.to_dict() == stored
    assert method(shown).label.startswith("Mine")
    assert str(shown.model) == "mine_stored:network"
    with pytest.raises(ValueError, match="mine_stored:network is somebody's own and was not"):
        fit(shown, tmp_path / "runs")
    with pytest.raises(ValueError, match="prior mine_stored:Mine is somebody's own and was not"):
        fit(replace(shown, model="mlp"), tmp_path / "runs")
    objects = {f"mine_stored:{n}": own.load(f"{tmp_path}/mine_stored.py:{n}") for n in ("Mine",)}
    objects["mine_stored:network"] = own.load("mine_stored:network")
    assert fit(Recipe.from_dict(stored, objects), tmp_path / "runs").path.name == recipe.digest


def test_functions_that_carry_values_are_refused() -> None:
    recipe = Recipe(model=lambda shape, num_classes: nn.Sequential(nn.Flatten()))
    other = Recipe(model=lambda shape, num_classes: nn.Sequential(nn.Flatten(), nn.ReLU()))
    assert recipe.digest != other.digest
    width = 3
    with pytest.raises(TypeError, match="uses the values of width around it"):
        Recipe(model=lambda shape, num_classes: nn.Linear(width, num_classes))


def test_formats_of_before_are_named() -> None:
    for old in ({"confidence_penalty": 0.1}, {"ema_decay": 0.999}, {"format": 1}):
        with pytest.raises(OldFormatError, match="of another format than 3"):
            Recipe.from_dict(old)


def test_data_from_memory_is_a_recipe_s_data(tmp_path: Path) -> None:
    images = np.arange(12 * 64, dtype="uint8").reshape(12, 8, 8)
    data = OwnData.of((images, [k % 2 for k in range(12)]))
    recipe = Recipe(dataset=data, epochs=1)
    again = Recipe(dataset=OwnData.of((images.copy(), [k % 2 for k in range(12)])), epochs=1)
    assert recipe == again
    assert recipe.digest == again.digest
    run = fit(recipe, tmp_path)
    assert run.recipe == recipe
    assert Path(str(run.recipe.dataset)).is_dir()
    with pytest.raises(ValueError, match="pass the store's folder"):
        resolve(recipe)


def test_every_member_has_a_name_and_a_label() -> None:
    for role in records.BASES:
        for name, member in records.found(role).items():
            assert records.to_record(role, member())["name"] == name
            assert member().label
    assert isinstance(priors.found()["beta"](), Prior)
    assert ema.EMA() == EMA()


@pytest.mark.parametrize("changed", [BetaPrior(among="running"), BetaPrior(draw="quantile")])
def test_draws_that_have_changed_have_a_version_of_their_own(changed: BetaPrior) -> None:
    """Those stored before are shown and not trained again; other runs are as they were."""
    record = records.to_record("prior", changed)
    assert record["version"] == 2
    assert records.from_record("prior", record, {}) == changed
    del record["version"]
    assert not records.imported(records.from_record("prior", record, {}))
    assert "version" not in records.to_record("prior", BetaPrior())
    assert records.from_record("prior", records.to_record("prior", BetaPrior()), {}) == BetaPrior()
