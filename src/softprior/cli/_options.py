"""The options of a recipe: presets, files of options, components by name, and short forms.

What is given later wins: a preset, then a file, then the options themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import re
from argparse import SUPPRESS, Action
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

from jsonargparse import (  # type: ignore[attr-defined]  # ActionConfigFile: not in __all__
    ActionConfigFile,
    ArgumentParser,
    get_loader,
)

from softprior import own, records
from softprior.component import Component
from softprior.records import BASES, Role
from softprior.training import Recipe, presets
from softprior.training.models import timm
from softprior.training.recipe import FORMAT, OldFormatError

_ABOUT: dict[Role, str] = {
    "prior": "",
    "penalty": "",
    "teacher": "; the folder of a finished run (an earlier generation), or a file of weights "
    "(.safetensors, .pt)",
}


def arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """One option for each field of a recipe and of each component, and what names several at once.

    ``given`` are the user's words: what they name of his own has options, too.
    """
    parser.add_argument(
        "--preset", type=str | None, metavar="NAME", help=f"{', '.join(presets.found())}"
    )
    named = own_names(given)
    parser.add_argument(
        "--config",
        action=type("_File", (_RecipeFile,), {"named": named}),
        metavar="FILE",
        help="YAML or JSON file with these options",
    )
    parser.add_argument(
        "--generations",
        type=int | None,
        metavar="N",
        help="a chain: cross-entropy, then N - 1 students, each taught by the one before",
    )
    parser.add_argument(
        "--teacher_model",
        type=str | None,
        help="network of the teacher's weights; by default the student's",
    )
    parser.add_argument("--teacher_recipe", type=dict | None, help=SUPPRESS)  # of a file
    parser.add_argument(
        "--dataset",
        action=_Dataset,
        default="digits",
        help="a name (softprior list), a path, or package.module:NAME, a function or object of "
        "your own: (images, labels), a torch or Hugging Face Dataset, or a dict of train and test",
    )
    parser.add_argument(
        "--model",
        type=str,
        default="mlp",
        help="a name (softprior list), or package.module:NAME, a function or class of your own, "
        "called with (channels, height, width) and the number of classes",
    )
    others = {"precision", "label_weight", "dataset", "model", *BASES}
    parser.add_class_arguments(Recipe, None, skip=others)
    parser.add_argument(
        "--precision",
        type=Literal["auto", "fp32", "bf16"],
        default="auto",
        help="bf16: autocast in the networks; auto: bf16 where it is faster",
    )
    parser.add_argument(
        "--label_weight",
        type=float | None,
        help="weight of the real label; by default the usual mix of the prior, 1 - strength",
    )
    for role in BASES:
        members = {**records.found(role), **_own_classes(role, named)}
        names = ", ".join(records.found(role))
        parser.add_argument(
            f"--{role}.name",
            action=_Name,
            help=f"{names}; package.module:NAME, of your own{_ABOUT[role]}; short: --{role} NAME",
        )
        for field, owners in _fields(members).items():
            kinds = [get_type_hints(members[owner])[field] for owner in owners]
            kind = functools.reduce(operator.or_, kinds)
            parser.add_argument(
                f"--{role}.{field}", type=kind | None, help=f"of {role} {', '.join(owners)}"
            )


def own_names(given: Sequence[str]) -> dict[str, list[str]]:
    """What the user's words name of his own, by option: only that is ever imported."""
    named: dict[str, list[str]] = {}
    for word, following in zip(given, [*given[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        option = option.removesuffix(".name").removeprefix("--")
        value = value if equals else following
        is_own = ":" in value and not value.startswith(timm.PREFIX) and not Path(value).exists()
        if option in (*BASES, "model", "dataset") and is_own:
            named.setdefault(option, []).append(value)
    return named


def _all_names(named: Mapping[str, Sequence[str]]) -> set[str]:
    """What the user has typed, and what recipes call the same objects."""
    typed = {name for option in (*BASES, "model") for name in named.get(option, [])}
    return typed | {own.origin(own.load(name)).name for name in typed}


def _own_classes(role: Role, named: Mapping[str, Sequence[str]]) -> dict[str, type[Component]]:
    return {name: records.check_class(role, name, own.load(name)) for name in named.get(role, [])}


class _Name(Action):
    """A component by name leaves nothing of another one that a preset or a file has named."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        role = self.dest.partition(".")[0]
        for field, value in _named(parser, cfg, role, {"name": values}).items():
            cfg[f"{role}.{field}"] = value


class _Dataset(Action):
    """Another data set leaves nothing of the fingerprint of the one in a file."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        if option_string is not None:
            cfg["fingerprint"] = None
        cfg["dataset"] = values


class _RecipeFile(ActionConfigFile):
    """A file of options, whose shape is looked at before the parser sees it."""

    named: Mapping[str, Sequence[str]] = {}

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        content = _read_config(values, _all_names(self.named))
        for role in BASES:
            if role in content:
                content[role] = _named(parser, cfg, role, content[role])
        self.apply_config(parser, cfg, self.dest, json.dumps(content, default=str))
        cfg[self.dest][-1] = values  # the file's name, for messages


def _named(parser: Any, cfg: Any, role: str, component: Mapping[str, Any]) -> Mapping[str, Any]:
    """The component's fields, and None for those of one of another name."""
    before = (cfg.get(role) or {}).get("name")
    if "name" not in component or component["name"] == before:
        return component
    fields = [a.dest.partition(".")[2] for a in parser._actions if a.dest.startswith(f"{role}.")]
    return {**dict.fromkeys(fields), **component}


def _read_config(file: str, named: Collection[str]) -> dict[str, Any]:
    try:
        values: Any = get_loader("yaml")(Path(file).read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except Exception as error:  # the loader's own kinds
        raise ValueError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: wanted options such as 'epochs: 30', got {values!r:.60}")
    if values.pop("format", FORMAT) != FORMAT:
        raise OldFormatError(f"{file} is a recipe of another version: wanted format {FORMAT}")
    if isinstance(teacher := values.get("teacher"), dict) and "name" not in teacher:
        values["teacher_recipe"] = values.pop("teacher")
    for option in (*BASES, "model"):
        value = values.get(option)
        if option == "model" and not isinstance(value, dict):
            continue
        if isinstance(value, str):
            values[option] = value = {"name": value}
        elif not isinstance(value, dict | None):
            raise ValueError(
                f"{file}: {option} must be a name, or a name and its fields such as "
                f"{{name: beta, a: 3}}, got {value!r:.60}"
            )
        elif option in values and value is None:
            values[option] = value = {"name": None}
        # The source is as it is now: where it has changed, training says so.
        if value and value.pop("source", None) is not None and value["name"] not in named:
            raise ValueError(
                f"{file}: {option} {value['name']} is somebody's own, and only what you name is "
                f"imported: add --{option} {value['name']}"
            )
        if option == "model" and value:
            values["model"] = value["name"]
    if values.get("preset") is not None:
        return _upon_preset(file, values)
    return dict(values)


def _upon_preset(file: str, values: dict[str, Any]) -> dict[str, Any]:
    """The fields of the preset that a file names, and the file's own."""
    try:
        fields = presets.get(str(values["preset"])).fields
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    merged = {**fields, **values}
    for role in BASES:
        if role in fields and "name" not in (values.get(role) or {}):
            preset = fields[role]
            merged[role] = {**({"name": preset} if isinstance(preset, str) else preset)}
            merged[role] |= values.get(role) or {}
    return merged


def shorthand(given: Sequence[str]) -> list[str]:
    """Presets, files and names of components come first, so that options win wherever they stand.

    ``--prior beta`` is short for ``--prior.name beta``; milestones need no brackets.

    >>> shorthand(["fit", "--epochs", "3", "--prior=beta", "--milestones", "0.5,0.75"])
    ['fit', '--prior.name=beta', '--epochs', '3', '--milestones=[0.5,0.75]']
    """
    first: dict[str, list[str]] = {"--preset": [], "--config": [], "--dataset": []}
    first |= {f"--{role}.name": [] for role in BASES}
    words: list[str] = []
    left = list(given)
    while left:
        word = left.pop(0)
        if match := re.match(f"--({'|'.join(BASES)})(=|$)", word):
            word = f"--{match[1]}.name{word[len(match[1]) + 2 :]}"
        name = word.partition("=")[0]
        takes = name in first or name == "--milestones"
        if takes and word == name and left and not left[0].startswith("--"):
            word = f"{name}={left.pop(0)}"
        if match := re.fullmatch(r"--milestones=([\d.eE,\s+-]+)", word):
            word = f"--milestones=[{match[1]}]"
        if name == "--preset" and "=" in word:
            first[name] += _as_words(presets.get(word.partition("=")[2]).fields)
        first.get(name, words).append(word)
    command = words[:1] if words and not words[0].startswith("-") else []
    return [*command, *(w for ws in first.values() for w in ws), *words[len(command) :]]


def _as_words(fields: Mapping[str, Any], prefix: str = "--") -> list[str]:
    words: list[str] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            words += _as_words(value, f"{prefix}{name}.")
        elif prefix == "--" and name in BASES:
            words.append(f"--{name}.name={value}")
        else:
            words.append(f"{prefix}{name}={value}")
    return words


def _fields(members: Mapping[str, type[Component]]) -> dict[str, list[str]]:
    """The hyper-parameters of a family's members, each with those that have it."""
    fields: dict[str, list[str]] = {}
    for name, member in members.items():
        for field in dataclasses.fields(member):
            fields.setdefault(field.name, []).append(name)
    return fields
