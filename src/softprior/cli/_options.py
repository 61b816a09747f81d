"""The options of a recipe: presets, files of options, and short forms.

What is given later wins: a preset, then a file, then the options themselves.
"""

from __future__ import annotations

import dataclasses
import json
import re
from argparse import Action
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

from jsonargparse import (  # type: ignore[attr-defined]  # ActionConfigFile: not in __all__
    ActionConfigFile,
    ArgumentParser,
    get_loader,
)

from softprior import priors
from softprior.training import Recipe, presets


def arguments(parser: ArgumentParser) -> None:
    """One option for each field of a recipe and of each prior, and what names several at once."""
    parser.add_argument(
        "--preset", type=str | None, metavar="NAME", help=f"{', '.join(presets.found())}"
    )
    parser.add_argument(
        "--config", action=_RecipeFile, metavar="FILE", help="YAML or JSON file with these options"
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
    others = {"precision", "label_weight", "prior", "teacher"}  # not the field as it stands
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
        help="weight of the real label; by default 1, or 0 for the students of a chain",
    )
    parser.add_argument(
        "--teacher",
        type=str | dict | None,
        default=None,
        help="ema, memory, the folder of a finished run (an earlier generation), or a file of "
        "weights (.safetensors, .pt)",
    )
    known = priors.found()
    parser.add_argument(
        "--prior.name", action=_PriorName, help=f"{', '.join(known)}; short: --prior NAME"
    )
    for field, owners in _prior_fields().items():
        kind = get_type_hints(known[owners[0]])[field]
        parser.add_argument(
            f"--prior.{field}", type=kind | None, help=f"of prior {', '.join(owners)}"
        )


class _PriorName(Action):
    """A prior by name leaves nothing of another one that a preset or a file has named."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        for field, value in _named_prior(cfg, {"name": values}).items():
            cfg[f"prior.{field}"] = value


class _RecipeFile(ActionConfigFile):
    """A file of options, whose shape is looked at before the parser sees it."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        content = _read_config(values)
        if "prior" in content:
            content["prior"] = _named_prior(cfg, content["prior"])
        self.apply_config(parser, cfg, self.dest, json.dumps(content, default=str))
        cfg[self.dest][-1] = values  # the file's name, for messages


def _named_prior(cfg: Any, prior: Mapping[str, Any]) -> Mapping[str, Any]:
    """The prior's fields, and None for those of a prior of another name."""
    before = (cfg.get("prior") or {}).get("name")
    if "name" in prior and prior["name"] != before:
        return {**dict.fromkeys(_prior_fields()), **prior}
    return prior


def _read_config(file: str) -> dict[str, Any]:
    try:
        values: Any = get_loader("yaml")(Path(file).read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except Exception as error:  # the loader's own kinds
        raise ValueError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: wanted options such as 'epochs: 30', got {values!r:.60}")
    prior = values.get("prior")
    if isinstance(prior, str):
        values["prior"] = {"name": prior}
    elif not isinstance(prior, dict | None):
        raise ValueError(
            f"{file}: prior must be a name, or a name and its fields such as "
            f"{{name: beta, a: 3}}, got {prior!r:.60}"
        )
    elif "prior" in values and prior is None:
        values["prior"] = {"name": None}
        if values.get("label_weight") == 1:
            values["label_weight"] = None  # cross-entropy's own, not what a student should have
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
    if "prior" in fields and "name" not in values.get("prior", {}):
        merged["prior"] = {**fields["prior"], **values.get("prior", {})}
    return merged


def shorthand(given: Sequence[str]) -> list[str]:
    """Presets, files and the prior's name come first, so that options win wherever they stand.

    ``--prior beta`` is short for ``--prior.name beta``; milestones need no brackets.

    >>> shorthand(["fit", "--epochs", "3", "--prior=beta", "--milestones", "0.5,0.75"])
    ['fit', '--prior.name=beta', '--epochs', '3', '--milestones=[0.5,0.75]']
    """
    first: dict[str, list[str]] = {"--preset": [], "--config": [], "--prior.name": []}
    words: list[str] = []
    left = list(given)
    while left:
        word = left.pop(0)
        if re.match("--prior(=|$)", word):
            word = f"--prior.name{word[7:]}"
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
        else:
            words.append(f"{prefix}{name}={value}")
    return words


def _prior_fields() -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, member in priors.found().items():
        for field in dataclasses.fields(member):
            fields.setdefault(field.name, []).append(name)
    return fields
