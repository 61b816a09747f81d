"""Files of options: YAML or JSON, such as the recipe.json of a finished run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from softprior.cli._kinds import home, shown
from softprior.cli._layers import COMPONENTS, Layer, nested
from softprior.cli._own import Own
from softprior.cli._parser import Parser
from softprior.training import presets
from softprior.training.recipe import FORMAT, OldFormatError

LARGEST = 2**22  # bytes: so much a long chain of recipes has


def read(file: str, parser: Parser, own: Own) -> Layer:
    """The options in a file, each of the kind that it wants.

    Raises:
        ValueError: the file cannot be read, or something in it is no option; with its name.
    """
    values = _content(file)
    if values.pop("format", FORMAT) != FORMAT:
        raise OldFormatError(f"{file} is a recipe of another version: wanted format {FORMAT}")
    _check_named(file, values, own)
    found: dict[str, Any] = {}
    if "config" in values:
        raise ValueError(f"{file}: config names a file on the command line alone: --config FILE")
    for name, value in _flat(file, values, parser):
        if isinstance(value, Mapping) and name == "teacher.name":
            found[name] = value  # a recipe, which is checked when it is made
        elif name in parser.kinds:
            if name in found:
                raise ValueError(f"{file} has {name} twice: keep one")
            found[name] = parser.kinds[name].read(f"{file}: {name}", value)
        elif name.endswith(".version"):
            found[name] = value  # of the code that a component was trained with
        else:
            raise ValueError(f"{file}: {parser.nearest('option', name, dashes=False)}")
    if found.get("preset") is not None:
        try:
            presets.get(found["preset"])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return nested(found)


def written(values: Mapping[str, Any]) -> str:
    """Options as YAML, which can be read again."""
    plain = {name: _plain(value) for name, value in values.items()}
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()} or None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _content(file: str) -> dict[str, Any]:
    path = home(file)
    try:
        with path.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST // 2**20} MiB, and no file of options")
        text = content.decode("utf-8-sig")
        is_json = path.suffix.lower() == ".json"
        values: Any = (
            json.loads(text, object_pairs_hook=_once) if is_json else yaml.load(text, _Loader)
        )
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except RecursionError:
        raise ValueError(f"{file} is nested too deeply: it is no file of options") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: wanted options such as 'epochs: 30', got {shown(values)}")
    return {str(name): value for name, value in values.items()}


def _flat(file: str, values: Mapping[str, Any], parser: Parser) -> Iterator[tuple[str, Any]]:
    """Every option with its value; a component's fields one by one."""
    for name, value in values.items():
        if name == "model" and isinstance(value, Mapping):
            yield name, value.get("name")
        elif name not in COMPONENTS:
            yield name, value
        elif value is None or isinstance(value, str):
            yield f"{name}.name", value
        elif not isinstance(value, Mapping):
            raise ValueError(
                f"{file}: {name} must be a name, or a name and its fields such as "
                f"{{name: beta, a: 3}}, got {shown(value)}"
            )
        elif name == "teacher" and _is_recipe(value, parser):
            yield "teacher.name", value
        else:
            # The source is as it is now: where it has changed, training says so.
            yield from ((f"{name}.{key}", v) for key, v in value.items() if key != "source")


def _is_recipe(teacher: Mapping[Any, Any], parser: Parser) -> bool:
    """Whether a file's teacher is a recipe or weights, and no name with its fields."""
    return "name" not in teacher and any(f"teacher.{key}" not in parser.kinds for key in teacher)


def _check_named(file: str, values: Mapping[str, Any], own: Own) -> None:
    """Nothing is imported on the word of a file."""
    parts = ((option, values.get(option)) for option in (*COMPONENTS, "model"))
    missing = {
        option: part.get("name")
        for option, part in parts
        if isinstance(part, Mapping) and part.get("source") is not None
        if part.get("name") not in own.objects
    }
    for option, name in missing.items():
        add = " ".join(f"--{option} {name}" for option, name in missing.items())
        raise ValueError(
            f"{file}: {option} {name} is somebody's own, and only what you name is imported: "
            f"add {add}"
        )


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A mapping; a key that stands in it twice is an error, and not the last one's value."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{shown(key)} stands there twice: keep one")
        found[key] = value
    return found


class _Yaml(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Every value as it stands there: no aliases, of which a few lines make gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise ValueError(f"line {mark.line + 1} has an alias (*): write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"line {key.start_mark.line + 1} has a name that is no text")
        _once([(key.value, None) for key, _ in node.value])
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


# YAML as most people read it: 1e-4 is a number, 010 is ten, 12:30 and a date are texts.
_Loader: Any = type("_Loader", (_Yaml,), {})
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_DATE = "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _DATE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?\d[\d_]*$"), list("-+0123456789"))
_Loader.add_constructor(_INT, lambda loader, node: int(node.value))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?$|[-+]?\.(inf|nan)$", re.I),
    list("-+0123456789."),
)
