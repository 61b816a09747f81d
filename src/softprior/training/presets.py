"""Named recipes: the fields that a paper's code, or a desk, decides; the rest is the user's.

The paper's are those of its official code: docs/deviations.md has every choice of that code, and a
test for each row of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from softprior import checks
from softprior.records import Objects
from softprior.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Fields of a recipe under a name.

    Attributes:
        line: what it is, in a line.
        fields: as :meth:`.Recipe.from_dict` takes them; fields that are not here are free.
        by_dataset: what a data set adds or changes, by its name.
        generations: the recipe is the last of so many, where no teacher is given.
    """

    line: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    by_dataset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    generations: int = 1

    def on(self, dataset: object) -> dict[str, Any]:
        """Its fields for a data set, of which only a name says which one it is."""
        named = self.by_dataset.get(dataset, {}) if isinstance(dataset, str) else {}
        return {**self.fields, **named}

    def unnamed(self, recipe: Recipe) -> str | None:
        """A line where the preset goes by the data set's name, and a recipe's has none it knows."""
        if not self.by_dataset or recipe.dataset in self.by_dataset:
            return None
        size = "the image's size" if recipe.view_size is None else f"view_size {recipe.view_size}"
        shown = Path(str(recipe.dataset)).name or recipe.dataset
        return (
            f"what the paper's code does by data set ({', '.join(self.by_dataset)}) goes by its "
            f"name, and {shown} is none of them: augment {recipe.augment}, {size}, normalisation "
            f"{recipe.normalisation}"
        )


# What is a recipe's default stands here, too, where the official code decides it.
_SGD = {
    "optimizer": "sgd",
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "precision": "fp32",
}
_PAPER = {**_SGD, "augment": "crop", "validation": 0.1, "split_seed": 0, "select": "best"}
_DATASETS: Mapping[str, Mapping[str, Any]] = {
    "cifar10": {"normalisation": "cifar10"},
    "cifar100": {"normalisation": "cifar100"},
    # 64 pixels, of which the networks see views of 32
    "tiny-imagenet": {"augment": "resized", "view_size": 32, "normalisation": "imagenet"},
    "cub200": {"augment": "resized"},  # ours: the official code does not have it
}

NETWORKS = {
    "paper-resnet34": Preset(
        line="ResNet-34 on images of 32 pixels, as in the paper's code",
        fields={**_PAPER, "model": "resnet34", "epochs": 150, "milestones": [1 / 3, 2 / 3]},
        by_dataset=_DATASETS,
    ),
    # 200 epochs: the paper's, as we recall it; the code's default is 150 for both networks.
    "paper-densenet100": Preset(
        line="DenseNet-BC (growth 12, depth 100) on images of 32 pixels, as in the paper's code",
        fields={**_PAPER, "model": "densenet100", "epochs": 200, "milestones": [0.5, 0.75]},
        by_dataset=_DATASETS,
    ),
}

# All take 15 % from the label on average, self-distillation as much as its teacher says at T = 4.
METHODS = {
    "ls": Preset(
        line="label smoothing by 0.15, spread over the other classes",
        fields={
            "prior": {"name": "uniform", "strength": 0.15, "spread": "others"},
        },
    ),
    "beta": Preset(
        line="Beta smoothing; the EMA teacher starts at random and runs in train mode",
        fields={
            "prior": {"name": "beta", "strength": 0.6, "a": 3.0},
            "teacher": {"name": "ema", "decay": 0.999, "start": "random", "mode": "train"},
        },
    ),
    "sd": Preset(
        line="self-distillation at temperature 4; the teacher is the cross-entropy run",
        fields={
            "prior": {"name": "teacher", "strength": 0.4, "temperature": 4.0},
        },
        generations=2,
    ),
}

_DESK = Preset(
    line="twenty classes of 200 images and a small network: minutes on one core",
    fields={
        "model": "resnet8-wide",
        "subset": "classes=20,per_class=200",
        "augment": "flip",
        "epochs": 40,
        "batch_size": 128,
    },
)


def found() -> dict[str, Preset]:
    """Every preset by name: each network of the paper with each method of the paper, and desk."""
    presets = {}
    for name, network in NETWORKS.items():
        presets[name] = network
        for suffix, method in METHODS.items():
            presets[f"{name}-{suffix}"] = Preset(
                line=method.line,
                fields={**network.fields, **method.fields},
                by_dataset=network.by_dataset,
                generations=method.generations,
            )
    return {**presets, "desk": _DESK}


def get(name: str) -> Preset:
    """A preset by name; ValueError lists the known ones, the nearest first."""
    checks.choice("preset", name, presets := found())
    return presets[name]


def recipe(name: str, **fields: Any) -> Recipe:
    """The recipe of a preset; ``fields`` win, and ``prior`` replaces all of the preset's prior.

    >>> ours = recipe("paper-resnet34-sd", dataset="cifar100", seed=3)
    >>> ours.generation, ours.teacher == recipe("paper-resnet34", dataset="cifar100", seed=3)
    (1, True)
    """
    preset = get(name)
    values = {**preset.on(fields.get("dataset", "digits")), **fields}
    if preset.generations == 1 or "teacher" in values:
        return Recipe.from_dict(values)
    return chain(values, preset.generations)[-1]


def chain(values: Mapping[str, Any], n: int, objects: Objects | None = None) -> list[Recipe]:
    """n generations: cross-entropy, then students, each with the one before as its teacher.

    ``values`` are the students' fields, as :meth:`.Recipe.from_dict` takes them, without a
    teacher; the first generation has neither their prior nor what goes with it, and no penalty.
    The recipes are those of :func:`.generations`, for students that may have their temperature
    matched, too.

    Source: paper (figure 1).
    """
    if n < 1:
        raise ValueError(f"generations must be at least 1, got {n}")
    alone = {
        "prior": None,
        "penalty": None,
        "label_weight": None,
        "match_smoothing": None,
        "teacher_targets": "live",
    }
    recipes = [Recipe.from_dict({**values, **alone}, objects)]
    first = recipes[0].initialisation
    for k in range(1, n):
        student = {**values, "teacher": recipes[-1], "initialisation": first + k}
        recipes.append(Recipe.from_dict(student, objects))
    return recipes
