"""The options of a recipe: its fields, those of each component, and what names several at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import get_type_hints

from softprior import records
from softprior.cli import _kinds
from softprior.cli._fields import options_of
from softprior.cli._own import Own
from softprior.cli._parser import Parser
from softprior.component import Component
from softprior.records import BASES, Role
from softprior.training import Recipe, presets

OPTIONAL_TEXT = _kinds.of(str | None)
OPTIONAL_NAME = _kinds.either([_kinds.NAME, _kinds.NULL])
RECIPE = "the recipe, which decides everything about a run"

_ABOUT: dict[Role, str] = {
    "prior": "",
    "penalty": "",
    "teacher": "; the folder of a finished run (an earlier generation), or a file of weights "
    "(.safetensors, .pt)",
}


def recipe_options(parser: Parser, own: Own) -> None:
    """Everything that a recipe is made of; what the user names of his own has options, too."""
    parser.option("preset", OPTIONAL_TEXT, ", ".join(presets.found()), metavar="NAME")
    parser.files("config", "YAML or JSON file with these options")
    parser.flag("print-config", "print all options as such a file, and exit")
    parser.option(
        "generations",
        _kinds.of(int | None),
        "a chain: cross-entropy, then N - 1 students, each with the one before as its teacher",
    )
    parser.option(
        "dataset",
        _kinds.NAME,
        "a name (softprior list), a path, or package.module:NAME, a function or object of "
        "your own: (images, labels), a torch or Hugging Face Dataset, or a dict of train and test",
        default="digits",
        group=RECIPE,
    )
    parser.option(
        "model",
        _kinds.NAME,
        "a name (softprior list), or package.module:NAME, a function or class of your own, "
        "called with (channels, height, width) and the number of classes",
        default="mlp",
        group=RECIPE,
    )
    others = {"precision", "label_weight", "dataset", "model", *BASES}
    options_of(parser, Recipe, RECIPE, leave_out=others)
    parser.option(
        "precision",
        _kinds.one_of("auto", "fp32", "bf16"),
        "bf16: autocast in the networks; auto: bf16 where it is faster",
        default="auto",
        group=RECIPE,
    )
    parser.option(
        "label_weight",
        _kinds.of(float | None),
        "weight of the real label; by default the usual mix of the prior, 1 - strength",
        group=RECIPE,
    )
    for role in BASES:
        _component_options(parser, role, own)
    parser.option(
        "teacher_model",
        OPTIONAL_TEXT,
        "network of the teacher's weights; by default the student's",
        metavar="NAME",
        group="teacher",
    )


def _component_options(parser: Parser, role: Role, own: Own) -> None:
    members = dict(records.found(role))
    parser.option(
        f"{role}.name",
        OPTIONAL_NAME,
        f"{', '.join(members)}; package.module:NAME, of your own{_ABOUT[role]}",
        group=role,
        spellings=(f"--{role}", f"--{role}.name"),
    )
    if (name := own.named.get(role)) is not None:
        members[name] = records.check_class(role, name, own.objects[name])
    for field, owners in _fields(members).items():
        kinds = [_kinds.of(get_type_hints(members[owner])[field]) for owner in owners]
        parser.option(
            f"{role}.{field}",
            _kinds.either([*kinds, _kinds.NULL]),
            f"of {role} {', '.join(owners)}",
            group=role,
        )


def _fields(members: Mapping[str, type[Component]]) -> dict[str, list[str]]:
    """The hyper-parameters of a family's members, each with those that have it."""
    fields: dict[str, list[str]] = {}
    for name, member in members.items():
        for field in dataclasses.fields(member):
            fields.setdefault(field.name, []).append(name)
    return fields
